/* Classes that a thread hardly uses any more: others may fill up its slabs, where threads are many; it does
   not leave what it wants back again and again. */
#include "heap_calls.h"

enum { BLOCKS = 48, BYTES = 1024 }; /* most of one slab */

static char *blocks[BLOCKS];

static um_bin *bin(void) {
    return &um_tls.heap->bins[um_class_of(BYTES)];
}

static void start(void) {
    cr_assert_not_null(um_theap_get());
    um_space_setting.decay_ms = 1000000; /* what may be spent is not renewed meanwhile */
    um_spare_threads = UM_SPARE_THREADS + 1;
}

static void take_all(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        cr_assert_not_null(blocks[i] = give(BYTES));
        memset(blocks[i], 0x5a, BYTES);
    }
}

static void give_all_but_first(unsigned n) {
    for (unsigned i = 1; i < n; i++)
        take_back(blocks[i]);
}

TestSuite(spare, .init = start);

static void *fills_up(void *arg) {
    char *p = give(BYTES);
    cr_expect_eq(um_span_of(p), um_span_of(arg));
    memset(p, 0x66, BYTES);
    leave();
    return NULL;
}

Test(spare, a_class_hardly_used_is_left_to_others) {
    take_all(BLOCKS);
    give_all_but_first(BLOCKS);
    cr_expect_eq(count_slabs().orphans, 1);
    cr_expect_eq(bin()->current, &um_span_none);
    check_heap(um_tls.heap);
    run_thread(fills_up, blocks[0]);
    for (int i = 0; i < BYTES; i++)
        cr_expect_eq(blocks[0][i], 0x5a);
    um_space_check();
}

Test(spare, what_comes_back_later_empties_the_slab) {
    take_all(BLOCKS);
    give_all_but_first(BLOCKS);
    take_back(blocks[0]);
    um_remote_flush(um_tls.heap);
    cr_expect_eq(count_slabs().slabs, 0);
    um_space_check();
}

Test(spare, a_cached_class_is_left_with_what_is_cached) {
    bin()->heat = UM_HOT - 1;
    take_all(BLOCKS);
    give_all_but_first(BLOCKS);
    cr_expect_eq(count_slabs().orphans, 1);
    cr_expect_not(um_bin_cached(bin()));
    check_heap(um_tls.heap);
    take_all(BLOCKS);
    cr_expect_eq(count_slabs().orphans, 0, "adopted");
    check_heap(um_tls.heap);
    um_space_check();
}

Test(spare, little_is_kept) {
    take_all(12);
    give_all_but_first(12);
    cr_expect_eq(count_slabs().orphans, 0);
    cr_expect_neq(bin()->current, &um_span_none);
}

Test(spare, what_is_mostly_in_use_is_kept) {
    take_all(BLOCKS);
    for (unsigned i = 0; i < BLOCKS; i += 3)
        take_back(blocks[i]);
    cr_expect_eq(count_slabs().orphans, 0);
}

Test(spare, what_is_wanted_again_is_not_left_for_long) {
    um_theap *h = um_tls.heap;
    for (int i = 0; i < 100; i++) {
        take_all(BLOCKS);
        give_all_but_first(BLOCKS);
        take_back(blocks[0]);
        um_remote_flush(h);
    }
    cr_expect_geq(um_count.slabs_orphaned, 1);
    cr_expect_leq(um_count.slabs_orphaned, UM_SPARE_ERRORS + 1);
    take_all(BLOCKS);
    give_all_but_first(BLOCKS);
    um_count.slabs_orphaned = 0;
    um_spare_look(h, um_class_of(BYTES));
    cr_expect_eq(um_count.slabs_orphaned, 0);
    um_spare_renew(h, h->spent_since_ms + um_space_setting.decay_ms);
    um_spare_look(h, um_class_of(BYTES));
    cr_expect_eq(um_count.slabs_orphaned, 1, "the time is over");
    check_heap(h);
}

static void *have_a_heap(void *arg) {
    cr_assert_not_null(um_theap_get());
    cr_expect_eq(um_spare_threads, *(uint32_t *)arg + 1);
    leave();
    return NULL;
}

Test(spare, looks_are_paid_for_and_bounded) {
    um_theap *h = um_tls.heap;
    for (int i = 0; i < 2000; i++)
        cr_assert_not_null(give(BYTES));
    for (int i = 0; i < 200; i++)
        um_spare_look(h, um_class_of(BYTES));
    cr_expect_geq(h->spent, UM_SPARE_SPEND);
    cr_expect_leq(h->spent, UM_SPARE_SPEND + 1024 + 64, "no more than one look beyond");
}

Test(spare, threads_are_counted) {
    uint32_t before = um_spare_threads;
    run_thread(have_a_heap, &before);
    cr_expect_eq(um_spare_threads, before);
}

Test(spare, a_few_threads_keep_all) {
    um_spare_threads--;
    take_all(BLOCKS);
    give_all_but_first(BLOCKS);
    cr_expect_eq(count_slabs().orphans, 0);
}
