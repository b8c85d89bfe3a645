/* Whole heaps: how they begin, start anew and end, and what they hold (heap.c has the states of their slabs).
   All shared ones are on a list, so that fork finds their locks. */
#include "ext/heap.h"
#include "ext/local.h"
#include "ext/place.h"
#include "front/front.h"

#include <errno.h>

static um_lock heaps_lock; /* rank: before the heaps' own */
static um_heap *heaps;     /* shared ones, circular; heaps_lock */

/* --- fork: the locks of shared heaps --- */

static void before_fork(void) {
    um_heap *h;
    um_lock_take(&heaps_lock);
    if ((h = heaps) != NULL)
        do
            um_lock_take(&h->lock);
        while ((h = h->next) != heaps);
}

static void each_shared(void (*f)(um_lock *lock)) {
    um_heap *h = heaps;
    if (h)
        do
            f(&h->lock);
        while ((h = h->next) != heaps);
    f(&heaps_lock);
}

static void drop(um_lock *lock) {
    um_lock_drop(lock);
}

static void reset(um_lock *lock) {
    um_lock_reset(lock);
}

static void in_parent(void) {
    each_shared(drop);
}

static void in_child(void) {
    each_shared(reset);
}

static const um_local_hooks hooks = {NULL, before_fork, in_parent, in_child};

static void enlist(um_heap *h) {
    um_lock_take(&heaps_lock);
    h->next = heaps ? heaps : h;
    h->prev = heaps ? heaps->prev : h;
    h->next->prev = h->prev->next = h;
    heaps = h;
    um_lock_drop(&heaps_lock);
}

static void unlist(um_heap *h) {
    um_lock_take(&heaps_lock);
    h->next->prev = h->prev;
    h->prev->next = h->next;
    if (heaps == h)
        heaps = h->next == h ? NULL : h->next;
    um_lock_drop(&heaps_lock);
}

/* --- the heap as a whole --- */

um_heap *um_heap_create(um_heap_kind kind, um_flags place) {
    um_heap *h;
    if (um_ext_check_place(place) != 0 || kind > UM_HEAP_SHARED) {
        errno = EINVAL;
        return NULL;
    }
    if (kind == UM_HEAP_SHARED && um_local_use(UM_MODULE_heap, &hooks) != 0) {
        errno = ENOMEM;
        return NULL;
    }
    h = um_front_alloc_zeroed(sizeof *h);
    if (!h)
        return NULL;
    for (unsigned i = 0; i < UM_SMALL_BINS; i++)
        h->small[i] = &um_span_none.home;
    h->place = place;
    h->shared = kind == UM_HEAP_SHARED;
    *(h->shared ? &h->locked_bytes : &h->open_bytes) = UM_SMALL_MAX;
    if (h->shared)
        enlist(h);
    return h;
}

static void give_queue(um_span **queue, bool slabs) {
    while (*queue) {
        um_span *s = *queue;
        um_queue_remove(queue, s);
        um_heap_give_span(s, slabs ? um_slab_touched(s) : um_room_bytes(um_span_start(s)));
    }
}

static void give_spares(um_heap *h, size_t n) {
    while (n--) {
        um_span *s = um_heap_take_spare(h);
        um_heap_give_span(s, s->bytes);
    }
}

/* All of it, blocks in use too. */
static void give_all(um_heap *h) {
    for (um_heap_each_used(c, h)) {
        um_heap_bin *bin = &h->bins[c];
        if (bin->current)
            um_heap_give_span(bin->current, um_slab_touched(bin->current));
        give_queue(&bin->full, true);
        give_queue(&bin->avail, true);
    }
    give_queue(&h->large, false);
    give_spares(h, h->spare_count);
}

/* An empty slab of a heap that starts anew; room: bytes that it may still keep. */
static void keep_or_give(um_heap *h, um_span *s, size_t *room) {
    size_t touched = um_slab_touched(s);
    if (touched > *room) {
        um_heap_give_span(s, touched);
        return;
    }
    *room -= touched;
    um_heap_make_spare(h, s);
}

/* The current slab of a class stays so, if it was used. */
static void start_anew(um_heap *h, unsigned c, um_span *s) {
    if (s->carved == 0) {
        um_heap_no_current(h, c);
        um_heap_give_span(s, um_slab_touched(s));
        return;
    }
    if (s->bytes < UM_SLOT_BYTES)
        s->bytes = um_slab_touched(s);
    s->carved = 0;
    s->list = um_slab_end(s);
    um_heap_restart(s, UM_COUNTDOWN_NEVER);
}

static void keep_queue(um_heap *h, um_span **queue, size_t *room) {
    while (*queue) {
        um_span *s = *queue;
        um_queue_remove(queue, s);
        keep_or_give(h, s, room);
    }
}

/* Relaxed: an option, which may change at any time; and nobody else is in a call that would push. */
static void reset_all(um_heap *h) {
    size_t room = atomic_load_explicit(&um_theap_cache_bytes, memory_order_relaxed);
    bool queues = false;
    atomic_store_explicit(&h->later, NULL, memory_order_relaxed);
    give_spares(h, h->idle);
    for (um_span *s = h->spares; s; s = s->next)
        room -= um_min(room, s->bytes);
    for (um_heap_each_used(c, h)) {
        um_heap_bin *bin = &h->bins[c];
        if (bin->current)
            start_anew(h, c, bin->current);
        queues |= bin->full || bin->avail;
        if (!bin->current)
            h->used[c / 64] &= ~((uint64_t)1 << c % 64);
    }
    for (unsigned c = 0; queues && c < UM_CLASSES; c++) {
        keep_queue(h, &h->bins[c].full, &room);
        keep_queue(h, &h->bins[c].avail, &room);
    }
    give_queue(&h->large, false);
    h->idle = h->spare_count;
}

void um_heap_reset(um_heap *h) {
    um_heap_enter(h);
    reset_all(h);
    um_heap_leave(h);
}

void um_heap_destroy(um_heap *h) {
    if (!h)
        return;
    if (h->shared)
        unlist(h);
    give_all(h);
    um_front_free(h);
}

void um_heap_trim(um_heap *h) {
    um_block *tail;
    um_heap_enter(h);
    um_heap_take_later(h);
    for (um_heap_each_used(c, h)) {
        um_span *s = h->bins[c].current;
        if (!s || um_slab_walk(s, &tail) != s->carved)
            continue;
        um_heap_no_current(h, c);
        um_heap_give_span(s, um_slab_touched(s));
    }
    give_spares(h, h->spare_count);
    um_heap_leave(h);
}

static void add_queue(um_heap_usage *out, const um_span *queue, bool full) {
    const um_span *s = queue;
    if (!s)
        return;
    do {
        unsigned live = full ? s->capacity - (s->wake - s->countdown) : s->countdown;
        out->slabs++;
        out->live_blocks += live;
        out->live_bytes += (uint64_t)live * s->block_bytes;
    } while ((s = s->next) != queue);
}

static void add_current(um_heap_usage *out, const um_span *s) {
    um_block *tail;
    unsigned live;
    if (!s)
        return;
    live = s->carved - um_slab_walk(s, &tail);
    out->slabs++;
    out->live_blocks += live;
    out->live_bytes += (uint64_t)live * s->block_bytes;
}

static void add_large(um_heap_usage *out, const um_span *queue) {
    const um_span *s = queue;
    if (!s)
        return;
    do {
        size_t bytes = um_room_bytes(um_span_start(s));
        out->large_blocks++;
        out->live_blocks++;
        out->live_bytes += bytes;
        out->held_bytes += bytes;
    } while ((s = s->next) != queue);
}

void um_heap_stats(um_heap *h, um_heap_usage *out) {
    *out = (um_heap_usage){0};
    um_heap_enter(h);
    um_heap_take_later(h);
    for (um_heap_each_used(c, h)) {
        add_current(out, h->bins[c].current);
        add_queue(out, h->bins[c].full, true);
        add_queue(out, h->bins[c].avail, false);
    }
    out->slabs += h->spare_count;
    out->held_bytes = out->slabs * UM_SLOT_BYTES;
    add_large(out, h->large);
    um_heap_leave(h);
}
