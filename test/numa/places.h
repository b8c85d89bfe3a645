/* Where memory is: the nodes of this machine as libnuma sees them, a thread on each, and pages counted by the
 * node that the kernel says they are on. libnuma is the oracle: nothing here comes from the allocator.
 *
 * A place is a cpu, one for each node that has any that we may use. The nodes that its memory may be on are
 * its own if that has memory, and else the nearest ones that do. */
#ifndef UM_TEST_PLACES_H
#define UM_TEST_PLACES_H

#include "program.h"

#include <numa.h>
#include <numaif.h>
#include <sched.h>
#include <stdbool.h>

#define NODES_MAX 64
#define ASK_PAGES 1024 /* a call of move_pages */

typedef struct place {
    int cpu, node;
    uint64_t wanted; /* nodes, a bit each */
} place;

static place places[NODES_MAX];
static size_t place_count;

static inline uint64_t bit(int node) {
    return (uint64_t)1 << node;
}

/* The nodes whose memory this process may use. */
static inline uint64_t allowed_nodes(void) {
    struct bitmask *mask = numa_get_mems_allowed();
    uint64_t nodes = 0;
    for (int node = 0; node < NODES_MAX; node++)
        if (numa_bitmask_isbitset(mask, (unsigned)node) && numa_node_size64(node, NULL) > 0)
            nodes |= bit(node);
    numa_bitmask_free(mask);
    return nodes;
}

/* Those of `among` that are nearest to `from`. */
static inline uint64_t nearest_nodes(int from, uint64_t among) {
    uint64_t nodes = 0;
    int best = INT32_MAX;
    for (int node = 0; node < NODES_MAX; node++) {
        if (!(among & bit(node)))
            continue;
        int distance = numa_distance(from, node);
        if (distance < best) {
            best = distance;
            nodes = 0;
        }
        if (distance == best)
            nodes |= bit(node);
    }
    return nodes;
}

static inline void find_places(void) {
    cpu_set_t cpus;
    uint64_t seen = 0, allowed = allowed_nodes();
    if (numa_available() < 0 || sched_getaffinity(0, sizeof cpus, &cpus))
        stop(STATUS_USAGE, "no NUMA here");
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        int node = CPU_ISSET(cpu, &cpus) ? numa_node_of_cpu(cpu) : -1;
        if (node < 0 || node >= NODES_MAX || seen & bit(node))
            continue;
        seen |= bit(node);
        places[place_count++] = (place){cpu, node, nearest_nodes(node, allowed)};
    }
}

static inline void go_to(const place *p) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(p->cpu, &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus))
        stop(STATUS_USAGE, "cannot move to a cpu");
}

/* Pages by node; the last counts those that are nowhere. Every page counts once for each one who counts. */
typedef struct census {
    size_t on[NODES_MAX + 1];
    uint64_t *seen; /* a bit for each page of the address space */
    size_t asked;
    void *ask[ASK_PAGES];
} census;

static inline census *census_new(void) {
    census *c = books(sizeof *c);
    size_t bytes = ((size_t)1 << 47) / PAGE_BYTES / 8;
    c->seen = books(bytes);
    madvise(c->seen, bytes, MADV_NOHUGEPAGE);
    return c;
}

/* By the id of this process, where others say 0: a filter can let our queries pass. */
static inline void census_ask(census *c) {
    int status[ASK_PAGES];
    if (c->asked && move_pages(getpid(), c->asked, c->ask, NULL, status, 0) < 0)
        stop(STATUS_USAGE, "move_pages");
    for (size_t i = 0; i < c->asked; i++)
        c->on[status[i] < 0 ? NODES_MAX : status[i]]++;
    c->asked = 0;
}

static inline void census_count(census *c, block b) {
    uintptr_t last = ((uintptr_t)b.at + b.bytes - 1) / PAGE_BYTES;
    for (uintptr_t page = (uintptr_t)b.at / PAGE_BYTES; page <= last; page++) {
        uint64_t mark = (uint64_t)1 << page % 64;
        if (c->seen[page / 64] & mark)
            continue;
        c->seen[page / 64] |= mark;
        c->ask[c->asked++] = (void *)(page * PAGE_BYTES);
        if (c->asked == ASK_PAGES)
            census_ask(c);
    }
}

/* After the last block: the pages that are on one of the nodes, and all. */
static inline size_t census_on(census *c, uint64_t nodes) {
    size_t pages = 0;
    census_ask(c);
    for (int node = 0; node < NODES_MAX; node++)
        pages += nodes & bit(node) ? c->on[node] : 0;
    return pages;
}

static inline size_t census_all(census *c) {
    return census_on(c, UINT64_MAX) + c->on[NODES_MAX];
}

#endif
