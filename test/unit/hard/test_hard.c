/* What all parts share: which block may be given back how, realloc, shards under fork, random numbers. */
#include "hard_calls.h"

#include <pthread.h>

TestSuite(hard, .init = start_on);

static const um_family families[] = {UM_FAMILY_MALLOC, UM_FAMILY_NEW, UM_FAMILY_NEW_ARRAY};

static const char *judged(um_family got, bool aligned, um_family said, size_t bytes, size_t align) {
    um_hard_claim claim = {"invalid free", said, bytes, align};
    um_hard_finding f =
        um_hard_judge(&claim, (void *)(uintptr_t)0x1040, 48, um_hard_tag(UM_HARD_LIVE, got, aligned));
    return f.kind ? f.detail : NULL;
}

Test(hard, full_wants_pairs, .init = start_full) {
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++)
            cr_expect_eq(!judged(families[i], false, families[j], UM_HARD_UNSAID, 0), i == j, "%zu %zu", i,
                         j);
    cr_expect_str_eq(judged(UM_FAMILY_NEW, false, UM_FAMILY_MALLOC, UM_HARD_UNSAID, 0),
                     "allocated by new, freed by free");
    cr_expect_str_eq(judged(UM_FAMILY_MALLOC, false, UM_FAMILY_NEW_ARRAY, UM_HARD_UNSAID, 0),
                     "allocated by malloc, freed by delete[]");
    cr_expect_str_eq(judged(UM_FAMILY_NEW_ARRAY, false, UM_FAMILY_NEW, UM_HARD_UNSAID, 0),
                     "allocated by new[], freed by delete");
    cr_expect_str_eq(judged(UM_FAMILY_NEW, true, UM_FAMILY_NEW, UM_HARD_UNSAID, 0),
                     "allocated with an alignment, freed without");
    cr_expect_str_eq(judged(UM_FAMILY_NEW, false, UM_FAMILY_NEW, UM_HARD_UNSAID, 32),
                     "allocated without an alignment, freed with one");
    cr_expect_null(judged(UM_FAMILY_NEW, true, UM_FAMILY_NEW, UM_HARD_UNSAID, 32));
    cr_expect_null(judged(UM_FAMILY_MALLOC, false, UM_FAMILY_MALLOC, UM_HARD_UNSAID, 32));
}

Test(hard, both_levels_want_exact_sizes) {
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++)
            cr_expect_null(judged(families[i], false, families[j], UM_HARD_UNSAID, 0), "on wants no pairs");
    cr_expect_null(judged(UM_FAMILY_NEW, false, UM_FAMILY_NEW, 48, 0));
    cr_expect_not_null(judged(UM_FAMILY_NEW, false, UM_FAMILY_NEW, 47, 0));
    cr_expect_not_null(judged(UM_FAMILY_NEW, false, UM_FAMILY_NEW, 49, 0));
    cr_expect_null(judged(UM_FAMILY_NEW, true, UM_FAMILY_NEW, 48, 64));
    cr_expect_not_null(judged(UM_FAMILY_NEW, true, UM_FAMILY_NEW, 48, 128), "0x1040 is no multiple");
}

static void free_as_new(void *p) {
    static const um_hard_claim claim = {"invalid free", UM_FAMILY_NEW, UM_HARD_UNSAID, 0};
    um_hard_free(p, um_span_of(p), &claim, UM_HARD_FRAME);
}

static void free_as_shorter(void *p) {
    static const um_hard_claim claim = {"invalid free", UM_FAMILY_MALLOC, 1, 0};
    um_hard_free(p, um_span_of(p), &claim, UM_HARD_FRAME);
}

static void *one_of_each(int i) {
    um_hard_setting.first_guarded = i == 1 ? UINT32_MAX : 0;
    return give(i == 2 ? 100000 : 100);
}

Test(hard, all_parts_judge, .init = start_full) {
    static const um_span_kind kinds[] = {UM_SPAN_HARD, UM_SPAN_HARD_POOL, UM_SPAN_HARD_LARGE};
    for (int i = 0; i < 3; i++) {
        char *p = one_of_each(i), words[128];
        cr_assert_eq(kind_of(p), kinds[i]);
        (void)snprintf(words, sizeof words, "umalloc: mismatched free: %p (%zu-byte block, ", (void *)p,
                       usable(p));
        expect_words(free_as_new, p, words);
        (void)snprintf(words, sizeof words, "umalloc: mismatched sized free: %p (%zu-byte block, ", (void *)p,
                       usable(p));
        expect_words(free_as_shorter, p, words);
        take_back(p);
    }
}

static void fill(char *p, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        p[i] = (char)(i * 7 + 1);
}

static void verify(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(p[i], (char)(i * 7 + 1), "byte %zu of %zu", i, n);
}

static void realloc_through_all_sizes(void) {
    static const size_t sizes[] = {1,      20,    21,      500,    4000,  40000,  40010, 60000, 300000,
                                   300100, 70000, 1000000, 999999, 32760, 100000, 33000, 100,   3};
    size_t n = 10;
    char *p = give(n);
    fill(p, 0, n);
    for (size_t i = 0; i < UM_COUNT(sizes); i++) {
        size_t next = sizes[i];
        p = um_hard_realloc(p, um_span_of(p), next, UM_HARD_FRAME);
        cr_assert_not_null(p);
        cr_assert_eq(usable(p), next);
        verify(p, um_min(n, next));
        fill(p, 0, next);
        um_hard_check();
        n = next;
    }
    take_back(p);
    um_space_check();
}

Test(hard, realloc_keeps_contents) {
    realloc_through_all_sizes();
}

Test(hard, realloc_keeps_contents_in_full, .init = start_full) {
    realloc_through_all_sizes();
}

Test(hard, realloc_moves_in_full, .init = start_full) {
    for (size_t n = 100; n < 1000000; n *= 9) {
        char *p = give(n), *q = um_hard_realloc(p, um_span_of(p), n + 1, UM_HARD_FRAME);
        cr_expect_neq(q, p);
        expect_words(free_as_shorter, p, "umalloc: double free: ");
        cr_expect_eq(um_hard_realloc(q, um_span_of(q), n + 1, UM_HARD_FRAME), q);
    }
}

Test(hard, a_realloc_that_fails_leaves_the_block) {
    char *p = give(100);
    fill(p, 0, 100);
    cr_expect_null(um_hard_realloc(p, um_span_of(p), (size_t)1 << 47, UM_HARD_FRAME));
    cr_expect_eq(usable(p), 100);
    verify(p, 100);
}

static void realloc_freed(void *p) {
    (void)um_hard_realloc(p, um_span_of(p), 50, UM_HARD_FRAME);
}

Test(hard, realloc_of_freed_blocks) {
    for (int i = 0; i < 3; i++) {
        char *p = one_of_each(i);
        take_back(p);
        expect_words(realloc_freed, p, "umalloc: invalid realloc: ");
    }
}

Test(hard, what_rests_is_used_when_memory_runs_out) {
    char *p[40];
    size_t limit;
    um_space_stats stats;
    for (int i = 0; i < 40; i++)
        p[i] = give(8 * UM_MIB);
    for (int i = 0; i < 40; i++)
        take_back(p[i]);
    um_space_stat(0, &stats);
    limit = stats.active + stats.dirty + UM_MIB;
    um_space_setting.limit_bytes = limit;
    cr_expect_not_null(um_hard_alloc(100 * UM_MIB, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME));
    cr_expect_null(um_hard_alloc(limit, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME));
    cr_expect_not_null(um_hard_alloc(100, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME));
}

Test(hard, draws_are_spread_and_seeded) {
    um_hard_random a = {0, 0}, b = {0, 0};
    unsigned counts[10] = {0};
    cr_expect_neq(um_hard_draw(&a), um_hard_draw(&b), "each is seeded by the kernel");
    for (int i = 0; i < 100000; i++) {
        uint32_t n = um_hard_below(&a, 10);
        cr_assert_lt(n, 10);
        counts[n]++;
    }
    for (int i = 0; i < 10; i++)
        cr_expect(counts[i] > 9000 && counts[i] < 11000, "%d: %u", i, counts[i]);
}

/* What the child's next addresses are. */
static void tell_addresses(void *bytes) {
    um_hard_child_after_fork();
    for (int i = 0; i < 64; i++) {
        void *p = give(*(size_t *)bytes);
        cr_assert_eq(write(2, &p, sizeof p), (ssize_t)sizeof p);
    }
}

Test(hard, children_place_otherwise) {
    char first[64 * sizeof(void *) + 1], second[64 * sizeof(void *) + 1];
    /* Large ones are as many pages from a slot's start, if a slot has several. */
    size_t most = um_os_page_bytes < UM_SLOT_BYTES ? 64000 : 64;
    for (size_t n = 64; n <= most; n *= 1000) {
        (void)give(n); /* the numbers are drawn from already */
        um_hard_lock_all();
        (void)dies_status(tell_addresses, &n, first, sizeof first);
        (void)dies_status(tell_addresses, &n, second, sizeof second);
        um_hard_unlock_all();
        cr_expect_neq(memcmp(first, second, sizeof first - 1), 0, "%zu bytes", n);
    }
}

enum { THREADS = 4, STEPS = 20000, SHARED = 64 };
static _Atomic(void *) shared[SHARED];

/* Nearly every free is of another thread's block. */
static void *swap_blocks(void *seed) {
    uint64_t state = (uintptr_t)seed;
    for (int i = 0; i < STEPS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t n = 1 + (state >> 33) % (i % 500 ? 600 : 60000);
        char *p = give(n), *old;
        p[0] = p[n - 1] = 'x';
        old = atomic_exchange(&shared[(state >> 20) % SHARED], p);
        if (old)
            take_back(old);
    }
    return NULL;
}

Test(hard, threads_free_each_others_blocks) {
    pthread_t t[THREADS];
    um_snapshot before = {0}, after = {0};
    um_hard_setting.sample = 100;
    um_hard_add_stats(&before);
    for (uintptr_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, swap_blocks, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(t[i], NULL), 0);
    for (int i = 0; i < SHARED; i++)
        if (shared[i])
            take_back(shared[i]);
    um_hard_check();
    um_hard_flush();
    um_hard_add_stats(&after);
    cr_expect_eq(after.allocated, before.allocated);
    um_space_check();
}
