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
#include "ext/heap.h"
#include "ext/place.h"
#include "os/fatal.h"
#include "space/space.h"

#include <errno.h>
#include <string.h>

#define ALIGN_BITS  ((um_flags)63)
#define ALIGN_LEAST ((size_t)16)
#define LOG2_MAX    36u
#define CLASS_SHIFT 8u
#define ALLOC_FLAGS (ALIGN_BITS | UM_ZERO | (um_flags)0xff << CLASS_SHIFT)

/* --- spans --- */

/* The record of the heap's slab or large block that holds p; NULL: it is none of the heap's. */
static um_span *find_span(um_heap *h, const void *p, bool *large) {
    um_span *s = um_span_of(p);
    if (!s || um_span_kind_of(s) != UM_SPAN_EXT)
        return NULL;
    *large = s->holder == um_heap_mark(h, UM_TAG_LARGE);
    return *large || s->holder == um_heap_mark(h, 0) ? s : NULL;
}

static void make_current(um_heap *h, unsigned c, um_span *s) {
    um_heap_restart(s, UM_COUNTDOWN_NEVER);
    s->place = UM_PLACE_CURRENT;
    h->bins[c].current = s;
    h->used[c / 64] |= (uint64_t)1 << c % 64;
    um_heap_show(h, c, &s->home);
}

/* --- the owner's look --- */

static unsigned class_of_slab(const um_span *s) {
    return um_class_of(s->block_bytes);
}

static void check_empty(const um_span *s) {
    um_block *tail;
    if (um_slab_walk(s, &tail) != s->carved)
        um_fatal("double free", s->list, s->block_bytes, "more frees than blocks in use");
}

/* The countdown reached 0. */
static UM_NOINLINE void look(um_heap *h, um_span *s) {
    um_heap_bin *bin = &h->bins[class_of_slab(s)];
    if (s->place == UM_PLACE_FULL) {
        um_queue_remove(&bin->full, s);
        s->place = UM_PLACE_AVAIL;
        um_heap_restart(s, s->capacity - s->wake);
        um_queue_push(&bin->avail, s);
        if (s->countdown)
            return;
    }
    if (s->place != UM_PLACE_AVAIL)
        um_fatal("double free", s->list, s->block_bytes, "no block of its slab is in use");
    check_empty(s);
    um_queue_remove(&bin->avail, s);
    if (h->spares)
        um_heap_give_span(s, um_slab_touched(s));
    else
        um_heap_make_spare(h, s);
}

UM_INLINE void put_first(um_span *s, um_block *b) {
    b->next = s->list;
    b->self = (uintptr_t)b;
    s->list = b;
}

static void free_large(um_heap *h, um_span *s) {
    um_queue_remove(&h->large, s);
    um_heap_give_span(s, um_room_bytes(um_span_start(s)));
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
void um_heap_take_later(um_heap *h) {
    um_block *b = atomic_exchange_explicit(&h->later, NULL, memory_order_acquire);
    while (b) {
        um_block *next = b->next;
        free_block(h, b);
        b = next;
    }
}

/* --- allocation --- */

static um_span *fresh_slab(um_heap *h, unsigned c) {
    um_span *s = um_heap_take_spare(h);
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
    s->holder = um_heap_mark(h, 0);
    return s;
}

/* A full slab that is not: too few blocks came back to wake it. For when there is no memory. */
static um_span *nearly_full(um_heap_bin *bin) {
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
    um_heap_bin *bin = &h->bins[c];
    um_span *s = bin->current;
    if (atomic_load_explicit(&h->later, memory_order_relaxed)) /* a peek */
        um_heap_take_later(h);
    while (!s || (s->list == um_slab_end(s) && !has_uncut(s) && !um_slab_carve(s, UM_CARVE_BYTES))) {
        if (s) {
            s->place = UM_PLACE_FULL;
            um_heap_restart(s, s->wake);
            um_queue_push(&bin->full, s);
        }
        um_heap_no_current(h, c);
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
    s->holder = um_heap_mark(h, UM_TAG_LARGE);
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

static UM_NOINLINE void *alloc_slow(um_heap *h, size_t bytes, size_t align, bool zero) {
    bool zeroed;
    void *p;
    if (um_unlikely(h->parked))
        um_fatal("allocation in a heap", h, bytes, "the heap has ended");
    do {
        um_heap_enter(h);
        p = alloc(h, bytes, align, &zeroed);
        um_heap_leave(h);
    } while (um_unlikely(!p) && um_heap_drop_parked());
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
    um_heap_enter(h);
    free_block(h, p);
    um_heap_leave(h);
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
    } else if (um_likely(s->holder == (char *)h + UM_TAG_SHARED) && um_likely(um_slab_is_block(s, p)) &&
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
        um_heap_enter(h);
        s = h->large;
        if (s)
            do
                owned = (uintptr_t)p - (uintptr_t)um_span_start(s) < um_room_bytes(um_span_start(s));
            while (!owned && (s = s->next) != h->large);
        um_heap_leave(h);
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
    um_heap_enter(h);
    grown = um_room_extend(um_span_start(s), bytes);
    if (grown)
        s->bytes = bytes;
    um_heap_leave(h);
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
