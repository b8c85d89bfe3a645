/* The lock: mutual exclusion under contention, its three states, and sleepers that are woken. */
#include "os/lock.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>

enum { THREADS = 4, ROUNDS = 20000 };

static um_lock lock;
static unsigned long guarded; /* under lock */

static uint32_t word(void) {
    return atomic_load_explicit(&lock.word, memory_order_relaxed);
}

Test(lock, alone_it_is_free_or_held) {
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(word(), 0);
        um_lock_take(&lock);
        cr_expect_eq(word(), 1);
        um_lock_drop(&lock);
    }
    cr_expect_eq(word(), 0);
}

static void *count(void *arg) {
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        um_lock_take(&lock);
        guarded++;
        if (i % 64 == 0)
            sched_yield(); /* lets others find it held, and sleep */
        um_lock_drop(&lock);
    }
    return NULL;
}

Test(lock, excludes) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_expect_eq(guarded, (unsigned long)THREADS * ROUNDS);
    cr_expect_eq(word(), 0);
}

static void *take_once(void *arg) {
    (void)arg;
    um_lock_take(&lock);
    guarded++;
    um_lock_drop(&lock);
    return NULL;
}

Test(lock, sleepers_are_woken_one_after_the_other) {
    pthread_t threads[THREADS];
    um_lock_take(&lock);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, take_once, NULL), 0);
    while (word() != 2) /* somebody gave up spinning */
        sched_yield();
    cr_expect_eq(guarded, 0);
    um_lock_drop(&lock);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_expect_eq(guarded, THREADS);
    cr_expect_eq(word(), 0);
}

Test(lock, reset_frees_what_a_thread_of_the_parent_held) {
    um_lock_take(&lock);
    um_lock_reset(&lock);
    cr_expect_eq(word(), 0);
    um_lock_take(&lock);
    cr_expect_eq(word(), 1);
}
