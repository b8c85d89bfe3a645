/* Where pages lie: the kernel's calls about NUMA nodes, by kernel ids. Results are 0 or an errno value; errno
   itself is never changed. All functions are async-signal-safe. A kernel without NUMA answers ENOSYS, the
   seccomp filter of a container EPERM: both pass through, and memory then lies where it is touched first. */
#ifndef UM_NUMA_H
#define UM_NUMA_H

#include "base/base.h"

#define UM_NODE_IDS 1024u /* the kernel's limit: ids are 0..1023, and may be sparse */

typedef struct um_node_set {
    uint64_t bits[UM_NODE_IDS / 64];
} um_node_set;

/* id is below UM_NODE_IDS in all of these. */
UM_INLINE void um_node_set_add(um_node_set *s, unsigned id) {
    s->bits[id / 64] |= 1ull << (id % 64);
}

UM_INLINE bool um_node_set_has(const um_node_set *s, unsigned id) {
    return (s->bits[id / 64] >> (id % 64)) & 1;
}

UM_INLINE um_node_set um_node_set_of(unsigned id) {
    um_node_set s = {{0}};
    um_node_set_add(&s, id);
    return s;
}

UM_INLINE unsigned um_node_set_count(const um_node_set *s) {
    unsigned n = 0;
    for (unsigned i = 0; i < UM_COUNT(s->bits); i++)
        for (uint64_t left = s->bits[i]; left; left &= left - 1) /* few; libgcc's count lies far away */
            n++;
    return n;
}

/* Lowest id of the set that is `from` or above (any value); UM_NODE_IDS if there is none. */
UM_INLINE unsigned um_node_set_next(const um_node_set *s, unsigned from) {
    for (unsigned i = from / 64; i < UM_COUNT(s->bits); i++) {
        uint64_t word = s->bits[i] & (i == from / 64 ? ~0ull << (from % 64) : ~0ull);
        if (word)
            return i * 64 + (unsigned)__builtin_ctzll(word);
    }
    return UM_NODE_IDS;
}

UM_INLINE unsigned um_node_set_first(const um_node_set *s) {
    return um_node_set_next(s, 0);
}

UM_INLINE void um_node_set_keep(um_node_set *s, const um_node_set *other) {
    for (unsigned i = 0; i < UM_COUNT(s->bits); i++)
        s->bits[i] &= other->bits[i];
}

/* for (um_node_set_each(id, s)) ... in ascending order */
#define um_node_set_each(id, s)                                                                              \
    unsigned id = um_node_set_first(s);                                                                      \
    id < UM_NODE_IDS;                                                                                        \
    id = um_node_set_next(s, id + 1)

/* The nodes that this thread may take memory from, by its cpuset: one system call, no file. */
UM_HIDDEN int um_os_nodes_allowed(um_node_set *out);

/* const after um_os_init: where glibc keeps the thread's rseq area, from the thread pointer; 0 where it keeps
   none, or where the kernel does not write the node there (before 6.3). */
extern UM_HIDDEN ptrdiff_t um_os_rseq_at;
UM_HIDDEN void um_os_numa_init(void); /* of um_os_init */
UM_HIDDEN unsigned um_os_node_asked(void);

/* What the kernel writes for each registered thread (its ABI; only the first fields are used). */
typedef struct um_rseq {
    uint32_t cpu_id_start, cpu_id; /* cpu_id negative: this thread is not registered */
    uint64_t critical;
    uint32_t flags, node_id;
} um_rseq;

/* Kernel id of the node that this thread runs on, 0 if nobody knows; old as soon as it is read. Two loads
   where glibc registered rseq (2.35), else the vDSO or a system call. The node may have no memory. */
UM_INLINE unsigned um_os_node_now(void) {
    ptrdiff_t at = um_os_rseq_at;
    if (um_likely(at != 0)) {
        const volatile um_rseq *r = (const volatile um_rseq *)(um_thread_id() + (uintptr_t)at);
        if (um_likely((int32_t)r->cpu_id >= 0 && r->node_id < UM_NODE_IDS))
            return r->node_id;
    }
    return um_os_node_asked();
}

/* Values of the kernel's ABI. */
typedef enum um_policy_mode {
    UM_POLICY_DEFAULT = 0, /* no nodes: what the process has */
    UM_POLICY_PREFERRED = 1,
    UM_POLICY_BIND = 2,
    UM_POLICY_INTERLEAVE = 3,
    UM_POLICY_LOCAL = 4,               /* no nodes */
    UM_POLICY_PREFERRED_MANY = 5,      /* Linux 5.15, else EINVAL */
    UM_POLICY_WEIGHTED_INTERLEAVE = 6, /* Linux 6.9, else EINVAL */
    UM_POLICY_STATIC_NODES = 1 << 15   /* or'ed in: ids stay what they are when the cpuset changes */
} um_policy_mode;
#define UM_POLICY_STRICT 1u /* flags: EIO if a page lies elsewhere */
#define UM_POLICY_MOVE   2u /* move what lies elsewhere */

/* mbind. `nodes` may be NULL. Moves nothing without UM_POLICY_MOVE, so it belongs before the first touch. It
   splits mappings: bind whole regions. EINVAL: a node is not allowed (any more), or an unknown mode. */
UM_HIDDEN int um_os_policy(uintptr_t at, size_t bytes, int mode, const um_node_set *nodes, unsigned flags);
/* The policy that the thread was given from outside, as by numactl. */
UM_HIDDEN int um_os_task_policy(int *mode);
/* From which node BIND and PREFERRED_MANY count distances. ENOSYS before Linux 5.17. */
UM_HIDDEN int um_os_home_node(uintptr_t at, size_t bytes, unsigned node);
/* Touches every page for writing, contents stay. On an error some may be there. ENOMEM, EFAULT (a huge page
   pool is empty: a touch would be SIGBUS), EINVAL before Linux 5.14. */
UM_HIDDEN int um_os_populate(uintptr_t at, size_t bytes);
/* The node that each of `pages` pages from `at` on lies on, or a negated errno value: -ENOENT not touched,
   -EFAULT nothing mapped, or the page of zeros; of Linux 6.1 not touched, too. */
UM_HIDDEN int um_os_page_nodes(uintptr_t at, size_t pages, int *node_of);
/* The same for pages here and there. */
UM_HIDDEN int um_os_nodes_of(const uintptr_t *at, size_t pages, int *node_of);
typedef struct um_os_moved {
    size_t there, elsewhere; /* pages */
} um_os_moved;
/* Moves pages; `out` tells where those that were looked at lie then, also where it stops with an error
   (ENOMEM: the node is full). Pages never touched do not count and are no error, nor are those that stay
   because somebody is using them just now: trying again may help. */
UM_HIDDEN int um_os_move_pages(uintptr_t at, size_t pages, unsigned node, um_os_moved *out);

/* Refusals of um_os_policy since the start, by errno; relaxed counters, read by the report. */
#define UM_POLICY_ERRNOS(X) X(EPERM) X(ENOSYS) X(EINVAL) X(ENOMEM) X(EIO) X(EFAULT)
typedef struct um_os_policy_counts {
    _Atomic(uint64_t) calls;
#define X(name) _Atomic(uint64_t) refused_##name;
    UM_POLICY_ERRNOS(X)
#undef X
    _Atomic(uint64_t) refused_other;
} um_os_policy_counts;
extern UM_HIDDEN um_os_policy_counts um_os_policies;

#endif
