/* heap: the record of a program's own heap, and what both its halves do with its slabs: heap.c gives and
   takes blocks, heaps.c makes, empties and ends whole heaps. */
#ifndef UM_EXT_HEAP_H
#define UM_EXT_HEAP_H

#include "ext/room.h"
#include "heap/queue.h"
#include "os/lock.h"
#include "slab/slab.h"

#include <umalloc/heap.h>

/* Added to a heap's address in the records of its spans. */
#define UM_TAG_SHARED 1u
#define UM_TAG_LARGE  2u
#define UM_TAG_PARKED 4u

typedef struct um_heap_bin {
    um_span *current; /* NULL: none */
    um_span *avail, *full;
    unsigned unused; /* resets in a row that found nothing cut of the current one */
} um_heap_bin;

struct um_heap {
    um_home *small[UM_SMALL_BINS]; /* what serves each 16 bytes of request */
    /* Requests of fewer bytes and one look there, without the lock or with it: of a heap of the other kind 0,
       and of a parked one both. */
    size_t open_bytes, locked_bytes;
    um_heap_bin bins[UM_CLASSES];
    uint64_t used[UM_CLASSES / 64]; /* a bit for each class that may have slabs */
    um_span *large;                 /* circular */
    um_span *spares;                /* by next */
    size_t spare_count;
    size_t idle; /* the fewest spares since the last reset */
    um_flags place;
    unsigned home; /* const: the place that this was at the heap's creation */
    bool shared;
    bool parked;  /* ended, and kept for the next one; heaps_lock */
    um_lock lock; /* of a shared heap */
    /* Blocks that anybody gave back, by next. Y1: a push publishes the link; Y2 takes all. */
    _Atomic(um_block *) later;
    um_heap *next, *prev; /* all shared heaps, or by next alone the parked ones; heaps_lock */
};

/* Ends the heaps that are kept for new ones. Whether there were any. */
UM_HIDDEN bool um_heap_drop_parked(void);
/* Takes the blocks that others gave back (um_heap_free_any). */
UM_HIDDEN void um_heap_take_later(um_heap *h);

UM_INLINE void *um_heap_mark(um_heap *h, unsigned tag) {
    return (char *)h + (h->shared ? UM_TAG_SHARED : 0) + tag;
}

UM_INLINE void um_heap_give_span(um_span *s, size_t touched) {
    s->holder = NULL;
    um_room_give(um_span_start(s), touched);
}

/* What serves the class shows in the table. */
UM_INLINE void um_heap_show(um_heap *h, unsigned c, um_home *m) {
    unsigned i = um_class_first_bin(c);
    if (i < UM_SMALL_BINS)
        h->small[i] = h->small[um_class_last_bin(c)] = m;
}

UM_INLINE void um_heap_restart(um_span *s, uint32_t countdown) {
    s->mark = s->countdown = countdown;
}

UM_INLINE void um_heap_no_current(um_heap *h, unsigned c) {
    h->bins[c].current = NULL;
    um_heap_show(h, c, &um_span_none.home);
}

/* The class after c that may have slabs, from -1 on; UM_CLASSES: there is none. */
UM_INLINE unsigned um_heap_next_used(const um_heap *h, unsigned c) {
    for (c++; c < UM_CLASSES; c = (c / 64 + 1) * 64) {
        uint64_t bits = h->used[c / 64] >> c % 64;
        if (bits)
            return c + (unsigned)__builtin_ctzll(bits);
    }
    return UM_CLASSES;
}

#define um_heap_each_used(c, h)                                                                              \
    unsigned c = um_heap_next_used(h, ~0u);                                                                  \
    c < UM_CLASSES;                                                                                          \
    c = um_heap_next_used(h, c)

UM_INLINE void um_heap_make_spare(um_heap *h, um_span *s) {
    s->bytes = um_slab_touched(s);
    s->place = UM_PLACE_EMPTY;
    s->next = h->spares;
    h->spares = s;
    h->spare_count++;
}

UM_INLINE um_span *um_heap_take_spare(um_heap *h) {
    um_span *s = h->spares;
    if (!s)
        return NULL;
    h->spares = s->next;
    h->spare_count--;
    h->idle = um_min(h->idle, h->spare_count);
    return s;
}

UM_INLINE void um_heap_enter(um_heap *h) {
    if (h->shared)
        um_lock_take(&h->lock);
}

UM_INLINE void um_heap_leave(um_heap *h) {
    if (h->shared)
        um_lock_drop(&h->lock);
}

#endif
