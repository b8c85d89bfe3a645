/* Linked statically: LD_PRELOAD means nothing to it, so it must run as ever. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    size_t sum = 0;
    for (size_t i = 1; i < 100000; i++) {
        char *p = malloc(i % 5000 + 1);
        if (!p)
            return 1;
        memset(p, (int)i, i % 5000 + 1);
        sum += (unsigned char)p[i % 5000];
        free(p);
    }
    printf("%zu\ndone\n", sum);
    return 0;
}
