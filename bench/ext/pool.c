/* Objects of 64 bytes, taken and given back by one thread. An operation is one taken and one given back.

   pair    one at a time.
   burst   1000 taken, then given back in the order in which they were taken.

   Beside it: malloc, and boost's pool, which is not for several threads. */
#include "ext.h"

#ifndef BENCH_PLAIN
#include <umalloc/pool.h>
#endif
#ifdef BENCH_HAVE_BOOST
void *boost_take(void);
void boost_give(void *object);
#endif

#define OBJECT_BYTES 64
#define BURST        1000

#define RUNS(name, TAKE, GIVE)                                                                               \
    static void pair_##name(uint64_t ops) {                                                                  \
        for (uint64_t i = 0; i < ops; i++) {                                                                 \
            volatile char *o = TAKE;                                                                         \
            *o = 1;                                                                                          \
            GIVE((void *)o);                                                                                 \
        }                                                                                                    \
    }                                                                                                        \
    static void burst_##name(uint64_t ops) {                                                                 \
        static void *objects[BURST];                                                                         \
        for (uint64_t i = 0; i < ops; i += BURST) {                                                          \
            for (size_t k = 0; k < BURST; k++)                                                               \
                *(volatile char *)(objects[k] = TAKE) = 1;                                                   \
            for (size_t k = 0; k < BURST; k++)                                                               \
                GIVE(objects[k]);                                                                            \
        }                                                                                                    \
    }

RUNS(malloc, malloc(OBJECT_BYTES), free)
#ifndef BENCH_PLAIN
static um_pool *pool(void) {
    static um_pool *p;
    if (!p && !(p = um_pool_new(&(um_pool_options){.bytes = OBJECT_BYTES})))
        stop(STATUS_NO_MEMORY, "no pool");
    return p;
}
#define POOL_GIVE(o) um_pool_free(pool(), o)
RUNS(umalloc, um_pool_alloc(pool()), POOL_GIVE)
#endif
#ifdef BENCH_HAVE_BOOST
RUNS(boost, boost_take(), boost_give)
#endif

static const ext_case cases[] = {
    {"pair", "malloc", pair_malloc},   {"burst", "malloc", burst_malloc},
#ifndef BENCH_PLAIN
    {"pair", "umalloc", pair_umalloc}, {"burst", "umalloc", burst_umalloc},
#endif
#ifdef BENCH_HAVE_BOOST
    {"pair", "boost", pair_boost},     {"burst", "boost", burst_boost},
#endif
};

EXT_MAIN(cases)
