/* calloc: zero at every size, fresh or reused after the block was dirty, and no work for pages known to be
 * zero. */
#include "contract.h"

#include <sys/resource.h>

static void is_zero(size_t n, const char *when) {
    unsigned char *p = calloc(1, n);
    cr_assert_not_null(p);
    size_t bad = check_zero(p, n);
    cr_assert_eq(bad, n, "calloc(1, %zu) %s: byte %zu is %d", n, when, bad, p[bad]);
    memset(p, 0xff, malloc_usable_size(p));
    free(p);
}

Test(calloc, is_zero_at_every_size) {
    for (size_t n = 1; n <= 40000; n = n < 4200 ? n + 1 : n + 61)
        is_zero(n, "fresh");
    for (size_t i = 0; i < CONTRACT_SIZES; i++)
        is_zero(contract_sizes[i], "fresh");
}

Test(calloc, is_zero_after_dirty_reuse) {
    enum { BLOCKS = 40 };
    void *kept[BLOCKS];
    for (size_t i = 0; i < CONTRACT_SIZES; i++) {
        size_t n = contract_sizes[i];
        for (size_t round = 0; round < 4; round++) {
            size_t blocks = n < 100000 ? BLOCKS : 3;
            for (size_t k = 0; k < blocks; k++) {
                kept[k] = round & 1 ? memalign(64, n) : malloc(n);
                memset(kept[k], 0xff, malloc_usable_size(kept[k]));
            }
            for (size_t k = 0; k < blocks; k++)
                free(kept[round & 2 ? k : blocks - 1 - k]);
            for (size_t k = 0; k < blocks; k++) {
                kept[k] = calloc(n, 1);
                cr_assert_not_null(kept[k]);
                size_t bad = check_zero(kept[k], n);
                cr_assert_eq(bad, n, "calloc(%zu, 1) after reuse: byte %zu is not zero", n, bad);
            }
            for (size_t k = 0; k < blocks; k++)
                free(kept[k]);
        }
    }
}

/* Large blocks that were trimmed, grown, shrunk or split meanwhile: zero all the same. */
Test(calloc, is_zero_after_large_blocks_were_recut) {
    uint64_t state = 7;
    void *kept[16] = {0};
    for (size_t step = 0; step < 600; step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t slot = (state >> 33) % 16, n = 40000 + (size_t)(state >> 40) % (3 * CHECK_MIB);
        unsigned char *p = realloc(kept[slot], n);
        cr_assert_not_null(p);
        memset(p, 0xff, n);
        kept[slot] = p;
        size_t other = (slot + 5) % 16;
        free(kept[other]);
        if (step % 50 == 0)
            malloc_trim(0);
        n = 40000 + (size_t)(state >> 20) % (2 * CHECK_MIB);
        kept[other] = calloc(1, n);
        cr_assert_not_null(kept[other]);
        size_t bad = check_zero(kept[other], n);
        cr_assert_eq(bad, n, "step %zu: calloc(1, %zu) has a dirty byte %zu", step, n, bad);
    }
    for (size_t i = 0; i < 16; i++)
        free(kept[i]);
}

/* A gigabyte of zeros that nobody reads costs next to no page faults. */
Test(calloc, of_a_gigabyte_touches_nothing) {
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (size_t i = 0; i < 200; i++) {
        char *p = calloc(1, CHECK_GIB);
        cr_assert_not_null(p);
        cr_assert(p[0] == 0 && p[CHECK_GIB - 1] == 0);
        free(p);
    }
    getrusage(RUSAGE_SELF, &after);
    long faults = after.ru_minflt - before.ru_minflt;
    cr_assert_leq(faults, 200 * 10, "200 callocs of 1 GiB took %ld page faults", faults);
}

Test(calloc, multiplies) {
    unsigned char *p = calloc(333, 77);
    cr_assert_not_null(p);
    cr_assert_geq(malloc_usable_size(p), 333 * 77);
    cr_assert_eq(check_zero(p, 333 * 77), 333 * 77);
    free(p);
}
