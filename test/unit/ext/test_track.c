/* Tracking: the table has what is live and nothing else, whatever threads and forks do. */
#include "umalloc/track.h"
#include "conf/counters.h"
#include "front/front.h"
#include "os/os.h"
#include "space/space.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4u

static void start(void) {
    cr_assert_eq(um_track_start(NULL), 0);
}

Test(track, is_off_until_it_is_started) {
    um_track_mark m = um_track_now();
    void *p = um_malloc(10, 0);
    cr_expect_eq(m.serial, 0);
    cr_expect_not(um_track_find(p, NULL));
    cr_expect_eq(um_track_report(1, NULL, NULL), 0);
    cr_expect_eq(um_hard_level, 0);
    um_track_check();
    um_track_stop();
    um_free(p);
}

Test(track, knows_a_live_block) {
    um_track_block b;
    char *p, *q, *before = um_malloc(33, 0);
    start();
    errno = 0;
    cr_expect_eq(um_track_start(NULL), -1);
    cr_expect_eq(errno, EALREADY);
    p = um_malloc(1000, UM_ALIGN(64));
    cr_assert(um_track_find(p, &b));
    cr_expect_eq(b.start, p);
    cr_expect_eq(b.bytes, 1000);
    cr_expect_eq(b.thread, um_os_tid());
    cr_expect_gt(b.depth, 0);
    cr_expect_gt(b.time_ms, 0);
    cr_expect_not(um_track_find(p + 1, NULL));
    cr_expect_not(um_track_find(before, NULL), "it was there before");
    q = um_realloc(p, 100000, 0);
    cr_assert_not_null(q);
    cr_expect(um_track_find(q, &b));
    cr_expect_eq(b.bytes, 100000);
    cr_expect(q == p || !um_track_find(p, NULL));
    um_free(q);
    cr_expect_not(um_track_find(q, NULL));
    um_free(before);
}

Test(track, a_realloc_that_fails_changes_nothing) {
    um_track_block b;
    void *p;
    start();
    p = um_malloc(100, 0);
    cr_expect_null(realloc(p, (size_t)1 << 50));
    cr_assert(um_track_find(p, &b));
    cr_expect_eq(b.bytes, 100);
    um_free(p);
}

static bool add(const um_track_block *b, void *ctx) {
    um_free(um_malloc(b->bytes, 0)); /* it may */
    *(uint64_t *)ctx += b->bytes;
    return true;
}

Test(track, marks_give_differences) {
    um_track_mark a, b;
    uint64_t bytes = 0;
    void *p, *q, *r;
    start();
    p = um_malloc(1000, 0);
    a = um_track_now();
    q = um_malloc(200, 0);
    r = um_malloc(30, 0);
    b = um_track_now();
    (void)um_malloc(4, 0);
    cr_expect_eq(b.live_blocks, a.live_blocks + 2);
    cr_expect_eq(b.live_bytes, a.live_bytes + 230);
    cr_expect_eq(um_track_each(&a, &b, add, &bytes), 2);
    cr_expect_eq(bytes, 230);
    um_free(p);
    um_free(q);
    bytes = 0;
    cr_expect_eq(um_track_each(&a, &b, add, &bytes), 1);
    cr_expect_eq(bytes, 30);
    bytes = 0;
    cr_expect_eq(um_track_each(&b, NULL, add, &bytes), 1);
    cr_expect_eq(bytes, 4);
    cr_expect_gt(um_track_now().frees, b.frees);
    um_free(r);
}

static void *leak_there(void *unused) {
    (void)unused;
    return um_malloc(5000, 0);
}

Test(track, a_scope_is_of_its_thread) {
    um_track_scope outer, inner;
    pthread_t t;
    void *there, *p;
    start();
    um_track_begin(&outer);
    p = um_malloc(10, 0);
    um_track_begin(&inner);
    um_free(p);
    p = um_malloc(20, 0);
    cr_assert_eq(pthread_create(&t, NULL, leak_there, NULL), 0);
    cr_assert_eq(pthread_join(t, &there), 0);
    cr_expect_geq(um_track_end(&inner), 1);
    cr_expect_lt(inner.leaked_bytes, 5000);
    cr_expect_geq(inner.leaked_bytes, 20);
    um_free(p);
    um_free(there);
    cr_expect_lt(um_track_end(&outer), 5); /* libc keeps a thread's memory for the next */
}

/* Far more blocks than the table begins with; each is there once. */
Test(track, many_blocks) {
    enum { MANY = 20000 };
    void **blocks;
    uint64_t bytes = 0, before;
    start();
    before = atomic_load(&um_module_counts[UM_MODULE_track].bytes);
    blocks = um_malloc(MANY * sizeof *blocks, 0);
    um_track_mark m = um_track_now();
    cr_assert_eq(um_malloc_batch(24, 0, blocks, MANY), MANY);
    for (unsigned i = 0; i < MANY; i += 7)
        cr_assert(um_track_find(blocks[i], NULL));
    cr_expect_eq(um_track_now().live_blocks, m.live_blocks + MANY);
    cr_expect_eq(um_track_each(&m, NULL, add, &bytes), MANY);
    cr_expect_eq(bytes, 24 * MANY);
    um_free_batch(blocks, MANY);
    cr_expect_eq(um_track_now().live_blocks, m.live_blocks);
    um_track_stop();
    cr_expect_leq(atomic_load(&um_module_counts[UM_MODULE_track].bytes), before);
    um_free(blocks);
    start(); /* and anew */
    cr_expect(um_track_find(um_malloc(1, 0), NULL));
}

static void *churn(void *seed) {
    void *blocks[32] = {0};
    unsigned r = (unsigned)(uintptr_t)seed;
    for (unsigned i = 0; i < 3000; i++) {
        unsigned k = (r = r * 1103515245u + 12345u) >> 20 & 31;
        um_track_block b;
        if (blocks[k])
            cr_assert(um_track_find(blocks[k], &b) && b.start == blocks[k]);
        um_free(blocks[k]);
        blocks[k] = um_malloc(r >> 10 & 1023, 0);
        cr_assert_not_null(blocks[k]);
    }
    um_free_batch(blocks, 32);
    return NULL;
}

Test(track, threads_at_work) {
    pthread_t t[THREADS];
    um_track_mark before, after;
    start();
    before = um_track_now();
    for (uintptr_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(t[i], NULL), 0);
    after = um_track_now();
    cr_expect_geq(after.serial, before.serial + THREADS * 3000);
    cr_expect_leq(after.live_blocks, before.live_blocks + 2 * THREADS, "but what libc keeps");
    cr_expect_eq(after.lost, 0);
}

static pthread_barrier_t turn;
static void *theirs;

static void *joins_later(void *unused) {
    (void)unused;
    um_free(um_malloc(40, 0)); /* has a heap now */
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    um_thread_flush();
    theirs = um_malloc(40, 0);
    return NULL;
}

Test(track, a_running_thread_joins_by_a_flush) {
    pthread_t t;
    pthread_barrier_init(&turn, NULL, 2);
    cr_assert_eq(pthread_create(&t, NULL, joins_later, NULL), 0);
    pthread_barrier_wait(&turn);
    start();
    pthread_barrier_wait(&turn);
    cr_assert_eq(pthread_join(t, NULL), 0);
    cr_expect(um_track_find(theirs, NULL));
    um_free(theirs);
}

Test(track, a_child_of_fork_goes_on) {
    void *p;
    int status;
    pid_t child;
    start();
    p = um_malloc(10, 0);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        void *q = um_malloc(20, 0);
        bool good = um_track_find(p, NULL) && um_track_find(q, NULL);
        um_free(p);
        _exit(good && !um_track_find(p, NULL) ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_expect(um_track_find(p, NULL));
}

Test(track, blocks_are_lost_where_there_is_no_memory) {
    static void *blocks[30000];
    unsigned n = 0;
    start();
    um_space_setting.limit_bytes = atomic_load(&um_space_footprint) + 2 * UM_MIB;
    while (n < 30000 && (blocks[n] = um_malloc(16, 0)))
        n++;
    um_space_setting.limit_bytes = 0;
    cr_expect_gt(um_track_now().lost, 0);
    um_free_batch(blocks, n);
    cr_expect(um_track_find(um_malloc(16, 0), NULL));
}

static size_t read_all(FILE *f, void *into, size_t room) {
    rewind(f);
    return fread(into, 1, room, f);
}

Test(track, the_report_says_what_is_live) {
    static char text[20000];
    FILE *f = tmpfile();
    um_track_mark m;
    unsigned times = 3, bytes, blocks, sum = 0, stacks = 0;
    cr_assert_not_null(f);
    start();
    m = um_track_now();
    __asm__("" : "+r"(times)); /* keeps the compiler from making three calls of the loop */
    for (unsigned i = 0; i < times; i++)
        (void)um_malloc(111, 0);
    (void)um_malloc(7, 0);
    cr_expect_eq(um_track_report(fileno(f), &m, NULL), 4);
    um_track_stop();
    text[read_all(f, text, sizeof text - 1)] = 0;
    cr_expect(strstr(text, "umalloc: 340 bytes in 4 tracked blocks are live\n") == text, "%s", text);
    /* Where the compiler keeps no frames, both calls may seem to come from one place. */
    for (const char *at = text; (at = strstr(at, "\n  ")) != NULL; at++)
        if (sscanf(at, "\n  %u bytes in %u blocks, the first by thread", &bytes, &blocks) == 2) {
            cr_expect(stacks++ || blocks >= 3, "the most bytes come first: %s", text);
            sum += bytes;
        }
    cr_expect_eq(sum, 340, "%s", text);
    cr_expect_not_null(strstr(text, "    0x"));
}

Test(track, the_log_has_each_operation) {
    struct {
        char magic[8];
        um_track_operation op[100];
    } log;
    FILE *f = tmpfile();
    um_track_config c = {.size = sizeof c};
    void *p;
    size_t n, found = 0;
    cr_assert_not_null(f);
    c.log_fd = fileno(f);
    cr_assert_eq(um_track_start(&c), 0);
    p = um_malloc(123, UM_ALIGN(256));
    um_free(p);
    um_track_stop();
    n = (read_all(f, &log, sizeof log) - 8) / sizeof log.op[0];
    cr_expect_eq(memcmp(log.magic, "umtrack1", 8), 0);
    for (size_t i = 0; i < n; i++)
        if (log.op[i].address == (uintptr_t)p) {
            cr_expect_eq(log.op[i].bytes, found ? UINT64_MAX : 123);
            cr_expect_eq(log.op[i].align, found ? 0 : 256);
            cr_expect_eq(log.op[i].thread, um_os_tid());
            found++;
        }
    cr_expect_eq(found, 2);
}

Test(track, wrong_config) {
    um_track_config c = {.size = 3};
    errno = 0;
    cr_expect_eq(um_track_start(&c), -1);
    cr_expect_eq(errno, EINVAL);
}

Test(track, finds_a_write_beyond_the_end, .signal = SIGABRT) {
    char *p;
    start();
    p = um_malloc(100, 0);
    p[100] = 1;
    um_track_check();
}

Test(track, finds_a_double_free, .signal = SIGABRT) {
    void *p;
    start();
    p = um_malloc(100, 0);
    um_free(p);
    um_free(p);
}
