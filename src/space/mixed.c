/* A request longer than every dirty span, served where dirty and clean spans lie side by side: what of the
   memory there is dirty need not be faulted in, nor moved. Programs that replace long blocks of many lengths
   leave such places all over the space, for what goes back to the system of a long span leaves the rest of it
   beside clean memory.

   A window is a range of slots in a run of free spans. For each of the youngest dirty spans one is looked at,
   which begins with that span or, where the run ends too soon, ends with the run; the one with most dirty
   slots wins. Its clean parts are gaps: pages from elsewhere move there (gather.c), or are faulted in.
   Bounds: LOOKS windows, and STEPS spans on the way. Spaces with huge pages are left alone, as are those
   whose memory must be looked at or must stay, as gather.c does. */
#include "space/internal.h"
#include "space/hugetlb.h"
#include "space/place.h"

#define LOOKS 16
#define STEPS 256

typedef struct window {
    um_span *first; /* the free span that it begins in */
    size_t skip;    /* slots of that before it */
    size_t dirty;   /* slots in it */
} window;

static um_span *free_locked(um_span *s) {
    return um_span_kind_of(s) == UM_SPAN_FREE && s->state != UM_UNMAPPED ? s : NULL;
}

/* The free span that lies before or behind a free one; NULL: what is there is none, or not mapped. */
static um_span *left_locked(const um_space *sp, um_span *s) {
    um_span *l = s - 1;
    if (!um_space_holds_locked(sp, um_span_index(l)))
        return NULL;
    return free_locked(um_span_kind_of(l) == UM_SPAN_FREE_TAIL ? s - l->slots : l);
}

static um_span *right_locked(const um_space *sp, um_span *s) {
    um_span *r = s + s->slots;
    return um_space_holds_locked(sp, um_span_index(r)) ? free_locked(r) : NULL;
}

/* False: so much is not free there, or it is in too many spans to look at. */
static bool window_at_locked(const um_space *sp, um_span *s, size_t slots, window *w, unsigned *steps) {
    size_t missing = slots, part;
    *w = (window){.first = s};
    for (um_span *r = s; r && missing && *steps; r = right_locked(sp, r), --*steps) {
        part = um_min(r->slots, missing);
        w->dirty += r->state == UM_DIRTY ? part : 0;
        missing -= part;
    }
    for (; missing && *steps; --*steps) {
        um_span *l = left_locked(sp, w->first);
        if (!l)
            return false;
        part = um_min(l->slots, missing);
        w->dirty += l->state == UM_DIRTY ? part : 0;
        w->first = l;
        w->skip = l->slots - part;
        missing -= part;
    }
    return missing == 0;
}

/* Makes one BUSY span of the window; its clean parts are noted, as many as there is room for. */
static um_span *take_window_locked(um_space *sp, const window *w, size_t slots, um_gaps *gaps) {
    um_span *s = w->first + w->skip;
    size_t have = 0, bytes = 0, skip = w->skip;
    while (have < slots) {
        um_span *part = s + have - skip;
        um_space_detach_locked(sp, part);
        part = um_space_cut_locked(sp, part, skip, um_min(part->slots - skip, slots - have));
        um_span_set_kind(part, have ? UM_SPAN_NONE : UM_SPAN_BUSY);
        if (part->state == UM_CLEAN && gaps->count < UM_GAPS)
            gaps->gap[gaps->count++] = (um_gap){have, part->slots};
        bytes += part->bytes;
        have += part->slots;
        skip = 0;
    }
    s->slots = (uint32_t)slots;
    s->state = UM_DIRTY;
    s->bytes = bytes;
    return s;
}

um_span *um_space_take_mixed_locked(um_space *sp, size_t slots, um_gaps *gaps) {
    unsigned looks = LOOKS, steps = STEPS;
    window best = {NULL, 0, 0}, w;
    if (um_huge_any(&sp->huge) || um_place.strict || um_space_setting.rigid || um_hugetlb_asked())
        return NULL;
    for (um_span *s = sp->youngest; s && looks--; s = s->age_prev)
        if (window_at_locked(sp, s, slots, &w, &steps) && w.dirty > best.dirty)
            best = w;
    return best.first ? take_window_locked(sp, &best, slots, gaps) : NULL;
}
