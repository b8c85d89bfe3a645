/* A snapshot of the whole allocator, filled by front/gather.c and printed by front/report.c and malloc_info.
 */
#ifndef UM_STATS_H
#define UM_STATS_H

#include "conf/counters.h"
#include "os/numa.h"

#define UM_STATS_CLASSES_MAX 128u
#define UM_STATS_NODES_MAX   64u
#define UM_STATS_ANY_NODE    UINT32_MAX /* a row of memory that belongs on no node of its own */

/* Plain copy of um_counters. */
typedef struct um_counter_values {
#define X(id, help) uint64_t id;
    UM_COUNTER_TABLE(X)
#undef X
} um_counter_values;

typedef struct um_module_row {
    uint64_t bytes, peak_bytes, takes;
} um_module_row;

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
    /* measured, in memory now; 0 where there is one node */
    uint64_t intended_bytes; /* of addresses that belong on this node */
    uint64_t home_bytes;     /* of these, on this node */
    uint64_t actual_bytes;   /* on this node, whatever the address */
} um_node_row;

/* Plain copy of um_os_policy_counts. */
typedef struct um_policy_values {
    uint64_t calls;
#define X(name) uint64_t refused_##name;
    UM_POLICY_ERRNOS(X)
#undef X
    uint64_t refused_other;
} um_policy_values;

typedef struct um_snapshot {
    /* the six gauges, bytes now */
    uint64_t allocated;       /* in blocks that the program holds (usable sizes) */
    uint64_t active;          /* in spans that hold at least one such block, or are cut for them */
    uint64_t resident;        /* active + dirty + metadata: what umalloc keeps in memory, an upper bound */
    uint64_t mapped;          /* address space mapped by umalloc */
    uint64_t retained;        /* mapped but given back: costs address space only */
    uint64_t metadata;        /* tables and heaps */
    uint64_t dirty;           /* free, kept in memory for reuse */
    uint64_t peak;            /* highest active + dirty since the start */
    uint64_t kernel_resident; /* RSS of the process as the kernel says, 0 if unknown */
    uint64_t large_live_bytes, large_live_count;
    uint64_t threads; /* live heaps */
    uint64_t mmap_calls, munmap_calls, mremap_calls, madvise_calls;
    um_counter_values counters;
    um_policy_values policy;
    uint64_t huge_bytes;     /* in huge pages, measured */
    const char *placement;   /* the policy in force */
    int32_t first_touch;     /* errno for which the kernel takes no policy; 0: it does */
    uint32_t machine_nodes;  /* with memory that we may use; 0: not looked at */
    int32_t measure_error;   /* errno of what the kernel refused to tell */
    uint64_t measured_pages; /* that were looked at; those not in memory too */
    uint64_t measured_of;    /* pages they stand for */
    um_module_row modules[UM_MODULES];
    uint32_t class_count;
    um_class_row classes[UM_STATS_CLASSES_MAX];
    uint32_t node_count;
    um_node_row nodes[UM_STATS_NODES_MAX];
} um_snapshot;

#endif
