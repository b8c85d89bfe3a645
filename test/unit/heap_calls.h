/* What the malloc family does with a heap, for tests below it; and the invariants of a heap, as code: no
   thread may be at work on it meanwhile, nor on the slabs of the other threads. */
#ifndef UM_TEST_HEAP_CALLS_H
#define UM_TEST_HEAP_CALLS_H

#include "heap/heap.h"
#include "slab/remote.h"
#include "space/space.h"

#include "ageless.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

/* A small or medium block of the calling thread's heap. */
static inline void *give(size_t bytes) {
    um_theap *h = um_theap_get();
    return h ? um_theap_alloc(h, um_class_of(bytes)) : NULL;
}

/* As um_front_free does it. */
static inline void take_back(void *p) {
    um_span *s = um_span_of(p);
    um_block *b = p;
    um_home *m = um_home_at(um_window_offset(p));
    if (*um_home_owner(m) == um_thread_id()) {
        um_theap_free(m, b);
    } else if (!um_remote_join(b)) {
        if (um_tls.heap || um_theap_get()) {
            um_remote_start(um_tls.heap, s, b);
        } else {
            b->self = (uintptr_t)b;
            um_remote_push(s, b, b, 1);
        }
    }
}

static inline void run_thread(void *(*f)(void *arg), void *arg) {
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, f, arg), 0);
    cr_assert_eq(pthread_join(t, NULL), 0);
}

/* A thread's last act. */
static inline void leave(void) {
    if (um_tls.heap)
        um_theap_exit(um_tls.heap);
}

struct slab_count {
    unsigned slabs, orphans, large;
};

static inline void count_span(const um_span *s, void *ctx) {
    struct slab_count *n = ctx;
    um_span_kind kind = um_span_kind_of(s);
    n->slabs += kind == UM_SPAN_SLAB;
    n->orphans += kind == UM_SPAN_SLAB && s->place == UM_PLACE_ORPHAN;
    n->large += kind == UM_SPAN_LARGE;
}

static inline struct slab_count count_slabs(void) {
    struct slab_count n = {0, 0, 0};
    um_space_each(0, count_span, &n);
    return n;
}

static inline unsigned local_blocks(const um_span *s) {
    um_block *tail;
    return um_slab_walk(s, &tail);
}

static inline void check_slab(const um_theap *h, const um_span *s, unsigned class_id) {
    cr_assert_eq(um_span_kind_of(s), UM_SPAN_SLAB);
    cr_assert_eq(s->class_id, class_id);
    cr_assert_eq(s->heap, h);
    cr_assert_eq(s->owner, h->owner);
    cr_assert_eq(s->remote & UM_REMOTE_ORPHAN, 0);
    cr_assert_leq(local_blocks(s) + um_remote_count(s->remote), s->carved);
}

static inline size_t check_bin(const um_theap *h, unsigned c) {
    const um_bin *bin = &h->bins[c];
    const um_span *s = bin->current;
    size_t empty = 0;
    cr_assert_not_null(s);
    cr_assert(bin->source == &s->home || (um_bin_cached(bin) && bin->source == &bin->cache->home));
    if (um_bin_cached(bin)) {
        cr_assert_eq(bin->cache->owner, h->owner);
        (void)um_cache_walk(bin->cache);
    }
    if (s != &um_span_none) {
        check_slab(h, s, c);
        cr_assert_eq(s->place, UM_PLACE_CURRENT);
    }
    if ((s = bin->avail) != NULL)
        do {
            unsigned in_use = s->carved - local_blocks(s);
            check_slab(h, s, c);
            cr_assert(s->place == UM_PLACE_AVAIL || s->place == UM_PLACE_EMPTY);
            cr_assert_eq(s->next->prev, s);
            if (s->place == UM_PLACE_AVAIL)
                cr_assert_eq(s->countdown, in_use, "%u %u", s->countdown, in_use);
            else
                cr_assert(in_use == 0 && s->remote % UM_REMOTE_EPOCH_ONE == 0);
            empty += s->place == UM_PLACE_EMPTY ? s->bytes : 0;
            s = s->next;
        } while (s != bin->avail);
    if ((s = bin->full) != NULL)
        do {
            check_slab(h, s, c);
            cr_assert_eq(s->place, UM_PLACE_FULL);
            cr_assert_eq(s->carved, s->capacity);
            cr_assert_eq(local_blocks(s), s->wake - s->countdown);
            cr_assert_lt(local_blocks(s), s->wake);
            s = s->next;
        } while (s != bin->full);
    return empty;
}

static inline void check_heap(const um_theap *h) {
    size_t empty = 0, listed = 0;
    for (unsigned c = 0; c < UM_CLASSES; c++)
        empty += check_bin(h, c);
    for (const um_span *s = h->oldest_empty; s; s = s->age_next) {
        cr_assert_eq(s->place, UM_PLACE_EMPTY);
        cr_assert(s->age_next ? s->age_next->age_prev == s : s == h->youngest_empty);
        listed += s->bytes;
    }
    cr_assert(empty == h->empty_bytes && listed == empty, "%zu %zu %zu", empty, listed, h->empty_bytes);
    cr_assert_leq(h->empty_bytes, h->keep_bytes);
    cr_assert_leq(h->keep_bytes, um_max(um_theap_cache_bytes, UM_KEEP_FIRST));
    if (h == um_tls.heap)
        for (unsigned i = 0; i < UM_SMALL_BINS; i++)
            cr_assert_eq(um_tls.bins[i], h->bins[um_class_of(i * 16 + 1)].source, "bin %u", i);
}

#endif
