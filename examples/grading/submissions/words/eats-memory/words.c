/* Makes room for every word that might ever come. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    for (;;) {
        char *room = malloc(16 << 20);
        if (!room) abort();
        memset(room, 1, 16 << 20);
    }
}
