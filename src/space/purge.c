/* Giving memory back. Two rules: active + dirty never exceeds what the program itself needed within the last
   interval (its recent peak of active), unless what is dirty is little beside that (a quarter, or a floor);
   this is enforced where spans are freed or taken, and of a long span only the excess goes. And what lay
   dirty for decay_ms goes whatever the budget, when some thread comes by (um_space_tick). MADV_DONTNEED,
   because MADV_FREE'd pages still count as resident. The call happens outside the lock on a span that is
   marked BUSY, so that nobody takes or merges it. */
#include "space/internal.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "os/os.h"
#include "space/pin.h"
#include "space/hugetlb.h"

#define BUDGET_FLOOR    (4 * UM_MIB)
#define SPARE_PART      4u /* of the recent peak: holes of many lengths, soon filled again */
#define SPARSE_FLOOR    (256 * UM_KIB)
#define SPARSE_PART     8u
#define REFUSED_WAIT_MS 1000u
#define PART_SLOTS_MIN  16u /* purged of a longer span; less is not worth a call, nor unmapped */
#define UNMAP_SLOTS     16u /* where addresses are scarce, spans of 1 MiB and more give theirs back too */

_Static_assert((int)UM_SPACE_HUGE_AUTO == (int)UM_HUGEPAGES_AUTO &&
                   (int)UM_SPACE_HUGE_OFF == (int)UM_HUGEPAGES_OFF &&
                   (int)UM_SPACE_HUGE_THP == (int)UM_HUGEPAGES_THP &&
                   (int)UM_SPACE_HUGE_ALWAYS == (int)UM_HUGEPAGES_ALWAYS &&
                   (int)UM_SPACE_HUGE_POOL_2M == (int)UM_HUGEPAGES_POOL_2M &&
                   (int)UM_SPACE_HUGE_POOL_1G == (int)UM_HUGEPAGES_POOL_1G,
               "the space layer's names are the option's values");

static _Atomic(uint64_t) next_tick_ms; /* relaxed: whoever moves it on does the work */

uint64_t um_space_read_clock(void) {
    uint64_t now = um_os_now_ms();
    atomic_store_explicit(&um_space_now_ms, now, memory_order_relaxed);
    return now;
}

static size_t usual_budget_locked(const um_space *sp) {
    size_t active = sp->active_slots << UM_SLOT_SHIFT;
    size_t peak = um_max(sp->peak_now, sp->peak_before);
    if (UM_SPACE_SETTING(decay_ms) == 0)
        return 0;
    if (UM_SPACE_SETTING(dirty_max))
        return UM_SPACE_SETTING(dirty_max);
    return um_max(um_max(BUDGET_FLOOR, peak / SPARE_PART), peak - um_min(active, peak));
}

size_t um_space_budget_locked(const um_space *sp) {
    size_t excess = um_min(um_space_excess(), sp->dirty_bytes);
    size_t usual = usual_budget_locked(sp);
    return excess ? um_min(usual, sp->dirty_bytes - excess) : usual;
}

bool um_space_sparse(size_t dirty_bytes, size_t slots) {
    return dirty_bytes && dirty_bytes <= (slots << UM_SLOT_SHIFT) / SPARSE_PART &&
           atomic_load_explicit(&um_space_dirty, memory_order_relaxed) > SPARSE_FLOOR; /* hint */
}

/* Purges one detached span and files it. False: the kernel refused, it is dirty still. */
static bool purge_one(um_space *sp, um_span *s) {
    uintptr_t at = (uintptr_t)um_span_start(s);
    size_t bytes = (size_t)s->slots << UM_SLOT_SHIFT;
    um_span_state state = UM_DIRTY;
    bool patched = atomic_load_explicit(&um_space_seams, memory_order_relaxed) /* ours are counted */
                   && um_space_has_seams(s);
    if (um_hugetlb_asked() && um_hugetlb_holds(sp, s)) {
        if (um_os_unmap(at, bytes) == 0)
            state = UM_UNMAPPED;
    } else if (um_os_space_limited && s->slots >= UNMAP_SLOTS && um_os_unmap(at, bytes) == 0)
        state = UM_UNMAPPED;
    else if (patched)
        state = um_space_map_anew(sp, s);
    else if (um_os_purge(at, bytes) == 0)
        state = UM_CLEAN;
    um_lock_take(&sp->lock);
    if (state != UM_DIRTY && patched)
        um_space_forget_seams_locked(s);
    um_space_insert_locked(sp, s, state, s->bytes);
    if (state == UM_DIRTY)
        sp->purge_again_ms =
            atomic_load_explicit(&um_space_now_ms, memory_order_relaxed) + REFUSED_WAIT_MS; /* recent */
    um_space_unlock(sp);
    if (state == UM_DIRTY) {
        UM_COUNT_ADD(purge_failures, 1);
        return false;
    }
    UM_COUNT_ADD(purges, 1);
    UM_COUNT_ADD(purged_bytes, bytes);
    return true;
}

static bool is_clean_before(const um_space *sp, const um_span *s) {
    const um_span *left = s - 1;
    if (!um_space_holds_locked(sp, um_span_index(left)))
        return false;
    if (um_span_kind_of(left) == UM_SPAN_FREE_TAIL)
        left = s - left->slots;
    return um_span_kind_of(left) == UM_SPAN_FREE && left->state == UM_CLEAN;
}

/* Of a long span no more goes than must, for what stays need not be faulted in again: the end beside clean
   memory, so that neither gets into more pieces. Huge pages go as a whole. */
static void spare_part_locked(const um_space *sp, const um_span *s, size_t excess, size_t *skip,
                              size_t *slots) {
    size_t part = um_max((excess + UM_SLOT_BYTES - 1) >> UM_SLOT_SHIFT, PART_SLOTS_MIN);
    if (um_huge_any(&sp->huge) || um_hugetlb_asked() || part + PART_SLOTS_MIN > s->slots)
        return;
    *skip = is_clean_before(sp, s) ? 0 : s->slots - part;
    *slots = part;
}

/* What to purge now, detached; NULL: enough was done. */
static um_span *next_locked(um_space *sp, size_t keep, uint64_t before_ms, bool forced) {
    size_t skip, slots;
    um_span *s;
    if (!forced &&
        sp->purge_again_ms > atomic_load_explicit(&um_space_now_ms, memory_order_relaxed)) /* recent */
        return NULL;
    for (;;) {
        s = sp->oldest;
        if (!s || (sp->dirty_bytes - sp->kept_bytes <= keep && s->freed_ms >= before_ms))
            return NULL;
        if (s->freed_ms >= before_ms)
            s = um_huge_choose_locked(sp);
        skip = 0;
        slots = s->slots;
        if (um_space_setting.rigid)
            um_pin_spare_locked(sp, s, &skip, &slots);
        else if (s->freed_ms >= before_ms)
            spare_part_locked(sp, s, sp->dirty_bytes - sp->kept_bytes - keep, &skip, &slots);
        if (slots && (forced || !um_huge_keeps_locked(sp, s)))
            break;
        um_space_keep_locked(sp, s);
    }
    um_space_detach_locked(sp, s);
    s = um_space_cut_locked(sp, s, skip, slots);
    um_huge_purging_locked(sp, s);
    return um_huge_widen_locked(sp, s);
}

bool um_space_purge(um_space *sp, size_t keep, uint64_t before_ms, bool forced) {
    bool any = false;
    if (forced) {
        um_lock_take(&sp->lock);
        while (sp->kept)
            um_space_unkeep_locked(sp, sp->kept);
        um_space_unlock(sp);
    }
    for (;;) {
        um_span *s;
        um_lock_take(&sp->lock);
        s = next_locked(sp, keep, before_ms, forced);
        um_space_unlock(sp);
        if (!s || !purge_one(sp, s))
            return any;
        any = true;
    }
}

void um_space_purge_excess(um_space *sp) {
    size_t keep;
    um_lock_take(&sp->lock);
    keep = um_space_budget_locked(sp);
    um_space_unlock(sp);
    (void)um_space_purge(sp, keep, 0, false);
}

uint64_t um_space_tick(void) {
    uint64_t now = um_space_read_clock(), due = atomic_load_explicit(&next_tick_ms, memory_order_relaxed);
    uint64_t decay = UM_SPACE_SETTING(decay_ms);
    if (now < due || !atomic_compare_exchange_strong_explicit(&next_tick_ms, &due, now + decay / 8 + 1,
                                                              memory_order_relaxed, memory_order_relaxed))
        return now;
    UM_EACH_SPACE(sp) {
        size_t keep;
        um_lock_take(&sp->lock);
        if (now - sp->interval_ms >= decay) {
            bool stale = now - sp->interval_ms >= 2 * decay;
            size_t active = sp->active_slots << UM_SLOT_SHIFT;
            sp->peak_before = stale ? active : sp->peak_now;
            sp->peak_now = active;
            sp->missed_before = stale ? 0 : sp->missed_now;
            sp->missed_now = 0;
            sp->interval_ms = now;
        }
        um_huge_tick_locked(sp);
        keep = um_space_budget_locked(sp);
        um_space_unlock(sp);
        (void)um_space_purge(sp, keep, now > decay ? now - decay : 0, false);
    }
    return now;
}
