/* The owner's side of a heap. A slab is current (serves its class), available (has free blocks), empty
   (available with no block in use: any class may take it, and the oldest go back first), or full (had no free
   block when parked); the places are um_slab_place.

   One countdown a slab tells when its owner must look (um_theap_event), so that a local free only decrements:
   - current and cold: at every free, when it may be empty, so that a thread that touched many classes once
   keeps little; current and hot: never, for its frees go to the class's cache (cache.c);
   - full: after a few frees, then it is worth using again;
   - available: the number of blocks in use, so that 0 means empty.
   Blocks in use = cut - on the local list - on the remote list.

   Bounds: empty slabs hold at most the thread cache, and little in a thread that did little. */
#include "heap/heap.h"
#include "heap/queue.h"
#include "os/fatal.h"
#include "os/os.h"
#include "slab/remote.h"
#include "space/pin.h"
#include "space/space.h"

#define KEEPER_BYTES   8192u
#define UNEASY_EVERY   8u /* slow paths between two looks at the clock while much is dirty; 1 if quiet */
#define MORE_PAGES     4u /* at a time, of a class that fills slabs */
#define MANY_BYTES     (8 * UM_SLOT_BYTES)
#define MANY_BLOCKS    32u /* a slab of so many is filled long enough for the space's lock not to matter */
#define FLUSH_EVERY    256u
#define PRESSED_EVERY  32u  /* beyond the soft limit */
#define YOUNG_TICKS    512u /* a heap that had fewer is looked through whenever it grows */
#define PATROL_CLASSES 8u
#define MOVE_TICKS     16384u
#define PATIENCE_MAX   128u
#define GROWTH_TICKS   16u /* a slab of fresh memory counts as so many: idle classes may spare the next */

_Atomic(size_t) um_theap_cache_bytes = UM_MIB;

void um_theap_set_cache(size_t bytes) {
    atomic_store_explicit(&um_theap_cache_bytes, bytes, memory_order_relaxed);
    um_remote_set_length();
}

/* Counts the local frees since the last call and starts a new countdown. */
static void restart(um_bin *bin, um_span *s, uint32_t countdown) {
    bin->frees += s->mark - s->countdown;
    s->mark = s->countdown = countdown;
}

void um_theap_show(um_theap *h, um_bin *bin, um_home *m) {
    unsigned i = um_class_first_bin(bin->class_id);
    bin->source = m;
    if (i >= UM_SMALL_BINS || h != um_tls.heap)
        return;
    um_tls.bins[i] = m;
    um_tls.bins[um_class_last_bin(bin->class_id)] = m;
}

void um_theap_sync_tls(um_theap *h) {
    for (unsigned c = 0; c < UM_CLASSES; c++)
        um_theap_show(h, &h->bins[c], h->bins[c].source);
}

/* Local frees of the slab go where its class has them. */
static void settle(um_bin *bin, um_span *s) {
    um_home_set(s, um_bin_cached(bin) ? &bin->cache->home : &s->home);
}

static uint32_t current_countdown(const um_theap *h, const um_bin *bin) {
    if (bin->heat < UM_HOT)
        return 1;
    if (h->armed && !um_bin_cached(bin))
        return UM_HURRY;
    return UM_COUNTDOWN_NEVER;
}

static void make_current(um_theap *h, um_bin *bin, um_span *s) {
    restart(bin, s, current_countdown(h, bin));
    s->place = UM_PLACE_CURRENT;
    bin->current = s;
    settle(bin, s);
    um_theap_show(h, bin, &s->home);
}

static void no_current(um_theap *h, um_bin *bin) {
    bin->current = &um_span_none;
    um_theap_show(h, bin, &um_span_none.home);
}

static void warm(um_theap *h, um_bin *bin) {
    if (bin->heat < UM_HOT && ++bin->heat == UM_HOT) {
        um_cache_open(h, bin);
        if (bin->current != &um_span_none)
            settle(bin, bin->current);
    }
}

/* Much is dirty: let every class come by after a few frees. */
static void arm(um_theap *h) {
    h->armed = true;
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_bin *bin = &h->bins[c];
        if (um_bin_cached(bin))
            um_cache_hurry(bin->cache);
        else if (bin->current != &um_span_none && bin->heat >= UM_HOT)
            restart(bin, bin->current, UM_HURRY);
    }
}

/* The heap's part of giving a slab back. */
static void let_go(um_theap *h, um_span *s) {
    um_bin *bin = &h->bins[s->class_id];
    restart(bin, s, UM_COUNTDOWN_NEVER);
    bin->flushes++;
    s->place = UM_PLACE_NONE;
    um_home_set(s, NULL);
    /* relaxed: no block of the slab is in anybody's hands */
    atomic_store_explicit(&s->owner, UM_ID_NOBODY, memory_order_relaxed);
    atomic_store_explicit(&s->heap, NULL, memory_order_relaxed);
    s->bytes = um_slab_touched(s);
}

void um_theap_release(um_theap *h, um_span *s) {
    let_go(h, s);
    um_space_free(s, s->bytes);
}

/* Takes an empty slab out of the heap's list of them and of its class's queue. */
static void unlist_empty(um_theap *h, um_span *s) {
    if (s->age_next)
        s->age_next->age_prev = s->age_prev;
    else
        h->youngest_empty = s->age_prev;
    if (s->age_prev)
        s->age_prev->age_next = s->age_next;
    else
        h->oldest_empty = s->age_next;
    h->empty_bytes -= s->bytes;
    h->empty_low = um_min(h->empty_low, h->empty_bytes);
    um_queue_remove(&h->bins[s->class_id].avail, s);
}

/* s is the last of its class's queue: slabs in use fill up first. */
static void list_empty(um_theap *h, um_span *s) {
    s->place = UM_PLACE_EMPTY;
    s->age_next = NULL;
    s->age_prev = h->youngest_empty;
    if (s->age_prev)
        s->age_prev->age_next = s;
    else
        h->oldest_empty = s;
    h->youngest_empty = s;
    s->bytes = um_slab_touched(s);
    h->empty_bytes += s->bytes;
}

/* Gives the oldest empty slabs back until at most keep_bytes are left. */
static void release_oldest(um_theap *h, size_t keep_bytes) {
    um_span *list = NULL, **end = &list;
    while (h->empty_bytes > keep_bytes) { /* each has been cut, so each has bytes */
        um_span *s = h->oldest_empty;
        unlist_empty(h, s);
        let_go(h, s);
        s->next = NULL;
        *end = s;
        end = &s->next;
    }
    um_space_free_list(list);
}

/* Half of what lay idle for a while is too much to keep. */
static void release_idle(um_theap *h) {
    size_t idle = um_min(h->empty_low, h->empty_bytes) / 2;
    h->keep_bytes = um_max(UM_KEEP_FIRST, h->keep_bytes - um_min(h->keep_bytes, idle));
    release_oldest(h, h->empty_bytes - idle);
    h->empty_low = h->empty_bytes;
}

/* The soft limit is exceeded: nothing is kept. */
static UM_COLD void relieve(um_theap *h) {
    UM_COUNT_ADD(soft_limit_hits, 1);
    um_theap_flush_empty(h);
    um_large_flush(h);
    if (h == um_tls.heap) /* not from within, of a heap that is being handed over */
        um_theap_retire_parked();
    um_space_relieve();
}

/* Not while the heap is being handed over: its stack is closed, and stays so. Only its owner closes it. */
static void take_pending(um_theap *h) {
    const um_span *top = atomic_load_explicit(&h->pending, memory_order_relaxed); /* a peek */
    /* A2: acquire pairs with R2 in remote.c: the links of the stack are ours to read. */
    if (top && top != UM_PENDING_CLOSED)
        um_theap_drain(h, atomic_exchange_explicit(&h->pending, NULL, memory_order_acquire));
}

static UM_NOINLINE void tick_due(um_theap *h) {
    uint64_t now, seen = atomic_load_explicit(&h->seen_ms, memory_order_relaxed); /* our own store */
    bool away, pressed = um_space_excess() != 0;
    if (!h->armed && um_space_uneasy())
        arm(h);
    now = um_space_tick();
    away = now - seen >= UM_SPACE_SETTING(decay_ms);
    h->look_at = h->ticks + (h->armed && now - seen >= UM_SPACE_SETTING(decay_ms) / 8 ? 1 : UM_TICK_EVERY);
    atomic_store_explicit(&h->seen_ms, now, memory_order_relaxed); /* hint */
    um_spare_renew(h, now);
    um_stranded_purge(now);
    um_theap_retire_due(now);
    if (away || h->ticks - h->flushed_at >= (pressed ? PRESSED_EVERY : FLUSH_EVERY)) {
        h->flushed_at = h->ticks;
        um_remote_flush(h);
        um_cache_flush_all(h, !away && !pressed);
        take_pending(h); /* slabs that others emptied: who wants no slab would not come by for them */
        if (pressed)
            relieve(h);
        else
            release_idle(h);
        um_theap_patrol(h, PATROL_CLASSES);
        if (away)
            um_space_trim_idle(); /* what has just come back lay unused for that long */
    }
}

/* The scheduler moves threads for a moment, too: only several looks in a row count. */
static UM_NOINLINE void look_at_node(um_theap *h) {
    if (h != um_tls.heap || h->placed || um_place_look() == h->node)
        h->astray = 0;
    else if (h->astray < h->patience)
        h->astray++;
}

/* uneasy_every: ticks between two looks while much is dirty. */
UM_INLINE void tick(um_theap *h, uint32_t uneasy_every) {
    if (um_unlikely(um_place.homing))
        look_at_node(h);
    ++h->ticks;
    if (um_unlikely((int32_t)(h->ticks - h->look_at) >= 0 ||
                    (h->ticks % uneasy_every == 0 && um_space_uneasy())))
        tick_due(h);
}

void um_theap_tick(um_theap *h) {
    tick(h, UNEASY_EVERY);
}

void um_theap_tick_large(um_theap *h) {
    tick(h, 1);
}

/* s has no block in use and is the last of its class's queue: keeps it for the next refill, or gives the
 * oldest back. */
static void keep_or_release(um_theap *h, um_bin *bin, um_span *s) {
    restart(bin, s, 1);
    list_empty(h, s);
    if (um_likely(h->empty_bytes <= h->keep_bytes))
        return;
    h->gave_back |= s->bytes > KEEPER_BYTES; /* one hardly used is not missed */
    /* Where that is many slabs, half of them at once: the next ones to become empty take no lock then. */
    release_oldest(h, h->keep_bytes >= MANY_BYTES ? h->keep_bytes / 2 : h->keep_bytes);
    um_theap_tick(h);
}

/* Cold slabs, and those of fewer than 32 blocks, are checked when their owner looks: cheap there, and it
   finds a double free that would else hand a block out twice. */
static void check_double_free(const um_bin *bin, const um_span *s) {
    um_block *tail;
    if (s->wake == 1) /* few blocks, freed long ago maybe: waited for all at once, not one after the other */
        for (unsigned i = 0; i < s->carved; i++)
            __builtin_prefetch(um_span_start(s) + i * s->block_bytes);
    if ((bin->heat < UM_HOT || s->wake == 1) && um_slab_walk(s, &tail) != s->carved)
        um_fatal("double free", s->list, s->block_bytes, "more frees than blocks in use");
}

/* An available slab has no block in use. A slab whose token is out stays until the token comes in. */
static UM_NOINLINE void became_empty(um_theap *h, um_bin *bin, um_span *s) {
    /* relaxed: no block is out, so nobody else changes the word but to clear the token, which drain would
     * tell us */
    if (atomic_load_explicit(&s->remote, memory_order_relaxed) & UM_REMOTE_PENDING) {
        restart(bin, s, 0);
        return;
    }
    check_double_free(bin, s);
    if (bin->avail->prev != s) {
        um_queue_remove(&bin->avail, s);
        um_queue_push(&bin->avail, s);
    }
    keep_or_release(h, bin, s);
}

static void make_available(um_theap *h, um_bin *bin, um_span *s, uint32_t in_use) {
    s->place = UM_PLACE_AVAIL;
    restart(bin, s, in_use);
    um_queue_push(&bin->avail, s);
    if (in_use == 0)
        became_empty(h, bin, s);
}

/* The block freed last is not among those that other threads freed. A7: acquire pairs with R1: their links
   may be read; they stay until we take them. */
static void check_remote_double(const um_span *s) {
    uint64_t w = atomic_load_explicit(&s->remote, memory_order_acquire);
    const um_block *b = um_remote_head(s, w);
    for (unsigned n = um_remote_count(w); n--; b = b->next)
        if (b == s->list)
            um_fatal("double free", b, s->block_bytes, "another thread freed it before");
}

/* The first few classes that a thread uses may keep a current slab that is empty, if it is small. */
static bool may_keep(um_theap *h, const um_span *s) {
    for (unsigned i = 0; i < h->keepers; i++)
        if (h->keeper[i] == s->class_id)
            return true;
    if (h->keepers == UM_KEEPERS_MAX || um_slab_touched(s) > KEEPER_BYTES)
        return false;
    h->keeper[h->keepers++] = s->class_id;
    return true;
}

/* A look at a current slab that is cold, or while armed. */
static UM_NOINLINE void look_at_current(um_theap *h, um_bin *bin, um_span *s) {
    um_block *tail;
    uint32_t in_use;
    um_theap_tick(h);
    if (bin->heat >= UM_HOT) { /* and no cache */
        h->armed = h->armed && um_space_uneasy();
        restart(bin, s, current_countdown(h, bin));
        return;
    }
    warm(h, bin);
    in_use = s->carved - um_slab_walk(s, &tail);
    check_remote_double(s);
    if (in_use || bin->heat >= UM_HOT || may_keep(h, s) ||
        (atomic_load_explicit(&s->remote, memory_order_relaxed) & UM_REMOTE_UNSETTLED)) { /* a hint */
        restart(bin, s, current_countdown(h, bin));
        return;
    }
    no_current(h, bin);
    um_queue_push(&bin->avail, s);
    keep_or_release(h, bin, s);
}

static UM_NOINLINE void wake_full(um_theap *h, um_bin *bin, um_span *s) {
    um_queue_remove(&bin->full, s);
    make_available(h, bin, s, s->capacity - s->wake);
}

void um_theap_slab_event(um_span *s) {
    um_theap *h = atomic_load_explicit(&s->heap, memory_order_relaxed); /* owner: its own store */
    um_bin *bin = &h->bins[s->class_id];
    switch (s->place) {
    case UM_PLACE_CURRENT:
        look_at_current(h, bin, s);
        break;
    case UM_PLACE_FULL:
        wake_full(h, bin, s);
        break;
    case UM_PLACE_AVAIL:
        became_empty(h, bin, s);
        break;
    default: /* an empty slab */
        um_fatal("double free", s->list, s->block_bytes, "no block of its slab is in use");
    }
}

void um_theap_event(um_home *m) {
    um_theap *h;
    unsigned class_id;
    if (m->place == UM_PLACE_CACHE) {
        um_class_cache *k = (um_class_cache *)(void *)m;
        h = k->heap;
        class_id = k->class_id;
        um_cache_event(k);
    } else {
        um_span *s = (um_span *)(void *)m;
        h = atomic_load_explicit(&s->heap, memory_order_relaxed); /* owner: its own store */
        class_id = s->class_id;
        um_theap_slab_event(s);
    }
    if (um_unlikely(um_spare_wanted()))
        um_spare_look(h, class_id);
    um_theap_follow(h);
}

/* A1: takes the blocks that others freed; acquire pairs with R1 in remote.c, so their links are ours to read.
   Release: the next holder of the token may write pending_next, which we have read. */
static unsigned collect(um_bin *bin, um_span *s, uint64_t also_clear, um_block **head) {
    uint64_t w =
        atomic_fetch_and_explicit(&s->remote, ~(UM_REMOTE_LIST_MASK | also_clear), memory_order_acq_rel);
    unsigned n = um_remote_count(w);
    *head = um_remote_head(s, w);
    bin->frees += n;
    return n;
}

static bool collect_current(um_bin *bin, um_span *s) {
    um_block *head;
    /* relaxed: a peek that spares the locked instruction; the take itself synchronises */
    if (!(atomic_load_explicit(&s->remote, memory_order_relaxed) & UM_REMOTE_LIST_MASK))
        return false;
    (void)collect(bin, s, 0, &head);
    s->list = head;
    return true;
}

/* A full slab comes back with the blocks that others freed; the few that we freed go first. */
static void drain_full(um_theap *h, um_bin *bin, um_span *s) {
    um_block *head, *tail;
    unsigned local = um_slab_walk(s, &tail);
    unsigned n = collect(bin, s, UM_REMOTE_PENDING, &head);
    if (tail)
        tail->next = head;
    else
        s->list = head;
    um_queue_remove(&bin->full, s);
    make_available(h, bin, s, s->capacity - local - n);
}

/* An available slab: the remote list stays where it is unless the local one is empty, so no list is walked.
 */
static void drain_available(um_theap *h, um_bin *bin, um_span *s) {
    um_block *head;
    uint64_t w;
    if (s->list == um_slab_end(s)) {
        unsigned n = collect(bin, s, UM_REMOTE_PENDING, &head);
        s->list = head;
        restart(bin, s, s->countdown - n);
        if (s->countdown == 0)
            became_empty(h, bin, s);
        return;
    }
    w = atomic_fetch_and_explicit(&s->remote, ~UM_REMOTE_PENDING, memory_order_acq_rel); /* A1 */
    if (um_remote_count(w) != s->countdown)
        return;
    (void)collect(bin, s, 0, &head); /* all that is in use elsewhere came back: the slab is empty */
    um_queue_remove(&bin->avail, s);
    um_theap_release(h, s);
}

/* Others gave the pages of a slab back while we were away: nothing is cut, and nothing was touched, unless
   the kernel refused. also_clear takes the token, if it came in with the slab. */
static void forget_blocks(um_bin *bin, um_span *s, uint64_t also_clear) {
    /* A1: acquire pairs with R6 in stranded.c; release as in collect. */
    uint64_t w =
        atomic_fetch_and_explicit(&s->remote, ~(UM_REMOTE_PURGE_MASK | also_clear), memory_order_acq_rel);
    bin->frees += s->carved;
    s->list = um_slab_end(s);
    s->carved = 0;
    s->bytes = (w & UM_REMOTE_KEPT) ? UM_SLOT_BYTES : 0;
}

static bool is_purged(const um_span *s) {
    /* relaxed: only its owner clears the flag, and forget_blocks synchronises */
    return atomic_load_explicit(&s->remote, memory_order_relaxed) & UM_REMOTE_PURGED;
}

void um_theap_drain(um_theap *h, um_span *s) {
    um_stranded_forget(h);
    while (s) {
        um_span *next = s->pending_next; /* before the token goes: with it goes the link */
        um_bin *bin = &h->bins[s->class_id];
        if (atomic_load_explicit(&s->heap, memory_order_relaxed) != h) {
            um_remote_deliver(s); /* it changed hands while it was under way; the token is ours to pass on */
        } else if (s->place != UM_PLACE_CURRENT && is_purged(s)) {
            forget_blocks(bin, s, UM_REMOTE_PENDING);
            um_queue_remove(s->place == UM_PLACE_FULL ? &bin->full : &bin->avail, s);
            um_theap_release(h, s);
        } else if (s->place == UM_PLACE_FULL) {
            drain_full(h, bin, s);
        } else if (s->place == UM_PLACE_AVAIL) {
            drain_available(h, bin, s);
        } else { /* current: its blocks are taken when its list is empty */
            (void)atomic_fetch_and_explicit(&s->remote, ~UM_REMOTE_PENDING,
                                            memory_order_acq_rel); /* A1, token only */
        }
        s = next;
    }
}

/* The class has filled slab after slab. */
static bool fills_slabs(const um_bin *bin) {
    return bin->full && bin->full->next != bin->full;
}

/* A slot for a slab. A class that fills slabs of few blocks would come for each with the space's lock, which
   costs more than the blocks, and which other threads want too: it gets several at once. */
static um_span *take_slot(um_theap *h, const um_bin *bin) {
    um_span *s = um_place.turns ? NULL : um_large_take_slot(h);
    if (s)
        return s;
    s = um_space_alloc(um_theap_place(h), 1, 1, NULL);
    if (s && fills_slabs(bin) && !um_place.turns &&
        um_class_bytes(bin->class_id) * MANY_BLOCKS > UM_SLOT_BYTES)
        um_large_fetch_slots(h);
    return s;
}

/* An empty slab for the class: dirty memory of our own first, then from the space. */
static um_span *fresh_slab(um_theap *h, const um_bin *bin) {
    um_span *s = h->youngest_empty;
    if (s) {
        unlist_empty(h, s);
    } else {
        if (h->gave_back)
            h->keep_bytes = um_min(h->keep_bytes * 2, um_max(um_theap_cache_most(), UM_KEEP_FIRST));
        h->gave_back = false;
        s = take_slot(h, bin);
        if (h->ticks < YOUNG_TICKS)
            um_theap_patrol(h, UM_CLASSES);
        h->ticks += GROWTH_TICKS;
    }
    if (!s)
        return NULL;
    um_slab_init(s, bin->class_id);
    atomic_store_explicit(&s->heap, h, memory_order_relaxed);         /* nobody has a block yet */
    atomic_store_explicit(&s->owner, h->owner, memory_order_relaxed); /* likewise */
    return s;
}

static um_span *next_slab(um_theap *h, um_bin *bin, unsigned c) {
    um_span *s;
    take_pending(h);
    s = bin->avail;
    if (s && s->place == UM_PLACE_EMPTY) {
        unlist_empty(h, s);
        return s;
    }
    if (s) {
        um_queue_remove(&bin->avail, s);
        return s;
    }
    um_spare_regret(h, bin);
    s = um_orphan_adopt(h, c);
    if (!s)
        s = fresh_slab(h, bin);
    return s ? s : um_orphan_adopt_far(h, c);
}

/* A page fault is most of what the slowest mallocs cost. A class that fills slabs gets several pages at once:
   what of them it does not come to use is little beside what it has. */
static size_t cut_at_a_time(const um_bin *bin) {
    return fills_slabs(bin) && bin->current->block_bytes < UM_CARVE_BYTES ? MORE_PAGES * UM_CARVE_BYTES
                                                                          : UM_CARVE_BYTES;
}

/* *cut tells whether they were cut just now. */
static bool has_blocks(um_bin *bin, um_span *s, bool *cut) {
    if (s->list != um_slab_end(s) || collect_current(bin, s))
        return true;
    if (um_unlikely(is_purged(s)))
        forget_blocks(bin, s,
                      0); /* the token stays with whoever has it: he will find a slab like any other */
    return *cut = s->carved < s->capacity && um_slab_carve(s, cut_at_a_time(bin));
}

/* A slab with free blocks for malloc to take from; false: out of memory. */
static bool find_slab(um_theap *h, um_bin *bin, bool *cut) {
    um_span *s = bin->current;
    while (s == &um_span_none || !has_blocks(bin, s, cut)) {
        if (s != &um_span_none) {
            /* Not when its last blocks were cut: an atomic addition waits for the stores before it, and those
               of fresh blocks take long. Here one of the space's lock is likely to follow anyway. */
            if (s->carved == s->capacity && !s->full)
                um_space_note_full(s);
            s->place = UM_PLACE_FULL;
            restart(bin, s, s->wake);
            um_queue_push(&bin->full, s);
        }
        s = next_slab(h, bin, bin->class_id);
        if (!s) {
            no_current(h, bin);
            return false;
        }
        make_current(h, bin, s);
    }
    if (bin->source != &s->home)
        um_theap_show(h, bin, &s->home);
    return true;
}

static UM_COLD _Noreturn void source_damaged(const um_bin *bin, const um_block *b) {
    if (bin->source->place == UM_PLACE_CACHE)
        um_cache_damaged(bin->cache, b);
    um_slab_damaged(bin->current, b);
}

/* malloc met the end of its source's list, or a block without its mark. */
static void check_source(const um_bin *bin) {
    const um_block *b = bin->source->list;
    const um_block *end = bin->source->place == UM_PLACE_CACHE ? &bin->cache->end : um_slab_end(bin->current);
    if (um_unlikely(b != end))
        source_damaged(bin, b);
}

um_block *um_theap_refill(um_theap *h, unsigned c) {
    um_bin *bin = &h->bins[c];
    um_block *b;
    bool cut = false;
    bin->refills++;
    check_source(bin);
    tick(h, UNEASY_EVERY);
    um_theap_follow(h);
    h->untouched = NULL;
    if (!(um_bin_cached(bin) && um_cache_fetch(bin->cache)) && !find_slab(h, bin, &cut))
        return NULL;
    if (!cut) /* a class that only grows is not hot: what a thread allocates once, it may free once */
        warm(h, bin);
    b = bin->source->list;
    if (um_unlikely(!um_block_take(b)))
        source_damaged(bin, b);
    bin->source->list = b->next;
    /* Blocks of a page and more are cut one at a time, so what was just cut is what is handed out. */
    if (cut && bin->current->bytes == 0 && bin->current->block_bytes >= um_os_page_bytes)
        h->untouched = b;
    return b;
}

void um_theap_flush_empty(um_theap *h) {
    release_oldest(h, 0);
}

void um_theap_flush(um_theap *h) {
    um_remote_flush(h);
    um_cache_flush_all(h, false);
    um_theap_drain(h, atomic_exchange_explicit(&h->pending, NULL, memory_order_acquire)); /* A2 */
    um_theap_flush_empty(h);
    um_large_flush(h);
}

void um_theap_leave_class(um_theap *h, um_bin *bin) {
    um_span *list = NULL, *s;
    if (um_bin_cached(bin)) {
        um_cache_flush(bin->cache);
        bin->cache->limit = 0;
    }
    bin->heat = 0;
    while ((s = bin->avail) != NULL) {
        if (s->place == UM_PLACE_EMPTY) {
            unlist_empty(h, s);
            um_theap_release(h, s);
        } else {
            um_queue_remove(&bin->avail, s);
            s->next = list;
            list = s;
        }
    }
    s = bin->current;
    no_current(h, bin);
    if (s != &um_span_none) {
        s->next = list;
        list = s;
    }
    um_orphan_give_all(h, list);
}

/* As if the thread ended there and began here. */
void um_theap_idle(um_theap *h) {
    um_theap_flush(h);
    um_theap_hand_over(h);
    for (unsigned c = 0; c < UM_CLASSES; c++)
        h->bins[c].heat = 0;
    h->keepers = 0;
}

void um_theap_settle(um_theap *h, unsigned place) {
    unsigned to = place == UM_NODES_MAX ? um_place_here() : place;
    if (to != h->node)
        um_theap_idle(h);
    h->node = (uint8_t)to;
    h->placed = place != UM_NODES_MAX;
    h->astray = 0;
}

/* One that moves to and fro waits longer each time. */
void um_theap_move(um_theap *h) {
    bool again = h->ticks - h->moved_at < MOVE_TICKS;
    um_theap_idle(h);
    h->astray = 0;
    h->node = (uint8_t)um_place_here();
    (void)um_pin_first(h->node); /* that it cannot be had is counted */
    h->patience = (uint8_t)(again ? um_min(2u * h->patience, PATIENCE_MAX) : UM_PATIENCE);
    h->moved_at = h->ticks;
    UM_COUNT_ADD(numa_migrations, 1);
}
