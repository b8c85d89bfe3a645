/* One block that grows from 1 MiB to 256 MiB in steps of 1 MiB, each new byte written and the old ones
 * checked.
 *
 *   realloc_growth
 *
 * Prints milliseconds and the peak resident size: a realloc that copies into new memory needs up to twice the
 * block. */
#include "figures.h"

#define MIB   ((size_t)1 << 20)
#define STEPS 256

int main(void) {
    unsigned char *p = NULL;
    uint64_t start = now_ns();
    for (size_t step = 1; step <= STEPS; step++) {
        unsigned char *grown = realloc(p, step * MIB);
        if (!grown)
            return 3;
        p = grown;
        memset(p + (step - 1) * MIB, (int)(step & 0xff), MIB);
        for (size_t old = 1; old <= step; old++)
            if (p[(old - 1) * MIB] != (old & 0xff) || p[old * MIB - 1] != (old & 0xff)) {
                fprintf(stderr, "step %zu lost the bytes of step %zu\n", step, old);
                return 1;
            }
    }
    dprintf(1, "ms %f\npeak_mib %f\n", (double)(now_ns() - start) / 1e6, peak_mib());
    free(p);
    return 0;
}
