/* All heaps. Their memory is never given back (a thread may hold a stale pointer to a heap while it finds out
   that the owner is gone), but they are recycled. After fork, heaps of threads that stayed in the parent are
   told from live ones by their generation; the child touches none of them until it frees one of their blocks.
 */
#include "heap/heap.h"
#include "heap/queue.h"
#include "slab/remote.h"
#include "space/space.h"

#define NONE4  &um_span_none.home, &um_span_none.home, &um_span_none.home, &um_span_none.home
#define NONE16 NONE4, NONE4, NONE4, NONE4

_Static_assert(UM_SMALL_BINS == 64, "the initialiser has 64 entries");
_Static_assert(sizeof(um_tls_block) <= 640, "static TLS is scarce where the library is loaded by dlopen");

um_out um_out_none[UM_OUT_SLOTS];
__thread um_tls_block um_tls __attribute__((tls_model("initial-exec"))) = {
    .bins = {NONE16, NONE16, NONE16, NONE16}, .out = um_out_none};
uint32_t um_heap_fork_gen;
um_heap_folded um_heap_past;

#define BUCKETS 256u /* few threads share one up to some hundreds */

static um_lock registry; /* rank: before the orphan lock */
static um_heap *all, *free_heaps;
static um_heap *by_owner[BUCKETS]; /* live heaps */
static um_heap first_heap;         /* the first thread's: no memory is needed to make it */
static bool first_used;

static um_heap shared_heap;
static um_lock shared_lock; /* rank: first */

static void open_heap(um_heap *h, uintptr_t owner) {
    h->owner = owner;
    h->fork_gen = um_heap_fork_gen;
    h->armed = false;
    h->node = (uint8_t)um_place_here();
    h->astray = 0;
    h->patience = UM_PATIENCE;
    h->turn = (uint32_t)(owner >> 12); /* threads begin at different places */
    h->moved_at = 0;
    h->keepers = 0;
    h->keep_bytes = UM_KEEP_FIRST;
    h->empty_low = 0;
    h->gave_back = false;
    h->ticks = h->flushed_at = 0;
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

static um_heap **bucket_of(uintptr_t owner) {
    return &by_owner[(owner * 0x9E3779B97F4A7C15ull) >> 56];
}

/* A live heap with the caller's id is his: thread-local storage forgot it (allocations before the loader has
   filled it), or a thread ended without handing over (its first call came after its last destructor) and left
   its id to this one, and with it all its slabs. Under the registry's lock. */
static um_heap *find_heap(uintptr_t owner) {
    um_heap *h = *bucket_of(owner);
    while (h && (h->owner != owner || h->fork_gen != um_heap_fork_gen))
        h = h->next_bucket;
    return h;
}

static void forget_owner(um_heap *h) {
    um_heap **at = bucket_of(h->owner);
    while (*at != h)
        at = &(*at)->next_bucket;
    *at = h->next_bucket;
}

/* Under the registry's lock. */
static um_heap *make_heap(void) {
    um_heap *h = free_heaps;
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

um_heap *um_heap_get(void) {
    uintptr_t me = um_thread_id();
    um_heap *h;
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
        h = make_heap();
        if (h) {
            open_heap(h, me);
            h->next_bucket = *bucket_of(me);
            *bucket_of(me) = h;
        }
    }
    um_lock_drop(&registry);
    if (!h)
        return NULL;
    um_tls.heap = h;
    um_tls.out = h->out;
    um_heap_sync_tls(h);
    return h;
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

void um_heap_hand_over(um_heap *h) {
    um_span *list = NULL;
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_bin *bin = &h->bins[c];
        um_span *s = bin->current;
        bin->current = &um_span_none;
        um_heap_show(h, bin, &um_span_none.home);
        if (s != &um_span_none) {
            s->next = list;
            list = s;
        }
        list = unqueue(&bin->avail, unqueue(&bin->full, list));
    }
    um_orphan_give_all(h, list);
    um_cache_close_all(h);
}

static void fold(um_heap *h) {
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_class_stats *sum = &um_heap_past.classes[c];
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

void um_heap_exit(um_heap *h) {
    um_heap_flush(h);
    um_tls.heap = NULL;
    um_tls.out = um_out_none;
    um_tls.exited = 1;
    for (unsigned i = 0; i < UM_SMALL_BINS; i++)
        um_tls.bins[i] = &um_span_none.home;
    /* A2: whoever comes later finds the stack closed and leaves his blocks on the slab, which we take below.
     */
    um_heap_drain(h, atomic_exchange_explicit(&h->pending, UM_PENDING_CLOSED, memory_order_acq_rel));
    um_heap_flush_empty(h); /* draining may have emptied slabs */
    um_heap_hand_over(h);
    um_lock_take(&registry);
    fold(h);
    forget_owner(h);
    h->live = false;
    h->next_free = free_heaps;
    free_heaps = h;
    um_lock_drop(&registry);
    um_space_trim_idle();
}

bool um_heap_is_first(const um_heap *h) {
    return h == &first_heap;
}

um_heap *um_heap_shared_lock(void) {
    um_lock_take(&shared_lock);
    if (!shared_heap.live) {
        um_lock_take(&registry);
        if (um_space_init() == 0) {
            shared_heap.next = all;
            all = &shared_heap;
            open_heap(&shared_heap, UM_ID_SHARED); /* no thread pointer: every free to it is a remote one */
        }
        um_lock_drop(&registry);
    }
    return shared_heap.live ? &shared_heap : NULL;
}

void um_heap_shared_unlock(void) {
    um_lock_drop(&shared_lock);
}

void um_heap_each(void (*f)(um_heap *h, void *ctx), void *ctx) {
    um_lock_take(&registry);
    for (um_heap *h = all; h; h = h->next)
        f(h, ctx);
    um_lock_drop(&registry);
}

void um_heap_lock_all(void) {
    um_lock_take(&shared_lock);
    um_lock_take(&registry);
    um_lock_take(&um_orphan_lock);
}

void um_heap_unlock_all(void) {
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

void um_heap_child_after_fork(void) {
    if (first_used && all->next) /* more than one heap was ever made */
        for (unsigned node = 0; node < UM_NODES_MAX; node++)
            um_space_each(node, disown, (void *)um_thread_id());
    um_lock_reset(&um_orphan_lock);
    um_lock_reset(&registry);
    um_lock_reset(&shared_lock);
    um_heap_fork_gen++;
    if (um_tls.heap)
        um_tls.heap->fork_gen = um_heap_fork_gen;
    shared_heap.fork_gen = um_heap_fork_gen;
}
