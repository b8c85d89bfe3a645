/* Usable size: at least what was asked, constant over the block's life, writable to its last byte, kept by
 * realloc. */
#include "contract.h"

Test(usable, covers_the_request_and_is_all_writable) {
    for (size_t n = 0; n <= 40000; n = n < 4200 ? n + 1 : n + 61) {
        void *p = malloc(n), *q = malloc(n), *r = malloc(n);
        size_t u = malloc_usable_size(p);
        cr_assert(p && q && r);
        cr_assert_geq(u, n, "malloc(%zu) has %zu", n, u);
        cr_assert(malloc_usable_size(q) >= n && malloc_usable_size(r) >= n);
        check_fill(p, u, 1);
        check_fill(q, malloc_usable_size(q), 2);
        check_fill(r, malloc_usable_size(r), 3);
        cr_assert_eq(malloc_usable_size(p), u, "writing changed the usable size of %zu", n);
        cr_assert_eq(check_pattern(p, u, u, 1), u, "size %zu: neighbours overlap", n);
        cr_assert_eq(check_pattern(q, malloc_usable_size(q), malloc_usable_size(q), 2),
                     malloc_usable_size(q));
        free(q);
        cr_assert_eq(malloc_usable_size(p), u);
        free(r);
        cr_assert_eq(check_pattern(p, u, u, 1), u, "size %zu: freeing a neighbour wrote into the block", n);
        free(p);
    }
}

Test(usable, of_large_blocks) {
    for (size_t i = 0; i < CONTRACT_SIZES; i++) {
        size_t n = contract_sizes[i];
        void *p = malloc(n), *q = memalign(8192, n), *r = calloc(1, n);
        size_t up = malloc_usable_size(p), uq = malloc_usable_size(q), ur = malloc_usable_size(r);
        cr_assert(up >= n && uq >= n && ur >= n);
        memset(p, 1, up);
        memset(q, 2, uq);
        memset(r, 3, ur);
        cr_assert_eq(((char *)p)[up - 1], 1);
        cr_assert_eq(((char *)q)[uq - 1], 2);
        cr_assert(malloc_usable_size(p) == up && malloc_usable_size(q) == uq && malloc_usable_size(r) == ur);
        free(p);
        free(q);
        free(r);
    }
}

/* The program may use all of it as capacity: a move carries it all. */
Test(usable, is_kept_by_realloc) {
    for (size_t i = 0; i < CONTRACT_SIZES; i++) {
        size_t n = contract_sizes[i];
        void *p = malloc(n);
        size_t u = malloc_usable_size(p);
        check_fill(p, u, 9);
        void *barrier = malloc(n);
        p = realloc(p, u * 2 + 1);
        cr_assert_not_null(p);
        cr_assert_eq(check_pattern(p, u, u, 9), u, "realloc lost bytes of a block of %zu (usable %zu)", n, u);
        free(barrier);
        free(p);
    }
}

Test(usable, realloc_within_it_stays) {
    for (size_t i = 0; i < CONTRACT_SIZES; i++) {
        void *p = malloc(contract_sizes[i]);
        size_t u = malloc_usable_size(p);
        uintptr_t place = (uintptr_t)p;
        p = realloc(p, u);
        cr_assert_eq((uintptr_t)p, place, "growing %zu to its usable size %zu moved it", contract_sizes[i],
                     u);
        cr_assert_geq(malloc_usable_size(p), u);
        free(p);
    }
}

/* Classes fit: over all sizes from 129 bytes to 32 KiB, what is handed out beyond the request is 4 % at most.
 */
Test(usable, mean_waste_is_small) {
    double asked = 0, given = 0;
    for (size_t n = 129; n <= 32768; n++) {
        void *p = malloc(n);
        asked += (double)n;
        given += (double)malloc_usable_size(p);
        free(p);
    }
    if (!check_names_library())
        cr_skip_test("a promise of the library alone");
    cr_assert_leq(given - asked, given * 0.04, "waste is %.2f %%", 100 * (given - asked) / given);
}
