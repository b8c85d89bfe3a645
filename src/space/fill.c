/* Touching memory so that nobody is killed, and seeing where it is: what the strict policies do with each
   span before it is handed out. The kernel takes a page from elsewhere rather than one that it would have to
   reclaim; such a page is sent home (move_pages), which reclaims there and never kills.

   Where no node has anything left, and where a control group is at its limit, there is no elsewhere: the
   kernel would kill in the middle of malloc. So before pages are touched there is a look at what is
   available. A look reads files; it is good for a part of what it found. */
#include "conf/counters.h"
#include "os/available.h"
#include "os/os.h"
#include "space/internal.h"

#include <errno.h>

#define FILL_BYTES  (4 * UM_MIB) /* what a full node costs the others for a moment */
#define FILL_PAGES  256u
#define CREDIT_PART 8u
#define CREDIT_MAX  (64 * UM_MIB)

static _Atomic(uint64_t) credit;  /* bytes that may be touched without another look. Relaxed: a hint */
static _Atomic(uint64_t) filling; /* bytes that threads are about to touch. Relaxed: a hint */

uint64_t um_place_room(void) {
    uint64_t others = atomic_load_explicit(&filling, memory_order_relaxed), available; /* hint */
    um_node_set allowed;
    um_place_allowed(&allowed);
    available = um_os_available(&allowed);
    return available - um_min(available, others);
}

static bool may_touch(size_t bytes) {
    uint64_t left = atomic_load_explicit(&credit, memory_order_relaxed), there; /* hints, all */
    while (left >= bytes)
        if (atomic_compare_exchange_weak_explicit(&credit, &left, left - bytes, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    there = um_place_room();
    if (there < bytes)
        return false;
    atomic_store_explicit(&credit, um_min((there - bytes) / CREDIT_PART, CREDIT_MAX), memory_order_relaxed);
    return true;
}

/* Touches a step's pages, unless that would end in the OOM killer. */
static bool touch(uintptr_t at, size_t bytes) {
    int err;
    if (!may_touch(bytes))
        return false;
    (void)atomic_fetch_add_explicit(&filling, bytes, memory_order_relaxed); /* hint */
    err = um_os_populate(at, bytes);
    if (err == EINVAL) /* before Linux 5.14; another thread may write at the same time */
        for (size_t i = 0; i < bytes; i += um_os_page_bytes)
            (void)__atomic_fetch_add((unsigned char *)(at + i), 0, __ATOMIC_RELAXED); /* changes nothing */
    (void)atomic_fetch_sub_explicit(&filling, bytes, memory_order_relaxed);           /* hint */
    return !err || err == EINVAL;
}

/* False: a page is elsewhere, or nowhere. What the kernel will not tell counts as right: the report says so.
 */
static bool look_at(const um_node_set *want, uintptr_t at, size_t bytes) {
    int nodes[FILL_PAGES];
    for (size_t pages = bytes / um_os_page_bytes; pages;) {
        size_t n = um_min(pages, FILL_PAGES);
        int err = um_os_page_nodes(at, n, nodes);
        if (err) {
            atomic_store_explicit(&um_place.refused, err, memory_order_relaxed); /* for the report */
            return err == EPERM || err == ENOSYS;
        }
        for (size_t i = 0; i < n; i++)
            if (nodes[i] < 0 || (want && !um_node_set_has(want, (unsigned)nodes[i])))
                return false;
        at += n * um_os_page_bytes;
        pages -= n;
    }
    return true;
}

/* Sends pages to a node that has room for them once the kernel reclaims there. */
static bool send_home(const um_node_set *want, uintptr_t at, size_t bytes) {
    um_os_moved moved;
    for (um_node_set_each(id, want)) {
        uint64_t room = um_os_available_on(id);
        if (room != UINT64_MAX && room >= bytes &&
            um_os_move_pages(at, bytes / um_os_page_bytes, id, &moved) == 0)
            return look_at(want, at, bytes);
    }
    return false;
}

bool um_place_fill_on(const um_node_set *want, uintptr_t at, size_t bytes, bool keep) {
    if (!keep && bytes > FILL_BYTES && bytes > um_place_room()) /* not to be found out step by step */
        return false;
    for (size_t done = 0, n; done < bytes; done += n) {
        uintptr_t step = at + done;
        bool touched;
        n = um_min(FILL_BYTES, bytes - done);
        if (keep && want && look_at(want, step, n)) /* of a pool, it costs nothing more */
            continue;
        touched = touch(step, n);
        if (touched && (!want || look_at(want, step, n) || send_home(want, step, n)))
            continue;
        if (!keep)
            (void)um_os_purge(at, done + n); /* zero either way */
        if (touched)
            UM_COUNT_ADD(numa_remote_spans, 1);
        return false;
    }
    return true;
}

bool um_place_fill(unsigned place, uintptr_t at, size_t bytes, bool keep) {
    um_node_set one = um_node_set_of(um_place.id[place]);
    bool told =
        um_place.strict && !um_place.sole &&
        !atomic_load_explicit(&um_place.first_touch, memory_order_relaxed); /* a late look costs a call */
    return um_place_fill_on(!told ? NULL : um_place.restricted ? &um_place.nodes : &one, at, bytes, keep);
}
