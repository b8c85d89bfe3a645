/* Large blocks: they end where a page without access begins, lose memory and access when they are freed, rest
   so, and go back. */
#include "hard_calls.h"

TestSuite(hard_large, .init = start_on);

static const um_span *span_of(const void *p) {
    cr_assert_eq(kind_of(p), UM_SPAN_HARD_LARGE);
    return um_span_of(p);
}

static char *end_of(const um_span *s) {
    return um_span_start(s) + ((size_t)s->slots << UM_SLOT_SHIFT);
}

Test(hard_large, blocks_end_where_access_ends) {
    for (size_t n = UM_HARD_SMALL_MAX + 1; n < 4 * UM_MIB; n = n * 3 / 2 + 1) {
        char *p = give(n), *end = p + um_round_up(n, UM_HARD_ALIGN_MIN);
        cr_assert_eq((uintptr_t)end % um_os_page_bytes, 0);
        cr_expect(readable(p) && readable(end - 8));
        cr_expect_not(readable(end));
        cr_expect_not(readable(end_of(span_of(p)) - 8));
        cr_expect_not(readable((char *)um_round_down((uintptr_t)p, um_os_page_bytes) - 8));
        cr_expect_eq(usable(p), n);
        cr_assert(um_hard_is_zero(p, n));
        memset(p, 'x', n);
        take_back(p);
    }
    um_space_check();
}

Test(hard_large, starts_are_random) {
    unsigned same = 0;
    size_t before = 0;
    for (int i = 0; i < 400; i++) {
        const char *p = give(100000);
        size_t offset = (size_t)(p - um_span_start(span_of(p)));
        cr_assert_lt(offset, UM_SLOT_BYTES, "its address leads to the record");
        same += offset == before;
        before = offset;
    }
    cr_expect_lt(same, 200, "%u of 400", same);
}

Test(hard_large, alignments) {
    for (size_t align = 32; align <= 4 * UM_MIB; align *= 2) {
        char *p = um_hard_alloc(100000, align, UM_FAMILY_MALLOC, UM_HARD_FRAME);
        cr_assert_not_null(p);
        cr_expect_eq((uintptr_t)p % align, 0);
        cr_expect_eq(span_of(p)->hard, p);
        cr_expect_not(readable(end_of(span_of(p)) - 8));
        memset(p, 'x', 100000);
        take_back(p);
    }
    cr_expect_null(um_hard_alloc((size_t)1 << 47, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME));
    cr_expect_null(um_hard_alloc(SIZE_MAX - 100, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME));
    cr_expect_null(um_hard_alloc(100, (size_t)1 << 47, UM_FAMILY_MALLOC, UM_HARD_FRAME));
    um_space_check();
}

Test(hard_large, freed_ones_have_neither_memory_nor_access) {
    char *p = give(300000);
    um_snapshot before = {0}, after = {0};
    memset(p, 'x', 300000);
    um_hard_add_stats(&before);
    take_back(p);
    um_hard_add_stats(&after);
    cr_expect_eq(before.large_live_count - after.large_live_count, 1);
    cr_expect_eq(before.large_live_bytes - after.large_live_bytes, 300000);
    cr_expect_eq(kind_of(p), UM_SPAN_HARD_FREED);
    cr_expect_eq(um_span_of(p)->state, UM_CLEAN, "its pages went back");
    for (size_t at = 0; at < 300000; at += um_os_page_bytes)
        cr_assert_not(readable(p + at));
    um_hard_flush();
    cr_expect_neq(kind_of(p), UM_SPAN_HARD_FREED);
    um_space_check();
}

Test(hard_large, rest_is_counted) {
    char *first = give(100000);
    take_back(first);
    for (uint32_t i = 1; i < um_hard_setting.large_queue; i++) {
        take_back(give(100000));
        cr_assert_eq(kind_of(first), UM_SPAN_HARD_FREED, "after %u", i);
    }
    take_back(give(100000));
    cr_expect_neq(kind_of(first), UM_SPAN_HARD_FREED, "the oldest leaves");
}

Test(hard_large, rest_is_bounded_in_bytes) {
    char *first = give(200 * UM_MIB), *second;
    take_back(first);
    cr_expect_eq(kind_of(first), UM_SPAN_HARD_FREED);
    second = give(100 * UM_MIB);
    take_back(second);
    cr_expect_neq(kind_of(first), UM_SPAN_HARD_FREED);
    cr_expect_eq(kind_of(second), UM_SPAN_HARD_FREED);
}

static void free_again(void *p) {
    take_back(p);
}

static void ask_usable(void *p) {
    (void)usable(p);
}

static void check_all(void *unused) {
    (void)unused;
    um_hard_check();
}

Test(hard_large, frees_of_what_is_no_live_block) {
    char *p = give(100000);
    expect_death(free_again, p + 16,
                 "umalloc: invalid free: %p (100000-byte block, not the start of the block)\n",
                 (void *)(p + 16));
    expect_death(ask_usable, p + 16,
                 "umalloc: invalid malloc_usable_size: %p (100000-byte block, not the start of the block)\n",
                 (void *)(p + 16));
    take_back(p);
    expect_death(free_again, p, "umalloc: double free: %p (the memory is free)\n", (void *)p);
}

Test(hard_large, writes_beside_are_found) {
    size_t n = 100001;
    char *p = give(n);
    spoil(p + n);
    expect_death(
        free_again, p,
        "umalloc: block was written beyond its end: %p (%zu-byte block, the seal behind it is broken)\n",
        (void *)p, n);
    expect_words(ask_usable, p, "umalloc: block was written beyond its end: ");
    expect_words(check_all, NULL, "umalloc: block was written beyond its end: ");
    spoil(p + n);
    spoil(p - 1);
    expect_death(free_again, p, "umalloc: block was written before its start: %p (%zu-byte block)\n",
                 (void *)p, n);
    spoil(p - 1);
    check_all(NULL);
}

Test(hard_large, faults_are_told) {
    char *p = give(100000), *end = p + um_round_up(100000, 16);
    expect_words(read_at, end, "umalloc: access out of bounds: ");
    take_back(p);
    expect_words(write_at, p + 5, "umalloc: use after free: ");
}

Test(hard_large, without_guards_freed_ones_read_as_zero) {
    char *p;
    while (um_hard_guards_take(1))
        ;
    p = give(100000);
    cr_expect_not(span_of(p)->guarded);
    cr_expect(readable(end_of(span_of(p)) - 8));
    memset(p, 'x', 100000);
    take_back(p);
    cr_expect(um_hard_is_zero(p, 100000));
    um_hard_guards_give(4);
    p = give(100000);
    cr_expect(span_of(p)->guarded, "what was given is taken");
}

Test(hard_large, guards_come_back) {
    for (int i = 0; i < 3000; i++) { /* far more blocks than there are guards */
        char *p = give(40000);
        cr_assert(span_of(p)->guarded, "block %d", i);
        take_back(p);
    }
}

Test(hard_large, memory_that_was_used_reads_as_zero) {
    void *p[64];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 64; i++) {
            p[i] = give(50000 + (size_t)i * 3000);
            cr_assert(um_hard_is_zero(p[i], 50000 + (size_t)i * 3000));
            memset(p[i], 'x', 50000 + (size_t)i * 3000);
        }
        for (int i = 0; i < 64; i++)
            take_back(p[i]);
        um_hard_flush();
    }
    um_space_check();
}
