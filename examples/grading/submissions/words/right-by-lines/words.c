/* Reads whole lines with getline and cuts them with strtok. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    char *line = NULL;
    size_t room = 0;
    long lines = 0, words = 0;
    size_t longest = 0;
    while (getline(&line, &room, stdin) != -1) {
        lines++;
        for (char *word = strtok(line, " \t\r\n"); word; word = strtok(NULL, " \t\r\n")) {
            words++;
            if (strlen(word) > longest) longest = strlen(word);
        }
    }
    free(line);
    printf("%ld %ld %zu\n", lines, words, longest);
    return 0;
}
