/* Sizes that cannot be: NULL and ENOMEM from every entry, and nothing lost by it. Sizes of zero: unique
 * pointers. */
#include "contract.h"

static const size_t impossible[] = {
    SIZE_MAX,
    SIZE_MAX - 1,
    SIZE_MAX - 15,
    SIZE_MAX - 16,
    SIZE_MAX - 4095,
    SIZE_MAX - 4096,
    SIZE_MAX - 65536,
    SIZE_MAX - (1 << 21),
    (size_t)PTRDIFF_MAX + 1,
    (size_t)PTRDIFF_MAX + 4096,
    (size_t)PTRDIFF_MAX,
    (size_t)1 << 62,
};
#define IMPOSSIBLE (sizeof impossible / sizeof impossible[0])

/* Evaluates the call with errno cleared and demands NULL and ENOMEM. */
#define REFUSED(call, n)                                                                                     \
    do {                                                                                                     \
        errno = 0;                                                                                           \
        void *got_ = (call);                                                                                 \
        cr_assert_null(got_, "%s of %zu gave a pointer", #call, (size_t)(n));                                \
        cr_assert_eq(errno, ENOMEM, "%s of %zu: errno %d", #call, (size_t)(n), errno);                       \
    } while (0)

Test(limits, malloc_and_calloc) {
    for (size_t i = 0; i < IMPOSSIBLE; i++) {
        size_t n = impossible[i];
        REFUSED(malloc(n), n);
        REFUSED(calloc(1, n), n);
        REFUSED(calloc(n, 1), n);
        REFUSED(calloc(n, n), n);
    }
}

Test(limits, calloc_product_overflows) {
    static const size_t pairs[][2] = {
        {SIZE_MAX / 2 + 1, 2},
        {2, SIZE_MAX / 2 + 1},
        {SIZE_MAX / 16 + 1, 16},
        {16, SIZE_MAX / 16 + 1},
        {(size_t)1 << 32, (size_t)1 << 32},
        {((size_t)1 << 32) + 1, (size_t)1 << 32},
        {SIZE_MAX, SIZE_MAX},
        {SIZE_MAX / 3, 7},
        {(size_t)1 << 33, (size_t)1 << 30},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        REFUSED(calloc(pairs[i][0], pairs[i][1]), pairs[i][0]);
}

Test(limits, realloc_refuses_and_keeps_the_block) {
    for (size_t k = 0; k < CONTRACT_SIZES; k += 4) {
        size_t n = contract_sizes[k];
        void *p = malloc(n);
        cr_assert_not_null(p);
        check_fill(p, n, n);
        for (size_t i = 0; i < IMPOSSIBLE; i++) {
            REFUSED(realloc(p, impossible[i]), impossible[i]);
            REFUSED(reallocarray(p, impossible[i], 1), impossible[i]);
            REFUSED(reallocarray(p, 1, impossible[i]), impossible[i]);
            REFUSED(realloc(NULL, impossible[i]), impossible[i]);
        }
        REFUSED(reallocarray(p, SIZE_MAX / 2 + 1, 2), n);
        REFUSED(reallocarray(p, (size_t)1 << 32, ((size_t)1 << 32) + 1), n);
        cr_assert_eq(check_pattern(p, n, n, n), n, "a refused realloc changed a block of %zu", n);
        free(p);
    }
}

Test(limits, aligned_entries) {
    for (size_t i = 0; i < IMPOSSIBLE; i++) {
        size_t n = impossible[i];
        for (size_t alignment = 8; alignment <= CHECK_GIB; alignment *= 2) {
            REFUSED(memalign(alignment, n), n);
            REFUSED(aligned_alloc(alignment, n), n);
        }
        REFUSED(valloc(n), n);
        REFUSED(pvalloc(n), n);
    }
}

Test(limits, an_impossible_size_costs_nothing) {
    size_t rss = check_rss_kib(), vmas = check_vmas();
    for (size_t i = 0; i < 10000; i++) {
        REFUSED(malloc(impossible[i % IMPOSSIBLE]), impossible[i % IMPOSSIBLE]);
        REFUSED(memalign(CHECK_MIB, impossible[i % IMPOSSIBLE]), impossible[i % IMPOSSIBLE]);
    }
    cr_assert_leq(check_rss_kib(), rss + 1024);
    cr_assert_leq(check_vmas(), vmas + 8);
    void *p = malloc(100);
    cr_assert_not_null(p);
    free(p);
}

Test(limits, zero_sizes_give_unique_pointers) {
    enum { BLOCKS = 1000, KINDS = 6 };
    static void *kept[BLOCKS * KINDS];
    for (size_t i = 0; i < BLOCKS; i++) {
        void **row = kept + i * KINDS;
        row[0] = malloc(0);
        row[1] = calloc(0, 8);
        row[2] = calloc(8, 0);
        row[3] = realloc(NULL, 0);
        row[4] = reallocarray(NULL, 0, 8);
        row[5] = memalign(64, 0);
        for (size_t k = 0; k < KINDS; k++) {
            cr_assert_not_null(row[k], "kind %zu", k);
            cr_assert(contract_aligned(row[k], 16));
            memset(row[k], 0x5a, malloc_usable_size(row[k]));
        }
    }
    for (size_t i = 0; i < BLOCKS * KINDS; i += 7)
        for (size_t k = i + 1; k < BLOCKS * KINDS; k++)
            cr_assert_neq(kept[i], kept[k], "blocks %zu and %zu are one", i, k);
    for (size_t i = 0; i < BLOCKS * KINDS; i++)
        free(kept[i]);
}

Test(limits, null_arguments) {
    errno = 4711;
    free(NULL);
    cr_assert_eq(errno, 4711);
    cr_assert_eq(malloc_usable_size(NULL), 0);
    void *p = realloc(NULL, 100);
    cr_assert_not_null(p);
    memset(p, 1, 100);
    free(p);
}

typedef void (*free_sized_fn)(void *, size_t);
typedef void (*free_aligned_sized_fn)(void *, size_t, size_t);

Test(limits, free_sized_frees) {
    free_sized_fn sized = (free_sized_fn)contract_symbol("free_sized");
    sized(NULL, 0);
    sized(NULL, 100);
    size_t rss = 0;
    for (size_t round = 0; round < 400; round++) {
        for (size_t i = 0; i < CONTRACT_SIZES; i++) {
            void *p = malloc(contract_sizes[i]), *q = calloc(contract_sizes[i], 1);
            memset(p, 1, contract_sizes[i] < 5000 ? contract_sizes[i] : 5000);
            errno = 4711;
            sized(p, contract_sizes[i]);
            sized(q, contract_sizes[i]);
            cr_assert_eq(errno, 4711);
        }
        if (round == 40)
            rss = check_rss_kib();
    }
    cr_assert_leq(check_rss_kib(), rss + 4096, "free_sized leaks");
}

Test(limits, free_aligned_sized_frees) {
    free_aligned_sized_fn sized = (free_aligned_sized_fn)contract_symbol("free_aligned_sized");
    sized(NULL, 16, 0);
    size_t rss = 0;
    for (size_t round = 0; round < 400; round++) {
        for (size_t i = 0; i < CONTRACT_SIZES; i++) {
            size_t alignment = (size_t)16 << i % 12;
            void *p = aligned_alloc(alignment, contract_sizes[i]);
            memset(p, 1, contract_sizes[i] < 5000 ? contract_sizes[i] : 5000);
            errno = 4711;
            sized(p, alignment, contract_sizes[i]);
            cr_assert_eq(errno, 4711);
        }
        if (round == 40)
            rss = check_rss_kib();
    }
    cr_assert_leq(check_rss_kib(), rss + 4096, "free_aligned_sized leaks");
}

typedef void (*cfree_fn)(void *);

Test(limits, cfree_frees) {
    cfree_fn old_free = (cfree_fn)contract_symbol("cfree");
    old_free(NULL);
    size_t rss = check_rss_kib();
    for (size_t i = 0; i < 100000; i++) {
        void *p = malloc(1000);
        memset(p, 1, 1000);
        old_free(p);
    }
    cr_assert_leq(check_rss_kib(), rss + 4096, "cfree leaks");
}
