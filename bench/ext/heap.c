/* Heaps of a program's own, beside malloc.
 *
 * pair: a block and its free. mixed: 64 live blocks of 16 to 1039 bytes, one replaced at a time. request: 200
 * blocks of such sizes, used and then gone by a reset of their heap; malloc frees them one by one. shared:
 * the mixed case in a heap that threads may share, by one thread. lifetime: a request in a heap made for it
 * and destroyed after. */
#include "ext.h"

#ifndef BENCH_PLAIN
#include <umalloc/heap.h>
#endif

#define LIVE    64u
#define REQUEST 200u

static inline uint32_t draw(uint32_t *r) {
    return *r = *r * 1664525u + 1013904223u;
}

static inline size_t size_for(uint32_t r) {
    return 16 + (r >> 22);
}

#define CASES(name, OPEN, ALLOC, FREE, CLOSE)                                                                \
    static void pair_##name(uint64_t ops) {                                                                  \
        OPEN;                                                                                                \
        for (uint64_t i = 0; i < ops; i++) {                                                                 \
            void *p = ALLOC(64);                                                                             \
            *(volatile char *)p = 1;                                                                         \
            FREE(p);                                                                                         \
        }                                                                                                    \
        CLOSE;                                                                                               \
    }                                                                                                        \
    static void mixed_##name(uint64_t ops) {                                                                 \
        void *live[LIVE] = {0};                                                                              \
        uint32_t r = 1;                                                                                      \
        OPEN;                                                                                                \
        for (uint64_t i = 0; i < ops; i++) {                                                                 \
            uint32_t k = draw(&r) >> 26;                                                                     \
            FREE(live[k]);                                                                                   \
            live[k] = ALLOC(size_for(r << 6));                                                               \
            *(volatile char *)live[k] = 1;                                                                   \
        }                                                                                                    \
        for (uint32_t k = 0; k < LIVE; k++)                                                                  \
            FREE(live[k]);                                                                                   \
        CLOSE;                                                                                               \
    }

CASES(malloc, (void)0, malloc, free, (void)0)

static void request_malloc(uint64_t ops) {
    void *blocks[REQUEST];
    uint32_t r = 1;
    for (uint64_t done = 0; done < ops; done += REQUEST) {
        for (unsigned i = 0; i < REQUEST; i++) {
            blocks[i] = malloc(size_for(draw(&r)));
            *(volatile char *)blocks[i] = 1;
        }
        for (unsigned i = 0; i < REQUEST; i++)
            free(blocks[i]);
    }
}

#ifndef BENCH_PLAIN
static um_heap *heap;

static void open_heap(um_heap_kind kind) {
    heap = um_heap_create(kind, 0);
    if (!heap)
        stop(STATUS_USAGE, "no heap");
}

#define ALLOC(bytes) um_heap_malloc(heap, bytes)
#define FREE(p)      um_heap_free(heap, p)
CASES(umalloc, open_heap(UM_HEAP_ONE_THREAD), ALLOC, FREE, um_heap_destroy(heap))

static void mixed_shared(uint64_t ops) {
    void *live[LIVE] = {0};
    uint32_t r = 1;
    open_heap(UM_HEAP_SHARED);
    for (uint64_t i = 0; i < ops; i++) {
        uint32_t k = draw(&r) >> 26;
        FREE(live[k]);
        live[k] = ALLOC(size_for(r << 6));
        *(volatile char *)live[k] = 1;
    }
    um_heap_destroy(heap);
}

static void request_umalloc(uint64_t ops) {
    uint32_t r = 1;
    open_heap(UM_HEAP_ONE_THREAD);
    for (uint64_t done = 0; done < ops; done += REQUEST) {
        for (unsigned i = 0; i < REQUEST; i++)
            *(volatile char *)ALLOC(size_for(draw(&r))) = 1;
        um_heap_reset(heap);
    }
    um_heap_destroy(heap);
}

static void lifetime_umalloc(uint64_t ops) {
    uint32_t r = 1;
    for (uint64_t done = 0; done < ops; done += REQUEST) {
        open_heap(UM_HEAP_ONE_THREAD);
        for (unsigned i = 0; i < REQUEST; i++)
            *(volatile char *)ALLOC(size_for(draw(&r))) = 1;
        um_heap_destroy(heap);
    }
}
#endif

static const ext_case cases[] = {
    {"pair", "malloc", pair_malloc},           {"mixed", "malloc", mixed_malloc},
    {"request", "malloc", request_malloc},     {"shared", "malloc", mixed_malloc},
    {"lifetime", "malloc", request_malloc},
#ifndef BENCH_PLAIN
    {"pair", "umalloc", pair_umalloc},         {"mixed", "umalloc", mixed_umalloc},
    {"request", "umalloc", request_umalloc},   {"shared", "umalloc", mixed_shared},
    {"lifetime", "umalloc", lifetime_umalloc},
#endif
};

EXT_MAIN(cases)
