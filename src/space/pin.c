/* Pinned memory. Three promises: after a warm-up within its size there is no page fault, no system call, and
   the memory is not swapped out if it is locked. So
   - it is populated when it is opened, and its records with it;
   - a run that is pinned is never purged: not by age, not over the budget, not by malloc_trim. Its dirty
   spans are on the list of those that are kept, and so nobody looks for them twice;
   - nothing else gives single pages back either: um_space_setting.rigid turns off zeroing by purge, moving by
     mremap, purges of spans hardly touched and of slabs of idle owners.
   The clock that decay needs is read from the vDSO. On several nodes each that a thread runs on gets the
   size, when the first one comes there. No more is put into place than the kernel can give without killing,
   and what a strict policy would refuse is not. What a program needs beyond the size is mapped, and purged,
   as always; locked memory stays whatever its size. A child of fork inherits neither locks nor private pages.
 */
#include "space/pin.h"
#include "base/text.h"
#include "conf/counters.h"
#include "os/os.h"
#include "space/internal.h"
#include "space/hugetlb.h"

#include <errno.h>

/* Of several errors the first is told. */
static int first_of(int err, int next) {
    return err ? err : next;
}

/* Once; the report tells how much it became. */
static void say_unlocked(int err) {
    static _Atomic(bool) said; /* relaxed: one of several may say it */
    um_text t;
    if (atomic_exchange_explicit(&said, true, memory_order_relaxed)) /* see above */
        return;
    um_text_init(&t, um_os_to_stderr, NULL);
    um_text_str(&t, "umalloc: UMALLOC_LOCK: not all memory can be locked (errno ");
    um_text_u64(&t, (uint64_t)err);
    um_text_str(&t, "; see RLIMIT_MEMLOCK); the rest is put into place and kept\n");
    um_text_flush(&t);
}

/* What cannot be locked is in place all the same. */
static int lock(uintptr_t at, size_t bytes) {
    uintptr_t from = um_round_down(at, um_os_page_bytes), to = um_round_up(at + bytes, um_os_page_bytes);
    int err = um_space_setting.lock ? um_os_lock(from, to - from) : 0;
    if (err) {
        UM_COUNT_ADD(unlocked_bytes, to - from);
        say_unlocked(err);
    }
    if (err || !um_space_setting.lock)
        (void)um_place_fill_on(NULL, from, to - from, true); /* if that fails there is no memory */
    return err;
}

static void lock_records(size_t first, size_t slots) {
    (void)lock((uintptr_t)(um_space_window.table + first), slots * sizeof(um_span));
    (void)lock((uintptr_t)um_home_entry(first << UM_SLOT_SHIFT), slots * sizeof(uintptr_t));
}

static uintptr_t address(size_t slot) {
    return um_space_window.base + (slot << UM_SLOT_SHIFT);
}

void um_pin_opened(size_t first, size_t slots) {
    (void)lock(address(first), slots << UM_SLOT_SHIFT);
    lock_records(first, slots);
}

static size_t slots_for(size_t bytes) {
    return um_round_up(bytes, UM_HUGE_SLOTS << UM_SLOT_SHIFT) >> UM_SLOT_SHIFT;
}

/* Pages of a pool first, as many as it has; of others no more than `room`. */
static int open_locked(um_space *sp, size_t want, uint64_t room) {
    size_t before = sp->opened_slots, left, fits;
    int err = 0;
    if (um_hugetlb_asked() && !before) /* the first chunk of a process is ordinary */
        err = um_space_open_locked(sp, UM_HUGE_SLOTS);
    while (!err && um_hugetlb_asked() && sp->opened_slots - before < want &&
           um_hugetlb_grow_locked(sp, 1, want - (sp->opened_slots - before)))
        ;
    left = want - um_min(want, sp->opened_slots - before);
    fits = um_round_down((size_t)um_min(room >> UM_SLOT_SHIFT, left), UM_HUGE_SLOTS);
    if (!err && fits)
        err = um_space_open_locked(sp, fits);
    return first_of(err, fits < left ? ENOMEM : 0);
}

/* r is as it was before it was pinned. */
static int put_into_place(unsigned node, const um_huge_run *r) {
    size_t bytes = (r->end - r->first) << UM_SLOT_SHIFT;
    int err = r->pool || um_place_fill(node, address(r->first), bytes, true) ? 0 : ENOMEM;
    if (r->pinned && um_space_setting.lock) /* when it was opened */
        return err;
    if (um_space_setting.lock && !err)
        (void)lock(address(r->first), bytes);
    lock_records(r->first, r->end - r->first);
    return err;
}

/* What is open beyond the limit could never be used. */
static uint64_t room_below_limit(void) {
    uint64_t limit = atomic_load_explicit(&um_space_setting.limit_bytes,
                                          memory_order_relaxed); /* may change at any time */
    uint64_t opened = 0;
    for (unsigned i = 0; limit && i < um_place.count; i++) {
        um_lock_take(&um_spaces[i].lock);
        opened += um_spaces[i].opened_slots << UM_SLOT_SHIFT;
        um_lock_drop(&um_spaces[i].lock);
    }
    return limit ? limit - um_min(limit, opened) : UINT64_MAX;
}

int um_pin(unsigned node, size_t bytes, size_t more) {
    um_space *sp = &um_spaces[node];
    um_huge_run run[UM_HUGE_RUNS];
    uint64_t room = um_min(um_place_room(), room_below_limit());
    size_t want, n;
    int err = 0;
    um_lock_take(&sp->lock);
    want = slots_for(bytes) - um_min(slots_for(bytes), sp->opened_slots);
    want = um_max(want, slots_for(more));
    if (sp->opened_slots == 0) /* to see whether it can be had at all */
        want = um_max(want, UM_HUGE_SLOTS);
    if (want)
        err = open_locked(sp, want, room);
    n = sp->huge.runs;
    for (size_t i = 0; i < n; i++) {
        run[i] = sp->huge.run[i];
        sp->huge.run[i].pinned = true;
    }
    um_space_unlock(sp);
    for (size_t i = 0; i < n; i++)
        err = first_of(err, put_into_place(node, &run[i]));
    if (err)
        UM_COUNT_ADD(prefaults_short, 1);
    return err;
}

int um_pin_node(unsigned node) {
    static _Atomic(uint64_t) done; /* a bit a node. Relaxed: one of several threads does it */
    size_t bytes = um_place_share(node, um_space_setting.prefault_bytes);
    if (!bytes || atomic_fetch_or_explicit(&done, (uint64_t)1 << node, memory_order_relaxed) >> node & 1)
        return 0;
    return um_pin(node, bytes, 0);
}

/* Slots of a span in pinned runs. */
static size_t pinned_slots(const um_huge *h, const um_span *s) {
    size_t first = um_span_index(s), end = first + s->slots, n = 0;
    for (const um_huge_run *r = h->run; r < h->run + h->runs; r++)
        if (r->pinned && r->first < end && r->end > first)
            n += um_min(r->end, end) - um_max(r->first, first);
    return n;
}

size_t um_pin_clean_locked(const um_space *sp) {
    size_t n = 0;
    for (unsigned b = 0; um_space_setting.rigid && b < UM_BINS; b++)
        for (const um_span *s = sp->bins[UM_CLEAN].head[b]; s; s = s->next)
            n += pinned_slots(&sp->huge, s);
    return n << UM_SLOT_SHIFT;
}

void um_pin_spare_locked(um_space *sp, const um_span *s, size_t *skip, size_t *slots) {
    size_t first = um_span_index(s), at = first, end = first + s->slots;
    *skip = 0;
    *slots = s->slots;
    while (at < end) {
        const um_huge_run *r = um_huge_run_of(&sp->huge, at);
        size_t stop = r ? um_min(r->end, end) : end;
        if (!r || !r->pinned) {
            size_t unit = r && r->pool ? um_hugetlb_slots() : 1, from = um_round_up(at, unit);
            if (from + unit <= stop) {
                *skip = from - first;
                *slots = um_round_down(stop - from, unit);
                return;
            }
        }
        at = stop;
    }
    *slots = 0;
}
