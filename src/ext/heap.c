/* First-class heaps. Small and medium blocks come from slabs of one slot, cut by class as malloc's are
   (slab/slab.h), larger ones from spans of their own. The heap's record has, for each 16 bytes of request,
   the record of the slab that serves it: to allocate is to take the first block off that slab's list. A
   span's record says whose it is (`holder`): to free is to compare that, and to put the block on the list.

   A slab is current (it serves its class), full (it had no free block when it was left), available (a full
   one of which some blocks came back), or a spare one, without blocks, for any class. A countdown tells
   when a free must look: a full slab after `wake` frees, an available one when no block is in use any more.
   Then all its blocks are on its list, which is walked: that finds double frees. Empty slabs go back but for
   one.

   Blocks of a current slab that were never cut are handed out one by one when its list is empty, with nothing
   written to them. So to start anew is to set `carved` to 0, whatever the list was: a reset does that to the
   current slabs and makes spares of the others. What one whole round from reset to reset did not need goes
   back: current slabs of which nothing was cut, and as many spares as there always were at least.

   In the record of a span, `holder` is the heap's address; one more in a shared heap, two more for a large
   block. So one comparison of the fast free excludes both. A shared heap has the same paths under its lock;
   where the lock is not free at once, or a block comes from elsewhere, the slow ones take it.

   Blocks that any thread may give back wait on a stack (`later`) until the heap looks for memory. */
#include "umalloc/heap.h"
#include "ext/local.h"
#include "ext/place.h"
#include "ext/room.h"
#include "front/front.h"
#include "heap/queue.h"
#include "os/fatal.h"
#include "os/lock.h"
#include "space/space.h"

#include <errno.h>
#include <string.h>

#define ALIGN_BITS  ((um_flags)63)
#define ALIGN_LEAST ((size_t)16)
#define LOG2_MAX    36u
#define CLASS_SHIFT 8u
#define ALLOC_FLAGS (ALIGN_BITS | UM_ZERO | (um_flags)0xff << CLASS_SHIFT)
#define TAG_SHARED  1u
#define TAG_LARGE   2u

typedef struct heap_bin {
    um_span *current; /* NULL: none */
    um_span *avail, *full;
} heap_bin;

struct um_heap {
    um_home *small[UM_SMALL_BINS]; /* what serves each 16 bytes of request */
    /* const: requests of fewer bytes and one look there, without the lock or with it. One of them is 0. */
    size_t open_bytes, locked_bytes;
    heap_bin bins[UM_CLASSES];
    uint64_t used[UM_CLASSES / 64]; /* a bit for each class that may have slabs */
    um_span *large;                 /* circular */
    um_span *spares;                /* by next */
    size_t spare_count;
    size_t idle; /* the fewest spares since the last reset */
    um_flags place;
    bool shared;
    um_lock lock; /* of a shared heap */
    /* Blocks that anybody gave back, by next. Y1: a push publishes the link; Y2 takes all. */
    _Atomic(um_block *) later;
    um_heap *next, *prev; /* all shared heaps; heaps_lock */
};

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

/* --- spans --- */

static void *mark_of(um_heap *h, unsigned tag) {
    return (char *)h + (h->shared ? TAG_SHARED : 0) + tag;
}

/* The record of the heap's slab or large block that holds p; NULL: it is none of the heap's. */
static um_span *find_span(um_heap *h, const void *p, bool *large) {
    um_span *s = um_span_of(p);
    if (!s || um_span_kind_of(s) != UM_SPAN_EXT)
        return NULL;
    *large = s->holder == mark_of(h, TAG_LARGE);
    return *large || s->holder == mark_of(h, 0) ? s : NULL;
}

static void give_span(um_span *s, size_t touched) {
    s->holder = NULL;
    um_room_give(um_span_start(s), touched);
}

/* What serves the class shows in the table. */
static void show(um_heap *h, unsigned c, um_home *m) {
    unsigned i = um_class_first_bin(c);
    if (i < UM_SMALL_BINS)
        h->small[i] = h->small[um_class_last_bin(c)] = m;
}

static void restart(um_span *s, uint32_t countdown) {
    s->mark = s->countdown = countdown;
}

static void make_current(um_heap *h, unsigned c, um_span *s) {
    restart(s, UM_COUNTDOWN_NEVER);
    s->place = UM_PLACE_CURRENT;
    h->bins[c].current = s;
    h->used[c / 64] |= (uint64_t)1 << c % 64;
    show(h, c, &s->home);
}

static void no_current(um_heap *h, unsigned c) {
    h->bins[c].current = NULL;
    show(h, c, &um_span_none.home);
}

/* The class after c that may have slabs, from -1 on; UM_CLASSES: there is none. */
static unsigned next_used(const um_heap *h, unsigned c) {
    for (c++; c < UM_CLASSES; c = (c / 64 + 1) * 64) {
        uint64_t bits = h->used[c / 64] >> c % 64;
        if (bits)
            return c + (unsigned)__builtin_ctzll(bits);
    }
    return UM_CLASSES;
}

#define each_used(c, h)                                                                                      \
    unsigned c = next_used(h, ~0u);                                                                          \
    c < UM_CLASSES;                                                                                          \
    c = next_used(h, c)

/* --- the owner's look --- */

static unsigned class_of_slab(const um_span *s) {
    return um_class_of(s->block_bytes);
}

static void make_spare(um_heap *h, um_span *s) {
    s->bytes = um_slab_touched(s);
    s->place = UM_PLACE_EMPTY;
    s->next = h->spares;
    h->spares = s;
    h->spare_count++;
}

static um_span *take_spare(um_heap *h) {
    um_span *s = h->spares;
    if (!s)
        return NULL;
    h->spares = s->next;
    h->spare_count--;
    h->idle = um_min(h->idle, h->spare_count);
    return s;
}

static void check_empty(const um_span *s) {
    um_block *tail;
    if (um_slab_walk(s, &tail) != s->carved)
        um_fatal("double free", s->list, s->block_bytes, "more frees than blocks in use");
}

/* The countdown reached 0. */
static UM_NOINLINE void look(um_heap *h, um_span *s) {
    heap_bin *bin = &h->bins[class_of_slab(s)];
    if (s->place == UM_PLACE_FULL) {
        um_queue_remove(&bin->full, s);
        s->place = UM_PLACE_AVAIL;
        restart(s, s->capacity - s->wake);
        um_queue_push(&bin->avail, s);
        if (s->countdown)
            return;
    }
    if (s->place != UM_PLACE_AVAIL)
        um_fatal("double free", s->list, s->block_bytes, "no block of its slab is in use");
    check_empty(s);
    um_queue_remove(&bin->avail, s);
    if (h->spares)
        give_span(s, um_slab_touched(s));
    else
        make_spare(h, s);
}

UM_INLINE void put_first(um_span *s, um_block *b) {
    b->next = s->list;
    b->self = (uintptr_t)b;
    s->list = b;
}

static void free_large(um_heap *h, um_span *s) {
    um_queue_remove(&h->large, s);
    give_span(s, um_room_bytes(um_span_start(s)));
}

static UM_COLD _Noreturn void not_ours(const void *p, const char *what) {
    um_fatal(what, p, 0, "it is no block of this heap");
}

/* Aborts where no block of the heap starts at p. */
static um_span *find_block(um_heap *h, const void *p, const char *what, bool *large) {
    um_span *s = find_span(h, p, large);
    if (um_unlikely(!s))
        not_ours(p, what);
    if (um_unlikely(*large ? p != um_span_start(s) : !um_slab_is_block(s, p)))
        um_fatal(what, p, *large ? s->bytes : s->block_bytes, "not the start of a block");
    return s;
}

static void free_block(um_heap *h, void *p) {
    bool large;
    um_span *s = find_block(h, p, "invalid um_heap_free", &large);
    if (large) {
        free_large(h, s);
        return;
    }
    put_first(s, p);
    if (--s->countdown == 0)
        look(h, s);
}

/* Takes what others gave back. Y2: acquire pairs with Y1: the links are ours to read. */
static void take_later(um_heap *h) {
    um_block *b = atomic_exchange_explicit(&h->later, NULL, memory_order_acquire);
    while (b) {
        um_block *next = b->next;
        free_block(h, b);
        b = next;
    }
}

/* --- allocation --- */

static um_span *fresh_slab(um_heap *h, unsigned c) {
    um_span *s = take_spare(h);
    bool zeroed;
    void *start;
    if (!s) {
        start = um_room_take(UM_MODULE_heap, um_ext_place_now(h->place), UM_SLOT_BYTES, 1, &zeroed);
        if (!start)
            return NULL;
        s = um_span_of(start);
        s->bytes = zeroed ? 0 : UM_SLOT_BYTES;
    }
    um_slab_shape(s, c);
    s->holder = mark_of(h, 0);
    return s;
}

/* A full slab that is not: too few blocks came back to wake it. For when there is no memory. */
static um_span *nearly_full(heap_bin *bin) {
    um_span *s = bin->full;
    if (s)
        do
            if (s->list != um_slab_end(s)) {
                um_queue_remove(&bin->full, s);
                return s;
            }
        while ((s = s->next) != bin->full);
    return NULL;
}

static bool has_uncut(const um_span *s) {
    return s->carved + 1u < s->capacity;
}

/* Where the list is empty: the first block that was not cut yet, but for the last one, which is left to
   um_slab_carve, for that counts full slabs. Else NULL. */
UM_INLINE void *take_uncut(um_span *s) {
    unsigned i = s->carved;
    if (um_unlikely(!has_uncut(s)) || um_unlikely(s->list != um_slab_end(s)))
        return NULL;
    s->carved = (uint16_t)(i + 1);
    return um_span_start(s) + i * s->block_bytes;
}

/* A slab with a free block, current for the class; NULL: no memory. */
static um_span *find_slab(um_heap *h, unsigned c) {
    heap_bin *bin = &h->bins[c];
    um_span *s = bin->current;
    if (atomic_load_explicit(&h->later, memory_order_relaxed)) /* a peek */
        take_later(h);
    while (!s || (s->list == um_slab_end(s) && !has_uncut(s) && !um_slab_carve(s, UM_CARVE_BYTES))) {
        if (s) {
            s->place = UM_PLACE_FULL;
            restart(s, s->wake);
            um_queue_push(&bin->full, s);
        }
        no_current(h, c);
        s = bin->avail;
        if (s)
            um_queue_remove(&bin->avail, s);
        else
            s = fresh_slab(h, c);
        if (!s)
            s = nearly_full(bin);
        if (!s)
            return NULL;
        make_current(h, c, s);
    }
    return s;
}

static void *alloc_small(um_heap *h, unsigned c) {
    um_span *s = h->bins[c].current;
    um_block *b;
    if (!s || s->list == um_slab_end(s))
        s = find_slab(h, c);
    if (!s)
        return NULL;
    b = s->list;
    if (b == um_slab_end(s))
        return take_uncut(s);
    if (um_unlikely(!um_block_take(b)))
        um_slab_damaged(s, b);
    s->list = b->next;
    return b;
}

static void *alloc_large(um_heap *h, size_t bytes, size_t align, bool *zeroed) {
    char *p = um_room_take(UM_MODULE_heap, um_ext_place_now(h->place), bytes, align, zeroed);
    um_span *s;
    if (!p)
        return NULL;
    s = um_span_of(p);
    s->bytes = bytes;
    s->holder = mark_of(h, TAG_LARGE);
    um_queue_push(&h->large, s);
    return p;
}

static void *alloc(um_heap *h, size_t bytes, size_t align, bool *zeroed) {
    size_t whole = um_round_up(um_max(bytes, 1), align);
    *zeroed = false;
    if (bytes > PTRDIFF_MAX)
        return NULL;
    if (um_max(whole, align) <= UM_MEDIUM_MAX)
        return alloc_small(h, um_class_of(whole));
    return alloc_large(h, bytes, align, zeroed);
}

static void enter(um_heap *h) {
    if (h->shared)
        um_lock_take(&h->lock);
}

static void leave(um_heap *h) {
    if (h->shared)
        um_lock_drop(&h->lock);
}

static UM_NOINLINE void *alloc_slow(um_heap *h, size_t bytes, size_t align, bool zero) {
    bool zeroed;
    void *p;
    enter(h);
    p = alloc(h, bytes, align, &zeroed);
    leave(h);
    if (um_unlikely(!p))
        errno = ENOMEM;
    else if (zero && !zeroed)
        memset(p, 0, bytes);
    return p;
}

static UM_NOINLINE void *alloc_uncut(um_heap *h, size_t bytes, um_home *m) {
    void *p = take_uncut((um_span *)(void *)m);
    if (um_unlikely(!p))
        return alloc_slow(h, bytes, ALIGN_LEAST, false);
    return p;
}

static UM_NOINLINE void *wake(um_heap *h, void *p) {
    um_unlock_slow(&h->lock);
    return p;
}

/* With the lock, which it drops. */
static UM_NOINLINE void *alloc_uncut_shared(um_heap *h, size_t bytes, um_home *m) {
    void *p = take_uncut((um_span *)(void *)m);
    if (um_unlikely(um_lock_end(&h->lock)))
        um_unlock_slow(&h->lock);
    return p ? p : alloc_slow(h, bytes, ALIGN_LEAST, false);
}

void *um_heap_malloc(um_heap *h, size_t bytes) {
    size_t n = bytes - 1;
    um_home *m;
    um_block *b;
    if (um_likely(n < h->open_bytes)) {
        m = h->small[n >> 4];
        b = m->list;
        if (um_unlikely(!um_block_take(b)))
            return alloc_uncut(h, bytes, m);
        m->list = b->next;
        return b;
    }
    if (um_unlikely(n >= h->locked_bytes) || um_unlikely(!um_lock_try(&h->lock)))
        return alloc_slow(h, bytes, ALIGN_LEAST, false);
    m = h->small[n >> 4];
    b = m->list;
    if (um_unlikely(!um_block_take(b)))
        return alloc_uncut_shared(h, bytes, m);
    m->list = b->next;
    if (um_unlikely(um_lock_end(&h->lock)))
        return wake(h, b);
    return b;
}

/* 0, or EINVAL. */
static int take_apart(um_flags flags, size_t *bytes, size_t *align) {
    unsigned class_and_1 = flags >> CLASS_SHIFT & 0xff;
    if ((flags & ~ALLOC_FLAGS) || (flags & ALIGN_BITS) > LOG2_MAX || class_and_1 > UM_CLASSES)
        return EINVAL;
    *align = um_max((size_t)1 << (flags & ALIGN_BITS), ALIGN_LEAST);
    if (class_and_1)
        *bytes = um_max(*bytes, um_class_bytes(class_and_1 - 1));
    return 0;
}

void *um_heap_alloc(um_heap *h, size_t bytes, um_flags flags) {
    size_t align;
    int err = take_apart(flags, &bytes, &align);
    if (um_unlikely(err)) {
        errno = err;
        return NULL;
    }
    return alloc_slow(h, bytes, align, flags & UM_ZERO);
}

/* --- free --- */

static UM_NOINLINE void free_slow(um_heap *h, void *p) {
    if (!p)
        return;
    enter(h);
    free_block(h, p);
    leave(h);
}

/* Not `leave`: who got the lock by an attempt has it, even between the halves of its own fork. */
static UM_NOINLINE void look_and_end(um_heap *h, um_span *s) {
    look(h, s);
    if (um_lock_end(&h->lock))
        um_unlock_slow(&h->lock);
}

void um_heap_free(um_heap *h, void *p) {
    size_t offset = um_window_offset(p);
    um_span *s;
    if (um_unlikely(!um_window_holds(offset))) {
        free_slow(h, p);
        return;
    }
    s = um_span_at(offset);
    if (um_likely(s->holder == h)) {
        put_first(s, p);
        if (um_unlikely(--s->countdown == 0))
            look(h, s);
    } else if (um_likely(s->holder == (char *)h + TAG_SHARED) && um_likely(um_slab_is_block(s, p)) &&
               um_likely(um_lock_try(&h->lock))) {
        put_first(s, p);
        if (um_unlikely(--s->countdown == 0))
            look_and_end(h, s);
        else if (um_unlikely(um_lock_end(&h->lock)))
            um_unlock_slow(&h->lock);
    } else {
        free_slow(h, p);
    }
}

void um_heap_free_any(um_heap *h, void *p) {
    um_block *b = p, *first;
    bool large;
    if (!p)
        return;
    (void)find_block(h, p, "invalid um_heap_free_any", &large); /* it is live: its record does not change */
    first = atomic_load_explicit(&h->later, memory_order_relaxed); /* the exchange finds out */
    do
        b->next = first;
    while (!atomic_compare_exchange_weak_explicit(&h->later, &first, b, memory_order_release, /* Y1 */
                                                  memory_order_relaxed));
}

/* --- realloc and questions --- */

static size_t usable(const um_span *s, bool large) {
    return large ? um_room_bytes(um_span_start(s)) : s->block_bytes;
}

size_t um_heap_usable_size(um_heap *h, const void *p) {
    bool large;
    const um_span *s = find_block(h, p, "invalid um_heap_usable_size", &large);
    return usable(s, large);
}

bool um_heap_owns(um_heap *h, const void *p) {
    const um_span *s = um_span_of(p);
    bool large;
    if (s && um_span_kind_of(s) == UM_SPAN_NONE) { /* inside of a large block, perhaps */
        bool owned = false;
        enter(h);
        s = h->large;
        if (s)
            do
                owned = (uintptr_t)p - (uintptr_t)um_span_start(s) < um_room_bytes(um_span_start(s));
            while (!owned && (s = s->next) != h->large);
        leave(h);
        return owned;
    }
    return find_span(h, p, &large) != NULL;
}

/* In place; false: it must move. */
static bool resize(um_heap *h, um_span *s, bool large, size_t bytes) {
    size_t old = usable(s, large);
    bool grown;
    if (bytes <= old)
        return bytes > old / 2 || old <= ALIGN_LEAST;
    if (!large)
        return false;
    enter(h);
    grown = um_room_extend(um_span_start(s), bytes);
    if (grown)
        s->bytes = bytes;
    leave(h);
    return grown;
}

void *um_heap_realloc(um_heap *h, void *p, size_t bytes, um_flags flags) {
    size_t align, old;
    bool large;
    um_span *s;
    void *q;
    int err;
    if (!p)
        return um_heap_alloc(h, bytes, flags);
    s = find_block(h, p, "invalid um_heap_realloc", &large);
    err = take_apart(flags, &bytes, &align);
    if (um_unlikely(err)) {
        errno = err;
        return NULL;
    }
    old = usable(s, large);
    if ((uintptr_t)p % align == 0 && !((flags & UM_ZERO) && bytes > old) && resize(h, s, large, bytes))
        return p;
    q = alloc_slow(h, bytes, align, flags & UM_ZERO);
    if (!q)
        return NULL;
    memcpy(q, p, um_min(old, bytes));
    um_heap_free(h, p);
    return q;
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
        give_span(s, slabs ? um_slab_touched(s) : um_room_bytes(um_span_start(s)));
    }
}

static void give_spares(um_heap *h, size_t n) {
    while (n--) {
        um_span *s = take_spare(h);
        give_span(s, s->bytes);
    }
}

/* All of it, blocks in use too. */
static void give_all(um_heap *h) {
    for (each_used(c, h)) {
        heap_bin *bin = &h->bins[c];
        if (bin->current)
            give_span(bin->current, um_slab_touched(bin->current));
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
        give_span(s, touched);
        return;
    }
    *room -= touched;
    make_spare(h, s);
}

/* The current slab of a class stays so, if it was used. */
static void start_anew(um_heap *h, unsigned c, um_span *s) {
    if (s->carved == 0) {
        no_current(h, c);
        give_span(s, um_slab_touched(s));
        return;
    }
    if (s->bytes < UM_SLOT_BYTES)
        s->bytes = um_slab_touched(s);
    s->carved = 0;
    s->list = um_slab_end(s);
    restart(s, UM_COUNTDOWN_NEVER);
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
    for (each_used(c, h)) {
        heap_bin *bin = &h->bins[c];
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
    enter(h);
    reset_all(h);
    leave(h);
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
    enter(h);
    take_later(h);
    for (each_used(c, h)) {
        um_span *s = h->bins[c].current;
        if (!s || um_slab_walk(s, &tail) != s->carved)
            continue;
        no_current(h, c);
        give_span(s, um_slab_touched(s));
    }
    give_spares(h, h->spare_count);
    leave(h);
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
    enter(h);
    take_later(h);
    for (each_used(c, h)) {
        add_current(out, h->bins[c].current);
        add_queue(out, h->bins[c].full, true);
        add_queue(out, h->bins[c].avail, false);
    }
    out->slabs += h->spare_count;
    out->held_bytes = out->slabs * UM_SLOT_BYTES;
    add_large(out, h->large);
    leave(h);
}
