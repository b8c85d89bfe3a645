/* A lock of three states on a futex: 0 free, 1 held, 2 held with sleepers. Own because pthread_mutex may be
   wrapped by another preload that allocates. Ranks (docs/concurrency.md) are taken in rising order only. */
#ifndef UM_LOCK_H
#define UM_LOCK_H

#include "base/base.h"

typedef struct um_lock {
    _Atomic(uint32_t) word;
} um_lock;

/* The thread that is between the two halves of a fork and holds every lock: handlers of others that run in
   between may allocate, and it passes its own locks. 0: none. Relaxed: only that thread stores or finds its
   id. */
extern UM_HIDDEN _Atomic(uintptr_t) um_lock_forker;

/* Between the two halves of a fork of a process that has one thread: no lock is taken for it. Which is held
   all the same is held by that thread, in what a signal interrupted to fork; it will be dropped there, in
   both processes. Plain: one thread. */
extern UM_HIDDEN bool um_lock_alone;

UM_INLINE bool um_lock_passes(void) {
    uintptr_t forker = atomic_load_explicit(&um_lock_forker, memory_order_relaxed);
    return um_unlikely(forker != 0) && forker == um_thread_id();
}

UM_HIDDEN void um_lock_slow(um_lock *l);
UM_HIDDEN void um_unlock_slow(um_lock *l);

/* The two halves of the fast path, for callers that have a slow one of their own. They know nothing of forks:
   while a forker holds the lock, an attempt fails. */
UM_INLINE bool um_lock_try(um_lock *l) {
    uint32_t free_word = 0;
    /* L1: acquire pairs with the release in um_lock_end (L2). */
    return atomic_compare_exchange_strong_explicit(&l->word, &free_word, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

/* True: um_unlock_slow is to follow, for there are sleepers. */
UM_INLINE bool um_lock_end(um_lock *l) {
    /* L2: release publishes what the lock guards; pairs with L1. */
    return atomic_fetch_sub_explicit(&l->word, 1, memory_order_release) != 1;
}

UM_INLINE void um_lock_take(um_lock *l) {
    if (!um_lock_passes() && um_unlikely(!um_lock_try(l)))
        um_lock_slow(l);
}

UM_INLINE void um_lock_drop(um_lock *l) {
    if (!um_lock_passes() && um_unlikely(um_lock_end(l)))
        um_unlock_slow(l);
}

/* For the child of fork only: no other thread exists. */
UM_INLINE void um_lock_reset(um_lock *l) {
    if (!um_lock_alone)
        atomic_store_explicit(&l->word, 0, memory_order_relaxed); /* single thread */
}

#endif
