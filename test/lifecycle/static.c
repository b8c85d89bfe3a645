/* A static binary: a preload has no way into it, and must not harm it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    char *p = malloc(1000);
    memset(p, 0, 1000);
    strcpy(p, "static");
    printf("%s %zu\n", p, strlen(p));
    free(p);
    return 0;
}
