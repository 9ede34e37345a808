/* Takes every single blank for the end of a word. */
#include <stdio.h>

int main(void) {
    long lines = 0, words = 0, longest = 0, length = 0;
    int c;
    while ((c = getchar()) != EOF) {
        if (c == ' ' || c == '\n') {
            words++;
            if (length > longest) longest = length;
            length = 0;
            lines += c == '\n';
        } else {
            length++;
        }
    }
    printf("%ld %ld %ld\n", lines, words, longest);
    return 0;
}
