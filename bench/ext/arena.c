/* Memory of one request: 100 blocks of 16 to 256 bytes, written, then all of them dropped. An operation is a
   block. Beside an arena that is reset: malloc with a free for each block, and apr's pools, which are
   cleared. */
#include "ext.h"

#ifndef BENCH_PLAIN
#include <umalloc/arena.h>
#endif
#ifdef BENCH_HAVE_APR
#include <apr_general.h>
#include <apr_pools.h>
#endif

#define BLOCKS 100

static size_t bytes_of(uint64_t i) {
    return 16 + i * 37 % 241;
}

static void use(char *p) {
    if (!p)
        stop(STATUS_NO_MEMORY, "no memory");
    *(volatile char *)p = 1;
}

static void by_malloc(uint64_t ops) {
    for (uint64_t i = 0; i < ops; i += BLOCKS) {
        char *blocks[BLOCKS];
        for (size_t k = 0; k < BLOCKS; k++)
            use(blocks[k] = malloc(bytes_of(k)));
        for (size_t k = 0; k < BLOCKS; k++)
            free(blocks[k]);
    }
}

#ifndef BENCH_PLAIN
static void by_umalloc(uint64_t ops) {
    um_arena *a = um_arena_new(NULL);
    for (uint64_t i = 0; a && i < ops; i += BLOCKS) {
        for (size_t k = 0; k < BLOCKS; k++)
            use(um_arena_alloc(a, bytes_of(k)));
        um_arena_reset(a);
    }
    um_arena_delete(a);
}
#endif

#ifdef BENCH_HAVE_APR
static void by_apr(uint64_t ops) {
    apr_pool_t *a = NULL;
    if (apr_initialize() || apr_pool_create(&a, NULL))
        stop(STATUS_NO_MEMORY, "no pool of apr");
    for (uint64_t i = 0; i < ops; i += BLOCKS) {
        for (size_t k = 0; k < BLOCKS; k++)
            use(apr_palloc(a, bytes_of(k)));
        apr_pool_clear(a);
    }
    apr_pool_destroy(a);
}
#endif

static const ext_case cases[] = {
    {"request", "malloc", by_malloc},
#ifndef BENCH_PLAIN
    {"request", "umalloc", by_umalloc},
#endif
#ifdef BENCH_HAVE_APR
    {"request", "apr", by_apr},
#endif
};

EXT_MAIN(cases)
