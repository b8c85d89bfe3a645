/* heap: what one thread owns. For each class a current slab, queues of further slabs and, once the class is
   hot, a cache of blocks of all of them; empty slabs that it keeps for a while; and a buffer of remote frees
   on their way to other threads. Local allocation and free use no atomic instruction and no lock. */
#ifndef UM_THEAP_H
#define UM_THEAP_H

#include "conf/counters.h"
#include "os/lock.h"
#include "slab/slab.h"
#include "space/place.h"

#define UM_OUT_SLOTS      64u /* slabs that a thread batches remote frees for */
#define UM_KEEPERS_MAX    2u
#define UM_LARGE_CACHE    8u
#define UM_PENDING_CLOSED ((um_span *)1)

/* Blocks of all the slabs of a hot class, whose home it is. */
typedef struct um_class_cache {
    um_home home;          /* its list is the newer part */
    um_block *rest;        /* what was set aside */
    um_block end;          /* of both lists */
    struct um_theap *heap; /* const */
    uint32_t since;        /* frees since it last turned over */
    uint16_t limit;        /* frees before it turns over again; 0: not in use */
    uint8_t class_id;      /* const */
    bool stirred;          /* a slow path saw it of late */
    /* Other threads read the owner, as in a slab's record. */
    _Alignas(64) _Atomic(uintptr_t) owner;
    uint32_t most;      /* blocks in both lists are no more than this and the frees since */
    uint32_t rest_most; /* likewise, of those set aside */
    uint32_t gave;      /* blocks put back that may be wanted again */
    uint32_t seen;      /* the countdown at the last look for idle caches */
    uint8_t calm;       /* turns in a row that put nothing back */
} um_class_cache;

_Static_assert(offsetof(um_class_cache, owner) == UM_CACHE_LINE_BYTES, "um_home_owner finds it there");

typedef struct um_bin {
    um_home *source;       /* what malloc takes from: the current slab, or the cache */
    um_span *current;      /* never NULL: um_span_none where there is none */
    um_span *avail;        /* circular queue, first in first out; NULL if empty */
    um_span *full;         /* likewise; order has no meaning */
    um_class_cache *cache; /* NULL until the class is hot; never given back */
    uint64_t frees;        /* blocks that came back */
    uint32_t refills, flushes;
    uint8_t heat;     /* refills that cut nothing, and looks; a class is hot from UM_HOT on */
    uint8_t class_id; /* const */
    bool left;        /* its slabs were left to others (spare.c) */
} um_bin;

UM_INLINE bool um_bin_cached(const um_bin *bin) {
    return bin->cache && bin->cache->limit;
}

/* A chain of blocks of one slab, freed here, owned elsewhere. */
typedef struct um_out {
    uintptr_t slot; /* where the slab starts; 0: unused */
    um_block *head, *tail;
    uint8_t room; /* blocks that may still join */
    uint8_t most; /* blocks of it when it is full */
    bool old;     /* it was there when the hand came by */
    /* The slab's, whose record may be in another processor's cache. */
    uint8_t class_id;
    uint32_t reciprocal;
} um_out;

typedef struct um_theap {
    uintptr_t owner;   /* thread id; UM_ID_NOBODY: parked; registry lock */
    uint32_t fork_gen; /* um_theap_fork_gen when made: another value means the thread stayed in the parent */
    uint8_t node;      /* place (space/place.h) that it draws from */
    uint8_t astray;    /* looks in a row that found the thread on another node */
    uint8_t patience;  /* so many of them, and the heap moves too */
    uint32_t moved_at; /* ticks when it last did */
    uint32_t turn;     /* where spans come from the places in turn: of its spans so far */
    bool prefaulted;   /* UMALLOC_PREFAULT_THREAD was had for it */
    bool placed; /* for blocks of its node, whatever the policy: no thread's, or of one that asked for it */
    bool armed;  /* current slabs wake us soon, because much is dirty */
    uint8_t patrolled;              /* class at which the next look for misuse begins */
    uint8_t keepers;                /* in use of `keeper` */
    uint8_t keeper[UM_KEEPERS_MAX]; /* cold classes that may keep an empty slab */
    uint32_t ticks, flushed_at;     /* slow paths of any kind; at the last flush */
    uint32_t look_at;               /* so many of them, and the clock is looked at */
    uint32_t spent;                 /* on looks for classes to leave (spare.c) */
    uint64_t spent_since_ms;
    uint32_t large_count; /* in use of `large` */
    size_t large_bytes;
    size_t empty_bytes, empty_low;          /* in empty slabs: now, and the least of late */
    size_t keep_bytes;                      /* most of it: grows when what was given back is wanted again */
    bool gave_back;                         /* an empty slab, since the last one was fetched */
    um_span *oldest_empty, *youngest_empty; /* by age_next, age_prev */
    uint64_t remote_frees, remote_batches, large_allocs, large_frees, large_hits; /* folded at exit */
    const void
        *untouched; /* the last block, if it was cut from memory that reads as zero but for its links */
    um_span *large[UM_LARGE_CACHE]; /* free large spans, oldest first */
    struct um_theap *next;          /* all heaps ever made; const after it was linked */
    struct um_theap *next_bucket;   /* registry lock */
    struct um_theap *next_free;     /* registry lock; recycled, or parked */
    size_t parked_bytes;            /* registry lock; the heap and its slabs, when it was parked */
    bool live;                      /* registry lock */
    _Atomic(uint64_t) seen_ms;      /* when the owner last looked at the clock. Relaxed: a hint */
    _Atomic(uint32_t) stranded;     /* slabs all of whose blocks came back from others. Relaxed: a hint */
    um_out out[UM_OUT_SLOTS];
    uint32_t chains_begun;
    um_bin bins[UM_CLASSES];
    /* Other threads push slabs with remote frees, the owner takes all. UM_PENDING_CLOSED: the owner is gone.
     */
    _Alignas(64) _Atomic(um_span *) pending;
} um_theap;

#define UM_HOT        16u
#define UM_HURRY      16u /* frees of a class between two slow paths while much is dirty */
#define UM_TICK_EVERY 64u /* slow paths between two looks at the clock: each reads a dozen cold lines */
#define UM_KEEP_FIRST ((size_t)16384)
#define UM_PATIENCE   4u /* looks */

typedef struct um_tls {
    um_home *bins[UM_SMALL_BINS]; /* source for each 16 bytes of request */
    um_theap *heap;               /* NULL before the first allocation and after the thread's exit */
    um_out *out;                  /* the heap's, or um_out_none */
    uint32_t early_frees;         /* made before the thread had a heap */
    uint32_t exited;              /* the heap was handed over: the shared heap serves what comes still */
} um_tls_block;

extern UM_HIDDEN __thread um_tls_block um_tls __attribute__((tls_model("initial-exec")));
extern UM_HIDDEN um_out um_out_none[UM_OUT_SLOTS]; /* holds no slab, ever */
extern UM_HIDDEN uint32_t um_theap_fork_gen;       /* written in the child of fork, single-threaded */

/* From the options; may change at any time. Relaxed: who reads the old value acts on it once more. */
extern UM_HIDDEN _Atomic(size_t) um_theap_cache_bytes;
UM_INLINE size_t um_theap_cache_most(void) {
    return atomic_load_explicit(&um_theap_cache_bytes, memory_order_relaxed);
}
/* Sets it, and the length of chains, which follows from it. */
UM_HIDDEN void um_theap_set_cache(size_t bytes);

/* --- heap.c: the owner's side --- */

/* A block of the class, or NULL: out of memory. */
UM_HIDDEN um_block *um_theap_refill(um_theap *h, unsigned class_id);
/* The countdown of an owned slab or a cache reached 0. The heap may have no slab after. */
UM_HIDDEN void um_theap_event(um_home *m);
/* The same of a slab, in the midst of other work. */
UM_HIDDEN void um_theap_slab_event(um_span *s);
UM_HIDDEN void um_theap_tick(um_theap *h);
/* The same of a large block, which may be all that is dirty: no later one need come. */
UM_HIDDEN void um_theap_tick_large(um_theap *h);
/* The place for the heap's next span. */
UM_INLINE unsigned um_theap_place(um_theap *h) {
    return um_unlikely(um_place.turns) && !h->placed ? um_place_next(&h->turn) : h->node;
}
/* From now on the calling thread's heap draws from that place, wherever the thread runs; UM_NODES_MAX: it
   follows the thread again. */
UM_HIDDEN void um_theap_settle(um_theap *h, unsigned place);
/* The thread runs on another node for good: leaves its slabs there and begins anew here. Between two pieces
   of work only. */
UM_HIDDEN void um_theap_move(um_theap *h);
/* The thread needs nothing for a while: all that it has free is for others to use. Between two pieces of work
   only. */
UM_HIDDEN void um_theap_idle(um_theap *h);
/* Makes orphans of the class's slabs but full ones; it is cold again. Between two pieces of work only. */
UM_HIDDEN void um_theap_leave_class(um_theap *h, um_bin *bin);
UM_INLINE void um_theap_follow(um_theap *h) {
    if (um_unlikely(h->astray >= h->patience))
        um_theap_move(h);
}
/* Makes malloc take from m. */
UM_HIDDEN void um_theap_show(um_theap *h, um_bin *bin, um_home *m);
/* Makes the bins of the calling thread show what its heap says. */
UM_HIDDEN void um_theap_sync_tls(um_theap *h);
/* Takes the slabs that others pushed. */
UM_HIDDEN void um_theap_drain(um_theap *h, um_span *list);
/* Gives an empty slab back to its space. */
UM_HIDDEN void um_theap_release(um_theap *h, um_span *s);
/* Gives back what the heap keeps for itself: empty slabs, cached large spans, buffered remote frees. */
UM_HIDDEN void um_theap_flush(um_theap *h);
UM_HIDDEN void um_theap_flush_empty(um_theap *h);
UM_INLINE um_block *um_theap_alloc(um_theap *h, unsigned class_id) {
    um_home *m = h->bins[class_id].source;
    um_block *b = m->list;
    if (um_unlikely(!um_block_take(b)))
        return um_theap_refill(h, class_id);
    m->list = b->next;
    return b;
}

/* b is of a slab of the calling thread's, whose home is m. */
UM_INLINE void um_theap_free(um_home *m, um_block *b) {
    b->next = m->list;
    b->self = (uintptr_t)b;
    m->list = b;
    if (um_unlikely(--m->countdown == 0))
        um_theap_event(m);
}

/* --- patrol.c: looking for misuse --- */

/* Checks the free lists the thread would use next, at most `blocks` of them, and aborts where one is damaged:
 * finds what a double free left behind. */
UM_HIDDEN void um_theap_check_lists(const um_theap *h, unsigned blocks);
/* A short look at the lists of so many classes, those whose turn it is. */
UM_HIDDEN void um_theap_patrol(um_theap *h, unsigned classes);
/* b, a block of s, is on a list of the calling thread's. Takes its time. */
UM_HIDDEN bool um_theap_is_free(const um_span *s, const um_block *b);

/* --- spare.c: classes that a thread uses less than it did --- */

#define UM_SPARE_SPEND   65536u /* blocks looked at within the decay time */
#define UM_SPARE_ERRORS  8u
#define UM_SPARE_THREADS 8u                          /* so many may keep what they had */
extern UM_HIDDEN _Atomic(uint32_t) um_spare_threads; /* that have a heap. Relaxed: a hint */
UM_INLINE bool um_spare_wanted(void) {
    return atomic_load_explicit(&um_spare_threads, memory_order_relaxed) > UM_SPARE_THREADS; /* hint */
}
/* Leaves the class's slabs to others if half of their blocks are free. Between two pieces of work only. */
UM_HIDDEN void um_spare_look(um_theap *h, unsigned class_id);
/* Once in the decay time it may look as much again. */
UM_HIDDEN void um_spare_renew(um_theap *h, uint64_t now_ms);
/* The class wants a slab. If it was left, that was wrong, and is not done many times. */
UM_INLINE void um_spare_regret(um_theap *h, um_bin *bin) {
    if (um_unlikely(bin->left)) {
        bin->left = false;
        h->spent += UM_SPARE_SPEND / UM_SPARE_ERRORS;
    }
}

/* --- cache.c: the caches of hot classes --- */

#define UM_CACHE_LIMIT_MAX 2048u
#define UM_CACHE_LIMITS    9u /* a cache holds less than so many limits */

/* The class became hot. */
UM_HIDDEN void um_cache_open(um_theap *h, um_bin *bin);
/* Makes malloc take from the cache, if it has blocks. */
UM_HIDDEN bool um_cache_fetch(um_class_cache *k);
/* The countdown reached 0. */
UM_HIDDEN void um_cache_event(um_class_cache *k);
/* Lets one of the next frees look at the clock. */
UM_HIDDEN void um_cache_hurry(um_class_cache *k);
/* Gives all blocks back to their slabs. */
UM_HIDDEN void um_cache_flush(um_class_cache *k);
/* The same for all caches, or for those that were not used since the last call. */
UM_HIDDEN void um_cache_flush_all(um_theap *h, bool only_idle);
/* The heap has no owner any more. */
UM_HIDDEN void um_cache_close_all(um_theap *h);
/* Blocks in the cache; aborts where a link is damaged or a block is met twice. */
UM_HIDDEN unsigned um_cache_walk(const um_class_cache *k);
/* The same of its first `most` blocks only. */
UM_HIDDEN unsigned um_cache_look(const um_class_cache *k, unsigned most);
/* The block at the head of the cache fails its mark. */
UM_HIDDEN _Noreturn void um_cache_damaged(const um_class_cache *k, const void *block);

/* --- remote.c: the other threads' side --- */

/* Starts a chain with a block of a slab that the calling thread does not own. */
UM_HIDDEN void um_remote_start(um_theap *h, um_span *s, um_block *b);
/* The chain is full. */
UM_HIDDEN void um_remote_full(um_out *o);

UM_INLINE um_out *um_remote_chain(um_out *out, uintptr_t slot) {
    return &out[(slot >> UM_SLOT_SHIFT) % UM_OUT_SLOTS];
}

/* Adds a block to its slab's chain, if there is one: no atomic instruction, no lock, and no look at the
   slab's record. A chain's slab has blocks in use, so it is still the slab that it was when the chain began.
 */
UM_INLINE bool um_remote_join(um_block *b) {
    uintptr_t slot = um_round_down((uintptr_t)b, UM_SLOT_BYTES);
    um_out *o = um_remote_chain(um_tls.out, slot);
    if (um_unlikely(o->slot != slot))
        return false;
    b->next = o->head;
    b->self = (uintptr_t)b;
    o->head = b;
    if (um_unlikely(--o->room == 0))
        um_remote_full(o);
    return true;
}

/* Chains have full length: no child of a fork, and a large thread cache. Relaxed: a hint. */
extern UM_HIDDEN _Atomic(bool) um_remote_full_length;
/* After either changed. */
UM_HIDDEN void um_remote_set_length(void);

/* Hands a chain over at once. */
UM_HIDDEN void um_remote_push(um_span *s, um_block *head, um_block *tail, unsigned count);
UM_HIDDEN void um_remote_flush(um_theap *h);
/* Hands on a slab whose PENDING token the caller holds. */
UM_HIDDEN void um_remote_deliver(um_span *s);

/* --- stranded.c: the slabs of idle owners --- */

/* All blocks of an owned slab are on its remote word. */
UM_HIDDEN void um_stranded_note(um_theap *h);
/* Gives back the pages of such slabs whose owner has not come by for the decay time. Cheap when there are
 * none. */
UM_HIDDEN void um_stranded_purge(uint64_t now_ms);
/* The owner has looked at its pending stack. */
UM_HIDDEN void um_stranded_forget(um_theap *h);

/* --- orphan.c: slabs without owner --- */

/* Blocks of orphans that came back, by class; written under the orphan lock, read racily by the report. */
extern UM_HIDDEN uint64_t um_orphan_frees[UM_CLASSES];
/* Makes orphans of slabs of the heap that are in none of its queues: a list by `next`. */
UM_HIDDEN void um_orphan_give_all(um_theap *h, um_span *s);
/* Takes over an orphan of the class with free blocks, or NULL. The slab's list is set, it is in no queue. */
UM_HIDDEN um_span *um_orphan_adopt(um_theap *h, unsigned class_id);
/* The same from other nodes than the heap's, for when there is no memory. */
UM_HIDDEN um_span *um_orphan_adopt_far(um_theap *h, unsigned class_id);
/* After blocks or the token came back to an orphan: lists it, or gives it back when it is empty. */
UM_HIDDEN void um_orphan_look(um_span *s);
/* The slab's owner stayed in the parent of a fork: makes it an orphan. */
UM_HIDDEN void um_orphan_salvage(um_span *s);
extern UM_HIDDEN um_lock um_orphan_lock;

/* --- registry.c: all heaps --- */

/* The calling thread's heap, made on the first call; NULL: no memory, or the thread has exited. */
UM_HIDDEN um_theap *um_theap_get(void);
/* The first heap made: the main thread's. */
UM_HIDDEN bool um_theap_is_first(const um_theap *h);
/* Makes orphans of all the heap's slabs. It has been flushed, and has no slab after. */
UM_HIDDEN void um_theap_hand_over(um_theap *h);
/* Hands over everything; the calling thread has no heap after. */
UM_HIDDEN void um_theap_exit(um_theap *h);
/* The same, but what is little stays together for the next thread. */
UM_HIDDEN void um_theap_leave(um_theap *h);
/* Hands over all parked heaps. */
UM_HIDDEN void um_theap_retire_parked(void);
/* Hands over a heap that was parked for the decay time, if there is one. */
UM_HIDDEN void um_theap_retire_due(uint64_t now_ms);
/* The heap for threads past their exit, locked by the caller of the two. */
UM_HIDDEN um_theap *um_theap_shared_lock(void);
/* The same for blocks of a place that is not the caller's; NULL: without memory, and locked all the same. */
UM_HIDDEN um_theap *um_theap_placed_lock(unsigned place);
UM_HIDDEN void um_theap_shared_unlock(void);
/* Calls f for each heap ever made, under the registry's lock. */
UM_HIDDEN void um_theap_each(void (*f)(um_theap *h, void *ctx), void *ctx);
/* What the heaps of ended threads counted. */
typedef struct um_theap_folded {
    um_class_stats classes[UM_CLASSES];
} um_theap_folded;
extern UM_HIDDEN um_theap_folded um_theap_past; /* registry lock */
UM_HIDDEN void um_theap_lock_all(void);
UM_HIDDEN void um_theap_unlock_all(void);
UM_HIDDEN void um_theap_child_after_fork(void);

/* --- migrate.c: memory sent to a node on request --- */

typedef struct um_migration {
    size_t there_bytes, elsewhere_bytes; /* of the pages in memory: on the node now, and not */
} um_migration;

/* Moves whole pages to the node of that kernel id. EINVAL: no node with memory for us; ENOMEM: it is full;
   EBUSY: some pages stayed, which a child of fork shares or somebody uses; ENOSYS and EPERM: not to be had.
   What could be moved was, also on an error. */
UM_HIDDEN int um_migrate_range(uintptr_t at, size_t bytes, unsigned node, um_migration *out);
/* The same for an active span, whose memory the caller holds or owns a block of. */
UM_HIDDEN int um_migrate_span(um_span *s, unsigned node, um_migration *out);
/* The same for the slabs of the calling thread's heap, which then draws from that node until its thread is
   seen elsewhere for a while. Large blocks are no heap's. */
UM_HIDDEN int um_theap_migrate(um_theap *h, unsigned node, um_migration *out);
/* A request was served. */
UM_HIDDEN void um_migrate_count(const um_migration *done);

/* --- large.c --- */

/* NULL: out of memory. align is a power of two; *zeroed tells whether the block reads as zero. */
UM_HIDDEN void *um_large_alloc(um_theap *h, size_t bytes, size_t align, bool *zeroed);
/* p is the start of s; h may be NULL. */
UM_HIDDEN void um_large_free(um_theap *h, um_span *s);
/* The block with its contents at its new size, or NULL: the caller must copy (s is as it was). */
UM_HIDDEN void *um_large_resize(um_theap *h, um_span *s, size_t bytes);
/* Makes a dirty block read as zero by giving its pages back, where that beats clearing them; false: not done.
 */
UM_HIDDEN bool um_large_zero(void *p);
UM_HIDDEN void um_large_flush(um_theap *h);
/* A slot that is kept, of the heap's node, for a slab; NULL: none is. */
UM_HIDDEN um_span *um_large_take_slot(um_theap *h);
/* Keeps slots that are dirty, as many as there is room for, until they are taken. */
UM_HIDDEN void um_large_fetch_slots(um_theap *h);

#endif
