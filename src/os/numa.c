/* The kernel's calls about NUMA nodes. None of libnuma is in here: docs/decisions says why. The node that a
   thread runs on is read from the memory that glibc has the kernel keep for each thread (rseq): it is
   glibc's, we only read it. getcpu of libc is the way round where it is missing: it asks the vDSO. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/numa.h"
#include "os/kernel.h"
#include "os/os.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#define SYS_HOME_NODE     450 /* set_mempolicy_home_node, the same number everywhere */
#define MEMS_ALLOWED      4   /* flag of get_mempolicy */
#define POPULATE_WRITE    23  /* advice */
#define RSEQ_FEATURE_SIZE 27  /* auxiliary vector: bytes of rseq that the kernel fills, since 6.3 */
#define NODE_BYTES        (offsetof(um_rseq, node_id) + sizeof(uint32_t))
#define SET_BITS          (UM_NODE_IDS + 1) /* the kernel takes one less */
#define PAGES_AT_ONCE     64u
#define POPULATE_ATTEMPTS 16u

ptrdiff_t um_os_rseq_at;
um_os_policy_counts um_os_policies;

/* glibc's since 2.35; absent in older ones. The size is 0 where it registered none. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

void um_os_numa_init(void) {
    if (&__rseq_offset && &__rseq_size && __rseq_size >= NODE_BYTES &&
        getauxval(RSEQ_FEATURE_SIZE) >= NODE_BYTES)
        um_os_rseq_at = __rseq_offset;
}

unsigned um_os_node_asked(void) {
    unsigned cpu, node;
    int saved = errno;
    if (getcpu(&cpu, &node) != 0 || node >= UM_NODE_IDS)
        node = 0;
    errno = saved;
    return node;
}

int um_os_nodes_allowed(um_node_set *out) {
    *out = (um_node_set){{0}};
    return error_of(kernel(SYS_get_mempolicy, 0, (long)out->bits, SET_BITS, 0, MEMS_ALLOWED, 0));
}

static void count_refusal(int err) {
    _Atomic(uint64_t) *count = &um_os_policies.refused_other;
    switch (err) {
#define X(name)                                                                                              \
    case name:                                                                                               \
        count = &um_os_policies.refused_##name;                                                              \
        break;
        UM_POLICY_ERRNOS(X)
#undef X
    }
    (void)atomic_fetch_add_explicit(count, 1, memory_order_relaxed); /* counter */
}

int um_os_policy(uintptr_t at, size_t bytes, int mode, const um_node_set *nodes, unsigned flags) {
    int err = error_of(kernel(SYS_mbind, (long)at, (long)bytes, mode, nodes ? (long)nodes->bits : 0,
                              nodes ? SET_BITS : 0, flags));
    (void)atomic_fetch_add_explicit(&um_os_policies.calls, 1, memory_order_relaxed); /* counter */
    if (err)
        count_refusal(err);
    return err;
}

int um_os_home_node(uintptr_t at, size_t bytes, unsigned node) {
    return error_of(kernel(SYS_HOME_NODE, (long)at, (long)bytes, node, 0, 0, 0));
}

int um_os_populate(uintptr_t at, size_t bytes) {
    int err = EINTR;
    /* A retry goes on where the last one stopped; bounded, for a caller never hangs. */
    for (unsigned i = 0; i < POPULATE_ATTEMPTS && (err == EINTR || err == EAGAIN); i++)
        err = error_of(kernel(SYS_madvise, (long)at, (long)bytes, POPULATE_WRITE, 0, 0, 0));
    return err;
}

int um_os_nodes_of(const uintptr_t *at, size_t pages, int *node_of) {
    return error_of(kernel(SYS_move_pages, 0, (long)pages, (long)at, 0, (long)node_of, 0));
}

/* One call for up to PAGES_AT_ONCE pages; to a node, or a query where `to` is NULL. */
static long move_some(uintptr_t at, size_t pages, const int *to, int *node_of) {
    uintptr_t page[PAGES_AT_ONCE];
    for (size_t i = 0; i < pages; i++) {
        page[i] = at + i * um_os_page_bytes;
        node_of[i] = -ENOENT; /* on an error the kernel may write nothing */
    }
    return kernel(SYS_move_pages, 0, (long)pages, (long)page, (long)to, (long)node_of, UM_POLICY_MOVE);
}

int um_os_page_nodes(uintptr_t at, size_t pages, int *node_of) {
    int err = 0;
    while (pages && !err) {
        size_t n = um_min(pages, PAGES_AT_ONCE);
        err = error_of(move_some(at, n, NULL, node_of));
        at += n * um_os_page_bytes;
        node_of += n;
        pages -= n;
    }
    return err;
}

int um_os_move_pages(uintptr_t at, size_t pages, unsigned node, um_os_moved *out) {
    int to[PAGES_AT_ONCE], is[PAGES_AT_ONCE], err = 0;
    *out = (um_os_moved){0, 0};
    for (unsigned i = 0; i < PAGES_AT_ONCE; i++)
        to[i] = (int)node;
    while (pages && !err) {
        size_t n = um_min(pages, PAGES_AT_ONCE);
        long ret = move_some(at, n, to, is);
        if (ret != 0) /* some stayed: then the kernel tells of none where it is */
            (void)move_some(at, n, NULL, is);
        for (size_t i = 0; i < n; i++) {
            out->there += is[i] == to[i];
            out->elsewhere += is[i] >= 0 && is[i] != to[i];
        }
        err = error_of(ret);
        at += n * um_os_page_bytes;
        pages -= n;
    }
    return err;
}

int um_os_task_policy(int *mode) {
    return error_of(kernel(SYS_get_mempolicy, (long)mode, 0, 0, 0, 0, 0));
}
