/* The slow half of the lock: spin a little, for holders keep it for tens of nanoseconds, then sleep on the
 * futex. */
#include "os/lock.h"
#include "os/os.h"

#define SPINS 100

_Atomic(uintptr_t) um_lock_forker;
bool um_lock_alone;

void um_lock_slow(um_lock *l) {
    for (int i = 0; i < SPINS; i++) {
        uint32_t free_word = 0;
        /* L1, as in um_lock_try */
        if (atomic_load_explicit(&l->word, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(&l->word, &free_word, 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return;
        um_cpu_relax();
    }
    /* L1: taken as "held with sleepers", which costs at most one needless wake. */
    while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire) != 0)
        um_os_wait(&l->word, 2);
}

/* One step down from "held with sleepers": held still, by nobody. */
void um_unlock_slow(um_lock *l) {
    atomic_store_explicit(&l->word, 0, memory_order_release); /* L2, as in um_lock_end */
    um_os_wake_one(&l->word);
}
