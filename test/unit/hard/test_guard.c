/* Blocks with a page of their own: where they lie in it, what is found on it, how long the page rests, and
   what is told of a fault near it. */
#include "hard_calls.h"

static void start_guarded(void) {
    cr_assert_eq(um_hard_start(UM_HARD_ON), 0);
    um_hard_setting.first_guarded = UINT32_MAX;
}

TestSuite(hard_guard, .init = start_guarded);

static char *give_guarded(size_t bytes, size_t align) {
    char *p = um_hard_alloc(bytes, align, UM_FAMILY_MALLOC, UM_HARD_FRAME);
    cr_assert_not_null(p);
    cr_assert_eq(kind_of(p), UM_SPAN_HARD_POOL);
    return p;
}

static char *page_of(const void *p) {
    return (char *)um_round_down((uintptr_t)p, um_os_page_bytes);
}

Test(hard_guard, blocks_end_with_their_page) {
    for (size_t n = 1; n <= um_min(um_os_page_bytes, UM_HARD_SMALL_MAX); n += n / 3 + 1) {
        char *p = give_guarded(n, 0), *end = p + um_round_up(n, UM_HARD_ALIGN_MIN);
        cr_expect_eq(end, page_of(p) + um_os_page_bytes);
        cr_expect(readable(p));
        cr_expect_not(readable(page_of(p) - 8));
        cr_expect_not(readable(page_of(p) + um_os_page_bytes));
        cr_expect_eq(usable(p), n);
        cr_expect(um_hard_is_zero(p, n));
        memset(p, 'x', n);
        take_back(p);
        cr_expect_not(readable(p));
    }
}

Test(hard_guard, alignments_and_what_does_not_fit) {
    char *p = give_guarded(100, 256);
    cr_expect_eq((uintptr_t)p % 256, 0);
    cr_expect_leq(page_of(p) + um_os_page_bytes - p, 256);
    p = um_hard_alloc(um_os_page_bytes + 1, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME);
    cr_expect_eq(kind_of(p), um_os_page_bytes < UM_HARD_SMALL_MAX ? UM_SPAN_HARD : UM_SPAN_HARD_LARGE);
    p = um_hard_alloc(0, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME);
    cr_expect_eq(kind_of(p), UM_SPAN_HARD);
}

/* Of 1000 draws of one in four, 250 come out, 14 more or less: the bounds are seven times that away. */
Test(hard_guard, after_the_first_ones_some_start_with_their_page) {
    unsigned guarded = 0, starts = 0;
    um_hard_setting.first_guarded = 0;
    um_hard_setting.sample = 1; /* two of three blocks */
    while (guarded < 1000) {
        char *p = um_hard_alloc(100, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME);
        guarded += kind_of(p) == UM_SPAN_HARD_POOL;
        starts += kind_of(p) == UM_SPAN_HARD_POOL && p == page_of(p);
        take_back(p);
    }
    cr_expect_gt(starts, 150, "one in four: %u of 1000", starts);
    cr_expect_lt(starts, 350, "one in four: %u of 1000", starts);
}

Test(hard_guard, sampling) {
    unsigned guarded = 0;
    um_hard_setting.first_guarded = 0;
    um_hard_setting.sample = 50;
    for (int i = 0; i < 20000; i++) {
        void *p = give(100);
        guarded += kind_of(p) == UM_SPAN_HARD_POOL;
        take_back(p);
    }
    cr_expect_gt(guarded, 100, "one in 50: %u of 20000", guarded);
    cr_expect_lt(guarded, 1000, "one in 50: %u of 20000", guarded);
}

Test(hard_guard, the_last_freed_is_the_last_used_again) {
    char *p = give_guarded(100, 0);
    uint32_t waited = 0;
    take_back(p);
    for (char *q = NULL; page_of(q) != page_of(p); waited++) {
        q = give_guarded(100, 0);
        take_back(q);
        cr_assert_lt(waited, um_hard_setting.guarded + 1);
    }
    cr_expect_geq(waited, um_hard_setting.guarded - 1, "all others came before: %u", waited);
}

Test(hard_guard, the_pool_runs_out) {
    static void *p[2000];
    unsigned n = 0;
    do
        p[n] = give(100);
    while (kind_of(p[n++]) == UM_SPAN_HARD_POOL);
    cr_expect_geq(n, um_hard_setting.guarded, "%u", n);
    cr_expect_eq(kind_of(p[n - 1]), UM_SPAN_HARD);
    take_back(p[0]);
    cr_expect_eq(kind_of(give(100)), UM_SPAN_HARD_POOL);
}

static void free_again(void *p) {
    take_back(p);
}

static void check_all(void *unused) {
    (void)unused;
    um_hard_check();
}

Test(hard_guard, misuse_on_the_page_is_found) {
    char *p = give_guarded(100, 0);
    spoil(p + 100);
    expect_words(free_again, p, "umalloc: block was written beyond its end: ");
    expect_words(check_all, NULL, "umalloc: block was written beyond its end: ");
    spoil(p + 100);
    spoil(p - 1);
    expect_words(free_again, p, "umalloc: block was written before its start: ");
    spoil(p - 1);
    expect_words(free_again, p + 1, "umalloc: invalid free: ");
    check_all(NULL);
    take_back(p);
    expect_words(free_again, p, "umalloc: double free: ");
}

/* The lines that follow the first one. */
static void expect_story(void (*f)(void *arg), void *at, const char *first, const char *const *words) {
    char got[4096];
    int status = dies_status(f, at, got, sizeof got);
    const char *from = got;
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%#x: %s", status, got);
    cr_expect(strncmp(got, first, strlen(first)) == 0, "said: %s wanted: %s", got, first);
    for (; *words; words++) {
        const char *next = strstr(from, *words);
        cr_assert_not_null(next, "no %s in %s", *words, got);
        from = next;
    }
}

Test(hard_guard, faults_are_told_with_stacks) {
    static const char *const live[] = {"umalloc:   accessed by thread ", "umalloc:   allocated by thread ",
                                       NULL};
    static const char *const freed[] = {"umalloc:   accessed by thread ", "umalloc:   allocated by thread ",
                                        "umalloc:   freed by thread ", NULL};
    char *p = give_guarded(112, 0), first[128];
    (void)snprintf(first, sizeof first, "umalloc: access out of bounds: %p (112-byte block, ", (void *)p);
    expect_story(read_at, p + 112, first, live);
    expect_story(write_at, page_of(p) - 1, first, live);
    take_back(p);
    (void)snprintf(first, sizeof first, "umalloc: use after free: %p (112-byte block, ", (void *)p);
    expect_story(write_at, p + 5, first, freed);
}

Test(hard_guard, statistics) {
    um_snapshot before = {0}, live = {0}, freed = {0};
    unsigned c = um_class_of(100);
    char *p;
    um_hard_add_stats(&before);
    p = give_guarded(100, 0);
    um_hard_add_stats(&live);
    take_back(p);
    um_hard_add_stats(&freed);
    cr_expect_eq(live.classes[c].live - before.classes[c].live, 1);
    cr_expect_eq(live.allocated - before.allocated, 100);
    cr_expect_eq(freed.classes[c].live, before.classes[c].live);
    cr_expect_eq(freed.allocated, before.allocated);
    cr_expect_eq(freed.classes[0].frees - before.classes[0].frees, 1);
}
