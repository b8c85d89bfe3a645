/* The counters: one table. Global ones live in slow paths only, so relaxed read-modify-writes do; per-class
   ones have a single writer, the owning thread, and are folded into the process's sum when the thread ends.
 */
#ifndef UM_COUNTERS_H
#define UM_COUNTERS_H

#include "base/base.h"

/* X(id, what it counts) - each a uint64_t since the start of the process */
#define UM_COUNTER_TABLE(X)                                                                                  \
    X(purges, "spans whose pages were given back")                                                           \
    X(purged_bytes, "bytes given back by purges")                                                            \
    X(purge_failures, "purges the kernel refused (locked memory)")                                           \
    X(remote_frees, "blocks freed by another thread than their owner")                                       \
    X(remote_batches, "chains those blocks travelled in")                                                    \
    X(slabs_orphaned, "slabs handed over at thread exit")                                                    \
    X(slabs_adopted, "orphaned slabs taken over by a live thread")                                           \
    X(heaps_created, "thread heaps made")                                                                    \
    X(heaps_reused, "thread heaps recycled")                                                                 \
    X(large_allocs, "large allocations")                                                                     \
    X(large_frees, "large frees")                                                                            \
    X(large_cache_hits, "large allocations served by the thread cache")                                      \
    X(realloc_in_place, "large reallocations that grew or shrank in place")                                  \
    X(realloc_moved, "large reallocations moved by mremap")                                                  \
    X(soft_limit_hits, "looks that found more memory in use than the soft limit")                            \
    X(failed_allocs, "allocations answered with NULL")                                                       \
    X(numa_migrations, "heaps that followed their thread to another node")                                   \
    X(numa_requests, "blocks and heaps moved to another node on request")                                    \
    X(numa_request_bytes, "bytes that were on that node then")                                               \
    X(numa_remote_spans, "spans refused under a strict policy, for their pages lay elsewhere")               \
    X(numa_policy_errors, "regions left to first touch, their policy refused")                               \
    X(hugetlb_fallbacks, "requests of explicit huge pages served by ordinary ones")                          \
    X(prefaults_short, "times that not all memory could be put into place")                                  \
    X(unlocked_bytes, "bytes that could not be locked (RLIMIT_MEMLOCK)")                                     \
    X(huge_wanted_bytes, "bytes that huge pages were asked for")                                             \
    X(retired_objects, "objects retired; of a thread, when its batch is full")                               \
    X(reclaimed_objects, "retired objects that were reclaimed")                                              \
    X(reclaim_stalls, "looks for reclaimable objects that found readers in the way of all")

typedef struct um_counters {
#define X(id, help) _Atomic(uint64_t) id;
    UM_COUNTER_TABLE(X)
#undef X
} um_counters;

extern UM_HIDDEN um_counters um_count;

/* relaxed: a counter, nobody synchronises on it */
#define UM_COUNT_ADD(id, n) ((void)atomic_fetch_add_explicit(&um_count.id, (n), memory_order_relaxed))

/* The modules of the -lumalloc API that hold memory: X(id, what is in it). Written and read as above. */
#define UM_MODULE_TABLE(X)                                                                                   \
    X(heap, "first-class heaps")                                                                             \
    X(numa, "blocks under a policy of their own")                                                            \
    X(arena, "arenas")                                                                                       \
    X(pool, "object and buffer pools")                                                                       \
    X(stack, "fiber stacks")                                                                                 \
    X(reclaim, "records of epochs and hazard pointers")                                                      \
    X(track, "records of the tracker")                                                                       \
    X(buddy, "buddy regions")                                                                                \
    X(map, "files and shared memory that are mapped")

typedef enum um_module {
#define X(id, help) UM_MODULE_##id,
    UM_MODULE_TABLE(X)
#undef X
        UM_MODULES,
    UM_MODULES_LOCAL = UM_MODULE_buddy /* those before it may keep something for each thread */
} um_module;

typedef struct um_module_count {
    _Atomic(uint64_t) bytes, peak_bytes; /* in spans that the module holds: now, and the most ever */
    _Atomic(uint64_t) takes;             /* spans taken */
} um_module_count;

extern UM_HIDDEN um_module_count um_module_counts[UM_MODULES];

/* Per size class and thread; written by the owner at slow-path events only. */
typedef struct um_class_stats {
    uint64_t allocs;  /* blocks handed out */
    uint64_t frees;   /* blocks that came back, by the owner or from remote threads */
    uint32_t refills; /* slow paths that found the current slab exhausted */
    uint32_t flushes; /* slabs given back to the span allocator */
} um_class_stats;

#endif
