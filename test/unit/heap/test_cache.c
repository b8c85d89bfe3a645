/* Caches of hot classes: what was freed last is given first, whichever slab it is of; what a cache holds is
   bounded, goes back where it came from, and does not stay where nobody uses it; misuse is named. */
#include "heap_calls.h"

#include "dies.h"

enum { MANY = 6000, BYTES = 512 };

static void *blocks[MANY];

static um_heap *heap(void) {
    return um_tls.heap;
}

static um_bin *bin(void) {
    return &heap()->bins[um_class_of(BYTES)];
}

static unsigned cached(void) {
    return um_cache_walk(bin()->cache, UINT32_MAX);
}

static void give_many(unsigned n) {
    for (unsigned i = 0; i < n; i++)
        cr_assert_not_null(blocks[i] = give(BYTES));
}

/* In no order: no two that follow each other are of one slab. */
static void take_scattered(unsigned n, unsigned stride) {
    for (unsigned first = 0; first < stride; first++)
        for (unsigned i = first; i < n; i += stride)
            take_back(blocks[i]);
}

static void start(void) {
    cr_assert_not_null(um_heap_get());
    give_many(UM_HOT);
    cr_assert_not(um_bin_cached(bin()), "a class that only grows is not hot");
    for (unsigned i = 0; i < UM_HOT; i++)
        take_back(blocks[i]);
    cr_assert(um_bin_cached(bin()));
    give_many(MANY);
}

TestSuite(cache, .init = start);

Test(cache, the_last_freed_comes_first_from_whatever_slab) {
    unsigned n = bin()->cache->limit;
    for (unsigned i = 0; i < n; i++)
        take_back(blocks[i * 128]);
    cr_assert_eq(bin()->source, &bin()->cache->home, "malloc takes from it after the first look");
    for (unsigned i = n; i-- > 0;)
        cr_assert_eq(give(BYTES), blocks[i * 128]);
    check_heap(heap());
}

Test(cache, replacing_at_random_stays_off_the_slow_path) {
    uint64_t x = 88172645463325252ull;
    uint32_t before;
    for (unsigned round = 0; round < 2; round++) {
        before = bin()->refills;
        for (unsigned i = 0; i < 100000; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            take_back(blocks[x % MANY]);
            blocks[x % MANY] = give(BYTES);
        }
    }
    cr_expect_leq(bin()->refills - before, 200, "%u", bin()->refills - before);
    check_heap(heap());
}

Test(cache, holds_a_bounded_part_of_what_is_freed) {
    take_scattered(MANY, 128);
    cr_expect_leq(cached(), 4u * bin()->cache->limit);
    cr_expect_geq(cached(), 1);
    check_heap(heap());
    um_cache_flush(bin()->cache);
    cr_expect_eq(cached(), 0);
    check_heap(heap());
    um_heap_flush_empty(heap());
    cr_expect_leq(count_slabs().slabs, 1, "the current one");
    um_space_check();
}

Test(cache, frees_in_order_soon_bypass_it) {
    unsigned direct = 0;
    for (unsigned i = 0; i < MANY - 128; i++) {
        take_back(blocks[i]);
        if (i % 128 == 127)
            direct += um_home_at(um_window_offset(blocks[i])) != &bin()->cache->home;
    }
    cr_expect_geq(direct, MANY / 128 / 2);
    check_heap(heap());
}

Test(cache, widens_when_what_went_back_is_wanted_again) {
    unsigned first = bin()->cache->limit;
    for (unsigned round = 0; round < 4; round++) {
        take_scattered(MANY, 128);
        give_many(MANY);
    }
    cr_expect_gt(bin()->cache->limit, first);
    cr_expect_leq(bin()->cache->limit * (size_t)BYTES, um_heap_cache_bytes / 2);
    check_heap(heap());
}

Test(cache, nobody_uses_it) {
    take_scattered(MANY, 128);
    cr_assert_geq(cached(), 1);
    um_cache_flush_all(heap(), true); /* it was looked at before this call, */
    cr_expect_geq(cached(), 1);
    um_cache_flush_all(heap(), true); /* and was not before this one */
    cr_expect_eq(cached(), 0);
    check_heap(heap());
}

static void *use_and_leave(void *at) {
    start();
    take_scattered(MANY - 1, 128);
    *(void **)at = blocks[MANY - 1];
    leave();
    return NULL;
}

Test(cache, goes_with_its_thread) {
    void *left;
    um_heap_flush(heap());
    struct slab_count before = count_slabs();
    run_thread(use_and_leave, &left);
    cr_expect_eq(count_slabs().slabs, before.slabs + 1, "the one with a block in use");
    const char *home = (const char *)um_home_at(um_window_offset(left));
    cr_expect_eq(home, (const char *)um_space_window.homes);
    take_back(left);
    um_heap_flush(heap());
    cr_expect_eq(count_slabs().slabs, before.slabs);
    um_space_check();
}

Test(cache, none_where_threads_may_keep_nothing) {
    um_heap_cache_bytes = 0;
    for (unsigned i = 0; i < MANY / 4; i++)
        take_back(give(96));
    cr_expect_not(um_bin_cached(&heap()->bins[um_class_of(96)]));
    cr_expect_eq(heap()->bins[um_class_of(96)].heat, UM_HOT);
    check_heap(heap());
}

static void free_twice_and_flush(void *p) {
    take_back(p);
    take_back(blocks[500]);
    take_back(p);
    um_cache_flush(bin()->cache);
}

Test(cache, double_free_is_found_when_it_goes_back) {
    expect_death(free_twice_and_flush, blocks[0],
                 "umalloc: double free: 0x%zx (512-byte block, it is on two free lists)\n",
                 (size_t)blocks[0]);
}

static void free_middle_and_flush(void *p) {
    take_back((char *)p + 16);
    um_cache_flush(bin()->cache);
}

Test(cache, a_pointer_into_a_block) {
    expect_death(free_middle_and_flush, blocks[0],
                 "umalloc: invalid free: 0x%zx (512-byte block, not the start of a block)\n",
                 (size_t)blocks[0] + 16);
}

static void overwrite_and_flush(void *p) {
    take_back(p);
    *(uintptr_t *)p = 0x4141414141414140;
    um_cache_flush(bin()->cache);
}

Test(cache, a_link_that_was_written_over) {
    expect_death(
        overwrite_and_flush, blocks[0],
        "umalloc: freed memory was written to: 0x%zx (512-byte block, its free-list link is damaged)\n",
        (size_t)blocks[0]);
}
