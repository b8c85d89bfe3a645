/* Frees by threads that do not own the slab. Blocks of one slab are chained in a small direct-mapped buffer
   of the freeing thread (no atomic instruction), and a chain goes over with one compare-and-swap on the
   slab's remote word (R1). Whoever finds the word without PENDING sets it and so holds the token: he puts the
   slab on its owner's pending stack (R2), once, however many chains follow. The owner takes the stack before
   it asks for a new slab.

   The stack's owner may exit meanwhile. Its stack is closed then; the token's holder looks at the word again
   and finds an orphan, another owner, or (the exit is still under way) leaves the blocks to it: see
   um_remote_deliver.

   Bounds: a thread holds at most UM_OUT_SLOTS chains of 16 KiB in transit, and no more than it may cache
   (UMALLOC_THREAD_CACHE). A chain that would be of one block is sent at once. A hand goes round the chains,
   one at each that begins, and sends those that it meets a second time: they grow slowly, and what waits in
   them keeps its slab. */
#include "heap/heap.h"
#include "os/fatal.h"
#include "slab/remote.h"
#include "space/hugetlb.h"

static void send(um_theap *h, um_out *o) {
    um_span *s = um_span_at(um_window_offset((void *)o->slot));
    uint32_t count = (uint32_t)o->most - o->room;
    h->remote_batches++;
    h->remote_frees += count;
    o->slot = 0;
    um_remote_push(s, o->head, o->tail, count);
}

_Atomic(bool) um_remote_full_length = true;

void um_remote_set_length(void) {
    bool full = um_theap_fork_gen == 0 && um_theap_cache_most() >= UM_OUT_SLOTS * UM_TRANSIT_BYTES;
    atomic_store_explicit(&um_remote_full_length, full, memory_order_relaxed);
}

/* All chains together hold no more than the thread cache may. In a child of fork, each block of a thread that
   stayed behind goes at once, and so do those of orphans, which its slabs become: chains that are open would
   keep the last pages of slabs that all came back, and each is a copy of one of the parent's. */
static UM_NOINLINE uint8_t chain_most(const um_span *s) {
    const um_theap *h = atomic_load_explicit(&s->heap, memory_order_acquire); /* A3 */
    if (um_theap_fork_gen && (!h || h->fork_gen != um_theap_fork_gen))
        return 1;
    return (uint8_t)um_max(1, um_min(s->transit, um_theap_cache_most() / UM_OUT_SLOTS / s->block_bytes));
}

UM_INLINE void begin(um_out *o, um_out *hand, um_span *s, um_block *b, uint8_t most) {
    hand->old = hand->slot != 0;
    o->slot = um_round_down((uintptr_t)b, UM_SLOT_BYTES);
    o->head = o->tail = b;
    o->most = most;
    o->room = (uint8_t)(most - 1u);
    o->old = false;
    o->class_id = s->class_id;
    o->reciprocal = s->reciprocal;
    b->next = um_slab_end(s);
    b->self = (uintptr_t)b;
    if (o->room == 0)
        um_remote_full(o);
}

/* A slab without owner may wait for its last block only, so the chain that has that goes: no more can join
   than are in use now. Relaxed: what others bring back meanwhile makes them fewer. */
static uint8_t orphan_most(const um_span *s) {
    unsigned back = um_remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed));
    return (uint8_t)um_max(1, um_min(s->transit, s->carved - um_min(back, s->carved)));
}

/* The same as below, where other chains go first or the length is not the usual one. */
static UM_NOINLINE void start_slowly(um_theap *h, um_out *o, um_out *hand, um_span *s, um_block *b) {
    uint8_t most;
    if (hand->slot && hand->old)
        send(h, hand);
    if (o->slot)
        send(h, o);
    if (!atomic_load_explicit(&um_remote_full_length, memory_order_relaxed)) /* hints */
        most = chain_most(s);
    else
        most = atomic_load_explicit(&s->heap, memory_order_relaxed) ? s->transit : orphan_most(s);
    begin(o, hand, s, b, most);
}

UM_NOINLINE void um_remote_start(um_theap *h, um_span *s, um_block *b) {
    um_out *o = um_remote_chain(h->out, (uintptr_t)b);
    um_out *hand = &h->out[h->chains_begun++ % UM_OUT_SLOTS];
    if (um_unlikely(o->slot || hand->old || !atomic_load_explicit(&s->heap, memory_order_relaxed) /* hint */
                    || !atomic_load_explicit(&um_remote_full_length, memory_order_relaxed)))
        start_slowly(h, o, hand, s, b);
    else
        begin(o, hand, s, b, s->transit);
}

UM_NOINLINE void um_remote_full(um_out *o) {
    um_theap *h = um_tls.heap;
    send(h, o);
    um_theap_tick(h);
}

void um_remote_flush(um_theap *h) {
    for (unsigned i = 0; i < UM_OUT_SLOTS; i++)
        if (h->out[i].slot)
            send(h, &h->out[i]);
}

/* The owner stayed in the parent of a fork. */
static UM_NOINLINE void push_torn(um_span *s, um_block *head, um_block *tail, unsigned count) {
    if (um_hugetlb_torn)
        return;
    um_orphan_salvage(s);
    um_remote_push(s, head, tail, count);
}

/* All blocks of an owned slab came back; `told`: its token is out. */
static UM_NOINLINE void all_back(um_span *s, um_theap *h, bool told) {
    um_stranded_note(h); /* it may be the owner of a moment ago: a hint goes astray */
    if (!told)
        um_remote_deliver(s);
}

/* What it calls it calls last, so that no register need be saved. */
void um_remote_push(um_span *s, um_block *head, um_block *tail, unsigned count) {
    um_theap *h = atomic_load_explicit(&s->heap, memory_order_acquire); /* A3: pairs with R3 */
    unsigned sum;
    uint64_t w, next, first = um_remote_first(s, head);
    if (um_unlikely(!um_slab_is_block(s, head)))
        um_fatal("invalid free", head, s->block_bytes, "not the start of a block");
    if (um_unlikely(h && h->fork_gen != um_theap_fork_gen)) {
        push_torn(s, head, tail, count);
        return;
    }
    w = atomic_load_explicit(&s->remote, memory_order_relaxed); /* the swap decides */
    do {
        sum = um_remote_count(w) + count;
        if (um_unlikely(sum > s->capacity || (w & (UM_REMOTE_BUSY | UM_REMOTE_PURGED))))
            um_fatal("double free", head, s->block_bytes, "more blocks came back than the slab has");
        tail->next = um_remote_head(s, w);
        next = (w & ~UM_REMOTE_LIST_MASK) | first | um_remote_sum(sum);
        if (!(w & UM_REMOTE_ORPHAN))
            next |= UM_REMOTE_PENDING;
        /* R1: release publishes the chain's links; pairs with A1 in heap.c and A4 in orphan.c. Acquire: a new
           holder of the token writes pending_next after the old one read it. */
    } while (!atomic_compare_exchange_weak_explicit(&s->remote, &w, next, memory_order_acq_rel,
                                                    memory_order_relaxed));
    if (w & UM_REMOTE_ORPHAN) {
        if (um_remote_count(w) == 0 || um_remote_count(next) == s->carved)
            um_orphan_look(s);
        return;
    }
    if (um_unlikely(sum == s->capacity && h))
        all_back(s, h, w & UM_REMOTE_PENDING);
    else if (!(w & UM_REMOTE_PENDING))
        um_remote_deliver(s);
}

static bool push_pending(um_theap *h, um_span *s) {
    um_span *top = atomic_load_explicit(&h->pending, memory_order_relaxed); /* the swap decides */
    do {
        if (top == UM_PENDING_CLOSED)
            return false;
        s->pending_next = top;
        /* R2: release publishes pending_next; pairs with A2 in heap.c and registry.c. */
    } while (!atomic_compare_exchange_weak_explicit(&h->pending, &top, s, memory_order_release,
                                                    memory_order_relaxed));
    return true;
}

void um_remote_deliver(um_span *s) {
    for (;;) {
        uint64_t w =
            atomic_load_explicit(&s->remote, memory_order_acquire); /* A5: pairs with R4, R5 in orphan.c */
        um_theap *h = atomic_load_explicit(&s->heap, memory_order_acquire); /* A3 */
        if (!(w & UM_REMOTE_ORPHAN) && h && push_pending(h, s))
            return;
        /* An orphan, or the owner is about to make it one and will then take what is on the word: give the
           token back. If the word changed meanwhile, the slab may have an owner that must be told. R7:
           release, so that the next holder of the token (R1's acquire) writes pending_next after our use of
           it. */
        if (atomic_compare_exchange_strong_explicit(&s->remote, &w, w & ~UM_REMOTE_PENDING,
                                                    memory_order_acq_rel, memory_order_relaxed)) {
            if (w & UM_REMOTE_ORPHAN)
                um_orphan_look(s);
            return;
        }
    }
}
