/* A walk of all live blocks. A slab's blocks are live but for those not cut yet, those on its list and on its
   remote word, and those that heaps keep outside of slabs: in class caches, and in chains on their way to
   another thread. The last are found first, in a set of addresses; then slab by slab.

   No thread is stopped. What they change meanwhile is read as the report reads it (front/gather.h): bounded,
   and only in slabs, which stay mapped while the spaces are paused. The visitor runs with nothing locked. */
#include "ext/room.h"
#include "front/aside.h"
#include "front/front.h"
#include "front/gather.h"
#include "slab/remote.h"
#include "space/space.h"
#include "umalloc/umalloc.h"

#include <errno.h>
#include <string.h>

#define BLOCKS_MAX (UM_SLOT_BYTES / 16) /* of a slab */
#define BATCH      64u
#define SPARE      1024u /* blocks that may be freed while we look */

/* Blocks that are free, but not on their slab: open addressing. */
typedef struct kept_set {
    uintptr_t *table; /* NULL: only counts */
    size_t size;      /* a power of two */
    size_t count;
    const um_theap *heap; /* whose caches are looked at; NULL: chains are, whose blocks are others' */
} kept_set;

typedef struct walk {
    kept_set kept;
    bool (*visit)(const um_block_info *block, void *ctx);
    void *ctx;
    int64_t seen;
    bool stopped;
} walk;

static size_t first_place(const kept_set *k, uintptr_t p) {
    return (size_t)((p * 0x9E3779B97F4A7C15ull) >> 20) & (k->size - 1);
}

static void keep(const um_block *b, void *ctx) {
    kept_set *k = ctx;
    uintptr_t p = (uintptr_t)b;
    size_t i;
    /* A cache that changes meanwhile leads astray, to another's live block at worst. relaxed: a check */
    if (k->heap && atomic_load_explicit(&um_span_of(b)->heap, memory_order_relaxed) != k->heap)
        return;
    if (k->table && k->count * 2 < k->size) {
        for (i = first_place(k, p); k->table[i] && k->table[i] != p;)
            i = (i + 1) & (k->size - 1);
        k->table[i] = p;
    }
    k->count++;
}

static bool is_kept(const kept_set *k, const void *p) {
    size_t i = first_place(k, (uintptr_t)p);
    while (k->table[i] && k->table[i] != (uintptr_t)p)
        i = (i + 1) & (k->size - 1);
    return k->table[i] != 0;
}

static __attribute__((no_sanitize("thread"))) void keep_of_heap(um_theap *h, void *ctx) {
    kept_set *k = ctx;
    if (!h->live)
        return;
    um_space_pause();
    k->heap = NULL;
    for (unsigned i = 0; i < UM_OUT_SLOTS; i++) {
        uintptr_t slot = h->out[i].slot;
        const um_span *s = slot ? um_span_of((void *)slot) : NULL;
        if (s && um_span_kind_of(s) == UM_SPAN_SLAB)
            (void)um_gather_list(s, h->out[i].head, s->transit, keep, ctx);
    }
    k->heap = h;
    for (unsigned c = 0; c < UM_CLASSES; c++)
        if (um_bin_cached(&h->bins[c])) {
            (void)um_gather_cached(h->bins[c].cache, h->bins[c].cache->home.list, keep, ctx);
            (void)um_gather_cached(h->bins[c].cache, h->bins[c].cache->rest, keep, ctx);
        }
    um_space_resume();
}

/* False: no memory. */
static bool find_kept(kept_set *k) {
    bool zeroed;
    um_theap_each(keep_of_heap, k);
    k->size = (size_t)2 << um_log2_floor(2 * (k->count + SPARE));
    k->table = um_room_take(UM_MODULE_track, um_room_here(), k->size * sizeof *k->table, 1, &zeroed);
    if (!k->table)
        return false;
    if (!zeroed)
        memset(k->table, 0, k->size * sizeof *k->table);
    k->count = 0;
    um_theap_each(keep_of_heap, k);
    return true;
}

/* Its blocks are numbered by the class alone, read once: a record that is being written may disagree with
 * itself.
 */
typedef struct live_map {
    unsigned class_id;
    uint64_t bits[BLOCKS_MAX / 64];
} live_map;

static void not_live(const um_block *b, void *ctx) {
    live_map *m = ctx;
    size_t i = ((uintptr_t)b & (UM_SLOT_BYTES - 1)) / um_class_bytes(m->class_id);
    m->bits[i / 64] &= ~(1ull << i % 64);
}

static __attribute__((no_sanitize("thread"))) void mark(live_map *m, const um_span *s, const kept_set *kept) {
    /* As R1 publishes links; acquire. */
    uint64_t w = atomic_load_explicit(&s->remote, memory_order_acquire);
    size_t bytes;
    unsigned carved;
    memset(m->bits, 0, sizeof m->bits);
    m->class_id = s->class_id;
    if ((w & (UM_REMOTE_BUSY | UM_REMOTE_PURGED)) || m->class_id >= UM_CLASSES)
        return;
    bytes = um_class_bytes(m->class_id);
    carved = (unsigned)um_min(s->carved, UM_SLOT_BYTES / bytes);
    for (unsigned i = 0; i < carved; i++)
        m->bits[i / 64] |= 1ull << i % 64;
    (void)um_gather_list(s, s->list, carved, not_live, m);
    (void)um_gather_list(s, um_remote_head(s, w), um_remote_count(w), not_live, m);
    for (unsigned i = 0; i < carved; i++) {
        const um_block *b = (const um_block *)(um_span_start(s) + i * bytes);
        if ((m->bits[i / 64] >> i % 64 & 1) && b->self == (uintptr_t)b && is_kept(kept, b))
            not_live(b, m);
    }
}

static void show(walk *w, void *start, size_t bytes, int size_class) {
    um_block_info info = {start, bytes, size_class};
    w->seen++;
    w->stopped = !w->visit(&info, w->ctx);
}

static void show_slab(walk *w, const live_map *m, char *start) {
    for (unsigned i = 0; i < BLOCKS_MAX && !w->stopped; i++)
        if (m->bits[i / 64] >> i % 64 & 1)
            show(w, start + (size_t)i * um_class_bytes(m->class_id), um_class_bytes(m->class_id),
                 (int)m->class_id);
}

/* Slots that the span there has. */
static __attribute__((no_sanitize("thread"))) size_t show_span(walk *w, const um_span *s) {
    live_map m;
    size_t slots = 1, bytes = 0;
    um_span_kind kind;
    um_space_pause();
    kind = um_span_kind_of(s);
    if (kind == UM_SPAN_SLAB)
        mark(&m, s, &w->kept);
    else if (kind == UM_SPAN_LARGE)
        bytes = s->bytes;
    if (kind == UM_SPAN_LARGE || kind == UM_SPAN_FREE || kind == UM_SPAN_CACHED || kind == UM_SPAN_EXT)
        slots = um_max(1, s->slots);
    um_space_resume();
    if (kind == UM_SPAN_SLAB)
        show_slab(w, &m, um_span_start(s));
    else if (kind == UM_SPAN_LARGE)
        show(w, um_span_start(s), bytes, -1);
    return slots;
}

static void show_hardened(walk *w) {
    um_hard_cursor at = {0};
    um_hard_block blocks[BATCH];
    unsigned n;
    while (!w->stopped && (n = um_hard_live(&at, blocks, BATCH)) != 0)
        for (unsigned i = 0; i < n && !w->stopped; i++)
            show(w, blocks[i].start, blocks[i].bytes, -1);
}

int64_t um_walk(bool (*visit)(const um_block_info *block, void *ctx), void *ctx) {
    walk w = {.visit = visit, .ctx = ctx};
    size_t end;
    if (!um_front_heap() && um_aside()) {
        errno = ENOTSUP;
        return -1;
    }
    if (!find_kept(&w.kept))
        return -1;
    /* relaxed: what is opened later is not seen */
    end = atomic_load_explicit(&um_space_window.opened_bytes, memory_order_relaxed) >> UM_SLOT_SHIFT;
    for (size_t i = 0; i < end && !w.stopped;)
        i += show_span(&w, um_space_window.table + i);
    if (um_hard_level && !w.stopped)
        show_hardened(&w);
    um_room_give(w.kept.table, w.kept.size * sizeof *w.kept.table);
    return w.seen;
}
