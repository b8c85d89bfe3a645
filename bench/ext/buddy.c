/* Blocks of 64 bytes to 64 KiB in random order: an operation gives one of 1000 back and takes another of a
   random size. Beside a buddy region of 64 MiB: malloc. */
#include "ext.h"

#ifndef BENCH_PLAIN
#include <umalloc/buddy.h>
#endif

#define BLOCKS 1000

static void *blocks[BLOCKS];

#define RUN(name, TAKE, GIVE)                                                                                \
    static void name(uint64_t ops) {                                                                         \
        uint64_t random = 88172645463325252u;                                                                \
        for (uint64_t i = 0; i < ops; i++) {                                                                 \
            size_t k = random_below(&random, BLOCKS);                                                        \
            GIVE(blocks[k]);                                                                                 \
            blocks[k] = TAKE((size_t)64 << random_below(&random, 11));                                       \
            if (!blocks[k])                                                                                  \
                stop(STATUS_NO_MEMORY, "no memory");                                                         \
            *(volatile char *)blocks[k] = 1;                                                                 \
        }                                                                                                    \
        for (size_t k = 0; k < BLOCKS; k++) {                                                                \
            GIVE(blocks[k]);                                                                                 \
            blocks[k] = NULL;                                                                                \
        }                                                                                                    \
    }

RUN(by_malloc, malloc, free)
#ifndef BENCH_PLAIN
static um_buddy *region(void) {
    static um_buddy *b;
    if (!b && !(b = um_buddy_new(&(um_buddy_options){.bytes = 64 * MIB})))
        stop(STATUS_NO_MEMORY, "no region");
    return b;
}
#define REGION_TAKE(bytes) um_buddy_alloc(region(), bytes)
#define REGION_GIVE(p)     um_buddy_free(region(), p)
RUN(by_umalloc, REGION_TAKE, REGION_GIVE)
#endif

static const ext_case cases[] = {
    {"mixed", "malloc", by_malloc},
#ifndef BENCH_PLAIN
    {"mixed", "umalloc", by_umalloc},
#endif
};

EXT_MAIN(cases)
