#include <ctype.h>
#include <stdio.h>

int main(void) {
    long lines = 0, words = 0, longest = 0, length = 0;
    int c, last = '\n';
    while ((c = getchar()) != EOF) {
        if (isspace(c)) {
            words += length > 0;
            if (length > longest) longest = length;
            length = 0;
        } else {
            length++;
        }
        lines += c == '\n';
        last = c;
    }
    words += length > 0;
    if (length > longest) longest = length;
    lines += last != '\n';
    printf("%ld %ld %ld\n", lines, words, longest);
    return 0;
}
