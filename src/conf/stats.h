/* A snapshot of the whole allocator, filled by front/gather.c and printed by front/report.c and malloc_info.
 */
#ifndef UM_STATS_H
#define UM_STATS_H

#include "conf/counters.h"

#define UM_STATS_CLASSES_MAX 128u
#define UM_STATS_NODES_MAX   64u

/* Plain copy of um_counters. */
typedef struct um_counter_values {
#define X(id, help) uint64_t id;
    UM_COUNTER_TABLE(X)
#undef X
} um_counter_values;

typedef struct um_class_row {
    uint32_t block_bytes;
    uint64_t allocs, frees; /* blocks handed out and come back; in a child of fork since the fork */
    uint64_t live;          /* blocks in use now, inherited ones among them */
    uint64_t slabs;         /* spans the class holds now */
    uint64_t slab_bytes;    /* of their memory that may have been touched */
    uint64_t refills, flushes;
} um_class_row;

typedef struct um_node_row {
    uint32_t node;
    uint64_t mapped_bytes, active_bytes, dirty_bytes;
} um_node_row;

typedef struct um_stats {
    /* the six gauges, bytes now */
    uint64_t allocated;       /* in blocks that the program holds (usable sizes) */
    uint64_t active;          /* in spans that hold at least one such block, or are cut for them */
    uint64_t resident;        /* active + dirty + metadata: what umalloc keeps in memory, an upper bound */
    uint64_t mapped;          /* address space mapped by umalloc */
    uint64_t retained;        /* mapped but given back: costs address space only */
    uint64_t metadata;        /* tables and heaps */
    uint64_t dirty;           /* freed, kept for reuse */
    uint64_t peak;            /* highest active + dirty since the start */
    uint64_t kernel_resident; /* RSS of the process as the kernel says, 0 if unknown */
    uint64_t large_live_bytes, large_live_count;
    uint64_t threads; /* live heaps */
    uint64_t mmap_calls, munmap_calls, mremap_calls, madvise_calls;
    um_counter_values counters;
    uint32_t class_count;
    um_class_row classes[UM_STATS_CLASSES_MAX];
    uint32_t node_count;
    um_node_row nodes[UM_STATS_NODES_MAX];
} um_stats;

#endif
