/* Pinned memory. Three promises: after a warm-up within its size there is no page fault, no system call, and
   the memory is not swapped out if it is locked. So
   - it is populated when it is opened, and its records with it;
   - a run that is pinned is never purged: not by age, not over the budget, not by malloc_trim. Its dirty
   spans are on the list of those that are kept, and so nobody looks for them twice;
   - nothing else gives single pages back either: um_space_setting.rigid turns off zeroing by purge, moving by
     mremap, purges of spans hardly touched and of slabs of idle owners.
   The clock that decay needs is read from the vDSO. What a program needs beyond the size is mapped, and
   purged, as always; locked memory stays whatever its size. A child of fork inherits neither locks nor
   private pages. */
#include "space/pin.h"
#include "os/numa.h"
#include "os/os.h"
#include "space/internal.h"
#include "space/hugetlb.h"

#include <errno.h>

/* Of several errors the first is told. */
static int first_of(int err, int next) {
    return err ? err : next;
}

/* By hand where the kernel does not know the advice. Another thread may write at the same time. */
static int touch(uintptr_t at, size_t bytes) {
    for (uintptr_t p = at; p < at + bytes; p += um_os_page_bytes)
        (void)__atomic_fetch_add((unsigned char *)p, 0, __ATOMIC_RELAXED); /* changes nothing */
    return 0;
}

static int populate(uintptr_t at, size_t bytes) {
    int err = um_os_populate(at, bytes);
    return err == EINVAL ? touch(at, bytes) : err;
}

static int hold(uintptr_t at, size_t bytes) {
    uintptr_t from = um_round_down(at, um_os_page_bytes), to = um_round_up(at + bytes, um_os_page_bytes);
    int err = um_space_setting.lock ? um_os_lock(from, to - from) : 0;
    if (um_space_setting.lock && !err)
        return 0;
    return first_of(err, populate(from, to - from));
}

static int hold_slots(size_t first, size_t slots) {
    int err = hold(um_space_window.base + (first << UM_SLOT_SHIFT), slots << UM_SLOT_SHIFT);
    err = first_of(err, hold((uintptr_t)(um_space_window.table + first), slots * sizeof(um_span)));
    return first_of(err, hold((uintptr_t)um_home_entry(first << UM_SLOT_SHIFT), slots * sizeof(uintptr_t)));
}

void um_pin_opened(size_t first, size_t slots) {
    (void)hold_slots(first, slots); /* that it cannot be had was said at the start */
}

static size_t slots_for(size_t bytes) {
    return um_round_up(bytes, UM_HUGE_SLOTS << UM_SLOT_SHIFT) >> UM_SLOT_SHIFT;
}

int um_pin(unsigned node, size_t bytes, size_t more) {
    um_space *sp = &um_spaces[node];
    um_huge_run run[UM_HUGE_RUNS];
    size_t want, n;
    int err = 0;
    um_lock_take(&sp->lock);
    want = slots_for(bytes) - um_min(slots_for(bytes), sp->opened_slots);
    want = um_max(want, slots_for(more));
    if (sp->opened_slots == 0) /* to see whether it can be had at all */
        want = um_max(want, UM_HUGE_SLOTS);
    if (want && !(um_hugetlb_asked() && um_hugetlb_grow_locked(sp, want, want)))
        err = um_space_open_locked(sp, want);
    n = sp->huge.runs;
    for (size_t i = 0; i < n; i++) {
        sp->huge.run[i].pinned = true;
        run[i] = sp->huge.run[i];
    }
    um_lock_drop(&sp->lock);
    for (size_t i = 0; i < n; i++)
        err = first_of(err, hold_slots(run[i].first, run[i].end - run[i].first));
    return err;
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
