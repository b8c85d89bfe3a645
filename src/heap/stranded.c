/* Slabs whose blocks have all been freed by other threads while their owner sits idle. Only the owner can
   take such a slab out of its queues, but anybody may give its pages back: the slab lies in its owner's
   pending stack, and who takes the stack holds the tokens. The word then goes from the full list to BUSY, the
   pages go, the word goes to PURGED, and the token goes back to the owner, which finds an empty slab that
   costs no memory. While BUSY the owner leaves the slab alone (it has no list to take), and nobody else has a
   block of it to free.

   This happens on the slow paths of whatever thread comes by, once the owner has been away for the decay
   time. */
#include "heap/heap.h"
#include "os/os.h"
#include "slab/remote.h"
#include "space/space.h"

#define BATCH 64u

static _Atomic(size_t) stranded_slabs;  /* relaxed: a hint, the sum of the heaps' */
static _Atomic(uint64_t) next_purge_ms; /* relaxed: whoever moves it on does the work */

void um_stranded_note(um_theap *h) {
    atomic_fetch_add_explicit(&h->stranded, 1, memory_order_relaxed);    /* hint */
    atomic_fetch_add_explicit(&stranded_slabs, 1, memory_order_relaxed); /* hint */
    um_space_expect(UM_SLOT_BYTES);
}

void um_stranded_forget(um_theap *h) {
    size_t n;
    if (um_likely(atomic_load_explicit(&h->stranded, memory_order_relaxed) == 0)) /* hint */
        return;
    n = atomic_exchange_explicit(&h->stranded, 0, memory_order_relaxed); /* hint */
    atomic_fetch_sub_explicit(&stranded_slabs, n, memory_order_relaxed); /* hint */
    um_space_expect(-(n << UM_SLOT_SHIFT));
}

/* We hold the slab's token. */
static void purge_slab(um_span *s) {
    uint64_t w = atomic_load_explicit(&s->remote, memory_order_relaxed); /* the swap decides */
    uint64_t done = UM_REMOTE_PURGED;
    if ((w & UM_REMOTE_ORPHAN) || um_remote_count(w) != s->capacity)
        return;
    /* A6: acquire pairs with R1: the blocks' links were written before their pages go. The owner may take the
       list first (a current slab) or make it an orphan: then the swap fails. */
    if (!atomic_compare_exchange_strong_explicit(&s->remote, &w, (w & ~UM_REMOTE_LIST_MASK) | UM_REMOTE_BUSY,
                                                 memory_order_acquire, memory_order_relaxed))
        return;
    if (um_space_purge_part(um_span_start(s), UM_SLOT_BYTES) == 0) {
        UM_COUNT_ADD(purges, 1);
        UM_COUNT_ADD(purged_bytes, UM_SLOT_BYTES);
    } else {
        UM_COUNT_ADD(purge_failures, 1);
        done |= UM_REMOTE_KEPT;
    }
    /* R6: release: who takes the slab over finds its pages as they are now; pairs with A1, A4. */
    (void)atomic_fetch_xor_explicit(&s->remote, UM_REMOTE_BUSY | done, memory_order_release);
}

/* Takes the pending stack of an idle heap, whose tokens are then ours. */
static um_span *take_stack(um_theap *h) {
    um_span *top = atomic_load_explicit(&h->pending, memory_order_relaxed); /* the swap decides */
    do {
        if (!top || top == UM_PENDING_CLOSED)
            return NULL;
        /* A2: pairs with R2. */
    } while (!atomic_compare_exchange_weak_explicit(&h->pending, &top, NULL, memory_order_acquire,
                                                    memory_order_relaxed));
    return top;
}

typedef struct idle_stacks {
    uint64_t before_ms;
    unsigned count;
    um_span *top[BATCH];
} idle_stacks;

static void take_if_idle(um_theap *h, void *ctx) {
    idle_stacks *idle = ctx;
    um_span *top;
    /* hints, both */
    if (atomic_load_explicit(&h->stranded, memory_order_relaxed) == 0 || idle->count == BATCH ||
        atomic_load_explicit(&h->seen_ms, memory_order_relaxed) >= idle->before_ms)
        return;
    um_stranded_forget(h);
    top = take_stack(h);
    if (top)
        idle->top[idle->count++] = top;
}

static UM_NOINLINE void purge_idle(uint64_t before_ms) {
    idle_stacks idle = {.before_ms = before_ms};
    um_theap_each(take_if_idle, &idle);
    for (unsigned i = 0; i < idle.count; i++) {
        for (um_span *s = idle.top[i], *next; s; s = next) {
            next = s->pending_next; /* before the token goes: with it goes the link */
            purge_slab(s);
            um_remote_deliver(s);
        }
    }
}

void um_stranded_purge(uint64_t now) {
    uint64_t due = atomic_load_explicit(&next_purge_ms, memory_order_relaxed),
             decay = UM_SPACE_SETTING(decay_ms);
    if (um_likely(atomic_load_explicit(&stranded_slabs, memory_order_relaxed) == 0) || now < due) /* hint */
        return;
    if (um_place.strict) /* pages touched again were not looked at */
        return;
    if (atomic_compare_exchange_strong_explicit(&next_purge_ms, &due, now + decay / 8 + 1,
                                                memory_order_relaxed, memory_order_relaxed))
        purge_idle(now > decay ? now - decay : 0);
}
