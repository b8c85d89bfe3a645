/* Built with AddressSanitizer, whose runtime brings a malloc of its own. */
#include <stdlib.h>
#include <string.h>

int main(void) {
    for (size_t i = 1; i < 100000; i = i * 2 + 1) {
        char *p = malloc(i);
        memset(p, 1, i);
        p = realloc(p, i * 2);
        free(p);
    }
    return 0;
}
