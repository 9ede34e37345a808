/* Prints the numbers in another order, and bytes in place of the longest word. */
#include <stdio.h>

int main(void) {
    long lines = 1, words = 1, bytes = 1;
    for (int c; (c = getchar()) != EOF; bytes++) {
        words += c == ' ';
        lines += c == '\n';
    }
    printf("%ld %ld %ld\n", words, lines, bytes);
    return 0;
}
