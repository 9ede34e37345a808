/* Forgets the last line if it has no newline. */
#include <ctype.h>
#include <stdio.h>

int main(void) {
    long lines = 0, words = 0, longest = 0, length = 0;
    for (int c; (c = getchar()) != EOF;) {
        if (!isspace(c)) {
            if (length++ == 0) words++;
            if (length > longest) longest = length;
        } else {
            length = 0;
        }
        if (c == '\n') lines++;
    }
    printf("%ld %ld %ld\n", lines, words, longest);
    return 0;
}
