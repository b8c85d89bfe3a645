/* Pools of huge pages. Their memory is never in excess: a touch that finds no page is SIGBUS. So
   - it is reserved when it is mapped (mmap answers ENOMEM, the clean failure) and put into place at once,
   which finds out about limits of cgroups and nodes that the reservation does not know; where either fails,
     ordinary pages are taken, and that is said once;
   - with several nodes it comes from those that it belongs on: a node whose part of the pool is empty has
   ordinary pages of its own, which are nearer than another node's huge ones. (Where the kernel spreads the
   pages, from all.)
   - it is given back in whole pages only, by munmap: after MADV_DONTNEED the reservation would be gone, and a
     touch could fail. For the same reason nothing gives back, moves or replaces parts of it
     (um_space_setting.rigid). What is mapped again is reserved again;
   - the first chunk of a process is ordinary memory, so small programs take nothing from the pool.

   fork shares the pages until one side writes. Then the parent gets a copy; if the pool is empty, the kernel
   takes the page from the child instead, and a later touch there is SIGBUS. So the child leaves the pool
   before anything else: it copies its huge pages to ordinary ones at the same addresses, but what is zero,
   while the thread that forked waits in the parent. Other threads of the parent run on. If they write while
   the pool is empty, the child finds a page gone: it asks the thread that waits for what it holds now. All
   that a child may rely on, what the forking thread owns and what it holds locks for, is as it was. What
   other threads write meanwhile is not, the links of their free blocks for instance: so none of their blocks
   is used again in such a child (um_hugetlb_torn). Processes made by vfork, posix_spawn and system share no
   pages and do not come here. */
#include "space/hugetlb.h"
#include "base/text.h"
#include "conf/counters.h"
#include "os/fatal.h"
#include "os/numa.h"
#include "os/os.h"
#include "space/internal.h"

#include <errno.h>

bool um_hugetlb_torn;

static _Atomic(bool) said; /* relaxed: one of several may say it */

size_t um_hugetlb_slots(void) {
    return (um_space_setting.hugepages == UM_SPACE_HUGE_POOL_1G ? UM_GIB : 2 * UM_MIB) >> UM_SLOT_SHIFT;
}

static void say_short(int err) {
    um_text t;
    if (atomic_exchange_explicit(&said, true, memory_order_relaxed)) /* see above */
        return;
    um_text_init(&t, um_os_to_stderr, NULL);
    um_text_str(&t, "umalloc: UMALLOC_HUGEPAGES=hugetlb:");
    um_text_str(&t, um_hugetlb_slots() > UM_HUGE_SLOTS ? "1G" : "2M");
    um_text_str(&t, ": the pool has too few pages (errno ");
    um_text_u64(&t, (uint64_t)err);
    um_text_str(&t, "); using ordinary pages too\n");
    um_text_flush(&t);
}

bool um_hugetlb_holds(um_space *sp, const um_span *s) {
    const um_huge_run *r;
    if (!um_hugetlb_asked())
        return false;
    r = um_huge_run_of(&sp->huge, um_span_index(s));
    return r && r->pool;
}

int um_hugetlb_map(um_space *sp, size_t first, size_t slots) {
    uintptr_t at = um_space_window.base + (first << UM_SLOT_SHIFT);
    size_t bytes = slots << UM_SLOT_SHIFT;
    int err = um_os_map_pool_at(at, bytes, um_log2_floor(um_hugetlb_slots() << UM_SLOT_SHIFT));
    if (err)
        return err;
    um_place_bind_pool((unsigned)(sp - um_spaces), at, bytes);
    err = um_os_populate(at, bytes);
    if (err == EINVAL && !um_place.strict) { /* before Linux 5.14: there is the reservation, on some node */
        um_place_bind((unsigned)(sp - um_spaces), at, bytes);
        return 0;
    }
    if (err)
        (void)um_os_unmap(at, bytes);
    return err == EFAULT ? ENOMEM : err; /* what a signal would tell */
}

/* The run can be told from others: what is forgotten could not be treated as it must be. */
static bool can_follow(const um_huge *h, size_t first) {
    const um_huge_run *last = h->runs ? &h->run[h->runs - 1] : NULL;
    return h->runs < UM_HUGE_RUNS ||
           (last->pool && last->end == first && last->pinned == um_space_setting.lock);
}

static int open_pool_locked(um_space *sp, size_t slots) {
    size_t unit = um_hugetlb_slots(), start = sp->open_slot;
    int err = um_space_claim_locked(sp, um_round_up(start, unit) - start + slots);
    if (err)
        return err;
    start = sp->open_slot; /* elsewhere, if the claim did not adjoin */
    sp->open_slot = um_round_up(start, unit);
    if (um_space_window.base % (unit << UM_SLOT_SHIFT) || !can_follow(&sp->huge, sp->open_slot) ||
        sp->open_slot + slots > sp->region_end)
        err = EINVAL;
    else
        err = um_hugetlb_map(sp, sp->open_slot, slots);
    if (err)
        sp->open_slot = start;
    else
        um_space_opened_locked(sp, slots, true);
    return err;
}

bool um_hugetlb_grow_locked(um_space *sp, size_t slots, size_t more) {
    size_t unit = um_hugetlb_slots(), least = um_round_up(slots, unit), n = um_round_up(more, unit);
    int err = sp->opened_slots ? open_pool_locked(sp, n) : ENOENT;
    while (err == ENOMEM && n > least) {
        n = um_max(least, um_round_up(n / 2, unit));
        err = open_pool_locked(sp, n);
    }
    if (err && err != ENOENT && err != EEXIST) {
        UM_COUNT_ADD(hugetlb_fallbacks, 1);
        say_short(err);
    }
    return err == 0;
}

/* The next run of pool memory in a space, from r on; NULL: none. */
static um_huge_run *pool_from(um_space *sp, um_huge_run *r) {
    while (r < sp->huge.run + sp->huge.runs && !r->pool)
        r++;
    return um_hugetlb_asked() && r < sp->huge.run + sp->huge.runs ? r : NULL;
}

void um_hugetlb_before_fork(um_hugetlb_gate *gate) {
    bool any = false;
    *gate = (um_hugetlb_gate){{-1, -1}};
    UM_EACH_SPACE(sp)
    any |= pool_from(sp, sp->huge.run) != NULL;
    if (any)
        (void)um_os_socket_pair(gate->fd); /* without descriptors the parent does not wait */
}

/* Until the child has left, or ended. */
void um_hugetlb_in_parent(const um_hugetlb_gate *gate) {
    uintptr_t lost;
    if (gate->fd[0] < 0)
        return;
    um_os_close(gate->fd[1]);
    while (um_os_receive(gate->fd[0], &lost, sizeof lost) == 0 &&
           um_os_send(gate->fd[0], (void *)lost, UM_SLOT_BYTES) == 0)
        ;
    um_os_close(gate->fd[0]);
}

static int ask_parent(const um_hugetlb_gate *gate, uintptr_t lost, uintptr_t into) {
    if (gate->fd[1] < 0 || um_os_send(gate->fd[1], &lost, sizeof lost) != 0 ||
        um_os_receive(gate->fd[1], (void *)into, UM_SLOT_BYTES) != 0)
        return EFAULT;
    um_hugetlb_torn = true;
    return 0;
}

/* By way of a slot that is used over and over: what is zero costs the child no memory. */
static int copy_page(const um_hugetlb_gate *gate, uintptr_t to, uintptr_t from, size_t bytes, uintptr_t by) {
    for (size_t done = 0, copied; done < bytes; done += UM_SLOT_BYTES) {
        int err = um_os_copy(by, from + done, UM_SLOT_BYTES, &copied);
        if (err == EFAULT && ask_parent(gate, from + done, by) != 0)
            return err;
        if (err && err != EFAULT) /* the kernel copies nothing: only where a page is gone is it a signal */
            __builtin_memcpy((void *)by, (void *)(from + done), UM_SLOT_BYTES);
        if (!um_is_zero(by, UM_SLOT_BYTES))
            __builtin_memcpy((void *)(to + done), (void *)by, UM_SLOT_BYTES);
    }
    return 0;
}

/* One page of the pool becomes ordinary memory. */
static void leave_page(const um_hugetlb_gate *gate, uintptr_t at, size_t bytes, uintptr_t by) {
    uintptr_t copy;
    int err;
    if (!um_os_is_mapped(at, bytes))
        return; /* given back */
    err = um_os_map(bytes, &copy);
    if (!err)
        err = copy_page(gate, copy, at, bytes, by);
    if (!err)
        err = um_os_move(copy, bytes, at, bytes);
    if (err)
        um_fatal("memory of a pool of huge pages is gone after fork", (void *)at, 0,
                 err == EFAULT ? "the pool is empty and another thread of the parent wrote to it"
                               : "no memory to copy it to");
}

static void leave(const um_hugetlb_gate *gate, um_huge_run *r) {
    size_t unit = um_hugetlb_slots();
    uintptr_t by;
    if (um_os_map(UM_SLOT_BYTES, &by) != 0)
        um_fatal("memory of a pool of huge pages is gone after fork", NULL, 0, "no memory to copy it to");
    for (size_t at = r->first; at < r->end; at += unit)
        leave_page(gate, um_space_window.base + (at << UM_SLOT_SHIFT), unit << UM_SLOT_SHIFT, by);
    (void)um_os_unmap(by, UM_SLOT_BYTES);
    r->pool = false;
}

void um_hugetlb_in_child(const um_hugetlb_gate *gate) {
    UM_EACH_SPACE(sp)
    for (um_huge_run *r = sp->huge.run; (r = pool_from(sp, r)) != NULL;)
        leave(gate, r);
    if (gate->fd[0] >= 0) {
        um_os_close(gate->fd[0]);
        um_os_close(gate->fd[1]);
    }
    if (um_hugetlb_asked())
        um_space_setting.hugepages = UM_SPACE_HUGE_AUTO;
}
