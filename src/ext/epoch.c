/* Read sections. There is one count of epochs, raised at the closing of each bag; the bag gets the value
   before as its stamp. A reader stores the count that it found into its record when it enters, and 0 when it
   leaves. A bag is old when no record shows an epoch of its stamp or before.

   Why a section that can hold an object of a bag is seen by the look that judges it:
   - A reader that found a count above the stamp saw the raise, hence the unlinking before it (G1, G2), and
   does not find the object any more. It need not be waited for.
   - One that found the stamp or less stored that into its record. Between this store and its reads of the
     program's pointers there is nothing but order for the compiler. The look makes every thread pass a fence,
     after the bag was closed and before it reads the records (um_reclaim_order). Had the thread stored by
     then, the look sees it. Had it not, its reads of pointers come after the fence and see the unlinking.
   Where there is no such call, the section runs the fence itself, and it is Dekker's exclusion.

   What one thread found out serves all: `old` says below which stamp bags are old. Its finder read the
   count before its fence, so a bag below that value was closed before too.

   Threads without a record (no memory, or past their end) enter together: while one of them reads, nothing
   gets old. The record of a thread stays valid to others for ever; a look may read one that has no thread
   now, and finds 0.

   The idea is Fraser's (Practical lock freedom, 2004, section 5.2.3), with a stamp a bag in place of three
   lists, and the fence on one side of Desnoyers and others (User-level implementations of read-copy update,
   2012). test/model/epoch.pml checks the protocol with store buffers. */
#include "ext/reclaim.h"
#include "os/fatal.h"

#define FIRST_EPOCH 1 /* 0 in a record says: in no section */

static _Atomic(uint64_t) epoch = FIRST_EPOCH; /* G1, G2 */
static _Atomic(uint64_t) old = FIRST_EPOCH;   /* G4, G5 */
static _Atomic(uint64_t) nameless;            /* sections of threads without a record; G6, G7 */

static UM_COLD void enter_nameless(void) {
    /* G6: sequentially consistent, and a fence: the pointers are read after it. Acquire of what G7 waits for
       is not needed; release pairs with the load in um_epoch_look. */
    atomic_fetch_add_explicit(&nameless, 1, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
}

static UM_COLD void fence(void) {
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the one in um_reclaim_order */
}

static UM_COLD void enter_first(void) {
    if (um_reader_join())
        um_epoch_enter();
    else
        enter_nameless();
}

void um_epoch_enter(void) {
    um_reader *own = um_local[UM_MODULE_reclaim];
    if (um_unlikely(!own)) {
        enter_first();
        return;
    }
    if (own->nest++)
        return;
    /* G1: acquire pairs with the raise in um_epoch_stamp (G2). The store is a release so that who reads it
       has what the thread's last section read behind it (G3). */
    atomic_store_explicit(&own->active, atomic_load_explicit(&epoch, memory_order_acquire),
                          memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    if (um_unlikely(um_reclaim_fences))
        fence();
}

static UM_COLD void leave_nameless(const void *caller) {
    /* G7: release: what the section read is read before; pairs with the load in um_epoch_look. */
    uint64_t before = atomic_load_explicit(&nameless, memory_order_relaxed); /* the swap decides */
    do {
        if (!before)
            um_fatal("um_epoch_leave", caller, 0, "no read section");
    } while (!atomic_compare_exchange_weak_explicit(&nameless, &before, before - 1, memory_order_release,
                                                    memory_order_relaxed));
}

void um_epoch_leave(void) {
    um_reader *own = um_local[UM_MODULE_reclaim];
    if (um_unlikely(!own || !own->nest)) {
        leave_nameless(__builtin_return_address(0));
        return;
    }
    if (--own->nest)
        return;
    atomic_store_explicit(&own->active, 0, memory_order_release); /* G3: pairs with the load in look_at */
}

uint64_t um_epoch_stamp(void) {
    /* G2: release publishes that the bag's objects are unlinked; acquire keeps the order of bags. */
    return atomic_fetch_add_explicit(&epoch, 1, memory_order_acq_rel);
}

uint64_t um_epoch_old(void) {
    return atomic_load_explicit(&old, memory_order_acquire); /* G5: what G3 published to who looked */
}

typedef struct view {
    uint64_t oldest;
    uint32_t thread;
} view;

static void look_at(um_reader *r, void *ctx) {
    view *v = ctx;
    uint64_t active = atomic_load_explicit(&r->active, memory_order_acquire); /* G3 */
    if (active && active < v->oldest) {
        v->oldest = active;
        v->thread = atomic_load_explicit(&r->thread, memory_order_relaxed); /* for people */
    }
}

uint64_t um_epoch_look(void) {
    view v = {atomic_load_explicit(&epoch, memory_order_acquire), 0}; /* before the fence: G2 */
    uint64_t known = um_epoch_old();
    if (!um_reclaim_order() || atomic_load_explicit(&nameless, memory_order_acquire)) /* G6, G7 */
        return known;
    um_readers_each(look_at, &v);
    /* G4: release hands on what G3 published, to G5; acquire, for it may have come from another. */
    while (known < v.oldest && !atomic_compare_exchange_weak_explicit(
                                   &old, &known, v.oldest, memory_order_acq_rel, memory_order_acquire))
        continue;
    return um_max(known, v.oldest);
}

bool um_epoch_wait(uint64_t stamp) {
    unsigned turn = 0;
    while (um_epoch_look() <= stamp) {
        if (um_reclaim_refused())
            return false;
        um_reclaim_wait(&turn);
    }
    return true;
}

void um_epoch_synchronize(void) {
    const um_reader *own = um_local[UM_MODULE_reclaim];
    if (own && own->nest)
        um_fatal("um_epoch_synchronize", __builtin_return_address(0), 0, "in a read section");
    if (!um_epoch_wait(um_epoch_stamp()))
        um_fatal("um_epoch_synchronize", __builtin_return_address(0), 0,
                 "the kernel refuses membarrier, which it allowed before");
}

uint32_t um_epoch_oldest(uint64_t *stamps) {
    uint64_t now = atomic_load_explicit(&epoch, memory_order_acquire); /* as look_at wants it */
    view v = {UINT64_MAX, 0};
    um_readers_each(look_at, &v);
    *stamps = v.thread && now > v.oldest ? now - v.oldest : 0;
    return v.thread;
}

void um_epoch_in_child(bool known) {
    if (known)                                                     /* its own sections are in its record */
        atomic_store_explicit(&nameless, 0, memory_order_relaxed); /* single thread */
}
