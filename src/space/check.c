/* The invariants of space.c, as code. Quiet callers only: a span on its way between two layers would be
   called BUSY. */
#include "space/internal.h"
#include "os/fatal.h"

static void must(bool holds, const um_span *s, const char *what) {
    if (!holds)
        um_fatal("broken invariant of the span allocator", s, 0, what);
}

static size_t check_free(const um_space *sp, const um_span *s, const um_span *left) {
    const um_span *tail = s + s->slots - 1;
    must(s->slots == 1 || um_span_kind_of(tail) == UM_SPAN_FREE_TAIL, s, "no tag in the last slot");
    must(tail->slots == s->slots, s, "the tag has another length");
    must(!left || left->state != s->state, s, "two free neighbours of one state");
    must(s->state < UM_STATES, s, "unknown state");
    must(um_bins_find(&sp->bins[s->state], s->slots) != NULL, s, "not found in its bin");
    return s->state == UM_DIRTY ? s->bytes : 0;
}

static void check_space(const um_space *sp) {
    size_t dirty = 0, aged = 0, kept = 0, active = 0, unmapped = 0, opened = 0;
    const um_span *left = NULL;
    for (size_t i = um_space_next_locked(sp, sp->first_slot), next; i < sp->open_slot; i = next) {
        const um_span *s = um_space_window.table + i;
        bool is_free = um_span_kind_of(s) == UM_SPAN_FREE;
        must(s->node == sp - um_spaces, s, "of another node");
        must(s->slots > 0, s, "a span of no length");
        opened += s->slots;
        if (is_free)
            dirty += check_free(sp, s, left);
        else
            active += s->slots;
        if (is_free && s->state == UM_UNMAPPED)
            unmapped += s->slots;
        must(i + s->slots <= sp->open_slot, s, "reaches beyond what is open");
        next = um_space_next_locked(sp, i + s->slots);
        left = is_free && next == i + s->slots ? s : NULL;
    }
    must(opened == sp->opened_slots, NULL, "opened slots");
    for (const um_span *s = sp->oldest; s; s = s->age_next) {
        must(um_span_kind_of(s) == UM_SPAN_FREE && s->state == UM_DIRTY && !s->kept, s,
             "not dirty, but in the age list");
        must(!s->age_next || s->age_next->age_prev == s, s, "age list links");
        aged += s->bytes;
    }
    for (const um_span *s = sp->kept; s; s = s->age_next) {
        must(um_span_kind_of(s) == UM_SPAN_FREE && s->state == UM_DIRTY && s->kept, s, "kept, but not dirty");
        must(!s->age_next || s->age_next->age_prev == s, s, "links of what is kept");
        kept += s->bytes;
    }
    must(dirty == sp->dirty_bytes && aged + kept == dirty && kept == sp->kept_bytes, NULL, "dirty bytes");
    must(active == sp->active_slots, NULL, "active slots");
    must(unmapped == sp->unmapped_slots, NULL, "unmapped slots");
}

void um_space_check(void) {
    for (unsigned i = 0; i < UM_NODES_MAX; i++) {
        um_lock_take(&um_spaces[i].lock);
        if (um_spaces[i].opened_slots)
            check_space(&um_spaces[i]);
        um_lock_drop(&um_spaces[i].lock);
    }
}
