/* The walk of live blocks: each once, wherever free ones are kept: lists, caches, chains, remote words. */
#include "front/front.h"
#include "space/space.h"
#include "umalloc/umalloc.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#define MANY 4000u

static void *blocks[MANY];
static bool live[MANY];
static unsigned met[MANY], strange;
static size_t limit;

static int by_address(const void *a, const void *b) {
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return x < y ? -1 : x > y;
}

static bool note(const um_block_info *info, void *ctx) {
    void *const *found = bsearch(&info->start, blocks, MANY, sizeof *blocks, by_address);
    (void)ctx;
    if (found) {
        met[found - blocks]++;
        strange += info->bytes != um_usable_size(info->start);
    }
    return limit == 0 || --limit;
}

static void expect_exact(const char *when) {
    unsigned missed = 0, wrong = 0;
    memset(met, 0, sizeof met);
    cr_assert_geq(um_walk(note, NULL), 0);
    for (unsigned i = 0; i < MANY; i++) {
        missed += live[i] && met[i] == 0;
        wrong += met[i] > live[i];
    }
    cr_expect_eq(missed, 0, "%s: %u missed", when, missed);
    cr_expect_eq(wrong, 0, "%s: %u dead or twice", when, wrong);
    cr_expect_eq(strange, 0);
}

/* Of all sizes; each looks as a free one does: its second word is its own address. */
static void allocate(void) {
    for (unsigned i = 0; i < MANY; i++) {
        size_t bytes = i % 50 ? i * 13 % 2000 : i * 50;
        blocks[i] = um_malloc(bytes, 0);
        cr_assert_not_null(blocks[i]);
    }
    qsort(blocks, MANY, sizeof *blocks, by_address);
    for (unsigned i = 0; i < MANY; i++) {
        live[i] = true;
        if (um_usable_size(blocks[i]) >= 16 && !um_hard_level)
            ((uintptr_t *)blocks[i])[0] = ((uintptr_t *)blocks[i])[1] = (uintptr_t)blocks[i];
    }
}

static void free_every(unsigned n, unsigned from) {
    for (unsigned i = from; i < MANY; i += n)
        if (live[i]) {
            um_free(blocks[i]);
            live[i] = false;
        }
}

Test(walk, meets_each_live_block_once) {
    allocate();
    expect_exact("all");
    free_every(3, 0);
    expect_exact("two thirds");
    free_every(2, 0);
    expect_exact("a third");
    free_every(1, 0);
    expect_exact("none");
}

static sem_t go, done;

static void *free_there(void *unused) {
    (void)unused;
    free_every(3, 1);
    sem_post(&done); /* chains are not sent yet */
    while (sem_wait(&go) != 0)
        ;
    um_thread_flush();
    sem_post(&done);
    while (sem_wait(&go) != 0)
        ;
    return NULL;
}

Test(walk, knows_what_other_threads_have_freed) {
    pthread_t t;
    sem_init(&go, 0, 0);
    sem_init(&done, 0, 0);
    allocate();
    cr_assert_eq(pthread_create(&t, NULL, free_there, NULL), 0);
    while (sem_wait(&done) != 0)
        ;
    expect_exact("in their chains");
    sem_post(&go);
    while (sem_wait(&done) != 0)
        ;
    expect_exact("delivered");
    sem_post(&go);
    cr_assert_eq(pthread_join(t, NULL), 0);
    expect_exact("ended");
}

static void *allocate_there(void *unused) {
    (void)unused;
    allocate();
    free_every(2, 0); /* into the class caches of this thread */
    sem_post(&done);
    while (sem_wait(&go) != 0)
        ;
    return NULL;
}

Test(walk, knows_the_caches_of_other_threads) {
    pthread_t t;
    sem_init(&go, 0, 0);
    sem_init(&done, 0, 0);
    cr_assert_eq(pthread_create(&t, NULL, allocate_there, NULL), 0);
    while (sem_wait(&done) != 0)
        ;
    expect_exact("of a thread that waits");
    sem_post(&go);
    cr_assert_eq(pthread_join(t, NULL), 0);
    expect_exact("parked or orphaned");
}

Test(walk, ends_when_it_is_told) {
    allocate();
    limit = 10;
    cr_expect_eq(um_walk(note, NULL), 10);
}

static bool churn(const um_block_info *info, void *ctx) {
    (void)info, (void)ctx;
    um_free(um_malloc(100, 0));
    um_free(um_malloc(100000, 0));
    return true;
}

Test(walk, lets_the_visitor_allocate) {
    allocate();
    cr_expect_geq(um_walk(churn, NULL), MANY);
    expect_exact("after");
    um_space_check();
}

Test(walk, without_memory_says_so) {
    allocate();
    um_space_setting.limit_bytes = 1;
    (void)um_trim(0);
    errno = 0;
    cr_expect_eq(um_walk(note, NULL), -1);
    cr_expect_eq(errno, ENOMEM);
    um_space_setting.limit_bytes = 0;
}

static _Atomic(bool) stop;

static void *busy(void *unused) {
    void *own[100] = {0};
    unsigned r = 1;
    (void)unused;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        unsigned k = (r = r * 1103515245u + 12345u) >> 16 & 63;
        um_free(own[k]);
        own[k] = um_malloc(r >> 20 & 2047, 0);
    }
    um_free_batch(own, 100);
    return NULL;
}

/* What is not touched meanwhile is met once all the same. */
Test(walk, goes_on_beside_threads_at_work) {
    pthread_t t[2];
    allocate();
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, busy, NULL), 0);
    for (unsigned i = 0; i < 20; i++)
        expect_exact("beside others");
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(pthread_join(t[i], NULL), 0);
    um_space_check();
}

static void harden(void) {
    um_theap *h = um_front_heap();
    cr_assert_eq(um_hard_start(UM_HARD_FULL), 0);
    if (h)
        um_theap_exit(h);
}

Test(walk, knows_hardened_blocks, .init = harden) {
    allocate();
    expect_exact("hardened");
    free_every(3, 0);
    expect_exact("two thirds");
    free_every(1, 0);
    expect_exact("none");
}
