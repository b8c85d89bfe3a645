/* The caches of hot classes. A program that frees and allocates in no order gets the block back that it freed
   last, whichever slab it is of: no slab changes its place, and the block is still in the processor's cache.

   Nothing counts the blocks in a cache: malloc has no instruction to spare for it. Known are the frees, and
   that a list is empty when malloc meets its end; from both follows `most`, a bound of the blocks. After
   `limit` frees the list, if it is not short, is set aside as `rest`, and an empty one begun; malloc fetches
   the rest when it meets the list's end. If the rest was not wanted until the next `limit` frees, more is
   freed than allocated: two blocks of the rest go back to their slabs for each that comes in. If it was
   wanted, but most is large, the class's few slabs or a walk tell how many there are, and what is too many
   goes back. Blocks in a cache count as in use with their slabs.

   Blocks that follow each other in one slab are put back together. A program that frees so is done with the
   slab: its next frees go to the slab itself, until it is current again.

   Bounds: where only frees come, each list holds at most twice `limit` blocks; where a heap shrinks slowly,
   both together at most eight times as many. limit starts small. It doubles at each turn that puts none back,
   and when as many were put back and are wanted again; it halves while as many went back and were not, to
   BUSY_BYTES at the least. At most half of the thread cache (UMALLOC_THREAD_CACHE) is one class's limit, and
   all of it after CALM turns in a row that put nothing back: each turn is a slow malloc and a slow free. A
   cache that was not used between two flushes of the heap goes back whole, so that it does not pin the slabs
   of a class that the program has done with. */
#include "heap/heap.h"
#include "os/fatal.h"
#include "space/space.h"

#define FIRST_BYTES     16384u
#define FIRST_MAX       16u
#define BUSY_BYTES      131072u
#define LIMIT_MIN       2u
#define CALM            8u                    /* turns */
#define SHORT           8u                    /* blocks; a list of fewer is not worth setting aside */
#define PUT_BACK_BLOCKS 16u                   /* bounds the time of most looks */
#define RUN             8u                    /* blocks of one slab in a row */
#define COUNT_FROM      (UM_CACHE_LIMITS - 1) /* to count takes a miss of the processor cache a block */

static uint16_t clamp(size_t blocks, size_t most) {
    return (uint16_t)um_max(LIMIT_MIN, um_min(blocks, most));
}

static uint16_t limit_max(const um_class_cache *k) {
    unsigned most = clamp(um_theap_cache_most() / 2 / um_class_bytes(k->class_id), UM_CACHE_LIMIT_MAX / 2);
    return (uint16_t)(k->calm < CALM ? most : 2 * most);
}

static uint16_t limit_min(const um_class_cache *k) {
    return (uint16_t)um_min(clamp(FIRST_BYTES / um_class_bytes(k->class_id), FIRST_MAX), limit_max(k));
}

/* A class that went beyond that once is busy: with less it would take a slow path every few frees. */
static uint16_t limit_busy(const um_class_cache *k) {
    return (uint16_t)um_min(clamp(BUSY_BYTES / um_class_bytes(k->class_id), FIRST_MAX), limit_max(k));
}

static um_bin *bin_of(const um_class_cache *k) {
    return &k->heap->bins[k->class_id];
}

static void count_frees(um_class_cache *k) {
    uint32_t n = k->home.mark - k->home.countdown;
    k->home.mark = k->home.countdown;
    k->since += n;
    k->most += n;
    bin_of(k)->frees += n;
}

static void restart(um_class_cache *k) {
    uint32_t left = k->since < k->limit ? k->limit - k->since : 1;
    count_frees(k);
    k->home.mark = k->home.countdown = k->heap->armed ? (uint32_t)um_min(UM_HURRY, left) : left;
}

static void begin(um_class_cache *k) {
    k->home.list = k->rest = &k->end;
    k->since = k->gave = k->most = 0;
    k->calm = 0;
    k->limit = limit_min(k);
    restart(k);
}

void um_cache_open(um_theap *h, um_bin *bin) {
    um_class_cache *k = bin->cache;
    if (um_theap_cache_most() == 0)
        return;
    if (!k && !(k = um_space_meta(h->node, sizeof *k)))
        return; /* the class goes on without */
    bin->cache = k;
    k->home.place = UM_PLACE_CACHE;
    k->heap = h;
    k->class_id = bin->class_id;
    atomic_store_explicit(&k->owner, h->owner, memory_order_relaxed); /* no slab has its home here yet */
    begin(k);
}

void um_cache_close_all(um_theap *h) {
    for (unsigned c = 0; c < UM_CLASSES; c++)
        if (h->bins[c].cache)
            h->bins[c].cache->limit = 0;
}

void um_cache_damaged(const um_class_cache *k, const void *block) {
    const um_span *s = um_span_of(block);
    if (s && um_span_kind_of(s) == UM_SPAN_SLAB)
        um_slab_damaged(s, block);
    um_fatal("freed memory was written to", block, um_class_bytes(k->class_id),
             "a free-list link leads there");
}

static bool is_of_class(const um_class_cache *k, const um_span *s) {
    return s && um_span_kind_of(s) == UM_SPAN_SLAB && s->class_id == k->class_id;
}

/* The slab of the next block on a list; `before` leads to it, or is NULL. */
static um_span *slab_of(const um_class_cache *k, const um_block *b, const um_block *before) {
    um_span *s = um_span_of(b);
    if (um_likely(is_of_class(k, s)))
        return s;
    if (!before)
        um_cache_damaged(k, b);
    s = um_span_of(before);
    if (b == um_slab_end(s))
        um_fatal("double free", before, s->block_bytes, "it is on two free lists");
    um_fatal("freed memory was written to", before, s->block_bytes, "its free-list link is damaged");
}

static void check_block(const um_span *s, const um_block *b) {
    if (um_unlikely(!um_slab_is_block(s, b)))
        um_fatal("invalid free", b, s->block_bytes, "not the start of a block");
    if (um_unlikely(um_slab_index(s, b) >= s->carved))
        um_fatal("invalid free", b, s->block_bytes, "never handed out");
    if (um_unlikely(b->self != (uintptr_t)b))
        um_slab_damaged(s, b);
}

/* Gives up to *left blocks of a list back, those that follow each other in one slab at once. Returns what
   remains of the list, and in *left how many more it would have given. */
static um_block *put_back(const um_class_cache *k, um_block *b, unsigned *left) {
    um_block *last = NULL;
    while (*left && b != &k->end) {
        um_span *s = slab_of(k, b, last);
        um_block *first = b;
        bool current = s->place == UM_PLACE_CURRENT;
        unsigned run = 0, most = (unsigned)um_min(*left, current ? s->carved : s->countdown);
        if (um_unlikely((!current && s->place != UM_PLACE_FULL && s->place != UM_PLACE_AVAIL) || most == 0))
            um_slab_damaged(s, b);
        do {
            check_block(s, b);
            last = b;
            b = b->next;
        } while (++run < most && ((uintptr_t)b ^ (uintptr_t)first) < UM_SLOT_BYTES);
        last->next = s->list;
        s->list = first;
        *left -= run;
        if (current)
            continue;
        if (run >= RUN)
            um_home_set(s, &s->home);
        s->mark -= run; /* the cache has counted them */
        s->countdown -= run;
        if (s->countdown == 0)
            um_theap_slab_event(s);
    }
    return b;
}

/* The list is taken out meanwhile: a slab that empties may have the heap flush its caches. */
static unsigned put_back_from(um_class_cache *k, um_block **list, unsigned n) {
    um_block *b = *list;
    unsigned left = n;
    *list = &k->end;
    *list = put_back(k, b, &left);
    k->gave += n - left;
    k->most -= (uint32_t)um_min(k->most, n - left);
    return n - left;
}

/* Nothing is left, and slabs must serve. */
static void widen(um_class_cache *k) {
    size_t most = limit_max(k);
    for (; k->gave >= k->limit && k->limit < most; k->limit = (uint16_t)um_min(2u * k->limit, most))
        k->gave -= k->limit;
    k->gave = 0;
}

bool um_cache_fetch(um_class_cache *k) {
    k->stirred = true;
    if (k->home.list == &k->end) {
        restart(k);
        if (k->rest == &k->end) {
            k->most = 0;
            widen(k);
            return false;
        }
        k->most = k->rest_most;
        k->home.list = k->rest;
        k->rest = &k->end;
    }
    um_theap_show(k->heap, bin_of(k), &k->home);
    return true;
}

/* Blocks on a list, of which there are no more than `most`, and none is met twice. */
static unsigned walk(const um_class_cache *k, const um_block *b, uint32_t most) {
    const um_block *before = NULL;
    uint32_t n = 0;
    for (; b != &k->end; before = b, b = b->next) {
        const um_span *s = slab_of(k, b, before);
        check_block(s, b);
        if (um_unlikely(n++ == most))
            um_fatal("double free", b, s->block_bytes, "it is on the free list twice");
    }
    return n;
}

unsigned um_cache_walk(const um_class_cache *k) {
    uint32_t most = k->most + (k->home.mark - k->home.countdown), n = walk(k, k->home.list, most);
    return n + walk(k, k->rest, most - n);
}

unsigned um_cache_look(const um_class_cache *k, unsigned most) {
    const um_block *b = k->home.list, *before = NULL, *seen = NULL;
    unsigned n = 0;
    while (n < most && b != &k->end) {
        const um_span *s = slab_of(k, b, before);
        check_block(s, b);
        if (um_unlikely(b == seen))
            um_fatal("double free", b, s->block_bytes, "it is on the free list twice");
        if (um_is_pow2(++n)) /* in a ring, one that was seen so late comes by again */
            seen = b;
        before = b;
        b = b->next;
    }
    return n;
}

/* As um_cache_walk where nothing is set aside, of the first `most` blocks and with fewer checks: it is part
   of steady use. */
static uint32_t count(const um_class_cache *k, uint32_t most) {
    const um_block *b = k->home.list, *before = NULL;
    uint32_t n = 0;
    for (; b != &k->end && n < most; n++, before = b, b = b->next)
        if (um_unlikely(!um_window_holds(um_window_offset(b))))
            (void)slab_of(k, b, before);
    return n;
}

static uint32_t cut_in_queue(const um_span *first, uint32_t enough) {
    const um_span *s = first;
    uint32_t n = 0;
    while (s && n <= enough) {
        n += s->carved;
        s = s->next == first ? NULL : s->next;
    }
    return n;
}

/* There are no more blocks than the class's slabs were cut into. A few slabs tell faster than many blocks; if
   it is more than `enough`, by how much is not said. */
static uint32_t cut_blocks(const um_bin *bin, uint32_t enough) {
    uint32_t n = bin->current->carved;
    n += cut_in_queue(bin->avail, enough);
    return n + cut_in_queue(bin->full, enough);
}

static void set_aside(um_class_cache *k) {
    k->rest = k->home.list;
    k->rest_most = k->most;
    k->home.list = &k->end;
    k->since = 0;
}

static void put_rest_back(um_class_cache *k) {
    unsigned n = put_back_from(k, &k->rest, PUT_BACK_BLOCKS);
    k->calm = 0;
    k->limit = (uint16_t)um_min(k->limit, limit_max(k));
    k->rest_most -= (uint32_t)um_min(k->rest_most, n);
    if (k->gave >= k->limit)
        k->limit = (uint16_t)um_max(k->limit / 2u, um_min(k->limit, limit_busy(k)));
    if (k->rest == &k->end) {
        set_aside(k);
    } else {
        k->since = k->limit - (uint32_t)um_min(k->limit, PUT_BACK_BLOCKS / 2);
    }
}

/* Looks how many blocks there are, and gives back what is too many. */
static void give_too_many(um_class_cache *k) {
    uint32_t bound = 2u * k->limit, n = cut_blocks(bin_of(k), bound);
    if (n > bound)
        n = count(k, k->most + 1);
    k->most = n > k->most ? um_cache_walk(k) : n; /* more than there can be: the walk tells why */
    if (k->most <= bound)
        return;
    k->calm = 0;
    n = (uint32_t)um_min(k->most - k->limit, um_max(k->limit / 2u, 4 * PUT_BACK_BLOCKS));
    (void)put_back_from(k, &k->home.list, n);
}

/* Nothing is set aside: it was wanted, or never was. */
static void turn_over(um_class_cache *k) {
    if (count(k, SHORT) < SHORT) {
        k->most = SHORT;
        k->since = 0;
    } else {
        if (k->most > COUNT_FROM * k->limit)
            give_too_many(k);
        set_aside(k);
    }
    if (k->calm < CALM)
        k->calm++;
    k->limit = (uint16_t)um_min(2u * k->limit, limit_max(k));
}

void um_cache_event(um_class_cache *k) {
    um_theap *h = k->heap;
    um_bin *bin = bin_of(k);
    count_frees(k);
    k->stirred = true;
    um_theap_tick(h);
    h->armed = h->armed && um_space_uneasy();
    if (bin->source != &k->home) {
        um_theap_show(h, bin, &k->home); /* the slab's blocks can wait: these are warm */
        k->since = 0;
    } else if (k->since >= k->limit) {
        if (k->rest == &k->end)
            turn_over(k);
        else
            put_rest_back(k);
    }
    restart(k);
}

void um_cache_hurry(um_class_cache *k) {
    count_frees(k);
    restart(k);
}

void um_cache_flush(um_class_cache *k) {
    um_block *list = k->home.list, *rest = k->rest;
    unsigned left;
    count_frees(k);
    left = k->most + 1; /* one more than there are: then it goes round in a ring */
    begin(k);
    list = put_back(k, list, &left);
    if (um_likely(list == &k->end))
        list = put_back(k, rest, &left);
    if (um_unlikely(left == 0))
        um_fatal("double free", list, um_class_bytes(k->class_id), "it is on the free list twice");
}

/* No free since the last look, nor so many mallocs that one took the slow path. */
static bool is_idle(const um_class_cache *k) {
    return !k->stirred && k->home.countdown == k->seen;
}

void um_cache_flush_all(um_theap *h, bool only_idle) {
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_bin *bin = &h->bins[c];
        if (!um_bin_cached(bin))
            continue;
        if (!only_idle || is_idle(bin->cache))
            um_cache_flush(bin->cache);
        bin->cache->stirred = false;
        bin->cache->seen = bin->cache->home.countdown;
    }
}
