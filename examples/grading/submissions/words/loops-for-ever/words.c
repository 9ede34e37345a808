/* Compares with the wrong thing: at the end of the input it waits for more, for ever. */
#include <stdio.h>

int main(void) {
    volatile long lines = 0;
    for (;;) {
        int c = getchar();
        if (c == '\n') lines++;
        if (c == 'q' && lines < 0) break;
    }
    printf("%ld 0 0\n", lines);
    return 0;
}
