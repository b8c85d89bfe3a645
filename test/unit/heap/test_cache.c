/* Caches of hot classes: what was freed last is given first, whichever slab it is of; what a cache holds is
   bounded, goes back where it came from, and does not stay where nobody uses it; misuse is named. */
#include "heap_calls.h"

#include "dies.h"

enum { MANY = 6000, BYTES = 512 };

static void *blocks[MANY];

static um_theap *heap(void) {
    return um_tls.heap;
}

static um_bin *bin(void) {
    return &heap()->bins[um_class_of(BYTES)];
}

static unsigned cached(void) {
    return um_cache_walk(bin()->cache);
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

static uint64_t random_state = 88172645463325252ull;

static size_t random_below(size_t n) {
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    return random_state % n;
}

static void start(void) {
    cr_assert_not_null(um_theap_get());
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
    uint32_t before;
    for (unsigned round = 0; round < 2; round++) {
        before = bin()->refills;
        for (unsigned i = 0; i < 100000; i++) {
            size_t k = random_below(MANY);
            take_back(blocks[k]);
            blocks[k] = give(BYTES);
        }
    }
    cr_expect_leq(bin()->refills - before, 200, "%u", bin()->refills - before);
    check_heap(heap());
}

Test(cache, holds_a_bounded_part_of_what_is_freed) {
    take_scattered(MANY, 128);
    cr_expect_leq(cached(), 6u * bin()->cache->limit);
    cr_expect_geq(cached(), 1);
    check_heap(heap());
    um_cache_flush(bin()->cache);
    cr_expect_eq(cached(), 0);
    check_heap(heap());
    um_theap_flush_empty(heap());
    cr_expect_leq(count_slabs().slabs, 1, "the current one");
    um_space_check();
}

/* The heap shrinks while it is in use: three frees for each two mallocs. */
Test(cache, stays_bounded_while_a_heap_shrinks) {
    um_theap_cache_bytes = 256 * BYTES; /* a limit of 128 at most */
    for (unsigned live = MANY; live > 100;) {
        for (unsigned i = 0; i < 5; i++) {
            if (i % 2 == 0) {
                size_t k = random_below(live);
                take_back(blocks[k]);
                blocks[k] = blocks[--live];
            } else {
                cr_assert_not_null(blocks[live++] = give(BYTES));
            }
        }
        if (live % 64 == 0)
            cr_assert_leq(cached(), 6u * 128, "%u", cached());
    }
    check_heap(heap());
}

Test(cache, stays_bounded_after_it_was_wide) {
    um_theap_cache_bytes = 256 * BYTES;
    for (unsigned i = 0; i < 100000; i++) {
        size_t k = random_below(MANY);
        take_back(blocks[k]);
        blocks[k] = give(BYTES);
    }
    cr_expect_eq(bin()->cache->limit, 256); /* twice the bound: calm */
    take_scattered(MANY, 128);
    cr_expect_leq(bin()->cache->limit, 128);
    cr_expect_leq(cached(), 6u * 128, "%u", cached());
    check_heap(heap());
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
    cr_expect_leq(bin()->cache->limit * (size_t)BYTES, um_theap_cache_bytes / 2);
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
    um_theap_flush(heap());
    struct slab_count before = count_slabs();
    run_thread(use_and_leave, &left);
    cr_expect_eq(count_slabs().slabs, before.slabs + 1, "the one with a block in use");
    const char *home = (const char *)um_home_at(um_window_offset(left));
    cr_expect_eq(home, (const char *)um_space_window.homes);
    take_back(left);
    um_theap_flush(heap());
    cr_expect_eq(count_slabs().slabs, before.slabs);
    um_space_check();
}

Test(cache, none_where_threads_may_keep_nothing) {
    um_theap_cache_bytes = 0;
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

static void free_twice_in_a_row_and(void (*then)(void)) {
    void *p = give(BYTES);
    take_back(p);
    take_back(p);
    then();
}

static void flush(void) {
    um_cache_flush(bin()->cache);
}

static void look_at_the_end(void) {
    um_theap_check_lists(heap(), UINT32_MAX);
}

static void ring_and_flush(void *unused) {
    (void)unused;
    free_twice_in_a_row_and(flush);
}

static void ring_and_end(void *unused) {
    (void)unused;
    free_twice_in_a_row_and(look_at_the_end);
}

Test(cache, a_ring_of_one) {
    char text[256];
    int status = dies_status(ring_and_flush, NULL, text, sizeof text);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    cr_expect_not_null(strstr(text, "umalloc: double free: 0x"), "%s", text);
    status = dies_status(ring_and_end, NULL, text, sizeof text);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    cr_expect_not_null(strstr(text, "umalloc: double free: 0x"), "%s", text);
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
