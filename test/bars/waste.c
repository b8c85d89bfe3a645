/* Bytes that size classes give beyond what was asked: the mean of usable over requested, over every size.
 *
 *   waste FIRST LAST
 *
 * Prints that mean less one, in percent; checks that usable is never below the request. */
#include "rss.h"
#include <malloc.h>

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    size_t first = strtoul(argv[1], NULL, 10), last = strtoul(argv[2], NULL, 10);
    double sum = 0;
    for (size_t bytes = first; bytes <= last; bytes++) {
        void *p = malloc(bytes);
        size_t usable = p ? malloc_usable_size(p) : 0;
        if (usable < bytes) {
            fprintf(stderr, "%zu bytes asked, %zu usable\n", bytes, usable);
            return 1;
        }
        sum += (double)usable / (double)bytes;
        free(p);
    }
    dprintf(1, "waste %f\n", 100 * (sum / (double)(last - first + 1) - 1));
    return 0;
}
