/* The nodes of this machine, as far as this process may use them.

   What is guaranteed:
   - Nothing is read before um_topology_get is called first. Where the kernel says that one node is allowed,
     that is one system call and no file.
   - A topology never changes and never goes away: a pointer to one stays good for ever, without a lock. What
     differs later is another one. One that was seen before comes back at its old address.
   - Dense indices 0..count-1 number the nodes that have memory we may use, by ascending kernel id; at most
     UM_TOPOLOGY_NODES of them, those with the lowest ids. count is at least 1.
   - An index belongs to its topology: after a refresh the same node may have another one. The kernel id
   stays.
   - Whatever cannot be read is filled in: distance 10 to itself, 20 to others; at worst one node, id 0.
   - Nothing allocates, no stdio, errno stays, async-signal-safe; fork needs nothing. */
#ifndef UM_TOPOLOGY_H
#define UM_TOPOLOGY_H

#include "os/numa.h"

#define UM_TOPOLOGY_NODES  64u                     /* with memory */
#define UM_TOPOLOGY_PLACES (2 * UM_TOPOLOGY_NODES) /* with memory, or cpus without memory */
#define UM_TOPOLOGY_NEAR   10u                     /* distance of a node to itself */
#define UM_TOPOLOGY_FAR    20u                     /* of two others where nobody says */

/* A place is a dense node, or a node with cpus and no memory for us: places 0..count-1 are the dense nodes.
 */
typedef struct um_topology {
    const struct um_topology *older; /* published before; const after publication */
    uint32_t count;                  /* dense nodes */
    uint32_t places;
    um_node_set memory;               /* the dense nodes */
    um_node_set cpus;                 /* nodes with cpus, whether with memory or not */
    uint16_t id[UM_TOPOLOGY_PLACES];  /* kernel id of each place */
    uint8_t place_and_1[UM_NODE_IDS]; /* of a kernel id; 0: none */
    uint8_t rows[];                   /* for each place: `count` distances, `count` dense nodes by distance */
} um_topology;
#define UM_TOPOLOGY_BYTES (sizeof(um_topology) + 2 * UM_TOPOLOGY_PLACES * UM_TOPOLOGY_NODES) /* the most */

UM_HIDDEN const um_topology *um_topology_first(void);
extern UM_HIDDEN _Atomic(const um_topology *) um_topology_now;

/* The topology of now; the first call reads it. Never NULL. */
UM_INLINE const um_topology *um_topology_get(void) {
    /* T1: acquire pairs with the release of T2, which publishes what it points to. */
    const um_topology *t = atomic_load_explicit(&um_topology_now, memory_order_acquire);
    return um_likely(t != NULL) ? t : um_topology_first();
}

/* Reads again, after EINVAL of um_os_policy or on a slow tick (the cpuset may have changed), and publishes
   what is new. True if it differs from what um_topology_get answered before. Any thread, at any time. */
UM_HIDDEN bool um_topology_refresh(void);

/* Dense index of a kernel id (any value); UM_TOPOLOGY_NODES if it has no memory for us. */
UM_INLINE unsigned um_topology_dense(const um_topology *t, unsigned id) {
    unsigned and_1 = id < UM_NODE_IDS ? t->place_and_1[id] : 0;
    return and_1 - 1 < t->count ? and_1 - 1 : UM_TOPOLOGY_NODES;
}

/* The place that a thread on node `id` counts distances from; an unknown node counts as the first one. */
UM_INLINE unsigned um_topology_place(const um_topology *t, unsigned id) {
    unsigned and_1 = id < UM_NODE_IDS ? t->place_and_1[id] : 0;
    return and_1 ? and_1 - 1 : 0;
}

/* Distances from a place to each dense node. */
UM_INLINE const uint8_t *um_topology_distances(const um_topology *t, unsigned place) {
    return t->rows + (size_t)2 * place * t->count;
}

/* The dense nodes, nearest to a place first: a dense node is first in its own row. */
UM_INLINE const uint8_t *um_topology_order(const um_topology *t, unsigned place) {
    return um_topology_distances(t, place) + t->count;
}

/* The dense node nearest to kernel id `id`: itself if it has memory for us. */
UM_INLINE unsigned um_topology_nearest(const um_topology *t, unsigned id) {
    return um_topology_order(t, um_topology_place(t, id))[0];
}

/* Memory that no cpu is at, as of CXL: it is nobody's local node. */
UM_INLINE bool um_topology_memory_only(const um_topology *t, unsigned dense) {
    return !um_node_set_has(&t->cpus, t->id[dense]);
}

typedef struct um_node_memory {
    uint64_t total_bytes, free_bytes;
    uint64_t cached_bytes; /* of files, and what the kernel may take like them (MADV_FREE) */
} um_node_memory;
/* What node `id` has, read from sysfs at each call. 0 or an errno value. */
UM_HIDDEN int um_topology_memory(unsigned id, um_node_memory *out);

/* The processors of node `id` that are online, those below UM_NODE_IDS, read likewise. */
UM_HIDDEN int um_topology_cpus_of(unsigned id, um_node_set *out);

/* Below: what get and refresh are made of, for tests. */

/* const after start but for tests, which set them before the first call. */
extern UM_HIDDEN const char *um_topology_sysfs;  /* "/sys" */
extern UM_HIDDEN const char *um_topology_status; /* "/proc/self/status" */

/* The nodes with memory that the cpuset allows, by the files alone: for where the system call is refused. */
UM_HIDDEN void um_topology_visible(um_node_set *out);
/* Fills `out` (UM_TOPOLOGY_BYTES of zeroes) for the nodes of `allowed` that have memory. */
UM_HIDDEN void um_topology_read(um_topology *out, const um_node_set *allowed);
/* "0-3,8\n" as the kernel writes it. EINVAL on anything else, and on ids of UM_NODE_IDS or more. */
UM_HIDDEN int um_topology_list(const char *path, um_node_set *out);

#endif
