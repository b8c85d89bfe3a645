/* Pools: objects that nobody else has, kept as they were freed, across threads, their ends, forks and bounds;
   the depot; buffers; and what is found in misuse. */
#include "umalloc/pool.h"
#include "conf/counters.h"
#include "ext/depot.h"
#include "space/space.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(a) (sizeof(a) / sizeof *(a))

static uint64_t held(void) {
    return atomic_load(&um_module_counts[UM_MODULE_pool].bytes);
}

static um_pool *with(um_pool_options o) {
    um_pool *p = um_pool_new(&o);
    cr_assert_not_null(p);
    return p;
}

static um_pool_stats stats_of(um_pool *p) {
    um_pool_stats s;
    um_pool_read_stats(p, &s);
    return s;
}

static void join(pthread_t t) {
    cr_assert_eq(pthread_join(t, NULL), 0);
}

static pthread_t start(void *(*body)(void *), void *arg) {
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, body, arg), 0);
    return t;
}

static void *objects[100000];

/* n objects, each aligned and apart from the others, then all free again. */
static void go_through(um_pool *p, size_t n, size_t bytes, size_t align) {
    for (size_t i = 0; i < n; i++) {
        objects[i] = um_pool_alloc(p);
        cr_assert_not_null(objects[i]);
        cr_assert_eq((uintptr_t)objects[i] % align, 0);
        memset(objects[i], (int)i, bytes);
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char *o = objects[i];
        cr_assert(o[0] == (unsigned char)i && o[bytes - 1] == (unsigned char)i);
        um_pool_free(p, objects[i]);
    }
}

Test(pool, objects_are_aligned_and_apart) {
    static const um_pool_options kinds[] = {
        {.bytes = 1},
        {.bytes = 24, .flags = UM_POOL_CHECKED},
        {.bytes = 100, .flags = UM_POOL_CACHE_LINE},
        {.bytes = 40, .sample_every = 3},
        {.bytes = 4096, .align = 4096},
        {.bytes = 200000, .align = 65536, .flags = UM_POOL_CHECKED},
    };
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        um_pool *p = with(kinds[k]);
        size_t align = kinds[k].flags & UM_POOL_CACHE_LINE ? 64 : kinds[k].align ? kinds[k].align : 16;
        size_t n = kinds[k].bytes > 10000 ? 50 : 5000;
        go_through(p, n, kinds[k].bytes, align);
        size_t made = stats_of(p).made;
        go_through(p, n, kinds[k].bytes, align);
        cr_expect_eq(stats_of(p).made, made, "what was freed serves again");
        cr_expect_eq(stats_of(p).in_use, 0);
        cr_expect_geq(stats_of(p).peak, n);
        um_pool_delete(p);
    }
    um_pool_delete(NULL);
    um_space_check();
}

static size_t constructed, destroyed;

static void construct(void *object, void *context) {
    cr_assert_eq(context, &constructed);
    memcpy(object, "made", 5);
    constructed++;
}

static void destroy(void *object, void *context) {
    cr_assert_eq(context, &constructed);
    cr_expect_eq(memcmp(object, "made", 4), 0);
    destroyed++;
}

Test(pool, an_object_is_constructed_once_and_stays_as_it_was_freed) {
    um_pool *p = with(
        (um_pool_options){.bytes = 32, .construct = construct, .destroy = destroy, .context = &constructed});
    for (int round = 0; round < 10; round++) {
        char *all[300];
        for (size_t i = 0; i < LENGTH(all); i++) {
            all[i] = um_pool_alloc(p);
            cr_assert_eq(memcmp(all[i], "made", 4), 0);
            memset(all[i] + 4, round, 28);
        }
        for (size_t i = 0; i < LENGTH(all); i++)
            um_pool_free(p, all[i]);
    }
    cr_expect_eq(constructed, stats_of(p).made);
    cr_expect_lt(constructed, 500);
    cr_assert_not_null(um_pool_alloc(p)); /* in use at the end */
    um_pool_delete(p);
    cr_expect_eq(destroyed, constructed);
}

Test(pool, the_bound_holds_and_all_of_it_can_be_had) {
    for (size_t max = 1; max < 3000; max = max * 3 + 1) {
        um_pool *p = with((um_pool_options){.bytes = 64, .max_objects = max});
        for (int round = 0; round < 3; round++) {
            for (size_t i = 0; i < max; i++)
                cr_assert_not_null(objects[i] = um_pool_alloc(p));
            errno = 0;
            cr_assert_null(um_pool_alloc(p));
            cr_assert_eq(errno, ENOMEM);
            for (size_t i = 0; i < max; i++)
                um_pool_free(p, objects[i]);
        }
        cr_expect_eq(stats_of(p).failures, 3);
        cr_expect_eq(stats_of(p).made, max);
        um_pool_delete(p);
    }
}

static bool refused(um_pool_options o, int error) {
    errno = 0;
    return !um_pool_new(&o) && errno == error;
}

Test(pool, what_makes_no_sense_is_refused) {
    cr_expect_null(um_pool_new(NULL));
    cr_expect(refused((um_pool_options){.bytes = 0}, EINVAL));
    cr_expect(refused((um_pool_options){.bytes = SIZE_MAX}, EINVAL));
    cr_expect(refused((um_pool_options){.bytes = 8, .align = 24}, EINVAL));
    cr_expect(refused((um_pool_options){.bytes = 8, .align = 128 << 10}, EINVAL));
    cr_expect(refused((um_pool_options){.bytes = 8, .magazine = 257}, EINVAL));
    cr_expect(refused((um_pool_options){.bytes = 8, .flags = 4}, EINVAL));
    cr_expect(refused((um_pool_options){.bytes = 8, .max_objects = 4, .ready_objects = 5}, EINVAL));
    cr_expect(refused((um_pool_options){.bytes = 1 << 20, .ready_objects = (size_t)1 << 40}, ENOMEM));
}

Test(pool, there_are_1024_at_a_time) {
    static um_pool *all[1024];
    for (size_t i = 0; i < LENGTH(all); i++) {
        all[i] = with((um_pool_options){.bytes = 16});
        cr_assert_not_null(um_pool_alloc(all[i]));
    }
    cr_expect(refused((um_pool_options){.bytes = 16}, EAGAIN));
    um_pool_delete(all[500]);
    all[500] = with((um_pool_options){.bytes = 16});
    cr_expect_not_null(um_pool_alloc(all[500]), "a number is used again, and nothing is left of before");
    cr_expect_eq(stats_of(all[500]).in_use, 1);
    for (size_t i = 0; i < LENGTH(all); i++)
        um_pool_delete(all[i]);
    um_space_check();
}

/* The test's own allocations must not meet the limit, so it looks at what happened afterwards. */
Test(pool, without_memory_it_says_so_and_frees_go_on) {
    um_pool *p = with((um_pool_options){.bytes = 64});
    size_t n = 0, again = 0;
    int error;
    um_space_setting.limit_bytes = atomic_load(&um_space_footprint) + UM_MIB;
    errno = 0;
    while (n < LENGTH(objects) && (objects[n] = um_pool_alloc(p)) != NULL)
        n++;
    error = errno;
    for (size_t i = 0; i < n; i++)
        um_pool_free(p, objects[i]);
    while (again < n && um_pool_alloc(p))
        again++;
    um_space_setting.limit_bytes = 0;
    cr_expect_eq(error, ENOMEM);
    cr_expect(n > 1000 && n < LENGTH(objects), "%zu objects", n);
    cr_expect_eq(again, n);
    cr_expect_gt(stats_of(p).failures, 0);
    cr_expect_not_null(um_pool_alloc(p));
    um_pool_delete(p);
}

static void *use_and_end(void *arg) {
    um_pool *p = arg;
    void *mine[60];
    for (size_t i = 0; i < LENGTH(mine); i++)
        cr_assert_not_null(mine[i] = um_pool_alloc(p));
    for (size_t i = 0; i < LENGTH(mine); i++)
        um_pool_free(p, mine[i]);
    cr_expect_gt(stats_of(p).cached, 0);
    return NULL;
}

Test(pool, a_threads_end_gives_its_magazines_back) {
    um_pool *p = with((um_pool_options){.bytes = 64, .max_objects = 60, .magazine = 16});
    uint64_t before = held();
    for (int i = 0; i < 50; i++)
        join(start(use_and_end, p));
    cr_expect_eq(held() - before, stats_of(p).held_bytes - (128 << 10) + (64 << 10),
                 "a slab; no table is left");
    cr_expect_eq(stats_of(p).cached, 0);
    for (int i = 0; i < 60; i++)
        cr_assert_not_null(um_pool_alloc(p));
    cr_expect_null(um_pool_alloc(p));
    um_pool_delete(p);
}

static void *flush_there(void *arg) {
    for (int i = 0; i < 10; i++)
        um_pool_free(arg, objects[i]);
    um_pool_flush(arg);
    um_pool_flush(arg);
    cr_expect_eq(stats_of(arg).cached, 0);
    cr_expect_not_null(um_pool_alloc(arg));
    return NULL;
}

Test(pool, a_flush_is_for_others) {
    um_pool *p = with((um_pool_options){.bytes = 64, .max_objects = 10, .magazine = 16});
    um_pool_flush(p); /* nothing yet */
    for (int i = 0; i < 10; i++)
        cr_assert_not_null(objects[i] = um_pool_alloc(p));
    join(start(flush_there, p));
    for (int i = 0; i < 9; i++)
        cr_assert_not_null(um_pool_alloc(p));
    um_pool_delete(p);
}

static pthread_key_t late_key;
static int late_rounds;

static void late(void *arg) {
    um_pool *p = arg;
    void *a = um_pool_alloc(p), *b = um_pool_alloc(p);
    cr_assert(a && b && a != b);
    um_pool_free(p, a);
    um_pool_free(p, b);
    if (++late_rounds < (UM_TSAN ? 2 : 20)) /* its own destructor ends what it knows of the thread */
        (void)pthread_setspecific(late_key, p);
}

static void *end_late(void *arg) {
    cr_assert_eq(pthread_setspecific(late_key, arg), 0);
    late(arg);
    return NULL;
}

Test(pool, late_destructors_may_use_it) {
    um_pool *p = with((um_pool_options){.bytes = 64, .max_objects = 40, .magazine = 8});
    cr_assert_eq(pthread_key_create(&late_key, late), 0);
    for (int i = 0; i < 30; i++, late_rounds = 0)
        join(start(end_late, p));
    cr_expect_eq(stats_of(p).in_use, 0);
    cr_expect_eq(stats_of(p).cached, 0);
    for (int i = 0; i < 40; i++)
        cr_assert_not_null(um_pool_alloc(p));
    um_pool_delete(p);
}

/* Threads take objects, tag them, and swap them with others through a table. Whoever has an object finds its
 * tag. */
typedef struct tagged {
    _Atomic(uint64_t) owner;
    uint64_t fill[7];
} tagged;

static tagged *_Atomic table[64];
static um_pool *shared;

static void *swap_objects(void *arg) {
    uint64_t random = (uintptr_t)arg * 0x9e3779b97f4a7c15u + 1;
    for (int i = 0; i < 20000; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        tagged *mine = random % 3 ? um_pool_alloc(shared) : NULL;
        if (mine) {
            cr_assert_eq(atomic_exchange(&mine->owner, 1), 0, "it was free before");
            memset(mine->fill, (int)random, sizeof mine->fill);
        }
        mine = atomic_exchange(&table[random >> 32 & 63], mine);
        if (mine) {
            cr_assert_eq(memcmp(mine->fill, mine->fill + 1, sizeof mine->fill - 8), 0);
            cr_assert_eq(atomic_exchange(&mine->owner, 0), 1, "it was in use");
            um_pool_free(shared, mine);
        }
        if (random % 977 == 0)
            um_pool_flush(shared);
    }
    return NULL;
}

static void zero_object(void *object, void *context) {
    (void)context;
    memset(object, 0, sizeof(tagged));
}

static void stress(um_pool_options o) {
    o.bytes = sizeof(tagged);
    o.construct = zero_object;
    shared = with(o);
    for (int round = 0; round < 3; round++) {
        pthread_t threads[4];
        for (size_t i = 0; i < LENGTH(threads); i++)
            threads[i] = start(swap_objects, (void *)(uintptr_t)(round * 4 + i + 1));
        for (size_t i = 0; i < LENGTH(threads); i++)
            join(threads[i]);
    }
    for (size_t i = 0; i < LENGTH(table); i++) {
        tagged *left = atomic_exchange(&table[i], NULL);
        if (left) {
            atomic_store(&left->owner, 0);
            um_pool_free(shared, left);
        }
    }
    um_pool_stats s = stats_of(shared);
    cr_expect_eq(s.in_use, 0);
    cr_expect_leq(s.made, o.max_objects ? o.max_objects : 64 + 5 * 2 * 64 + 5 * 64);
    cr_expect_gt(s.reused, 0);
    um_pool_delete(shared);
    um_space_check();
}

Test(pool, threads_never_share_an_object) {
    stress((um_pool_options){.magazine = 2});
    stress((um_pool_options){.magazine = 1, .max_objects = 100});
    stress((um_pool_options){.flags = UM_POOL_CHECKED, .magazine = 3});
    stress((um_pool_options){.sample_every = 10});
}

/* The depot alone: every magazine has one holder at a time. */
static um_depot depot;
static _Atomic(int) holders[1000];

static void *hold_in_turn(void *arg) {
    (void)arg;
    for (int i = 0; i < 30000; i++) {
        um_magazine *a = um_depot_pop(&depot, &depot.empty), *b = um_depot_pop(&depot, &depot.empty);
        for (int k = 0; k < 2; k++) {
            um_magazine *m = k ? b : a;
            if (!m)
                continue;
            cr_assert_eq(atomic_fetch_add(&holders[m->index], 1), 0);
            m->objects[0] = m; /* ThreadSanitizer sees whether this is ordered */
            cr_assert_eq(atomic_fetch_sub(&holders[m->index], 1), 1);
            um_depot_push(&depot.empty, m);
        }
    }
    return NULL;
}

Test(pool, the_depot_gives_a_magazine_to_one) {
    char *first = malloc(um_depot_first_bytes(2));
    pthread_t threads[4];
    size_t count = 0;
    um_depot_init(&depot, 2, first);
    cr_assert(um_depot_ensure(&depot, 3));
    for (size_t i = 0; i < LENGTH(threads); i++)
        threads[i] = start(hold_in_turn, NULL);
    for (size_t i = 0; i < LENGTH(threads); i++)
        join(threads[i]);
    while (um_depot_pop(&depot, &depot.empty))
        count++;
    cr_expect_eq(count, 3);
    cr_assert(um_depot_ensure(&depot, 900), "chunks double");
    while (um_depot_pop(&depot, &depot.empty))
        count++;
    cr_expect_eq(count, 900);
    cr_expect_not(um_depot_ensure(&depot, SIZE_MAX));
    um_depot_end(&depot);
    free(first);
}

static _Atomic(int) stage;

static void *hold_while_forking(void *arg) {
    void *a = um_pool_alloc(arg);
    atomic_store(&stage, 1);
    while (atomic_load(&stage) == 1)
        sched_yield();
    um_pool_free(arg, a);
    return NULL;
}

Test(pool, a_child_of_fork_goes_on) {
    um_pool *p = with((um_pool_options){.bytes = 64, .max_objects = 400, .magazine = 8});
    void *mine = um_pool_alloc(p);
    pthread_t t = start(hold_while_forking, p);
    int status;
    pid_t pid;
    while (atomic_load(&stage) == 0)
        sched_yield();
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        size_t n = 0;
        um_pool_free(p, mine);
        while (um_pool_alloc(p))
            n++;
        if (!UM_TSAN) /* which does not support it here */
            join(start(use_and_end, with((um_pool_options){.bytes = 32})));
        um_pool_delete(p);
        _exit(n >= 400 - 16 ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    atomic_store(&stage, 2);
    join(t);
    um_pool_free(p, mine);
    cr_expect_eq(stats_of(p).in_use, 0);
    um_pool_delete(p);
}

Test(pool, a_measured_pool_samples) {
    um_pool *p = with((um_pool_options){.bytes = 64, .sample_every = 10});
    for (int i = 0; i < 1000; i++)
        um_pool_free(p, um_pool_alloc(p));
    um_pool_stats s = stats_of(p);
    cr_expect_eq(s.samples, 100);
    cr_expect_leq(s.sampled_max_ns, s.sampled_ns);
    um_pool_delete(p);
}

Test(pool, what_is_ready_needs_nothing_more) {
    um_pool *p = with((um_pool_options){.bytes = 64, .ready_objects = 5000, .ready_threads = 2});
    um_pool_stats s = stats_of(p);
    uint64_t before;
    cr_expect_eq(s.made, 5000);
    cr_expect_eq(s.in_use, 0);
    cr_assert_eq(um_pool_warm(p), 0);
    before = held();
    go_through(p, 5000, 64, 16);
    cr_expect_eq(stats_of(p).made, 5000);
    cr_expect_eq(held(), before);
    um_pool_delete(p);
}

/* From here on a system call of this thread ends the process, but for yielding and exiting. */
static void forbid_system_calls(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_yield, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = LENGTH(filter), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(77);
}

static void *_Atomic passed[256];
static _Atomic(int) freers;

/* Frees what the other thread allocated, so that magazines travel through the depot. */
static void *free_without_system_calls(void *arg) {
    if (um_pool_warm(arg))
        _exit(1);
    forbid_system_calls();
    atomic_store(&freers, 1);
    for (int i = 0; i < 20000; i++) {
        void *object;
        while (!(object = atomic_exchange(&passed[i % 256], NULL)))
            sched_yield();
        um_pool_free(arg, object);
    }
    atomic_store(&freers, 2);
    syscall(SYS_exit, 0);
    return NULL;
}

/* 0: no system call; SIGSYS: ended by one; 77: the kernel does not know how to forbid them. */
static int run_without_system_calls(um_pool_options o) {
    int status;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        um_pool *p = um_pool_new(&o);
        pthread_t t;
        alarm(100); /* should the other thread never come */
        if (!p || (o.ready_objects && um_pool_warm(p)) ||
            pthread_create(&t, NULL, free_without_system_calls, p))
            _exit(1);
        while (atomic_load(&freers) == 0)
            sched_yield();
        forbid_system_calls();
        for (int i = 0; i < 20000; i++) {
            void *object = um_pool_alloc(p);
            if (!object)
                _exit(2);
            while (atomic_load(&passed[i % 256]))
                sched_yield();
            atomic_store(&passed[i % 256], object);
        }
        while (atomic_load(&freers) == 1)
            sched_yield();
        go_through(p, 1000, 64, 16);
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
}

/* ThreadSanitizer cannot start threads in a child, and AddressSanitizer's threads make calls of their own. */
#if defined(__has_feature)
#define SANITIZED (UM_TSAN || __has_feature(address_sanitizer))
#else
#define SANITIZED UM_TSAN
#endif

Test(pool, a_warm_pool_makes_no_system_call) {
    um_pool_options o = {.bytes = 64, .ready_objects = 2000, .ready_threads = 1};
    int status = SANITIZED ? 77 : run_without_system_calls(o);
    if (status == 77) {
        puts(SANITIZED ? "skipped: a sanitizer's threads make calls of their own"
                       : "skipped: seccomp is refused");
        return;
    }
    cr_expect_eq(status, 0);
    o.ready_objects = 0;
    o.bytes = 8 << 20;
    cr_expect_eq(run_without_system_calls(o), SIGSYS, "what makes one is ended");
}

Test(pool, buffers_of_all_sizes) {
    um_pool_buffers *b = um_pool_buffers_new(&(um_pool_options){.max_objects = 1000});
    cr_assert_not_null(b);
    for (size_t bytes = 0; bytes <= 4096; bytes++) {
        char *p = um_pool_buffers_get(b, bytes);
        um_pool_stats s = stats_of(um_pool_buffers_pool(b, bytes));
        cr_assert(p && (uintptr_t)p % 64 == 0);
        cr_assert(s.object_bytes >= bytes && (s.object_bytes == 64 || s.object_bytes < 2 * bytes));
        cr_assert_eq(s.in_use, 1);
        memset(p, 1, bytes);
        um_pool_buffers_put(b, p);
    }
    errno = 0;
    cr_expect_null(um_pool_buffers_get(b, 4097));
    cr_expect_eq(errno, EINVAL);
    cr_expect_null(um_pool_buffers_pool(b, SIZE_MAX));
    um_pool_buffers_delete(b);
    um_pool_buffers_delete(NULL);
    b = um_pool_buffers_new(NULL);
    cr_expect_not_null(b);
    um_pool_buffers_delete(b);
    cr_expect_null(um_pool_buffers_new(&(um_pool_options){.flags = 128}));
    um_space_check();
}

Test(pool, free_knows_an_object, .signal = SIGABRT) {
    free(um_pool_alloc(with((um_pool_options){.bytes = 64})));
}

Test(pool, checked_finds_a_double_free, .signal = SIGABRT) {
    um_pool *p = with((um_pool_options){.bytes = 64, .flags = UM_POOL_CHECKED});
    void *a = um_pool_alloc(p), *b = um_pool_alloc(p);
    um_pool_free(p, a);
    um_pool_free(p, b);
    um_pool_free(p, a);
}

Test(pool, checked_finds_another_pools_object, .signal = SIGABRT) {
    um_pool *p = with((um_pool_options){.bytes = 64, .flags = UM_POOL_CHECKED});
    um_pool_free(p, um_pool_alloc(with((um_pool_options){.bytes = 64})));
}

Test(pool, checked_finds_what_is_no_start, .signal = SIGABRT) {
    um_pool *p = with((um_pool_options){.bytes = 64, .flags = UM_POOL_CHECKED});
    um_pool_free(p, (char *)um_pool_alloc(p) + 16);
}

Test(pool, checked_finds_what_was_never_made, .signal = SIGABRT) {
    um_pool *p = with((um_pool_options){.bytes = 64, .flags = UM_POOL_CHECKED});
    um_pool_free(p, (char *)um_pool_alloc(p) + 64 * 500);
}

Test(pool, checked_finds_malloc, .signal = SIGABRT) {
    um_pool_free(with((um_pool_options){.bytes = 64, .flags = UM_POOL_CHECKED}), &objects);
}

static void fill_with(um_pool *p, void *wrong, int times) {
    for (int i = 0; i < 1000; i++)
        objects[i] = um_pool_alloc(p);
    for (int i = 0; i < times; i++)
        um_pool_free(p, wrong);
    for (int i = 1; i < 1000; i++)
        um_pool_free(p, objects[i]);
}

Test(pool, an_exchange_finds_what_is_foreign, .signal = SIGABRT) {
    fill_with(with((um_pool_options){.bytes = 64}), &stage, 1);
}

Test(pool, an_exchange_finds_two_frees_in_a_row, .signal = SIGABRT) {
    um_pool *p = with((um_pool_options){.bytes = 64});
    fill_with(p, um_pool_alloc(p), 2);
}

Test(pool, buffers_know_what_is_none_of_theirs, .signal = SIGABRT) {
    um_pool_buffers *b = um_pool_buffers_new(NULL);
    um_pool_buffers_put(b, um_pool_alloc(with((um_pool_options){.bytes = 64})));
}

Test(pool, a_second_delete_is_found, .signal = SIGABRT) {
    um_pool *p = with((um_pool_options){.bytes = 64});
    um_pool_delete(p);
    um_pool_delete(p);
}
