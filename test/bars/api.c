/* What test_api_instructions.py counts.
 *
 *   api PATTERN KIND SIZE ROUNDS
 *
 * PATTERN: arena (um_arena_alloc, compiled into arena_once), pool (um_pool_alloc, um_pool_free), and handover
 * (100 objects allocated, then freed: magazines turn over). KIND is real. Only what runs inside of the
 * functions that the test names is counted. */
#include "umalloc/arena.h"
#include "umalloc/pool.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 100

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
    void *objects[BATCH];
    um_pool *p = um_pool_new(&(um_pool_options){.bytes = bytes, .ready_objects = 10 * BATCH});
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

int main(int argc, char **argv) {
    size_t bytes = argc == 5 ? strtoul(argv[3], NULL, 10) : 0,
           rounds = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    if (!bytes || !rounds)
        return 2;
    if (strcmp(argv[1], "arena") == 0)
        return arena(bytes, rounds);
    return pool(bytes, rounds, strcmp(argv[1], "pool") == 0 ? 1 : BATCH);
}
