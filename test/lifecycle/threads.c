/* Threads in numbers. What each mode demands beyond blocks that keep their contents:
     in_turn N     N threads one after the other: RSS and mappings stay flat;
     first_free N  threads whose first-ever call is a free of another's block, or some other call on nothing,
   likewise, or no call at all; alive N       N threads alive at once, and their memory back after they ended;
   orphans N     N rounds of threads that end and leave blocks to be freed by others: flat; producers N   16
   threads that only allocate, one that only frees, its first call a free: RSS near what is live. */
#include "exercise.h"

#include <pthread.h>
#include <stdatomic.h>

#define GROWTH_KIB 4096 /* what may come and go by chance; a leak of 64 bytes a thread is more */

static void start(pthread_t *t, void *(*body)(void *), void *arg) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 * CHECK_KIB);
    int error = pthread_create(t, &attr, body, arg);
    CHECK(error == 0, "pthread_create: %s", strerror(error));
    pthread_attr_destroy(&attr);
}

static void run(void *(*body)(void *), void *arg) {
    pthread_t t;
    start(&t, body, arg);
    pthread_join(t, NULL);
}

/* Compares the process with itself at an earlier round. */
struct flat {
    size_t rss, vmas;
};

static void remember(struct flat *f) {
    f->rss = check_rss_kib();
    f->vmas = check_vmas();
}

/* Memory kept for reuse comes and goes between rounds: the most of them counts. */
static void remember_most(struct flat *f) {
    struct flat now;
    remember(&now);
    f->rss = now.rss > f->rss ? now.rss : f->rss;
    f->vmas = now.vmas > f->vmas ? now.vmas : f->vmas;
}

/* What does not leak is at times as little as before. */
static void remember_least(struct flat *f) {
    struct flat now;
    remember(&now);
    f->rss = now.rss < f->rss ? now.rss : f->rss;
    f->vmas = now.vmas < f->vmas ? now.vmas : f->vmas;
}

static void demand_flat_of(const struct flat *f, struct flat now) {
    CHECK(now.rss <= f->rss + GROWTH_KIB, "RSS went from %zu to %zu KiB", f->rss, now.rss);
    CHECK(now.vmas <= f->vmas + 32, "mappings went from %zu to %zu", f->vmas, now.vmas);
}

static void demand_flat(const struct flat *f) {
    struct flat now;
    remember(&now);
    demand_flat_of(f, now);
}

static void *few_blocks(void *unused) {
    void *p[12];
    (void)unused;
    for (size_t i = 0; i < 12; i++) {
        p[i] = malloc((size_t)16 << i);
        CHECK(p[i], "malloc");
        *(size_t *)p[i] = i;
    }
    for (size_t i = 0; i < 12; i++) {
        CHECK(*(size_t *)p[i] == i, "block %zu", i);
        free(p[i]);
    }
    return NULL;
}

static void in_turn(size_t n) {
    struct flat base = {0};
    for (size_t i = 0; i < n; i++) {
        run(few_blocks, NULL);
        if (i == n / 10)
            remember(&base);
    }
    demand_flat(&base);
}

static void *free_only(void *p) {
    free(p);
    return NULL;
}

static void *call_on_nothing(void *which) {
    switch ((size_t)which) {
    case 0:
        free(NULL);
        break;
    case 1:
        CHECK(malloc_usable_size(NULL) == 0, "NULL has a size");
        break;
    case 2:
        free(realloc(NULL, 10));
        break;
    default:
        free(memalign(128, 1000));
    }
    return NULL;
}

static void *measure_only(void *p) {
    CHECK(malloc_usable_size(p) >= 100, "usable size");
    return NULL;
}

static void *realloc_only(void *p) {
    p = realloc(p, 900);
    CHECK(p && check_pattern(p, 100, 100, 1) == 100, "realloc lost a block");
    return p;
}

/* Calls nothing; libc does, when the thread is all but gone. */
static void *idle(void *unused) {
    return unused;
}

static void first_free(size_t n) {
    struct flat base = {0};
    for (size_t i = 0; i < n; i++) {
        void *small = malloc(100), *large = malloc(100000), *moved = malloc(100);
        pthread_t t;
        check_fill(moved, 100, 1);
        run(free_only, small);
        run(free_only, large);
        run(call_on_nothing, (void *)(i % 4));
        run(idle, NULL);
        run(measure_only, moved);
        start(&t, realloc_only, moved);
        pthread_join(t, &moved);
        free(moved);
        if (i == n / 4)
            remember(&base);
    }
    demand_flat(&base);
}

static pthread_barrier_t all_hold, all_done;

enum { HELD = 64 };

static void *hold(void *unused) {
    void *p[HELD];
    (void)unused;
    for (size_t i = 0; i < HELD; i++) {
        p[i] = malloc(1 + i * 16);
        CHECK(p[i], "malloc");
        check_fill(p[i], 1 + i * 16, i);
    }
    pthread_barrier_wait(&all_hold);
    for (size_t i = 0; i < HELD; i++) {
        CHECK(check_pattern(p[i], 1 + i * 16, 1 + i * 16, i) == 1 + i * 16, "block %zu changed", i);
        free(p[i]);
    }
    pthread_barrier_wait(&all_done);
    return NULL;
}

static void *hold_nothing(void *unused) {
    unsigned char stack[8192]; /* as much stack as hold and malloc use */
    (void)unused;
    check_fill(stack, sizeof stack, 1);
    pthread_barrier_wait(&all_hold);
    CHECK(check_pattern(stack, sizeof stack, sizeof stack, 1) == sizeof stack, "stack");
    pthread_barrier_wait(&all_done);
    return NULL;
}

static void wave(size_t n, pthread_t *t, void *(*body)(void *)) {
    for (size_t i = 0; i < n; i++)
        start(&t[i], body, NULL);
    for (size_t i = 0; i < n; i++)
        pthread_join(t[i], NULL);
}

/* The first wave shows what libc keeps of threads that ended: their stacks. */
static void alive(size_t n) {
    pthread_t *t = calloc(n, sizeof *t);
    pthread_barrier_init(&all_hold, NULL, (unsigned)n);
    pthread_barrier_init(&all_done, NULL, (unsigned)n);
    wave(n, t, hold_nothing);
    size_t base = check_rss_kib();
    wave(n, t, hold);
    free(t);
    malloc_trim(0);
    size_t end = check_rss_kib();
    CHECK(end <= base + 8192 + n * 16, "RSS went from %zu to %zu KiB", base, end);
    exercise();
}

enum { OWNERS = 8, LEFT = 500 };
static void *left[OWNERS][LEFT];

static size_t left_size(size_t i) {
    return i % 50 == 0 ? 70000 : 1 + i * 37 % 2000;
}

static void *leave_blocks(void *arg) {
    void **mine = left[(size_t)arg];
    for (size_t i = 0; i < LEFT; i++) {
        mine[i] = malloc(left_size(i));
        check_fill(mine[i], left_size(i), i);
    }
    return NULL;
}

static void *free_left(void *arg) {
    void **theirs = left[(size_t)arg];
    for (size_t i = 0; i < LEFT; i++) {
        CHECK(check_pattern(theirs[i], left_size(i), left_size(i), i) == left_size(i), "block %zu changed",
              i);
        free(theirs[i]);
    }
    return NULL;
}

static void orphans(size_t rounds) {
    struct flat base = {0}, last = {SIZE_MAX, SIZE_MAX};
    pthread_t t[OWNERS];
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < OWNERS; i++)
            start(&t[i], leave_blocks, (void *)i);
        for (size_t i = 0; i < OWNERS; i++)
            pthread_join(t[i], NULL);
        exercise();
        for (size_t i = 0; i < OWNERS; i++)
            if (round % 3 == 0)
                free_left((void *)i); /* here */
            else
                start(&t[i], free_left, (void *)i); /* by threads that own nothing */
        for (size_t i = 0; round % 3 && i < OWNERS; i++)
            pthread_join(t[i], NULL);
        if (round >= rounds / 4 && round < rounds / 2)
            remember_most(&base);
        if (round >= rounds - rounds / 4)
            remember_least(&last);
    }
    demand_flat_of(&base, last);
}

enum { PRODUCERS = 16, WINDOW = 4096, BLOCK = 1000 };
static struct { _Atomic(void *) slot[WINDOW]; } belt[PRODUCERS];
static size_t to_produce;

static void *produce(void *arg) {
    size_t lane = (size_t)arg;
    for (size_t i = 0; i < to_produce; i++) {
        unsigned char *p = malloc(BLOCK);
        CHECK(p, "malloc");
        check_fill(p, BLOCK, i);
        /* release: publishes the block to the consumer; pairs with its acquire */
        while (atomic_load_explicit(&belt[lane].slot[i % WINDOW], memory_order_acquire))
            sched_yield();
        atomic_store_explicit(&belt[lane].slot[i % WINDOW], p, memory_order_release);
    }
    return NULL;
}

/* Its first-ever call is a free, and it makes no other. Looks at RSS while the belts are full. */
static void *consume(void *base) {
    for (size_t i = 0; i < to_produce; i++) {
        for (size_t lane = 0; lane < PRODUCERS; lane++) {
            unsigned char *p;
            while (!(p = atomic_load_explicit(&belt[lane].slot[i % WINDOW], memory_order_acquire)))
                sched_yield();
            CHECK(p[BLOCK - 1] == check_byte(i, BLOCK - 1), "block %zu of lane %zu changed", i, lane);
            free(p);
            atomic_store_explicit(&belt[lane].slot[i % WINDOW], NULL, memory_order_release);
        }
        if (i % 10000 == 9999) {
            size_t live = PRODUCERS * WINDOW * (BLOCK + 24) / 1024, rss = check_rss_kib() - *(size_t *)base;
            CHECK(rss <= live + live / 4 + 8192, "RSS of %zu KiB, %zu live at most", rss, live);
        }
    }
    return NULL;
}

static void producers(size_t n) {
    pthread_t t[PRODUCERS + 1];
    size_t base = check_rss_kib();
    to_produce = n;
    for (size_t i = 0; i < PRODUCERS; i++)
        start(&t[i], produce, (void *)i);
    start(&t[PRODUCERS], consume, &base);
    for (size_t i = 0; i <= PRODUCERS; i++)
        pthread_join(t[i], NULL);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(size_t);
    } modes[] = {{"in_turn", in_turn},
                 {"first_free", first_free},
                 {"alive", alive},
                 {"orphans", orphans},
                 {"producers", producers}};
    check_library();
    check_watchdog(900);
    for (size_t i = 0; argc == 3 && i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(argv[1], modes[i].name) == 0) {
            modes[i].run(strtoul(argv[2], NULL, 10));
            return 0;
        }
    CHECK(0, "usage: threads MODE N");
}
