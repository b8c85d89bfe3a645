/* Heaps of a program's own: every block is there once, back with its heap, and gone with it. */
#include "ext/heap.h"
#include "conf/counters.h"
#include "front/front.h"
#include "space/space.h"
#include "two_nodes.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY    3000u
#define THREADS 4u

static uint64_t held(void) {
    (void)um_heap_drop_parked();
    return atomic_load(&um_module_counts[UM_MODULE_heap].bytes);
}

static um_heap *make(um_heap_kind kind) {
    um_heap *h = um_heap_create(kind, 0);
    cr_assert_not_null(h);
    return h;
}

static um_heap_usage usage(um_heap *h) {
    um_heap_usage u;
    um_heap_stats(h, &u);
    return u;
}

static size_t size_of(unsigned i) {
    return i % 100 == 99 ? 30000 + i * 20 : i * 7919 % 3000;
}

/* Each block is filled with its own number, so that two that overlap are seen. */
static void fill(unsigned char *p, unsigned i, size_t bytes) {
    memset(p, (int)(i * 151 + 1) & 0xff, bytes);
}

static void check(const unsigned char *p, unsigned i, size_t bytes) {
    for (size_t k = 0; k < bytes; k += bytes / 8 + 1)
        cr_assert_eq(p[k], (i * 151 + 1) & 0xff, "block %u", i);
}

static void in_and_out(um_heap_kind kind) {
    static unsigned char *blocks[MANY];
    uint64_t before = held();
    um_heap *h = make(kind);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            blocks[i] = um_heap_malloc(h, size_of(i));
            cr_assert_not_null(blocks[i]);
            cr_assert_eq((uintptr_t)blocks[i] % 16, 0);
            cr_assert_geq(um_heap_usable_size(h, blocks[i]), size_of(i));
            fill(blocks[i], i, size_of(i));
        }
        cr_expect_eq(usage(h).live_blocks, MANY);
        for (unsigned i = 0; i < MANY; i++) {
            unsigned k = i * 7 % MANY;
            check(blocks[k], k, size_of(k));
            if (i % 3)
                um_heap_free(h, blocks[k]);
        }
        for (unsigned i = 0; i < MANY; i += 3)
            um_heap_free(h, blocks[i * 7 % MANY]);
        cr_expect_eq(usage(h).live_blocks, 0);
    }
    um_heap_trim(h);
    cr_expect_eq(usage(h).held_bytes, 0);
    cr_expect_eq(held(), before, "all of it went back");
    um_heap_destroy(h);
    um_space_check();
}

Test(heap, blocks_come_and_go_in_one_thread) {
    in_and_out(UM_HEAP_ONE_THREAD);
}

Test(heap, blocks_come_and_go_in_a_shared_one) {
    in_and_out(UM_HEAP_SHARED);
}

/* So many resets that nothing is kept that nobody wants. */
static void rest(um_heap *h) {
    for (unsigned i = 0; i < 65; i++)
        um_heap_reset(h);
}

Test(heap, its_end_frees_everything) {
    uint64_t before = held();
    for (int kind = UM_HEAP_ONE_THREAD; kind <= UM_HEAP_SHARED; kind++) {
        um_heap *h = make((um_heap_kind)kind);
        for (unsigned round = 0; round < 3; round++) {
            for (unsigned i = 0; i < MANY; i++)
                fill(um_heap_malloc(h, size_of(i)), i, size_of(i));
            cr_expect_gt(held(), before);
            cr_expect_eq(usage(h).live_blocks, MANY);
            um_heap_reset(h);
            cr_expect_eq(usage(h).live_blocks, 0);
        }
        rest(h);
        cr_expect_eq(held(), before, "nobody wanted what it had kept");
        (void)um_heap_malloc(h, 100);
        um_heap_destroy(h);
        cr_expect_eq(held(), before);
    }
    um_heap_destroy(NULL);
    um_space_check();
}

/* Between two resets blocks come from lists and from what is not cut yet; none overlap, and the heap does not
   take memory in each round anew. */
static void rounds(um_heap_kind kind) {
    static unsigned char *blocks[MANY];
    um_heap *h = make(kind);
    uint64_t most = 0, takes = 0;
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            blocks[i] = um_heap_malloc(h, size_of(i));
            fill(blocks[i], i, size_of(i));
            if (i % 5 == 4) { /* its place is taken again */
                um_heap_free(h, blocks[i - 2]);
                blocks[i - 2] = um_heap_malloc(h, size_of(i - 2));
                fill(blocks[i - 2], i - 2, size_of(i - 2));
            }
        }
        for (unsigned i = 0; i < MANY; i++)
            check(blocks[i], i, size_of(i));
        cr_expect_eq(usage(h).live_blocks, MANY);
        um_heap_reset(h);
        cr_expect_eq(usage(h).live_blocks, 0);
        if (round == 1) {
            most = usage(h).held_bytes;
            takes = atomic_load(&um_module_counts[UM_MODULE_heap].takes);
        }
    }
    cr_expect_leq(usage(h).held_bytes, most);
    takes = atomic_load(&um_module_counts[UM_MODULE_heap].takes) - takes;
    cr_expect_lt(takes, 1000, "most slabs stay, large blocks come anew: %lu", (unsigned long)takes);
    um_heap_trim(h);
    cr_expect_eq(usage(h).held_bytes, 0);
    um_heap_destroy(h);
    um_space_check();
}

Test(heap, starts_anew_in_one_thread) {
    rounds(UM_HEAP_ONE_THREAD);
}

Test(heap, starts_anew_shared) {
    rounds(UM_HEAP_SHARED);
}

/* A round that needs less lets go of the rest, but for a slab a class. */
Test(heap, keeps_what_the_last_round_needed) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 10000; i++)
            (void)um_heap_malloc(h, 64); /* 10 slabs */
        um_heap_reset(h);
        cr_expect_eq(usage(h).slabs, 10);
    }
    for (unsigned i = 0; i < 3000; i++)
        (void)um_heap_malloc(h, 100); /* 5 slabs */
    um_heap_reset(h);
    cr_expect_leq(usage(h).slabs, 9);
    (void)um_heap_malloc(h, 100);
    um_heap_reset(h);
    cr_expect_eq(usage(h).slabs, 2);
    rest(h);
    cr_expect_eq(usage(h).slabs, 0);
    um_theap_cache_bytes = 0;
    for (unsigned i = 0; i < 10000; i++)
        (void)um_heap_malloc(h, 64);
    um_heap_reset(h);
    cr_expect_eq(usage(h).slabs, 1, "without a cache, the current one");
    um_heap_destroy(h);
    um_space_check();
}

/* A heap that is used again and again does not grow. */
Test(heap, memory_is_used_again) {
    static void *blocks[MANY];
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    uint64_t most = 0;
    unsigned r = 1;
    for (unsigned i = 0; i < 300000; i++) {
        unsigned k = (r = r * 1103515245u + 12345u) >> 8 & 1023;
        um_heap_free(h, blocks[k]);
        blocks[k] = um_heap_malloc(h, 500);
        if (i == 30000)
            most = usage(h).held_bytes;
    }
    cr_expect_leq(usage(h).held_bytes, most + 2 * UM_SLOT_BYTES);
    cr_expect_eq(usage(h).live_blocks, 1024);
    um_heap_destroy(h);
}

Test(heap, alignments_and_zeroes) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    for (unsigned log2 = 0; log2 <= 21; log2++)
        for (size_t bytes = 0; bytes < 200000; bytes = bytes * 4 + 3) {
            unsigned char *p = um_heap_alloc(h, bytes, UM_ALIGN_LOG2(log2)), *q;
            cr_assert_eq((uintptr_t)p % ((size_t)1 << log2), 0);
            memset(p, 0xee, bytes);
            um_heap_free(h, p);
            q = um_heap_alloc(h, bytes, UM_ALIGN_LOG2(log2) | UM_ZERO);
            for (size_t i = 0; i < bytes; i++)
                cr_assert_eq(q[i], 0);
            um_heap_free(h, q);
        }
    cr_expect_eq(usage(h).live_blocks, 0);
    cr_expect_geq(um_heap_usable_size(h, um_heap_alloc(h, 10, UM_CLASS(um_size_class(900)))), 900);
    um_heap_destroy(h);
}

static void sizes_change(um_heap_kind kind) {
    um_heap *h = make(kind);
    unsigned char *p = NULL;
    size_t filled = 0;
    for (size_t bytes = 1; bytes < 3000000; bytes = bytes * 2 + 11) {
        size_t old = p ? um_heap_usable_size(h, p) : 0;
        p = um_heap_realloc(h, p, bytes, UM_ZERO);
        cr_assert_not_null(p);
        check(p, 7, filled);
        for (size_t i = old; i < bytes; i += 61)
            cr_assert_eq(p[i], 0);
        filled = um_heap_usable_size(h, p);
        fill(p, 7, filled);
    }
    for (size_t bytes = 1500000; bytes; bytes /= 3) {
        p = um_heap_realloc(h, p, bytes, 0);
        cr_assert_not_null(p);
        check(p, 7, bytes);
    }
    cr_expect_eq(usage(h).live_blocks, 1);
    um_heap_free(h, p);
    um_heap_destroy(h);
    um_space_check();
}

Test(heap, sizes_change_in_one_thread) {
    sizes_change(UM_HEAP_ONE_THREAD);
}

Test(heap, sizes_change_in_a_shared_one) {
    sizes_change(UM_HEAP_SHARED);
}

Test(heap, knows_its_own) {
    um_heap *h = make(UM_HEAP_ONE_THREAD), *other = make(UM_HEAP_SHARED);
    char *small = um_heap_malloc(h, 10), *large = um_heap_malloc(h, 300000), *of_malloc = malloc(10);
    cr_expect(um_heap_owns(h, small));
    cr_expect(um_heap_owns(h, large));
    cr_expect(um_heap_owns(h, large + 250000));
    cr_expect_not(um_heap_owns(other, small));
    cr_expect_not(um_heap_owns(other, large + 250000));
    cr_expect_not(um_heap_owns(h, of_malloc));
    cr_expect_not(um_heap_owns(h, &small));
    cr_expect_not(um_heap_owns(h, NULL));
    um_heap_destroy(h);
    um_heap_destroy(other);
    free(of_malloc);
}

Test(heap, wrong_arguments) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    errno = 0;
    cr_expect_null(um_heap_create(UM_HEAP_SHARED, UM_ZERO));
    cr_expect_eq(errno, EINVAL);
    errno = 0;
    cr_expect_null(um_heap_create((um_heap_kind)7, 0));
    cr_expect_eq(errno, EINVAL);
    errno = 0;
    cr_expect_null(um_heap_create(UM_HEAP_SHARED, UM_NODE(1023)));
    cr_expect_eq(errno, EINVAL);
    errno = 0;
    cr_expect_null(um_heap_alloc(h, 10, UM_HUGE));
    cr_expect_eq(errno, EINVAL);
    errno = 0;
    cr_expect_null(um_heap_alloc(h, 10, UM_CLASS(UM_CLASSES)));
    cr_expect_eq(errno, EINVAL);
    um_heap_free(h, NULL);
    um_heap_free_any(h, NULL);
    um_heap_destroy(h);
}

Test(heap, without_memory) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    void *p = um_heap_malloc(h, 1000);
    unsigned n = 0;
    cr_assert_not_null(p);
    um_space_setting.limit_bytes = atomic_load(&um_space_footprint) + 3 * UM_MIB;
    errno = 0;
    while (um_heap_malloc(h, 1000))
        n++;
    cr_expect_eq(errno, ENOMEM);
    cr_expect_gt(n, 1000);
    errno = 0;
    cr_expect_null(um_heap_malloc(h, SIZE_MAX));
    cr_expect_null(um_heap_malloc(h, PTRDIFF_MAX));
    cr_expect_null(um_heap_alloc(h, SIZE_MAX - 10, UM_ALIGN(4096)));
    cr_expect_null(um_heap_realloc(h, p, 1 << 24, 0));
    cr_expect_eq(errno, ENOMEM);
    cr_expect_eq(um_heap_usable_size(h, p), um_size_class_bytes(um_size_class(1000)));
    um_heap_free(h, p);
    cr_expect_not_null(um_heap_malloc(h, 1000), "what came back serves");
    um_space_setting.limit_bytes = 0;
    um_heap_destroy(h);
    um_space_check();
}

/* --- threads --- */

static um_heap *common;
static pthread_barrier_t all_here;

static void *churn(void *seed) {
    unsigned char *blocks[64] = {0};
    size_t bytes[64] = {0};
    unsigned r = (unsigned)(uintptr_t)seed;
    pthread_barrier_wait(&all_here);
    for (unsigned i = 0; i < 40000; i++) {
        unsigned k = (r = r * 1103515245u + 12345u) >> 20 & 63;
        if (blocks[k])
            check(blocks[k], k, bytes[k]);
        if (r & 1 << 19)
            um_heap_free(common, blocks[k]);
        else
            um_heap_free_any(common, blocks[k]);
        bytes[k] = r >> 10 & (r & 1 << 9 ? 127 : 4095);
        blocks[k] = um_heap_malloc(common, bytes[k]);
        cr_assert_not_null(blocks[k]);
        fill(blocks[k], k, bytes[k]);
    }
    for (unsigned k = 0; k < 64; k++)
        um_heap_free_any(common, blocks[k]);
    return NULL;
}

Test(heap, many_threads_share_one) {
    pthread_t t[THREADS];
    common = make(UM_HEAP_SHARED);
    pthread_barrier_init(&all_here, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(t[i], NULL), 0);
    cr_expect_eq(usage(common).live_blocks, 0);
    um_heap_destroy(common);
    um_space_check();
}

/* Each block has one holder. */
static void *hold(void *own) {
    uintptr_t *blocks[8];
    pthread_barrier_wait(&all_here);
    for (unsigned i = 0; i < (UM_TSAN ? 20000 : 100000); i++) {
        for (unsigned k = 0; k < 8; k++) {
            blocks[k] = um_heap_malloc(common, 48);
            *blocks[k] = (uintptr_t)own + k;
        }
        for (unsigned k = 0; k < 8; k++) {
            cr_assert_eq(*blocks[k], (uintptr_t)own + k);
            um_heap_free(common, blocks[k]);
        }
    }
    return NULL;
}

Test(heap, one_at_a_time) {
    pthread_t t[2];
    common = make(UM_HEAP_SHARED);
    pthread_barrier_init(&all_here, NULL, 2);
    for (uintptr_t i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, hold, (void *)(100 * (i + 1))), 0);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(pthread_join(t[i], NULL), 0);
    cr_expect_eq(usage(common).live_blocks, 0);
    um_heap_destroy(common);
}

static void *_Atomic handed[MANY];

static void *give_back(void *unused) {
    (void)unused;
    for (unsigned i = 0; i < MANY; i++) {
        void *p;
        while (!(p = atomic_load_explicit(&handed[i], memory_order_acquire)))
            um_cpu_relax();
        um_heap_free_any(common, p);
    }
    return NULL;
}

/* A heap of one thread, whose blocks others give back meanwhile. */
Test(heap, anybody_may_give_back) {
    pthread_t t;
    common = make(UM_HEAP_ONE_THREAD);
    cr_assert_eq(pthread_create(&t, NULL, give_back, NULL), 0);
    for (unsigned i = 0; i < MANY; i++) {
        void *p = um_heap_malloc(common, size_of(i));
        cr_assert_not_null(p);
        fill(p, i, size_of(i));
        atomic_store_explicit(&handed[i], p, memory_order_release);
    }
    cr_assert_eq(pthread_join(t, NULL), 0);
    cr_expect_eq(usage(common).live_blocks, 0);
    um_heap_destroy(common);
    um_space_check();
}

static _Atomic(bool) stop;

static void *stay_busy(void *unused) {
    (void)unused;
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        um_heap_free(common, um_heap_malloc(common, 1 << 16));
    return NULL;
}

/* A child gets a heap that works, whatever its parent's threads were at. */
Test(heap, a_child_of_fork_goes_on) {
    pthread_t t;
    int status;
    common = make(UM_HEAP_SHARED);
    cr_assert_eq(pthread_create(&t, NULL, stay_busy, NULL), 0);
    for (unsigned i = 0; i < 20; i++) {
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0) {
            for (unsigned k = 0; k < 100; k++)
                um_heap_free(common, um_heap_malloc(common, size_of(k)));
            um_heap_destroy(common);
            _exit(0);
        }
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x", status);
    }
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    cr_assert_eq(pthread_join(t, NULL), 0);
    um_heap_destroy(common);
}

/* While somebody forks, its locks are held: whoever calls meanwhile has to wait. So a fork's own handler,
   which is called after those of the heaps, can see that each function takes the lock: it waits until the
   caller sleeps. */
static _Atomic(int) asked, answered;
static _Atomic(pid_t) caller_id;
static void *at_hand[2];

static void call(int which) {
    um_heap_usage u;
    switch (which) {
    case 1:
        at_hand[1] = um_heap_malloc(common, 100);
        break;
    case 2:
        um_heap_free(common, at_hand[0]);
        break;
    case 3:
        at_hand[0] = um_heap_alloc(common, 100, UM_ZERO);
        break;
    case 4:
        um_heap_free(common, um_heap_malloc(common, 100000));
        break;
    case 5:
        at_hand[0] = um_heap_realloc(common, at_hand[0], 5000, 0);
        break;
    case 6:
        um_heap_stats(common, &u);
        break;
    case 7:
        um_heap_trim(common);
        break;
    default:
        um_heap_reset(common);
    }
}
enum { CALLS = 8 };

static void *answer(void *unused) {
    (void)unused;
    atomic_store(&caller_id, (pid_t)syscall(SYS_gettid));
    for (int which = 1; which <= CALLS; which++) {
        while (atomic_load(&asked) < which)
            sched_yield(); /* does not sleep */
        call(which);
        atomic_store(&answered, which);
    }
    return NULL;
}

static bool sleeps(void) {
    char path[64], text[512] = "", *state;
    FILE *f;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(&caller_id));
    f = fopen(path, "r");
    cr_assert_not_null(f);
    (void)!fread(text, 1, sizeof text - 1, f);
    fclose(f);
    state = strrchr(text, ')');
    return state && state[2] == 'S';
}

static void while_all_is_locked(void) {
    int which = atomic_load(&asked) + 1;
    atomic_store(&asked, which);
    while (atomic_load(&answered) < which && !sleeps())
        sched_yield();
    cr_expect_lt(atomic_load(&answered), which, "call %d did not wait", which);
}

Test(heap, every_call_takes_the_lock) {
    pthread_t t;
    cr_assert_eq(pthread_atfork(while_all_is_locked, NULL, NULL), 0); /* before the heaps' own */
    common = make(UM_HEAP_SHARED);
    at_hand[0] = um_heap_malloc(common, 100);
    cr_assert_eq(pthread_create(&t, NULL, answer, NULL), 0);
    while (!atomic_load(&caller_id))
        sched_yield();
    for (int which = 1; which <= CALLS; which++) {
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        cr_assert_eq(waitpid(child, &status, 0), child);
        while (atomic_load(&answered) < which)
            sched_yield();
    }
    cr_assert_eq(pthread_join(t, NULL), 0);
    um_heap_destroy(common);
}

/* --- places --- */

static void two_nodes(void) {
    um_front_free(um_front_malloc(1)); /* the window is there, and place 0 in use */
    two_nodes_placed();
}

Test(heap, stays_on_its_node, .init = two_nodes) {
    um_heap *h = um_heap_create(UM_HEAP_ONE_THREAD, UM_NODE(1)),
            *spread = um_heap_create(UM_HEAP_SHARED, UM_SPREAD);
    unsigned far = 0;
    cr_assert(h && spread);
    for (unsigned i = 0; i < 1000; i++)
        cr_assert_eq(um_span_of(um_heap_malloc(h, size_of(i)))->node, 1);
    for (unsigned i = 0; i < 100; i++)
        far += um_span_of(um_heap_malloc(spread, 100000))->node;
    cr_expect_eq(far, 50);
    um_heap_destroy(h);
    um_heap_destroy(spread);
}

/* --- misuse --- */

Test(heap, free_of_its_block, .signal = SIGABRT) {
    free(um_heap_malloc(make(UM_HEAP_ONE_THREAD), 100));
}

Test(heap, another_heaps_block, .signal = SIGABRT) {
    um_heap_free(make(UM_HEAP_ONE_THREAD), um_heap_malloc(make(UM_HEAP_ONE_THREAD), 100));
}

Test(heap, a_block_of_malloc, .signal = SIGABRT) {
    um_heap_free_any(make(UM_HEAP_SHARED), malloc(100));
}

Test(heap, not_the_start_of_a_shared_ones_block, .signal = SIGABRT) {
    um_heap *h = make(UM_HEAP_SHARED);
    um_heap_free(h, (char *)um_heap_malloc(h, 100) + 16);
}

Test(heap, not_the_start_of_a_large_one, .signal = SIGABRT) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    um_heap_free(h, (char *)um_heap_malloc(h, 100000) + 16);
}

Test(heap, a_double_free_is_found_when_the_block_is_used_again, .signal = SIGABRT) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    void *p = um_heap_malloc(h, 100);
    um_heap_free(h, p);
    um_heap_free(h, p);
    for (unsigned i = 0; i < 3; i++)
        (void)um_heap_malloc(h, 100);
}

/* One of its blocks is in use still. */
Test(heap, a_double_free_is_found_when_the_slab_seems_empty, .signal = SIGABRT) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    static void *blocks[MANY];
    unsigned n = 0;
    for (unsigned i = 0; i < MANY; i++) {
        void *p = um_heap_malloc(h, 100);
        if (um_span_of(p) == um_span_of(i ? blocks[0] : p))
            blocks[n++] = p;
    }
    for (unsigned i = 1; i < n; i++)
        um_heap_free(h, blocks[i]);
    um_heap_free(h, blocks[n / 2]);
}

Test(heap, a_write_to_a_free_block, .signal = SIGABRT) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    char *p = um_heap_malloc(h, 100);
    um_heap_free(h, p);
    memset(p, 1, 16);
    (void)um_heap_malloc(h, 100);
}

Test(heap, a_block_after_the_heaps_reset, .signal = SIGABRT) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    void *p = um_heap_malloc(h, 100);
    um_heap_reset(h);
    um_heap_free(h, p);
    (void)usage(h); /* walks its lists */
}

/* All of it is the program's, however few bytes it asked for. */
Test(heap, a_large_blocks_whole_room_may_be_written) {
    enum { ALIGN = 1 << 18 };
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    for (int i = 0; i < 4; i++) {
        char *p = um_heap_alloc(h, 0, UM_ALIGN(ALIGN));
        size_t bytes;
        cr_assert_not_null(p);
        bytes = um_heap_usable_size(h, p);
        memset(p, 0xff, bytes);
        um_heap_free(h, p);
        p = um_heap_alloc(h, bytes, UM_ALIGN(ALIGN) | UM_ZERO);
        cr_assert_not_null(p);
        for (size_t k = 0; k < bytes; k++)
            cr_assert_eq(p[k], 0);
        um_heap_free(h, p);
    }
    um_heap_destroy(h);
}

/* --- heaps that ended, and serve again --- */

static void use(um_heap *h) {
    for (unsigned i = 0; i < 200; i++)
        memset(um_heap_malloc(h, i * 5 % 1000), 1, i * 5 % 1000);
}

Test(heap, one_that_ended_serves_again) {
    for (unsigned kind = 0; kind < 2; kind++) {
        um_heap *first = make(kind), *second, *third;
        uint64_t spans;
        use(first);
        spans = atomic_load(&um_module_counts[UM_MODULE_heap].takes);
        um_heap_destroy(first);
        second = make(kind);
        cr_expect_eq(second, first);
        cr_expect_eq(usage(second).live_blocks, 0);
        use(second);
        cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_heap].takes), spans, "no span was needed");
        cr_expect_eq(usage(second).live_blocks, 200);
        third = make(kind);
        cr_expect_neq(third, second);
        um_heap_destroy(third);
        um_heap_destroy(second);
        cr_expect_neq(make(!kind), second, "it is of the other kind");
    }
}

Test(heap, few_are_kept_and_none_for_long) {
    um_heap *all[20];
    uint64_t before = held(), kept;
    for (unsigned i = 0; i < 20; i++)
        use(all[i] = make(i % 2));
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned k = 0; k < 100; k++)
            memset(um_heap_malloc(all[i], 20000), 1, 20000);
        um_heap_destroy(all[i]);
    }
    kept = atomic_load(&um_module_counts[UM_MODULE_heap].bytes) - before;
    cr_expect_leq(kept, 4 * 70 * UM_SLOT_BYTES, "no more than four, and of each what serves");
    cr_expect_gt(kept, 0);
    (void)um_trim(0);
    cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_heap].bytes), before);
    um_space_check();
}

/* What is kept stands in nobody's way. */
Test(heap, those_kept_go_where_memory_is_short) {
    um_heap *all[4], *h = make(UM_HEAP_SHARED);
    (void)held();
    for (unsigned i = 0; i < 4; i++)
        use(all[i] = make(UM_HEAP_ONE_THREAD));
    for (unsigned i = 0; i < 4; i++)
        um_heap_destroy(all[i]);
    (void)um_space_trim(0);
    um_space_setting.limit_bytes = atomic_load(&um_space_footprint) + UM_SLOT_BYTES;
    cr_expect_not_null(um_heap_malloc(h, 4 * UM_MIB));
    um_space_setting.limit_bytes = 0;
    um_heap_destroy(h);
}

Test(heap, a_slab_that_some_requests_need_stays) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    uint64_t takes = 0;
    for (unsigned i = 0; i < 200; i++) {
        (void)um_heap_malloc(h, i % 2 ? 100 : 1000);
        um_heap_reset(h);
        if (i == 1)
            takes = atomic_load(&um_module_counts[UM_MODULE_heap].takes);
    }
    cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_heap].takes), takes);
    for (unsigned i = 0; i < 100; i++)
        um_heap_reset(h);
    cr_expect_eq(usage(h).held_bytes, 0, "and goes when none does");
    um_heap_destroy(h);
}

Test(heap, an_end_after_the_end, .signal = SIGABRT) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    um_heap_destroy(h);
    um_heap_destroy(h);
}

Test(heap, an_allocation_after_the_end, .signal = SIGABRT) {
    um_heap *h = make(UM_HEAP_SHARED);
    (void)um_heap_malloc(h, 100);
    um_heap_destroy(h);
    (void)um_heap_malloc(h, 100);
}

Test(heap, a_free_after_the_end, .signal = SIGABRT) {
    um_heap *h = make(UM_HEAP_ONE_THREAD);
    void *p = um_heap_malloc(h, 100);
    um_heap_destroy(h);
    um_heap_free(h, p);
}
