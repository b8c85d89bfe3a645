/* The numa family: blocks under a policy, taken and given back, beside malloc's of the same size and
 * libnuma's, which maps each of its blocks. On a machine with one node it shows what asking for a policy
 * costs.
 *
 *   block-256K      a block, of which one page is written
 *   filled-4M       a block that is written page by page
 *   interleave-1M   one page by page on all nodes, written */
#include "ext.h"

#ifndef BENCH_PLAIN
#include <umalloc/numa.h>
#endif
#ifdef BENCH_HAVE_LIBNUMA
#include <numa.h>
#endif

static void touch(char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += PAGE_BYTES)
        *(volatile char *)(p + i) = 1;
}

static void malloc_blocks(uint64_t ops, size_t bytes, size_t touched) {
    for (uint64_t i = 0; i < ops; i++) {
        char *p = malloc(bytes);
        touch(p, touched);
        free(p);
    }
}

static void block_malloc(uint64_t ops) {
    malloc_blocks(ops, 256 << 10, 1);
}

static void filled_malloc(uint64_t ops) {
    malloc_blocks(ops, 4 * MIB, 4 * MIB);
}

static void interleave_malloc(uint64_t ops) {
    malloc_blocks(ops, MIB, MIB);
}

#ifndef BENCH_PLAIN
static void policy_blocks(uint64_t ops, const char *text, size_t bytes, size_t touched) {
    um_numa_policy *policy = um_numa_policy_new(text);
    for (uint64_t i = 0; i < ops; i++) {
        char *p = um_numa_alloc(policy, bytes);
        if (!p)
            stop(STATUS_NO_MEMORY, "no block");
        touch(p, touched);
        um_numa_free(p);
    }
    um_numa_policy_delete(policy);
}

static void block_umalloc(uint64_t ops) {
    policy_blocks(ops, "local", 256 << 10, 1);
}

static void filled_umalloc(uint64_t ops) {
    policy_blocks(ops, "local", 4 * MIB, 4 * MIB);
}

static void interleave_umalloc(uint64_t ops) {
    policy_blocks(ops, "interleave", MIB, MIB);
}
#endif

#ifdef BENCH_HAVE_LIBNUMA
static void libnuma_blocks(uint64_t ops, void *(*get)(size_t), size_t bytes, size_t touched) {
    if (numa_available() < 0)
        stop(STATUS_USAGE, "no NUMA here");
    for (uint64_t i = 0; i < ops; i++) {
        char *p = get(bytes);
        touch(p, touched);
        numa_free(p, bytes);
    }
}

static void block_libnuma(uint64_t ops) {
    libnuma_blocks(ops, numa_alloc_local, 256 << 10, 1);
}

static void filled_libnuma(uint64_t ops) {
    libnuma_blocks(ops, numa_alloc_local, 4 * MIB, 4 * MIB);
}

static void interleave_libnuma(uint64_t ops) {
    libnuma_blocks(ops, numa_alloc_interleaved, MIB, MIB);
}
#endif

static const ext_case cases[] = {
#ifndef BENCH_PLAIN
    {"block-256K", "umalloc", block_umalloc},         {"filled-4M", "umalloc", filled_umalloc},
    {"interleave-1M", "umalloc", interleave_umalloc},
#endif
#ifdef BENCH_HAVE_LIBNUMA
    {"block-256K", "libnuma", block_libnuma},         {"filled-4M", "libnuma", filled_libnuma},
    {"interleave-1M", "libnuma", interleave_libnuma},
#endif
    {"block-256K", "malloc", block_malloc},           {"filled-4M", "malloc", filled_malloc},
    {"interleave-1M", "malloc", interleave_malloc},
};

EXT_MAIN(cases)
