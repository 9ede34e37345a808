#include <stdio.h>

int main(void) {
    long lines = 0
    printf("%ld %ld %ld\n", lines, words, longest);
}
