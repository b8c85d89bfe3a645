/* What test_api_instructions.py counts.
 *
 *   api PATTERN KIND SIZE ROUNDS
 *
 * PATTERN: arena (um_arena_alloc, compiled into arena_once), pool (um_pool_alloc, um_pool_free), handover and
 * burst (100 objects allocated, then freed: magazines turn over; 1000: they go to the depot and back); heap
 * and shared (um_heap_malloc, um_heap_free), and request (100 blocks of mixed sizes, then um_heap_reset);
 * batch (um_malloc_batch and um_free_batch of 100 blocks). KIND is real. Only what runs inside of the
 * functions that the test names is counted. */
#include "umalloc/arena.h"
#include "umalloc/heap.h"
#include "umalloc/pool.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 100
#define BURST 1000

__attribute__((noinline)) void *arena_once(um_arena *a, size_t bytes) {
    return um_arena_alloc(a, bytes);
}

static int arena(size_t bytes, size_t rounds) {
    um_arena *a = um_arena_new(&(um_arena_options){.first_bytes = (bytes + 16) * rounds});
    if (!a)
        return 1;
    for (size_t i = 0; i < rounds; i++)
        *(volatile char *)arena_once(a, bytes) = 1;
    um_arena_delete(a);
    return 0;
}

static int pool(size_t bytes, size_t rounds, size_t batch) {
    void *objects[BURST];
    um_pool *p =
        um_pool_new(&(um_pool_options){.bytes = bytes, .ready_objects = 10 * (batch > 1 ? batch : BATCH)});
    if (!p || um_pool_warm(p))
        return 1;
    for (size_t i = 0; i < rounds; i++) {
        for (size_t k = 0; k < batch; k++)
            objects[k] = um_pool_alloc(p);
        for (size_t k = 0; k < batch; k++)
            um_pool_free(p, objects[k]);
    }
    um_pool_delete(p);
    return 0;
}

static int heap(um_heap_kind kind, size_t bytes, size_t rounds) {
    um_heap *h = um_heap_create(kind, 0);
    if (!h)
        return 1;
    for (size_t i = 0; i < rounds; i++) {
        void *p = um_heap_malloc(h, bytes);
        *(volatile char *)p = 1;
        um_heap_free(h, p);
    }
    um_heap_destroy(h);
    return 0;
}

/* As many bytes as the first argument says, and multiples of it up to 16 times as many. */
static int request(size_t bytes, size_t rounds) {
    um_heap *h = um_heap_create(UM_HEAP_ONE_THREAD, 0);
    if (!h)
        return 1;
    for (size_t i = 0; i < rounds; i++) {
        for (size_t k = 0; k < BATCH; k++)
            *(volatile char *)um_heap_malloc(h, bytes * (k * 7 % 16 + 1)) = 1;
        um_heap_reset(h);
    }
    um_heap_destroy(h);
    return 0;
}

static int batch(size_t bytes, size_t rounds) {
    void *blocks[BATCH];
    for (size_t i = 0; i < rounds; i++)
        um_free_batch(blocks, um_malloc_batch(bytes, 0, blocks, BATCH));
    return 0;
}

static int run(const char *pattern, size_t bytes, size_t rounds) {
    if (strcmp(pattern, "arena") == 0)
        return arena(bytes, rounds);
    if (strcmp(pattern, "pool") == 0)
        return pool(bytes, rounds, 1);
    if (strcmp(pattern, "handover") == 0)
        return pool(bytes, rounds, BATCH);
    if (strcmp(pattern, "burst") == 0)
        return pool(bytes, rounds, BURST);
    if (strcmp(pattern, "heap") == 0)
        return heap(UM_HEAP_ONE_THREAD, bytes, rounds);
    if (strcmp(pattern, "shared") == 0)
        return heap(UM_HEAP_SHARED, bytes, rounds);
    if (strcmp(pattern, "request") == 0)
        return request(bytes, rounds);
    return strcmp(pattern, "batch") == 0 ? batch(bytes, rounds) : 2;
}

int main(int argc, char **argv) {
    size_t bytes = argc == 5 ? strtoul(argv[3], NULL, 10) : 0,
           rounds = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    return bytes && rounds ? run(argv[1], bytes, rounds) : 2;
}
