/* Stacks: what they promise of their guards in each of the ways to have them, reuse, the watermark, 10^5 at
 * once. */
#include "dies.h"
#include "in_core.h"
#include "conf/counters.h"
#include "os/guard.h"
#include "os/os.h"
#include "space/space.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <umalloc/stack.h>
#include <unistd.h>

#define KIB ((size_t)1024)

/* A system that refuses. */
static bool no_regions, no_protect, no_in_core;

int __real_um_os_guard(uintptr_t at, size_t bytes, bool guarded);
int __wrap_um_os_guard(uintptr_t at, size_t bytes, bool guarded);
int __wrap_um_os_guard(uintptr_t at, size_t bytes, bool guarded) {
    return no_regions ? EINVAL : __real_um_os_guard(at, bytes, guarded);
}

int __real_um_os_protect(uintptr_t at, size_t bytes, bool access);
int __wrap_um_os_protect(uintptr_t at, size_t bytes, bool access);
int __wrap_um_os_protect(uintptr_t at, size_t bytes, bool access) {
    return no_protect && !access ? ENOMEM : __real_um_os_protect(at, bytes, access);
}

int __real_um_os_in_core(uintptr_t at, size_t pages, unsigned char *in_core);
int __wrap_um_os_in_core(uintptr_t at, size_t pages, unsigned char *in_core);
int __wrap_um_os_in_core(uintptr_t at, size_t pages, unsigned char *in_core) {
    return no_in_core ? ENOMEM : in_core_by(__real_um_os_in_core, at, pages, in_core);
}

static um_stack_stats stats(void) {
    um_stack_stats s;
    um_stack_stat(&s, sizeof s);
    return s;
}

static um_stack *take(size_t bytes) {
    um_stack *s = um_stack_take(bytes);
    cr_assert_not_null(s);
    return s;
}

static char *base(const um_stack *s) {
    return um_stack_base(s);
}

static char *top(const um_stack *s) {
    return base(s) + um_stack_bytes(s);
}

/* As on a kernel without guard regions, and as if no mapping could be split either. */
static void without_regions(void) {
    no_regions = true;
}

static void only_watched(void) {
    no_regions = no_protect = true;
}

static void touch(void *at) {
    *(volatile char *)at = 1;
    _exit(0);
}

static bool is_hit(char *at) {
    char said[4096]; /* a sanitizer has much to say */
    int status = dies_status(touch, at, said, sizeof said);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

Test(stack, has_the_size_and_is_zero) {
    size_t sizes[] = {1, 4096, 16 * KIB, 16 * KIB + 1, 64 * KIB, 65 * KIB, 1 << 20, 8 << 20, 48 << 20};
    um_stack *s[UM_COUNT(sizes)];
    for (size_t i = 0; i < UM_COUNT(sizes); i++) {
        s[i] = take(sizes[i]);
        cr_expect_geq(um_stack_bytes(s[i]), sizes[i]);
        cr_expect_leq(um_stack_bytes(s[i]),
                      um_round_up(um_max(16 * KIB, sizes[i] * 3 / 2), um_os_page_bytes));
        cr_expect_eq((uintptr_t)base(s[i]) % um_os_page_bytes, 0);
        cr_expect_eq((uintptr_t)top(s[i]) % um_os_page_bytes, 0);
        for (size_t k = 0; k < um_min(um_stack_bytes(s[i]), 1 << 20); k += 8)
            cr_assert_eq(*(uint64_t *)(base(s[i]) + k), 0);
        cr_expect_eq(um_stack_used(s[i]), 0);
        memset(base(s[i]), 1, um_stack_bytes(s[i]));
    }
    cr_expect_eq(um_stack_bytes(s[4]), 64 * KIB);
    for (size_t i = 0; i < UM_COUNT(sizes); i++) {
        cr_expect_eq(*base(s[i]), 1);
        um_stack_give(s[i]);
    }
    um_stack_give(NULL);
    um_stack_trim();
    um_space_check();
    cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_stack].bytes), 0);
}

Test(stack, absurd_sizes_are_refused) {
    errno = 0;
    cr_expect_null(um_stack_take(0));
    cr_expect_eq(errno, EINVAL);
    errno = 0;
    cr_expect_null(um_stack_take(UM_STACK_BYTES_MAX + 1));
    cr_expect_eq(errno, EINVAL);
}

/* Below and above, of each of several neighbours. */
static void expect_guards(um_stack_guard guard) {
    um_stack *s[5];
    for (size_t i = 0; i < UM_COUNT(s); i++) {
        s[i] = take(32 * KIB);
        cr_expect_eq(um_stack_guarding(s[i]), guard);
        *base(s[i]) = top(s[i])[-1] = 1;
        cr_expect_eq(is_hit(base(s[i]) - 1), guard == UM_STACK_GUARDED);
        cr_expect_eq(is_hit(base(s[i]) - um_os_page_bytes), guard == UM_STACK_GUARDED);
        cr_expect_eq(is_hit(top(s[i])), guard == UM_STACK_GUARDED);
        cr_expect(um_stack_check(s[i]));
    }
    for (size_t i = 0; i < UM_COUNT(s); i++)
        um_stack_give(s[i]);
    s[0] = take(32 * KIB);
    cr_expect_eq(is_hit(base(s[0]) - 1), guard == UM_STACK_GUARDED, "also when it serves again");
    um_stack_give(s[0]);
    um_stack_trim();
    um_space_check();
}

Test(stack, guards_are_hit) {
    expect_guards(UM_STACK_GUARDED);
}

Test(stack, guards_that_split_are_hit) {
    without_regions();
    expect_guards(UM_STACK_GUARDED);
    cr_expect_eq(stats().split_guards, 0, "they are joined again");
}

Test(stack, guards_that_are_watched_are_not_hit) {
    only_watched();
    expect_guards(UM_STACK_WATCHED);
    cr_expect_eq(stats().watched, 0);
}

/* Memory whose guards were not taken away must not serve anybody else. */
Test(stack, memory_is_free_of_guards_when_it_goes_back) {
    for (int way = 0; way < 3; way++) {
        if (way)
            way == 1 ? without_regions() : only_watched();
        um_stack_give(take(64 * KIB));
        um_stack_trim();
        um_span *s = um_space_alloc(0, 64, 1, NULL);
        cr_assert_not_null(s);
        memset(um_span_start(s), 1, 64 * UM_SLOT_BYTES);
        um_space_free(s, 64 * UM_SLOT_BYTES);
    }
}

Test(stack, the_last_one_given_serves_first) {
    um_stack *a = take(64 * KIB), *b = take(64 * KIB);
    um_stack_stats before;
    cr_expect_neq(a, b);
    *base(a) = 7;
    um_stack_give(b);
    um_stack_give(a);
    before = stats();
    cr_expect_eq(take(64 * KIB), a);
    cr_expect_eq(*base(a), 7, "with what it held");
    cr_expect_eq(take(64 * KIB), b);
    cr_expect_eq(stats().reused, before.reused + 2);
    cr_expect_eq(stats().live, 2);
    um_stack_give(a);
    um_stack_give(b);
    cr_expect_eq(stats().live, 0);
    cr_expect_eq(stats().peak, 2);
}

Test(stack, many_that_are_kept_hold_little_memory) {
    enum { MANY = 500 };
    um_stack *s[MANY];
    unsigned char in_core[16];
    size_t touched = 0;
    for (size_t i = 0; i < MANY; i++) {
        s[i] = take(64 * KIB);
        memset(base(s[i]), 1, um_stack_bytes(s[i]));
    }
    um_stack *odd = take(64 * KIB);
    for (size_t i = 0; i < MANY; i++)
        um_stack_give(s[i]);
    cr_expect_leq(stats().kept, MANY, "whole chunks go back");
    for (size_t i = 0; i < 64; i++) {
        s[i] = take(64 * KIB);
        cr_assert_eq(um_os_in_core((uintptr_t)base(s[i]), 64 * KIB / um_os_page_bytes, in_core), 0);
        touched += in_core[0] & 1;
    }
    cr_expect_eq(touched, 64, "hot ones first");
    s[64] = take(64 * KIB);
    cr_expect_eq(um_stack_used(s[64]), 0, "then cold ones");
    for (size_t i = 0; i < 65; i++)
        um_stack_give(s[i]);
    um_stack_give(odd);
    um_stack_trim();
    cr_expect_eq(stats().kept, 0);
    cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_stack].bytes), 0);
}

Test(stack, the_watermark_is_exact) {
    um_stack *s = take(256 * KIB);
    size_t depths[] = {1, 8, 4095, 4096, 4097, 100000, um_stack_bytes(s)};
    for (size_t i = 0; i < UM_COUNT(depths); i++) {
        *(top(s) - depths[i]) = 1;
        cr_expect_eq(um_stack_used(s), depths[i]);
    }
    cr_assert(um_stack_clean(s, 10000));
    cr_expect_eq(um_stack_used(s), 4097, "what is kept is kept");
    cr_assert(um_stack_clean(s, 0));
    cr_expect_eq(um_stack_used(s), 0);
    *(top(s) - 77) = 1;
    no_in_core = true;
    cr_expect_eq(um_stack_used(s), 77, "without the kernel's help");
    um_stack_give(s);
}

static size_t resident(um_stack **s, size_t n) {
    size_t touched = 0;
    unsigned char in_core[1];
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(um_os_in_core((uintptr_t)top(s[i]) - um_os_page_bytes, 1, in_core), 0);
        touched += in_core[0] & 1;
    }
    return touched;
}

Test(stack, as_many_are_kept_as_are_wanted_again) {
    enum { MANY = 300 };
    um_stack *s[MANY];
    size_t touched[4];
    for (size_t round = 0; round < UM_COUNT(touched); round++) {
        for (size_t i = 0; i < MANY; i++)
            s[i] = take(64 * KIB);
        touched[round] = resident(s, MANY);
        for (size_t i = 0; i < MANY; i++) {
            *(top(s[i]) - 1) = 1;
            if (i || round < 3)
                um_stack_give(s[i]);
        }
    }
    cr_expect_eq(touched[0], 0);
    cr_expect_eq(touched[1], 64);
    cr_expect_gt(touched[2], MANY / 2);
    cr_expect_eq(touched[3], MANY);
    for (int i = 0; i < 3 * 4096; i++)
        um_stack_give(take(64 * KIB)); /* one is wanted at a time: the others lie idle */
    for (size_t i = 1; i < MANY; i++)
        s[i] = take(64 * KIB);
    cr_expect_leq(resident(s + 1, MANY - 1), MANY / 3);
}

/* --- 10^5 --- */

#define LIVE_MOST (UM_TSAN ? 5000 : 100000)

static size_t mappings(void) {
    char line[512];
    size_t n = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    cr_assert_not_null(f);
    while (fgets(line, sizeof line, f))
        n++;
    fclose(f);
    return n;
}

static um_stack *live[LIVE_MOST];

/* All have their first frames touched. */
static size_t take_very_many(void) {
    size_t before = mappings();
    for (size_t i = 0; i < LIVE_MOST; i++) {
        live[i] = take(64 * KIB);
        *(uint64_t *)(top(live[i]) - 8) = i + 1;
    }
    for (size_t i = 0; i < LIVE_MOST; i++)
        cr_assert_eq(*(uint64_t *)(top(live[i]) - 8), i + 1);
    cr_expect_eq(stats().live, LIVE_MOST);
    return mappings() - before;
}

static void give_very_many(void) {
    for (size_t i = 0; i < LIVE_MOST; i++)
        um_stack_give(live[i]);
    um_stack_trim();
    cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_stack].bytes), 0);
}

Test(stack, a_hundred_thousand_live) {
    uintptr_t page;
    size_t more;
    um_os_init();
    cr_assert_eq(um_os_map(um_os_page_bytes, &page), 0);
    bool regions = um_os_guard(page, um_os_page_bytes, true) == 0 && !um_os_readable(page);
    more = take_very_many();
    if (regions) {
        cr_expect_lt(more, 1000, "%zu", more);
        cr_expect_eq(stats().watched + stats().split_guards, 0);
        for (size_t i = 0; i < LIVE_MOST; i += LIVE_MOST / 10 - 1) {
            cr_expect(is_hit(base(live[i]) - 1), "%zu", i);
            cr_expect(is_hit(top(live[i])), "%zu", i);
        }
    }
    give_very_many();
}

/* Without guard regions: guarded as far as a quarter of the mappings allows, watched beyond. */
Test(stack, a_hundred_thousand_live_without_guard_regions) {
    size_t more;
    without_regions();
    more = take_very_many();
    cr_expect_lt(more, 65530 / 4 + 1000, "%zu", more);
    cr_expect_gt(stats().split_guards, 1000);
    cr_expect_eq(um_stack_guarding(live[0]), UM_STACK_GUARDED);
    if (!UM_TSAN) {
        cr_expect_gt(stats().watched, 0);
        cr_expect_eq(um_stack_guarding(live[LIVE_MOST - 1]), UM_STACK_WATCHED);
    }
    cr_expect(is_hit(base(live[0]) - 1));
    give_very_many();
    cr_expect_eq(stats().split_guards, 0);
    cr_expect_eq(stats().watched, 0);
}

/* --- threads, processes, exhaustion --- */

static void *churn(void *unused) {
    um_stack *own[20];
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < UM_COUNT(own); i++) {
            own[i] = take((16 + i % 3 * 48) * KIB);
            cr_assert_neq(*base(own[i]), 99, "nobody else has it");
            *base(own[i]) = 99;
        }
        for (size_t i = 0; i < UM_COUNT(own); i++) {
            *base(own[i]) = 0;
            um_stack_give(own[i]);
        }
        if (round % 50 == 0)
            um_stack_trim();
    }
    return unused;
}

Test(stack, threads_share_what_is_kept) {
    pthread_t t[4];
    for (size_t i = 0; i < UM_COUNT(t); i++)
        cr_assert_eq(pthread_create(&t[i], NULL, churn, NULL), 0);
    for (size_t i = 0; i < UM_COUNT(t); i++)
        pthread_join(t[i], NULL);
    cr_expect_eq(stats().live, 0);
    um_stack_trim();
    cr_expect_eq(stats().kept, 0);
    um_space_check();
}

/* The frame is read after the call, so each call needs its own. */
static __attribute__((noinline)) unsigned deep(unsigned depth) {
    volatile char frame[10000];
    unsigned below;
    frame[depth] = 1; /* a place that compilers do not know keeps the array whole */
    below = depth > 1 ? deep(depth - 1) : 0;
    return below + (unsigned)frame[depth];
}

static void *run_deep(void *depth) {
    cr_expect_eq(deep((unsigned)(uintptr_t)depth), (uintptr_t)depth);
    return NULL;
}

Test(stack, a_thread_runs_on_one) {
    um_stack *s = take(1 << 20);
    pthread_attr_t attr;
    pthread_t t;
    pthread_attr_init(&attr);
    cr_assert_eq(pthread_attr_setstack(&attr, um_stack_base(s), um_stack_bytes(s)), 0);
    cr_assert_eq(pthread_create(&t, &attr, run_deep, (void *)20), 0);
    pthread_join(t, NULL);
    cr_expect_geq(um_stack_used(s), 190000);
    cr_expect_lt(um_stack_used(s), 1 << 20);
    um_stack_give(s);
}

Test(stack, a_child_has_them_all) {
    um_stack *s = take(64 * KIB);
    int status;
    pid_t pid;
    top(s)[-1] = 5;
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        bool good = top(s)[-1] == 5 && stats().live == 1;
        um_stack_give(s);
        good = good && um_stack_take(64 * KIB) == s && is_hit(base(s) - 1);
        um_stack_give(s);
        um_stack_trim();
        _exit(good ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x", status);
    um_stack_give(s);
}

Test(stack, without_memory_there_is_none) {
    um_stack *s = take(64 * KIB);
    um_space_setting.limit_bytes = 1;
    errno = 0;
    cr_expect_null(um_stack_take(16 << 20));
    cr_expect_eq(errno, ENOMEM);
    um_stack_give(s);
    cr_expect_eq(um_stack_take(64 * KIB), s, "kept ones serve still");
}

/* --- misuse --- */

static void give_twice(void *s) {
    um_stack_give(s);
    um_stack_give(s);
}

static void give(void *s) {
    um_stack_give(s);
}

static void overflow(void *s) {
    base(s)[-8] = 1;
    um_stack_give(s);
}

Test(stack, misuse_is_told) {
    um_stack *s = take(64 * KIB), *gone;
    char on_the_stack[64];
    expect_death(give_twice, s, "umalloc: um_stack_give: %p (given back already)\n", (void *)s);
    expect_death(give, on_the_stack, "umalloc: um_stack_give: %p (not a stack)\n", (void *)on_the_stack);
    expect_death(give, base(s), "umalloc: um_stack_give: %p (not a stack)\n", um_stack_base(s));
    expect_death(free, s, "umalloc: invalid free: %p (it belongs to an arena, a pool or the like)\n",
                 (void *)s);
    gone = take(8 << 20);
    um_stack_give(gone);
    um_stack_trim();
    expect_death(give, gone, "umalloc: um_stack_give: %p (not a stack)\n", (void *)gone);
    um_stack_give(s);
}

Test(stack, a_watched_overflow_is_told) {
    um_stack *s;
    only_watched();
    s = take(64 * KIB);
    expect_death(overflow, s,
                 "umalloc: stack overflow: %p (65536-byte block, its guard page was written to)\n",
                 um_stack_base(s));
    cr_expect(um_stack_check(s));
    *top(s) = 1;
    cr_expect_not(um_stack_check(s), "above, too");
    *top(s) = 0;
    um_stack_give(s);
}
