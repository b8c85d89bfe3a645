/* Fresh memory. A page fault costs more than the page: one call that puts the sixteen pages of a slot into
   place costs less than sixteen faults. It pays only where the slot will be used to its end, and it must not
   make the process larger. So it is done for slabs of a heap that is almost all in use to the end of its
   slabs: what a slab of another kind would waste is then a small part, at most an eighth of what is active.
   Small heaps are left alone. Larger steps gained nothing more. */
#include "space/fresh.h"
#include "os/numa.h"
#include "os/os.h"
#include "space/internal.h"

#include <errno.h>

#define FULL_MIN  ((size_t)32) /* slots: 2 MiB */
#define FULL_PART 8u           /* of the active slots at most one in so many is not full */

static _Atomic(bool) unknown; /* to the kernel (before 5.14). Relaxed: a hint */

/* In place since it was opened (pin.c). */
static bool is_pinned_locked(const um_space *sp, const um_span *s) {
    const um_huge_run *r;
    if (um_likely(!um_space_setting.rigid))
        return false;
    r = um_huge_run_of(&sp->huge, um_span_index(s));
    return r && r->pinned;
}

bool um_fresh_wanted_locked(const um_space *sp, const um_span *s) {
    size_t full = atomic_load_explicit(&sp->full_slots, memory_order_relaxed); /* hint */
    return s->slots == 1 && s->state != UM_DIRTY && full >= FULL_MIN &&
           full >= sp->active_slots - sp->active_slots / FULL_PART &&
           !atomic_load_explicit(&unknown, memory_order_relaxed) /* hint */ && !is_pinned_locked(sp, s);
}

uint64_t um_fresh_fill(const um_span *s) {
    uint64_t began = um_os_now_ns();
    if (um_os_populate((uintptr_t)um_span_start(s), UM_SLOT_BYTES) == EINVAL)
        atomic_store_explicit(&unknown, true, memory_order_relaxed); /* hint */
    return um_os_now_ns() - began;
}
