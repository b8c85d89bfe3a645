/* Blocks beyond the size classes: one span each, rounded to OS pages for the program and to slots for the
   space. A thread keeps a few freed spans for itself (exact lengths only), so that a loop over one size takes
   no lock. Growing tries the slots behind the block, then moves the pages without copying where that pays,
   and leaves copying to the caller. */
#include "heap/heap.h"
#include "os/os.h"
#include "space/space.h"

#define CACHED_SLOTS_MAX 32u    /* 2 MiB */
#define MOVE_BYTES_MIN   UM_MIB /* below, copying is cheaper than two system calls and their faults */
#define ZERO_BY_PURGE                                                                                        \
    (8 * UM_MIB) /* blocks so large are often used in part: untouched pages stay free of charge */
#define SIZE_MAX_BYTES ((size_t)1 << 46)

static size_t slots_for(size_t bytes) {
    return (bytes + UM_SLOT_BYTES - 1) >> UM_SLOT_SHIFT;
}

/* Of the calling thread's node of now: a large block is worth the look, whatever the heap's is, unless the
   heap is to stay at its own. */
static unsigned near(const um_theap *h) {
    return h->placed ? h->node : um_place_look();
}

/* The youngest that is kept, of the length, at the node; where threads have no node, at any. */
static um_span *take_cached(um_theap *h, size_t slots, unsigned node) {
    for (unsigned i = h->large_count; i-- > 0;) {
        um_span *s = h->large[i];
        if (s->slots != slots || (um_unlikely(um_place.homing) && s->node != node))
            continue;
        h->large_count--;
        h->large_bytes -= slots << UM_SLOT_SHIFT;
        for (; i < h->large_count; i++)
            h->large[i] = h->large[i + 1];
        return s;
    }
    return NULL;
}

static void note_slack(um_span *s) {
    um_space_note_slack(s, (((size_t)s->slots << UM_SLOT_SHIFT) - s->bytes) / um_os_page_bytes);
}

static void give_back(um_span *s) {
    um_space_note_slack(s, 0);
    um_space_free(s, s->bytes);
}

static void drop_oldest(um_theap *h) {
    um_span *s = h->large[0];
    h->large_count--;
    for (unsigned i = 0; i < h->large_count; i++)
        h->large[i] = h->large[i + 1];
    h->large_bytes -= (size_t)s->slots << UM_SLOT_SHIFT;
    give_back(s);
}

void um_large_flush(um_theap *h) {
    while (h->large_count)
        drop_oldest(h);
}

static unsigned place_for(um_theap *h) {
    return um_place.homing && !h->placed ? um_place_look() : um_theap_place(h);
}

um_span *um_large_take_slot(um_theap *h) {
    um_span *s = take_cached(h, 1, h->node);
    if (s)
        um_space_note_slack(s, 0); /* a slab has none */
    return s;
}

void um_large_fetch_slots(um_theap *h) {
    um_span *slots[UM_LARGE_CACHE];
    size_t room = um_theap_cache_most() / 2;
    unsigned n, most = UM_LARGE_CACHE - h->large_count;
    room = room > h->large_bytes ? (room - h->large_bytes) >> UM_SLOT_SHIFT : 0;
    n = um_space_take_dirty(h->node, slots, (unsigned)um_min(most, room));
    while (n) {
        um_span *s = slots[--n]; /* the last one freed is taken first */
        atomic_store_explicit(&s->owner, UM_ID_NOBODY,
                              memory_order_relaxed); /* nobody holds an address in it yet */
        um_span_set_kind(s, UM_SPAN_CACHED);
        h->large[h->large_count++] = s;
        h->large_bytes += UM_SLOT_BYTES;
    }
}

void *um_large_alloc(um_theap *h, size_t bytes, size_t align, bool *zeroed) {
    um_span *s = NULL;
    size_t slots;
    bool fresh;
    *zeroed = false;
    if (bytes > SIZE_MAX_BYTES || align > SIZE_MAX_BYTES)
        return NULL;
    slots = slots_for(bytes);
    um_theap_tick_large(h);
    um_theap_follow(h);
    if (slots <= CACHED_SLOTS_MAX && align <= UM_SLOT_BYTES)
        s = take_cached(h, slots, um_unlikely(um_place.homing) ? near(h) : 0);
    fresh = !s; /* what was kept counts as it did */
    h->large_hits += !fresh;
    if (!s)
        s = um_space_alloc(place_for(h), slots, um_max(1, align >> UM_SLOT_SHIFT), zeroed);
    if (!s)
        return NULL;
    s->bytes = um_round_up(bytes, um_os_page_bytes);
    if (fresh)
        note_slack(s);
    atomic_store_explicit(&s->owner, UM_ID_NOBODY,
                          memory_order_relaxed); /* nobody holds an address in it yet */
    um_span_set_kind(s, UM_SPAN_LARGE);
    h->large_allocs++;
    return um_span_start(s);
}

bool um_large_zero(void *p) {
    size_t bytes = um_span_of(p)->bytes;
    return bytes >= ZERO_BY_PURGE && !um_place.strict && um_space_purge_part(p, bytes) == 0;
}

void um_large_free(um_theap *h, um_span *s) {
    size_t bytes = (size_t)s->slots << UM_SLOT_SHIFT;
    if (h)
        h->large_frees++;
    else
        UM_COUNT_ADD(large_frees, 1);
    if (!h || s->slots > CACHED_SLOTS_MAX || s->moved || s->cut || um_span_migrated(s) ||
        bytes > um_theap_cache_most() / 2 || (um_unlikely(um_place.homing) && s->node != near(h))) {
        give_back(s);
        if (h)
            um_theap_tick_large(h);
        return;
    }
    um_span_set_kind(s, UM_SPAN_CACHED);
    while (h->large_count &&
           (h->large_count == UM_LARGE_CACHE || h->large_bytes + bytes > um_theap_cache_most() / 2))
        drop_oldest(h);
    h->large[h->large_count++] = s;
    h->large_bytes += bytes;
    um_theap_tick_large(h);
}

void *um_large_resize(um_theap *h, um_span *s, size_t bytes) {
    um_span *moved;
    size_t slots, old = s->bytes;
    bool zeroed;
    if (bytes > SIZE_MAX_BYTES || bytes <= UM_MEDIUM_MAX)
        return NULL;
    slots = slots_for(bytes);
    bytes = um_round_up(bytes, um_os_page_bytes);
    um_theap_tick_large(h);
    if (slots < s->slots)
        um_space_shrink(s, slots);
    if (slots == s->slots || um_space_extend(s, slots, &zeroed)) {
        s->bytes = bytes;
        note_slack(s);
        UM_COUNT_ADD(realloc_in_place, 1);
        return um_span_start(s);
    }
    if (old < MOVE_BYTES_MIN)
        return NULL;
    um_space_note_slack(s, 0);
    moved = um_space_move(s, slots, old);
    if (!moved) {
        note_slack(s);
        return NULL;
    }
    s = moved;
    s->bytes = bytes;
    note_slack(s);
    atomic_store_explicit(&s->owner, UM_ID_NOBODY,
                          memory_order_relaxed); /* nobody holds an address in it yet */
    um_span_set_kind(s, UM_SPAN_LARGE);
    UM_COUNT_ADD(realloc_moved, 1);
    return um_span_start(s);
}
