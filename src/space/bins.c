/* Good fit in constant time: the request's own list is searched a few steps for the tightest span, then any
   span of the next non-empty list fits. The last freed comes first, so its pages are warm. */
#include "space/bins.h"

#define OWN_LIST_STEPS 8

static unsigned bin_of(size_t slots) {
    unsigned top;
    if (slots <= UM_BINS_EXACT)
        return (unsigned)slots - 1;
    top = um_log2_floor(slots);
    return UM_BINS_EXACT + (top - 5) * 4 + (unsigned)((slots >> (top - 2)) & 3);
}

void um_bins_insert(um_bins *b, um_span *s) {
    unsigned i = bin_of(s->slots);
    s->prev = NULL;
    s->next = b->head[i];
    if (s->next)
        s->next->prev = s;
    b->head[i] = s;
    b->used[i / 64] |= 1ull << (i % 64);
}

void um_bins_remove(um_bins *b, um_span *s) {
    unsigned i = bin_of(s->slots);
    if (s->next)
        s->next->prev = s->prev;
    if (s->prev)
        s->prev->next = s->next;
    else
        b->head[i] = s->next;
    if (!b->head[i])
        b->used[i / 64] &= ~(1ull << (i % 64));
}

um_span *um_bins_find(const um_bins *b, size_t slots) {
    unsigned own = bin_of(slots), i = own;
    um_span *best = NULL;
    int steps = OWN_LIST_STEPS;
    for (um_span *s = b->head[i]; s && steps--; s = s->next) {
        if (s->slots == slots)
            return s;
        if (s->slots > slots && (!best || s->slots < best->slots))
            best = s;
    }
    if (best)
        return best;
    for (unsigned w = ++i / 64; w < UM_BINS / 64; w++) {
        uint64_t m = b->used[w];
        if (w == i / 64)
            m &= ~0ull << (i % 64);
        if (m)
            return b->head[w * 64 + (unsigned)__builtin_ctzll(m)];
    }
    for (um_span *s = b->head[own]; s; s = s->next) /* the last resort before more memory is asked for */
        if (s->slots >= slots)
            return s;
    return NULL;
}
