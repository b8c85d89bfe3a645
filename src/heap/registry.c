/* All heaps. Their memory is never given back (a thread may hold a stale pointer to a heap while it finds out
   that the owner is gone), but they are recycled.

   A thread that ends with little parks its heap: slabs and all, for the next new thread to take over whole.
   To the others a parked heap is that of an idle thread, but that nobody's id stands in its slabs. What is
   parked for the decay time is handed over, slab by slab, as is at once what would make parked heaps hold
   more than PARK_BYTES or a part of all memory. The part is small at first; it doubles each time that a
   thread begins after one whose heap was turned away, and halves when nobody wanted what was parked.

   After fork, heaps of threads that stayed in the parent are told from live ones by their generation; the
   child touches none of them until it frees one of their blocks. */
#include "heap/heap.h"
#include "os/os.h"
#include "slab/remote.h"
#include "space/space.h"

#define NONE4  &um_span_none.home, &um_span_none.home, &um_span_none.home, &um_span_none.home
#define NONE16 NONE4, NONE4, NONE4, NONE4

_Static_assert(UM_SMALL_BINS == 64, "the initialiser has 64 entries");
_Static_assert(sizeof(um_tls_block) <= 640, "static TLS is scarce where the library is loaded by dlopen");

um_out um_out_none[UM_OUT_SLOTS];
__thread um_tls_block um_tls __attribute__((tls_model("initial-exec"))) = {
    .bins = {NONE16, NONE16, NONE16, NONE16}, .out = um_out_none};
uint32_t um_theap_fork_gen;
um_theap_folded um_theap_past;

#define BUCKETS    256u /* few threads share one up to some hundreds */
#define PARK_BYTES UM_MIB
#define PARK_FIRST 32u /* of all memory, one part in so many: at first, and when nobody wants it */
#define PARK_LAST  2u  /* at most */

static um_lock registry; /* rank: before the orphan lock */
static um_theap *all, *free_heaps;
static um_theap *parked;    /* by next_free, the last to come first */
static size_t parked_bytes; /* they and their slabs, when they were parked */
static unsigned park_part = PARK_FIRST;
static bool turned_away; /* a heap found no room since a thread began last */
static _Atomic(uint64_t) parked_due_ms =
    UINT64_MAX;                     /* relaxed: a hint, and who sets it to never does the work */
static um_theap *by_owner[BUCKETS]; /* live heaps */
static um_theap first_heap;         /* the first thread's: no memory is needed to make it */
static bool first_used;

static um_theap shared_heap;
static um_theap *placed[UM_NODES_MAX]; /* one a place, for blocks that were asked for there; NULL: not yet */
static um_lock shared_lock;            /* rank: before the registry; guards all of them */

static void open_heap(um_theap *h) {
    h->fork_gen = um_theap_fork_gen;
    h->armed = false;
    h->node = (uint8_t)um_place_here();
    h->astray = 0;
    h->patience = UM_PATIENCE;
    h->turn = (uint32_t)(h->owner >> 12); /* threads begin at different places */
    h->moved_at = 0;
    h->keepers = 0;
    h->keep_bytes = UM_KEEP_FIRST;
    h->empty_low = 0;
    h->gave_back = false;
    h->ticks = h->flushed_at = 0;
    h->look_at = UM_TICK_EVERY;
    h->spent = 0;
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_bin *bin = &h->bins[c];
        *bin = (um_bin){.class_id = (uint8_t)c,
                        .current = &um_span_none,
                        .source = &um_span_none.home,
                        .cache = bin->cache};
    }
    h->live = true;
    /* relaxed: a stale pusher that finds it open puts a slab there that the heap passes on */
    atomic_store_explicit(&h->pending, NULL, memory_order_relaxed);
}

static um_theap **bucket_of(uintptr_t owner) {
    return &by_owner[(owner * 0x9E3779B97F4A7C15ull) >> 56];
}

/* A live heap with the caller's id is his: thread-local storage forgot it (allocations before the loader has
   filled it), or a thread ended without handing over (its first call came after its last destructor) and left
   its id to this one, and with it all its slabs. Under the registry's lock. */
static um_theap *find_heap(uintptr_t owner) {
    um_theap *h = *bucket_of(owner);
    while (h && (h->owner != owner || h->fork_gen != um_theap_fork_gen))
        h = h->next_bucket;
    return h;
}

static void forget_owner(um_theap *h) {
    um_theap **at = bucket_of(h->owner);
    while (*at != h)
        at = &(*at)->next_bucket;
    *at = h->next_bucket;
    atomic_fetch_sub_explicit(&um_spare_threads, 1, memory_order_relaxed); /* hint */
}

/* Under the registry's lock. */
static um_theap *make_heap(void) {
    um_theap *h = free_heaps;
    if (h) {
        free_heaps = h->next_free;
        UM_COUNT_ADD(heaps_reused, 1);
        return h;
    }
    if (!first_used) {
        first_used = true;
        h = &first_heap;
    } else {
        h = um_space_meta(0, um_round_up(sizeof *h, UM_CACHE_LINE_BYTES));
    }
    if (h) {
        h->next = all;
        all = h;
        UM_COUNT_ADD(heaps_created, 1);
    }
    return h;
}

static size_t own(um_span *s, uintptr_t owner) {
    /* relaxed: only the owner compares it to an id */
    atomic_store_explicit(&s->owner, owner, memory_order_relaxed);
    return um_slab_touched(s);
}

static size_t own_queue(um_span *first, uintptr_t owner) {
    size_t bytes = 0;
    um_span *s = first;
    if (s)
        do {
            bytes += own(s, owner);
            s = s->next;
        } while (s != first);
    return bytes;
}

/* Puts the owner's id into every home of the heap. Returns the bytes that its slabs may have in memory. */
static size_t own_all(um_theap *h, uintptr_t owner) {
    size_t bytes = 0;
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_bin *bin = &h->bins[c];
        if (bin->current != &um_span_none)
            bytes += own(bin->current, owner);
        bytes += own_queue(bin->avail, owner) + own_queue(bin->full, owner);
        if (bin->cache)
            atomic_store_explicit(&bin->cache->owner, owner, memory_order_relaxed); /* likewise */
    }
    return bytes;
}

/* Under the registry's lock. */
static um_theap *unpark(um_theap **at) {
    um_theap *h = *at;
    if (!h)
        return NULL;
    *at = h->next_free;
    parked_bytes -= h->parked_bytes;
    return h;
}

/* The place of the last one parked whose memory is where this thread runs. */
static um_theap **parked_here(void) {
    um_theap **at = &parked;
    unsigned here = um_place_here();
    while (*at && (*at)->node != here)
        at = &(*at)->next_free;
    return at;
}

/* Under the registry's lock. */
static void enlist(um_theap *h, uintptr_t owner) {
    h->owner = owner;
    h->next_bucket = *bucket_of(owner);
    *bucket_of(owner) = h;
    atomic_fetch_add_explicit(&um_spare_threads, 1, memory_order_relaxed); /* hint */
}

um_theap *um_theap_get(void) {
    uintptr_t me = um_thread_id();
    um_theap *h, *taken_over = NULL;
    if (um_tls.heap)
        return um_tls.heap;
    if (um_tls.exited)
        return NULL;
    um_lock_take(&registry);
    if (um_space_init() != 0) {
        um_lock_drop(&registry);
        return NULL;
    }
    h = find_heap(me);
    if (!h) {
        taken_over = unpark(parked_here());
        h = taken_over ? taken_over : make_heap();
        if (h)
            enlist(h, me);
        if (h && !taken_over) {
            open_heap(h);
            park_part = turned_away ? (unsigned)um_max(park_part / 2, PARK_LAST) : park_part;
        }
        turned_away = false;
    }
    um_lock_drop(&registry);
    if (!h)
        return NULL;
    if (taken_over) {
        (void)own_all(h, me);
        h->astray = 0;
        UM_COUNT_ADD(heaps_reused, 1);
    }
    um_tls.heap = h;
    um_tls.out = h->out;
    um_theap_sync_tls(h);
    return h;
}

bool um_theap_is_first(const um_theap *h) {
    return h == &first_heap;
}

/* The slabs of a queue, then those of the list. */
static um_span *unqueue(um_span **queue, um_span *list) {
    um_span *first = *queue;
    if (!first)
        return list;
    first->prev->next = list;
    *queue = NULL;
    return first;
}

void um_theap_hand_over(um_theap *h) {
    um_span *list = NULL;
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_bin *bin = &h->bins[c];
        um_span *s = bin->current;
        bin->current = &um_span_none;
        um_theap_show(h, bin, &um_span_none.home);
        if (s != &um_span_none) {
            s->next = list;
            list = s;
        }
        list = unqueue(&bin->avail, unqueue(&bin->full, list));
    }
    um_orphan_give_all(h, list);
    um_cache_close_all(h);
}

static void fold(um_theap *h) {
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_class_stats *sum = &um_theap_past.classes[c];
        if (h->bins[c].refills == 0) /* never used */
            continue;
        sum->frees += h->bins[c].frees;
        sum->refills += h->bins[c].refills;
        sum->flushes += h->bins[c].flushes;
    }
    UM_COUNT_ADD(remote_frees, h->remote_frees);
    UM_COUNT_ADD(remote_batches, h->remote_batches);
    UM_COUNT_ADD(large_allocs, h->large_allocs);
    UM_COUNT_ADD(large_frees, h->large_frees);
    UM_COUNT_ADD(large_cache_hits, h->large_hits);
    h->remote_frees = h->remote_batches = h->large_allocs = h->large_frees = h->large_hits = 0;
}

/* From here the thread takes the late paths. */
static void forget_heap(void) {
    um_tls.heap = NULL;
    um_tls.out = um_out_none;
    um_tls.exited = 1;
    for (unsigned i = 0; i < UM_SMALL_BINS; i++)
        um_tls.bins[i] = &um_span_none.home;
}

/* The heap has been flushed, and no thread's bins show it. */
static void retire(um_theap *h) {
    /* A2: whoever comes later finds the stack closed and leaves his blocks on the slab, which we take below.
     */
    um_theap_drain(h, atomic_exchange_explicit(&h->pending, UM_PENDING_CLOSED, memory_order_acq_rel));
    um_theap_flush_empty(h); /* draining may have emptied slabs */
    um_theap_hand_over(h);
    um_lock_take(&registry);
    fold(h);
    h->live = false;
    h->next_free = free_heaps;
    free_heaps = h;
    um_lock_drop(&registry);
    um_space_trim_idle();
}

void um_theap_exit(um_theap *h) {
    um_theap_flush(h);
    forget_heap();
    um_lock_take(&registry);
    forget_owner(h);
    um_lock_drop(&registry);
    retire(h);
}

static size_t park_most(void) {
    size_t all_bytes = atomic_load_explicit(&um_space_footprint, memory_order_relaxed); /* a counter */
    if (UM_SPACE_SETTING(decay_ms) == 0 || um_theap_cache_most() == 0 || um_space_excess() != 0)
        return 0;
    return um_max(PARK_BYTES, all_bytes / park_part);
}

/* False: there is no room. */
static bool park_locked(um_theap *h, size_t bytes, uint64_t now) {
    if (parked_bytes + bytes > park_most()) {
        turned_away = true;
        return false;
    }
    forget_owner(h);
    h->owner = UM_ID_NOBODY;
    h->parked_bytes = bytes;
    parked_bytes += bytes;
    atomic_store_explicit(&h->seen_ms, now, memory_order_relaxed); /* hint */
    if (!parked)
        atomic_store_explicit(&parked_due_ms, now + UM_SPACE_SETTING(decay_ms), memory_order_relaxed);
    h->next_free = parked;
    parked = h;
    return true;
}

void um_theap_leave(um_theap *h) {
    uint64_t now = um_os_now_ms();
    size_t bytes;
    bool is_parked;
    h->placed = false; /* its thread's wish */
    um_remote_flush(h);
    um_cache_flush_all(h, false);
    um_theap_drain(h, atomic_exchange_explicit(&h->pending, NULL, memory_order_acquire)); /* A2 */
    um_large_flush(h);
    forget_heap();
    bytes = sizeof *h + own_all(h, UM_ID_NOBODY);
    um_lock_take(&registry);
    is_parked = park_locked(h, bytes, now);
    um_lock_drop(&registry);
    if (!is_parked)
        um_theap_exit(h);
}

/* The place of the oldest parked heap. */
static um_theap **oldest_parked(void) {
    um_theap **at = &parked;
    while (*at && (*at)->next_free)
        at = &(*at)->next_free;
    return at;
}

/* Hands over the oldest parked heap if it was parked no later than at before_ms. */
static bool retire_oldest(uint64_t before_ms) {
    um_theap *h = NULL, **at;
    um_lock_take(&registry);
    at = oldest_parked();
    if (*at && atomic_load_explicit(&(*at)->seen_ms, memory_order_relaxed) <= before_ms) /* under the lock */
        h = unpark(at);
    if (h)
        park_part = (unsigned)um_min(2 * park_part, PARK_FIRST);
    um_lock_drop(&registry);
    if (!h)
        return false;
    um_theap_flush_empty(h);
    retire(h);
    return true;
}

void um_theap_retire_parked(void) {
    while (retire_oldest(UINT64_MAX))
        ;
}

static void plan_locked(void) {
    const um_theap *h = *oldest_parked();
    uint64_t due = UINT64_MAX;
    if (h)
        due = atomic_load_explicit(&h->seen_ms, memory_order_relaxed) + UM_SPACE_SETTING(decay_ms); /* hint */
    atomic_store_explicit(&parked_due_ms, due, memory_order_relaxed);
}

/* One at a time, so that no slow path takes long; and not from within, for slabs that get empty tick. */
void um_theap_retire_due(uint64_t now) {
    uint64_t due = atomic_load_explicit(&parked_due_ms, memory_order_relaxed); /* hint */
    if (um_likely(now < due) ||
        !atomic_compare_exchange_strong_explicit(&parked_due_ms, &due, UINT64_MAX, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    (void)retire_oldest(now - UM_SPACE_SETTING(decay_ms));
    um_lock_take(&registry);
    plan_locked();
    um_lock_drop(&registry);
}

static void open_shared(um_theap *h) {
    h->owner = UM_ID_SHARED; /* no thread pointer: every free to it is a remote one */
    open_heap(h);
}

um_theap *um_theap_shared_lock(void) {
    um_lock_take(&shared_lock);
    if (!shared_heap.live) {
        um_lock_take(&registry);
        if (um_space_init() == 0) {
            shared_heap.next = all;
            all = &shared_heap;
            open_shared(&shared_heap);
        }
        um_lock_drop(&registry);
    }
    return shared_heap.live ? &shared_heap : NULL;
}

um_theap *um_theap_placed_lock(unsigned place) {
    um_theap *h;
    um_lock_take(&shared_lock);
    h = placed[place];
    if (!h) {
        um_lock_take(&registry);
        h = um_space_init() == 0 ? make_heap() : NULL;
        if (h) {
            open_shared(h);
            h->placed = true;
            h->node = (uint8_t)place;
            placed[place] = h;
        }
        um_lock_drop(&registry);
    }
    return h;
}

void um_theap_shared_unlock(void) {
    um_lock_drop(&shared_lock);
}

void um_theap_each(void (*f)(um_theap *h, void *ctx), void *ctx) {
    um_lock_take(&registry);
    for (um_theap *h = all; h; h = h->next)
        f(h, ctx);
    um_lock_drop(&registry);
}

void um_theap_lock_all(void) {
    um_lock_take(&shared_lock);
    um_lock_take(&registry);
    um_lock_take(&um_orphan_lock);
}

void um_theap_unlock_all(void) {
    um_lock_drop(&um_orphan_lock);
    um_lock_drop(&registry);
    um_lock_drop(&shared_lock);
}

/* libc gives the stacks of threads that stayed in the parent, and with them their ids, to new threads of the
   child, which must not find their own id in homes that they know nothing of. One word a slab of other
   threads is written, no more: each becomes an orphan when the child first frees a block of it. */
static void disown(const um_span *s, void *me) {
    um_home *m = um_home_at(um_span_index(s) << UM_SLOT_SHIFT);
    uintptr_t owner = atomic_load_explicit(um_home_owner(m), memory_order_relaxed); /* single thread */
    if (um_span_kind_of(s) == UM_SPAN_SLAB && owner != UM_ID_NOBODY && owner != (uintptr_t)me)
        um_home_set(s, NULL);
}

void um_theap_child_after_fork(void) {
    if (first_used && all->next) /* more than one heap was ever made */
        for (unsigned node = 0; node < UM_NODES_MAX; node++)
            um_space_each(node, disown, (void *)um_thread_id());
    um_lock_reset(&um_orphan_lock);
    um_lock_reset(&registry);
    um_lock_reset(&shared_lock);
    um_theap_fork_gen++;
    um_remote_set_length();
    if (um_tls.heap)
        um_tls.heap->fork_gen = um_theap_fork_gen;
    atomic_store_explicit(&um_spare_threads, um_tls.heap != NULL, memory_order_relaxed); /* hint */
    shared_heap.fork_gen = um_theap_fork_gen;
    for (unsigned i = 0; i < UM_NODES_MAX; i++)
        if (placed[i])
            placed[i]->fork_gen = um_theap_fork_gen;
    for (um_theap *h = parked; h; h = h->next_free)
        h->fork_gen = um_theap_fork_gen;
}
