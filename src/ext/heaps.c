/* Whole heaps: how they begin, start anew and end, and what they hold (heap.c has the states of their slabs).
   All shared ones are on a list, so that fork finds their locks.

   A heap that ends is parked, if there are few: its record, and the current slabs of its classes as after a
   reset, serve the next heap of its kind and place. So one that lives for a request costs little more than a
   reset does. While it is parked its slabs are nobody's, so that who uses it still, or ends it twice, is
   found out. What is parked goes when memory is short or is to be trimmed. */
#include "ext/heap.h"
#include "ext/local.h"
#include "ext/place.h"
#include "front/front.h"
#include "os/fatal.h"

#include <errno.h>

#define UNUSED_MAX   64u /* resets that a slab stays for that is not used */
#define PARKED_MAX   4u
#define PARKED_BYTES ((size_t)512 << 10) /* of each, what its slabs may have in memory */

static um_lock heaps_lock; /* rank: before the heaps' own */
static um_heap *heaps;     /* shared ones, circular; heaps_lock */
static um_heap *parked;    /* by next; heaps_lock */
static unsigned parked_count;

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

/* --- creation --- */

static bool serves(const um_heap *h, um_heap_kind kind, um_flags place, unsigned home) {
    return h->shared == (kind == UM_HEAP_SHARED) && h->place == place && h->home == home;
}

static void open_to_all(um_heap *h) {
    *(h->shared ? &h->locked_bytes : &h->open_bytes) = UM_SMALL_MAX;
    if (h->shared)
        enlist(h);
}

static um_heap *unpark(um_heap_kind kind, um_flags place, unsigned home) {
    um_heap *h, **at = &parked;
    um_lock_take(&heaps_lock);
    while ((h = *at) != NULL && !serves(h, kind, place, home))
        at = &h->next;
    if (h) {
        *at = h->next;
        parked_count--;
        h->parked = false;
    }
    um_lock_drop(&heaps_lock);
    if (!h)
        return NULL;
    for (um_heap_each_used(c, h))
        h->bins[c].current->holder = um_heap_mark(h, 0);
    return h;
}

static um_heap *make(um_heap_kind kind, um_flags place, unsigned home) {
    um_heap *h = um_front_alloc_zeroed(sizeof *h);
    if (!h)
        return NULL;
    for (unsigned i = 0; i < UM_SMALL_BINS; i++)
        h->small[i] = &um_span_none.home;
    h->place = place;
    h->home = home;
    h->shared = kind == UM_HEAP_SHARED;
    return h;
}

um_heap *um_heap_create(um_heap_kind kind, um_flags place) {
    um_heap *h;
    unsigned home;
    if (um_ext_check_place(place) != 0 || kind > UM_HEAP_SHARED) {
        errno = EINVAL;
        return NULL;
    }
    if (um_local_use(UM_MODULE_heap, &hooks) != 0) {
        errno = ENOMEM;
        return NULL;
    }
    home = place == UM_SPREAD ? 0 : um_ext_place_now(place);
    h = unpark(kind, place, home);
    if (!h)
        h = make(kind, place, home);
    if (h)
        open_to_all(h);
    return h;
}

/* --- ends --- */

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

/* The current slab of a class stays so, if it was used of late. */
static void start_anew(um_heap *h, unsigned c, um_span *s) {
    if (s->carved == 0) {
        if (++h->bins[c].unused > UNUSED_MAX) {
            um_heap_no_current(h, c);
            um_heap_give_span(s, um_slab_touched(s));
        }
        return;
    }
    h->bins[c].unused = 0;
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

static void end(um_heap *h) {
    give_all(h);
    um_front_free(h);
}

/* Leaves it its current slabs alone, empty, and those that lie at home and are not too much. */
static void strip(um_heap *h, size_t room) {
    atomic_store_explicit(&h->later, NULL, memory_order_relaxed); /* nobody is in a call that would push */
    for (um_heap_each_used(c, h)) {
        um_heap_bin *bin = &h->bins[c];
        um_span *s = bin->current;
        size_t touched = s ? um_slab_touched(s) : 0;
        give_queue(&bin->full, true);
        give_queue(&bin->avail, true);
        if (s && (touched > room || s->node != h->home)) {
            um_heap_no_current(h, c);
            um_heap_give_span(s, touched);
        } else if (s) {
            room -= touched;
            start_anew(h, c, s);
        }
        if (bin->current)
            bin->current->holder = um_heap_mark(h, UM_TAG_PARKED);
        else
            h->used[c / 64] &= ~((uint64_t)1 << c % 64);
    }
    give_queue(&h->large, false);
    give_spares(h, h->spare_count);
    h->idle = 0;
    h->open_bytes = h->locked_bytes = 0;
}

static bool park(um_heap *h) {
    bool few;
    um_lock_take(&heaps_lock);
    few = parked_count < PARKED_MAX;
    if (few) {
        h->parked = true;
        h->next = parked;
        parked = h;
        parked_count++;
    }
    um_lock_drop(&heaps_lock);
    return few;
}

bool um_heap_drop_parked(void) {
    um_heap *h, *next;
    um_lock_take(&heaps_lock);
    h = parked;
    parked = NULL;
    parked_count = 0;
    um_lock_drop(&heaps_lock);
    if (!h)
        return false;
    for (; h; h = next) {
        next = h->next;
        end(h);
    }
    return true;
}

/* Relaxed: an option, which may change at any time. */
void um_heap_destroy(um_heap *h) {
    size_t room = um_min(PARKED_BYTES, atomic_load_explicit(&um_theap_cache_bytes, memory_order_relaxed));
    if (!h)
        return;
    if (h->parked)
        um_fatal("invalid um_heap_destroy", h, 0, "the heap has ended already");
    if (h->shared)
        unlist(h);
    if (room && h->place != UM_SPREAD) {
        strip(h, room);
        if (park(h))
            return;
    }
    end(h);
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
