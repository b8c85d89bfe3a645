/* Slabs whose thread has ended. All free blocks of an orphan are on its remote word, so a free by any thread
   is the same compare-and-swap as before; the first block to come back puts the slab on its class's list, the
   last gives it back to its space. Every change to or from ORPHAN happens under one lock: thread exit,
   adoption and return are rare, and the free of a block takes the lock only at those two points.

   An orphan with PENDING (a thread holds the token and is about to find out that the owner is gone) can be
   adopted, but not given back. */
#include "heap/heap.h"
#include "heap/queue.h"
#include "os/fatal.h"
#include "slab/remote.h"
#include "space/space.h"

#define BATCH 16u /* slabs that change hands under one hold of the lock */

um_lock um_orphan_lock; /* rank: before any space lock */

/* Slabs with free blocks, by place and class; under the lock. */
static um_span *listed[UM_NODES_MAX][UM_CLASSES];
static _Atomic(uint32_t) listed_count[UM_NODES_MAX][UM_CLASSES]; /* relaxed: a hint that spares the lock */

uint64_t um_orphan_frees[UM_CLASSES];

/* Counts what came back since the slab became an orphan, before it ceases to be one. */
static void count_frees_locked(const um_span *s, uint64_t word) {
    um_orphan_frees[s->class_id] += um_remote_count(word) - s->mark;
}

static void list_locked(um_span *s) {
    s->listed = 1;
    um_queue_push(&listed[s->node][s->class_id], s);
    atomic_fetch_add_explicit(&listed_count[s->node][s->class_id], 1, memory_order_relaxed); /* hint */
}

static void unlist_locked(um_span *s) {
    s->listed = 0;
    um_queue_remove(&listed[s->node][s->class_id], s);
    atomic_fetch_sub_explicit(&listed_count[s->node][s->class_id], 1, memory_order_relaxed); /* hint */
}

/* A slab that loses its owner, and its local list. */
typedef struct leaver {
    um_span *s;
    um_block *tail;
    unsigned local;
    bool empty; /* to be given back */
} leaver;

/* Only the owner changes the list, so it is walked before the lock is taken. */
static leaver leaver_of(um_span *s) {
    leaver l = {.s = s};
    l.local = um_slab_walk(s, &l.tail);
    return l;
}

/* Turns an owned slab into an orphan. Its local list goes to the word, before what remote threads put there.
 */
static void orphan_locked(um_bin *bin, const leaver *l) {
    um_span *s = l->s;
    unsigned local = l->local, sum;
    uint64_t w = atomic_load_explicit(&s->remote, memory_order_acquire), next; /* A4: pairs with R1 */
    um_home_set(s, NULL);
    atomic_store_explicit(&s->owner, UM_ID_NOBODY,
                          memory_order_relaxed); /* only the owner compares it to an id */
    do {
        um_block *head = local ? s->list : um_remote_head(s, w);
        if (local)
            l->tail->next = um_remote_head(s, w);
        sum = local + um_remote_count(w);
        if (sum > s->carved)
            um_fatal("double free", head, s->block_bytes, "more blocks came back than the slab has");
        next = (w & (UM_REMOTE_PENDING | UM_REMOTE_BUSY | UM_REMOTE_PURGE_MASK)) | UM_REMOTE_ORPHAN |
               ((w | (UM_REMOTE_EPOCH_ONE - 1)) + 1);
        if (sum)
            next |= um_remote_first(s, head) | um_remote_sum(sum);
        /* R4: release publishes the local list and `carved`; pairs with A4 and A5. */
    } while (!atomic_compare_exchange_weak_explicit(&s->remote, &w, next, memory_order_acq_rel,
                                                    memory_order_acquire));
    if (bin)
        bin->frees += um_remote_count(w) + (s->mark - s->countdown);
    s->mark = sum; /* free blocks now: what the word holds beyond them came back later */
    s->countdown = 0;
    s->list = um_slab_end(s);
    s->place = UM_PLACE_ORPHAN;
    s->listed = 0;
    s->next = s->prev = NULL;
    atomic_store_explicit(&s->heap, NULL, memory_order_release); /* R3: pairs with A3 */
}

/* Lists an orphan that has free blocks. True: all its blocks are there, it is the caller's to give back. */
static bool look_locked(um_span *s) {
    uint64_t w = atomic_load_explicit(&s->remote, memory_order_acquire); /* A4 */
    bool empty;
    /* Meanwhile others may have adopted the slab, emptied it, given it back: then it is no orphan, or a new
       one that is listed already or rightly gets listed here. The kind and the flag change under the lock
       only while an orphan. */
    if (um_span_kind_of(s) != UM_SPAN_SLAB || !(w & UM_REMOTE_ORPHAN))
        return false;
    if (w & UM_REMOTE_PURGED) { /* nothing is cut; see forget_blocks */
        s->carved = 0;
        s->bytes = (w & UM_REMOTE_KEPT) ? UM_SLOT_BYTES : 0;
    }
    empty = um_remote_count(w) == s->carved && !(w & (UM_REMOTE_PENDING | UM_REMOTE_BUSY));
    if (empty) {
        if (s->listed)
            unlist_locked(s);
        count_frees_locked(s, w);
        atomic_store_explicit(&s->remote, 0,
                              memory_order_relaxed); /* no block and no token is out: nobody else writes */
        um_span_set_kind(s, UM_SPAN_BUSY);
    } else if (!s->listed && um_remote_count(w)) {
        list_locked(s);
    }
    return empty;
}

void um_orphan_look(um_span *s) {
    bool empty;
    um_lock_take(&um_orphan_lock);
    empty = look_locked(s);
    um_lock_drop(&um_orphan_lock);
    if (empty)
        um_space_free(s, um_slab_touched(s));
}

void um_orphan_give_all(um_theap *h, um_span *s) {
    while (s) {
        leaver batch[BATCH];
        unsigned n = 0;
        for (; s && n < BATCH; s = s->next)
            batch[n++] = leaver_of(s);
        UM_COUNT_ADD(slabs_orphaned, n);
        um_lock_take(&um_orphan_lock);
        for (unsigned i = 0; i < n; i++) {
            orphan_locked(&h->bins[batch[i].s->class_id], &batch[i]);
            batch[i].empty = look_locked(batch[i].s);
        }
        um_lock_drop(&um_orphan_lock);
        for (unsigned i = 0; i < n; i++)
            if (batch[i].empty)
                um_space_free(batch[i].s, um_slab_touched(batch[i].s));
    }
}

static um_span *adopt_from(um_theap *h, unsigned place, unsigned c) {
    um_span *s;
    uint64_t w, next;
    if (atomic_load_explicit(&listed_count[place][c], memory_order_relaxed) == 0) /* hint */
        return NULL;
    um_lock_take(&um_orphan_lock);
    s = listed[place][c];
    if (s) {
        unlist_locked(s);
        s->place = UM_PLACE_NONE;
        atomic_store_explicit(&s->heap, h,
                              memory_order_release); /* R3: seen by whoever sees the word without ORPHAN */
        w = atomic_load_explicit(&s->remote, memory_order_acquire);
        do {
            next = (w & UM_REMOTE_PENDING) | ((w | (UM_REMOTE_EPOCH_ONE - 1)) + 1);
            /* A4 / R5: takes the blocks; publishes the new owner to A5. */
        } while (!atomic_compare_exchange_weak_explicit(&s->remote, &w, next, memory_order_acq_rel,
                                                        memory_order_acquire));
        count_frees_locked(s, w);
        s->list = um_remote_head(s, w);
        s->countdown = s->mark = UM_COUNTDOWN_NEVER;
        atomic_store_explicit(&s->owner, h->owner, memory_order_relaxed); /* ours: only we compare equal */
    }
    um_lock_drop(&um_orphan_lock);
    if (s)
        UM_COUNT_ADD(slabs_adopted, 1);
    return s;
}

um_span *um_orphan_adopt(um_theap *h, unsigned c) {
    um_span *s = NULL;
    if (um_likely(um_place.homing || um_place.count == 1))
        return adopt_from(h, h->node, c);
    for (unsigned i = 0; !s && i < um_place.count; i++)
        s = adopt_from(h, i, c);
    return s;
}

um_span *um_orphan_adopt_far(um_theap *h, unsigned c) {
    um_span *s = NULL;
    unsigned place;
    if (!um_place.homing || um_place.policy == UM_PLACING_LOCAL_STRICT)
        return NULL;
    for (unsigned i = 1; !s && i < um_place.count; i++) {
        place = (h->node + i) % um_place.count;
        s = adopt_from(h, place, c);
    }
    return s;
}

void um_orphan_salvage(um_span *s) {
    um_theap *h;
    leaver left = {.empty = false};
    um_lock_take(&um_orphan_lock);
    h = atomic_load_explicit(&s->heap, memory_order_relaxed); /* under the lock */
    if (h && h->fork_gen != um_theap_fork_gen) {
        /* A token that a thread of the parent held will never come in. */
        /* A4; release as R7 in remote.c */
        (void)atomic_fetch_and_explicit(&s->remote, ~UM_REMOTE_PENDING, memory_order_acq_rel);
        /* Its owner may have been about to take the first block: that one is handed out, to nobody. */
        if (s->list != um_slab_end(s) && s->list->self == 0)
            s->list = s->list->next;
        left = leaver_of(s);
        orphan_locked(NULL, &left);
        left.empty = look_locked(s);
    }
    um_lock_drop(&um_orphan_lock);
    if (left.empty)
        um_space_free(s, um_slab_touched(s));
}
