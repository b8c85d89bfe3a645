/* realloc: contents over every pair of sizes, in place or moved; realloc(p, 0) frees as glibc does. */
#include "contract.h"

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static void one_step(size_t from, size_t to, int hemmed_in) {
    void *p = malloc(from);
    void *barrier = hemmed_in ? malloc(from) : NULL;
    cr_assert_not_null(p);
    check_fill(p, from, from + to);
    p = realloc(p, to);
    cr_assert_not_null(p, "realloc from %zu to %zu", from, to);
    cr_assert(contract_aligned(p, 16));
    cr_assert_geq(malloc_usable_size(p), to, "realloc from %zu to %zu", from, to);
    size_t same = least(from, to), bad = check_pattern(p, same, from, from + to);
    cr_assert_eq(bad, same, "realloc from %zu to %zu lost byte %zu", from, to, bad);
    check_fill(p, to, 5);
    cr_assert_eq(check_pattern(p, to, to, 5), to);
    free(barrier);
    free(p);
}

Test(realloc, keeps_contents_over_every_pair_of_sizes) {
    for (size_t i = 0; i < CONTRACT_SIZES; i++)
        for (size_t k = 0; k < CONTRACT_SIZES; k++) {
            one_step(contract_sizes[i], contract_sizes[k], 0);
            one_step(contract_sizes[i], contract_sizes[k], 1);
        }
}

Test(realloc, of_mremap_sizes) {
    static const size_t mib[] = {1, 2, 3, 17, 40, 64};
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 6; k++) {
            one_step(mib[i] * CHECK_MIB, mib[k] * CHECK_MIB, 1);
            one_step(mib[i] * CHECK_MIB + 1, mib[k] * CHECK_MIB - 1, 0);
            one_step(mib[i] * CHECK_MIB, 100, 0);
            one_step(100, mib[i] * CHECK_MIB, 0);
        }
}

/* One block through a long walk up and down while others come and go around it. */
Test(realloc, walks_up_and_down) {
    enum { AROUND = 64 };
    static void *around[AROUND];
    char *p = malloc(1);
    size_t have = 1;
    uint64_t state = 42;
    p[0] = (char)check_byte(7, 0);
    for (size_t step = 0; step < 6000; step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t limit = step % 100 == 99 ? 6 * CHECK_MIB : step % 10 == 9 ? 200000 : 3000;
        size_t to = 1 + (size_t)(state >> 33) % limit;
        p = realloc(p, to);
        cr_assert_not_null(p);
        size_t same = least(have, to);
        for (size_t i = 0; i < same; i += i < 64 || i > same - 64 ? 1 : 61)
            cr_assert_eq((unsigned char)p[i], check_byte(7, i), "step %zu: %zu -> %zu lost byte %zu", step,
                         have, to, i);
        for (size_t i = same; i < to; i++)
            p[i] = (char)check_byte(7, i);
        have = to;
        free(around[step % AROUND]);
        around[step % AROUND] = malloc((size_t)(state >> 40) % 5000);
    }
    free(p);
    for (size_t i = 0; i < AROUND; i++)
        free(around[i]);
}

/* Growth of a large block moves pages, it does not copy them: the peak stays near the final size. */
Test(realloc, growth_peaks_near_the_final_size) {
    enum { FINAL_MIB = 192 };
    size_t base = check_rss_kib();
    char *p = NULL;
    for (size_t mib = 1; mib <= FINAL_MIB; mib++) {
        p = realloc(p, mib * CHECK_MIB);
        cr_assert_not_null(p);
        memset(p + (mib - 1) * CHECK_MIB, (int)mib, CHECK_MIB);
    }
    for (size_t mib = 1; mib <= FINAL_MIB; mib++)
        cr_assert(p[(mib - 1) * CHECK_MIB] == (char)mib && p[mib * CHECK_MIB - 1] == (char)mib, "MiB %zu",
                  mib);
    size_t peak = check_peak_kib() - base;
    cr_assert_leq(peak, FINAL_MIB * 1024 * 11 / 10, "peak of %zu KiB", peak);
    free(p);
}

/* Shrinking gives the tail back; nobody has to free first. */
/* A buffer that grows by a little is not copied at each step, nor given more than a quarter too much. */
Test(realloc, small_steps_are_not_all_copies) {
    char *p = malloc(1024);
    unsigned moves = 0;
    for (size_t bytes = 1024 + 256; bytes <= 32 * CHECK_KIB; bytes += 256) {
        char *q = realloc(p, bytes);
        cr_assert_not_null(q);
        moves += q != p;
        p = q;
        cr_assert_leq(malloc_usable_size(p), bytes + bytes / 4 + 512);
    }
    free(p);
    cr_expect_leq(moves, 20, "%u copies", moves);
}

Test(realloc, shrinking_returns_memory) {
    size_t base = check_rss_kib();
    char *p = malloc(64 * CHECK_MIB);
    memset(p, 1, 64 * CHECK_MIB);
    p = realloc(p, 2 * CHECK_MIB);
    cr_assert_not_null(p);
    cr_assert_eq(p[2 * CHECK_MIB - 1], 1);
    malloc_trim(0);
    size_t now = check_rss_kib();
    cr_assert_leq(now, base + 10 * 1024, "%zu KiB held for 2 MiB", now - base);
    free(p);
}

Test(realloc, to_zero_frees_and_answers_null) {
    size_t rss = 0;
    for (size_t round = 0; round < 400; round++) {
        for (size_t i = 0; i < CONTRACT_SIZES; i++) {
            void *p = malloc(contract_sizes[i]);
            memset(p, 1, contract_sizes[i] < 5000 ? contract_sizes[i] : 5000);
            errno = 4711;
            p = realloc(p, 0);
            cr_assert_null(p, "size %zu", contract_sizes[i]);
            cr_assert_eq(errno, 4711, "size %zu: errno %d", contract_sizes[i], errno);
        }
        if (round == 40)
            rss = check_rss_kib();
    }
    cr_assert_leq(check_rss_kib(), rss + 4096, "realloc to zero leaks");
    void *p = malloc(50);
    cr_assert_null(reallocarray(p, 0, 16));
}

Test(realloc, of_null_allocates) {
    for (size_t i = 0; i < CONTRACT_SIZES; i++) {
        void *p = realloc(NULL, contract_sizes[i]), *q = reallocarray(NULL, contract_sizes[i], 1);
        cr_assert(p && q);
        check_fill(p, contract_sizes[i], 1);
        check_fill(q, contract_sizes[i], 2);
        cr_assert_eq(check_pattern(p, contract_sizes[i], contract_sizes[i], 1), contract_sizes[i]);
        free(p);
        free(q);
    }
}

Test(realloc, reallocarray_multiplies) {
    int *p = NULL;
    for (size_t n = 1; n <= 100000; n += n / 3 + 1) {
        p = reallocarray(p, n, sizeof *p);
        cr_assert_not_null(p);
        cr_assert_geq(malloc_usable_size(p), n * sizeof *p);
        p[n - 1] = (int)n;
    }
    free(p);
}
