/* What others may ask about the spans: figures of a space, all its spans in turn, and the one that an address
   is in. Nobody asks before something is to be reported, so none of it is among what every program runs. */
#include "space/internal.h"
#include "space/pin.h"

#define AROUND_SLOTS ((ptrdiff_t)1 << 20) /* 64 GiB */

void um_space_stat(unsigned node, um_space_stats *out) {
    um_space *sp = &um_spaces[node];
    *out = (um_space_stats){.metadata = node == 0 ? um_window_table_bytes() : 0};
    if (!um_space_is_used(node))
        return;
    out->metadata += sp->meta.total;
    um_lock_take(&sp->lock);
    out->mapped = (sp->opened_slots - sp->unmapped_slots) << UM_SLOT_SHIFT;
    out->unmapped = sp->unmapped_slots << UM_SLOT_SHIFT;
    out->active = sp->active_slots << UM_SLOT_SHIFT;
    out->dirty = sp->dirty_bytes + um_pin_clean_locked(sp);
    out->peak = sp->peak_ever;
    um_lock_drop(&sp->lock);
}

unsigned um_space_node_of(const void *p) {
    return um_space_window.table[um_round_down(um_span_index(um_span_of(p)), UM_REGION_SLOTS)].node;
}

size_t um_space_next_locked(const um_space *sp, size_t slot) {
    while (slot < sp->open_slot) {
        if (!um_space_holds_locked(sp, slot))
            slot = um_round_down(slot, UM_REGION_SLOTS) + UM_REGION_SLOTS;
        else if (um_span_kind_of(um_space_window.table + slot) == UM_SPAN_NONE)
            slot++; /* claimed and never opened, or lost */
        else
            return slot;
    }
    return sp->open_slot;
}

void um_space_each(unsigned node, void (*f)(const um_span *s, void *ctx), void *ctx) {
    um_space *sp = &um_spaces[node];
    if (!um_space_is_used(node))
        return;
    um_lock_take(&sp->lock);
    for (size_t i = um_space_next_locked(sp, sp->first_slot); i < sp->open_slot;) {
        const um_span *s = um_space_window.table + i;
        f(s, ctx);
        i = um_space_next_locked(sp, i + s->slots);
    }
    um_lock_drop(&sp->lock);
}

const um_span *um_space_around(const um_span *s) {
    const um_span *first = s;
    while (um_span_kind_of(first) == UM_SPAN_NONE) {
        if (um_span_index(first) == 0 || s - first == AROUND_SLOTS)
            return NULL;
        first--;
    }
    if (um_span_kind_of(first) == UM_SPAN_FREE_TAIL && first != s) /* what follows was never opened */
        return NULL;
    return s - first < first->slots ? first : NULL;
}
