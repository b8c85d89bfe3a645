/* Alignment: 16 from size 1 up, every alignment to 1 GiB with every size, bad arguments, page rounding. */
#include "contract.h"

#include <sys/resource.h>

#define MIN_ALIGNMENT 16

Test(alignment, is_16_from_size_1_up) {
    enum { SIZES = 2048, EACH = 5 };
    static void *kept[SIZES * EACH];
    for (size_t n = 1; n <= SIZES; n++)
        for (size_t k = 0; k < EACH; k++) {
            void *p = malloc(n);
            cr_assert(p && contract_aligned(p, MIN_ALIGNMENT), "malloc(%zu) gave %p", n, p);
            kept[(n - 1) * EACH + k] = p;
        }
    for (size_t i = 0; i < SIZES * EACH; i++)
        free(kept[i]);
}

Test(alignment, is_16_for_every_entry) {
    for (size_t i = 0; i < CONTRACT_SIZES; i++) {
        size_t n = contract_sizes[i];
        void *p = malloc(n), *q = calloc(1, n), *r = realloc(malloc(1), n);
        cr_assert(p && contract_aligned(p, MIN_ALIGNMENT), "malloc(%zu) gave %p", n, p);
        cr_assert(q && contract_aligned(q, MIN_ALIGNMENT), "calloc(1, %zu) gave %p", n, q);
        cr_assert(r && contract_aligned(r, MIN_ALIGNMENT), "realloc(, %zu) gave %p", n, r);
        free(p);
        free(q);
        free(r);
    }
}

typedef void *(*aligned_fn)(size_t alignment, size_t n);

static void *by_posix_memalign(size_t alignment, size_t n) {
    void *p = NULL;
    if (alignment < sizeof(void *))
        alignment = sizeof(void *);
    int error = posix_memalign(&p, alignment, n);
    cr_assert_eq(error, 0, "posix_memalign(%zu, %zu) answered %d", alignment, n, error);
    return p;
}

/* Two blocks at a time, both written whole: an aligned block that was cut too short would overlap its
 * neighbour. */
static void every_pair(aligned_fn make, const char *name) {
    for (unsigned shift = 0; shift <= 30; shift++)
        for (size_t i = 0; i < CONTRACT_SIZES; i++) {
            size_t alignment = (size_t)1 << shift, n = contract_sizes[i];
            void *p = make(alignment, n), *q = make(alignment, n);
            cr_assert(p && contract_aligned(p, alignment), "%s(%zu, %zu) gave %p", name, alignment, n, p);
            cr_assert(q && contract_aligned(q, alignment), "%s(%zu, %zu) gave %p", name, alignment, n, q);
            cr_assert(contract_aligned(p, MIN_ALIGNMENT), "%s(%zu, %zu) gave %p", name, alignment, n, p);
            cr_assert_geq(malloc_usable_size(p), n);
            check_fill(p, n, 1);
            check_fill(q, n, 2);
            size_t bad = check_pattern(p, n, n, 1);
            cr_assert_eq(bad, n, "%s(%zu, %zu): byte %zu overwritten", name, alignment, n, bad);
            free(p);
            free(q);
        }
}

Test(alignment, every_pair_memalign) {
    every_pair(memalign, "memalign");
}

Test(alignment, every_pair_aligned_alloc) {
    every_pair(aligned_alloc, "aligned_alloc");
}

Test(alignment, every_pair_posix_memalign) {
    every_pair(by_posix_memalign, "posix_memalign");
}

/* A block of 1 GiB alignment costs address space, not memory. */
Test(alignment, to_1_gib_costs_no_memory) {
    void *kept[8];
    size_t before = check_rss_kib();
    for (size_t i = 0; i < 8; i++) {
        kept[i] = memalign(CHECK_GIB, 100);
        cr_assert(kept[i] && contract_aligned(kept[i], CHECK_GIB));
        memset(kept[i], 1, 100);
    }
    size_t after = check_rss_kib();
    cr_assert_leq(after, before + 4096, "8 blocks of 100 bytes took %zu KiB", after - before);
    for (size_t i = 0; i < 8; i++)
        free(kept[i]);
}

/* Aligned blocks that are freed are used again: many rounds stay within the memory of one. */
Test(alignment, freed_blocks_are_reused) {
    void *kept[64];
    size_t after_first = 0;
    for (size_t round = 0; round < 200; round++) {
        for (size_t i = 0; i < 64; i++) {
            size_t alignment = (size_t)1 << (5 + i % 16);
            kept[i] = memalign(alignment, 3000);
            cr_assert(kept[i] && contract_aligned(kept[i], alignment));
            memset(kept[i], 1, 3000);
        }
        for (size_t i = 0; i < 64; i++)
            free(kept[i]);
        if (round == 20)
            after_first = check_rss_kib();
    }
    size_t end = check_rss_kib();
    cr_assert_leq(end, after_first + 8192, "grew from %zu to %zu KiB", after_first, end);
}

/* Called through these, so that no compiler draws conclusions from an alignment that the declaration forbids.
 */
static void *(*volatile any_memalign)(size_t, size_t) = memalign;
static void *(*volatile any_aligned_alloc)(size_t, size_t) = aligned_alloc;

/* As in glibc: an alignment that is no power of two counts as the next one. */
Test(alignment, odd_memalign_rounds_up) {
    static const size_t odd[][2] = {{0, 1},     {3, 4},       {17, 32},     {24, 32},
                                    {100, 128}, {1000, 1024}, {5000, 8192}, {70000, 131072}};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        for (size_t k = 0; k < CONTRACT_SIZES; k++) {
            void *p = any_memalign(odd[i][0], contract_sizes[k]);
            cr_assert(p && contract_aligned(p, odd[i][1]), "memalign(%zu, %zu) gave %p", odd[i][0],
                      contract_sizes[k], p);
            check_fill(p, contract_sizes[k], 3);
            free(p);
        }
}

/* aligned_alloc of an alignment that is no power of two: refused as C17 allows, or rounded up as older glibc
 * does. */
Test(alignment, odd_aligned_alloc_is_refused_or_rounded) {
    errno = 0;
    void *p = any_aligned_alloc(24, 100);
    cr_assert(p ? contract_aligned(p, 32) : errno == EINVAL, "gave %p, errno %d", p, errno);
    free(p);
}

Test(alignment, absurd_memalign_fails) {
    static const size_t absurd[] = {SIZE_MAX, SIZE_MAX / 2 + 2};
    for (size_t i = 0; i < 2; i++) {
        errno = 0;
        void *p = any_memalign(absurd[i], 1);
        cr_assert_null(p);
        cr_assert_eq(errno, EINVAL, "errno %d", errno);
    }
    errno = 0;
    cr_assert_null(any_memalign(SIZE_MAX / 2 + 1, 1));
    cr_assert_eq(errno, ENOMEM, "errno %d", errno);
}

Test(alignment, posix_memalign_refuses_and_leaves_the_pointer) {
    static const size_t bad[] = {0, 1, 2, 4, 7, 9, 12, 17, 24, 48, 100, 4097, SIZE_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        void *const mark = (void *)&bad;
        void *p = mark;
        int error = posix_memalign(&p, bad[i], 64);
        cr_assert_eq(error, EINVAL, "alignment %zu answered %d", bad[i], error);
        cr_assert_eq(p, mark, "alignment %zu changed the pointer", bad[i]);
    }
}

Test(alignment, posix_memalign_out_of_memory_leaves_the_pointer) {
    static const size_t big[] = {SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1, SIZE_MAX - 64};
    for (size_t i = 0; i < sizeof big / sizeof big[0]; i++)
        for (size_t alignment = 8; alignment <= CHECK_GIB; alignment *= 8) {
            void *const mark = (void *)&big;
            void *p = mark;
            errno = 0;
            int error = posix_memalign(&p, alignment, big[i]);
            cr_assert_eq(error, ENOMEM, "size %zu answered %d", big[i], error);
            cr_assert_eq(errno, ENOMEM, "errno %d", errno); /* as glibc */
            cr_assert_eq(p, mark);
        }
}

Test(alignment, size_zero_is_aligned_and_freeable) {
    for (size_t alignment = 8; alignment <= CHECK_MIB; alignment *= 2) {
        void *p = memalign(alignment, 0), *q = by_posix_memalign(alignment, 0);
        cr_assert(p && q && p != q);
        cr_assert(contract_aligned(p, alignment) && contract_aligned(q, alignment));
        free(p);
        free(q);
    }
}

Test(alignment, valloc_and_pvalloc_give_pages) {
    size_t page = check_page();
    for (size_t i = 0; i < CONTRACT_SIZES; i++) {
        size_t n = contract_sizes[i], rounded = (n + page - 1) / page * page;
        void *p = valloc(n), *q = pvalloc(n);
        cr_assert(p && contract_aligned(p, page), "valloc(%zu) gave %p", n, p);
        cr_assert(q && contract_aligned(q, page), "pvalloc(%zu) gave %p", n, q);
        cr_assert_geq(malloc_usable_size(p), n);
        cr_assert_geq(malloc_usable_size(q), rounded, "pvalloc(%zu) has %zu", n, malloc_usable_size(q));
        check_fill(p, n, 4);
        check_fill(q, rounded, 5);
        cr_assert_eq(check_pattern(p, n, n, 4), n);
        free(p);
        free(q);
    }
    void *p = valloc(0), *q = pvalloc(0);
    cr_assert(p && q && contract_aligned(p, page) && contract_aligned(q, page));
    free(p);
    free(q);
}

/* realloc of an aligned block keeps what it holds; only the alignment may go. */
Test(alignment, realloc_of_an_aligned_block) {
    for (size_t alignment = 32; alignment <= 4 * CHECK_MIB; alignment *= 4)
        for (size_t i = 0; i < CONTRACT_SIZES; i += 3) {
            size_t n = contract_sizes[i];
            char *p = memalign(alignment, n);
            cr_assert_not_null(p);
            check_fill(p, n, alignment + n);
            p = realloc(p, n * 2 + 100);
            cr_assert_not_null(p);
            cr_assert_eq(check_pattern(p, n, n, alignment + n), n, "alignment %zu size %zu", alignment, n);
            free(p);
        }
}
