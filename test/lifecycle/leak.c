/* Loses one block of 12345 bytes. */
#include <stdlib.h>

static void *volatile sink;

int main(void) {
    sink = malloc(12345);
    sink = malloc(10);
    free(sink);
    sink = NULL;
    return 0;
}
