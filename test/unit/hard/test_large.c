/* Large blocks: they end where a page without access begins, lose memory and access when they are freed, rest
   so, and go back. */
#include "hard_calls.h"
#include "refuse.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/syscall.h>

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
    /* Pages that may go before. */
    unsigned same = 0, places = (unsigned)um_max(1, um_min(UM_SLOT_BYTES / um_os_page_bytes / 2, 8));
    size_t before = 0;
    for (int i = 0; i < 400; i++) {
        const char *p = give(100000);
        size_t offset = (size_t)(p - um_span_start(span_of(p)));
        cr_assert_lt(offset, UM_SLOT_BYTES, "its address leads to the record");
        same += offset == before;
        before = offset;
    }
    cr_expect_lt(same, 400 / places + 100, "%u of 400", same);
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
    enum { SLOTS = 64 };
    um_span *s = um_space_alloc(0, SLOTS, 1, NULL);
    const char *start = um_span_start(s), *in_it;
    memset(um_span_start(s), 'x', SLOTS * UM_SLOT_BYTES);
    um_space_free(s, SLOTS * UM_SLOT_BYTES);
    in_it = give(SLOTS * UM_SLOT_BYTES / 2);
    cr_expect_lt((size_t)(in_it - start), SLOTS * UM_SLOT_BYTES, "dirty memory is used first");
    cr_expect(um_hard_is_zero(in_it, SLOTS * UM_SLOT_BYTES / 2));
}

Test(hard_large, memory_of_its_own_reads_as_zero) {
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

static char *resized(char *p, size_t bytes) {
    char *q = um_hard_realloc(p, um_span_of(p), bytes, UM_HARD_FRAME);
    cr_assert_not_null(q);
    cr_assert_eq(usable(q), bytes);
    return q;
}

/* Every word tells where it is. */
static void fill(char *p, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        p[i] = (char)(i ^ i >> 8 ^ i >> 16);
}

static void verify(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(p[i], (char)(i ^ i >> 8 ^ i >> 16), "byte %zu of %zu", i, n);
}

/* Behind the block only zeros and the seal, then no access. */
static void check_end(const char *p, size_t n) {
    const char *end = (const char *)um_round_up((uintptr_t)p + n, um_os_page_bytes);
    size_t seal = um_min((size_t)(end - (p + n)), UM_HARD_SEAL_BYTES);
    cr_assert(um_hard_is_zero(p + n + seal, (size_t)(end - (p + n)) - seal));
    cr_assert_not(readable(end));
    cr_assert_not(readable(end_of(span_of(p)) - 8));
    cr_assert_not(readable((const char *)um_round_down((uintptr_t)p, um_os_page_bytes) - 8));
    um_hard_check();
}

static void grow_and_shrink(uint64_t *in_place, uint64_t *moved) {
    static const size_t sizes[] = {50000,  50001,  53000,  60000,  70000,  139000, 200000, 199999,
                                   150000, 149000, 149008, 150000, 250000, 249999, 255000, 400000};
    um_snapshot before = {0}, after = {0};
    size_t n = 40000;
    char *p;
    um_hard_add_stats(&before);
    p = give(n);
    *in_place = um_count.realloc_in_place;
    *moved = um_count.realloc_moved;
    fill(p, 0, n);
    for (size_t i = 0; i < UM_COUNT(sizes); i++) {
        p = resized(p, sizes[i]);
        verify(p, um_min(n, sizes[i]));
        if (sizes[i] > n)
            cr_assert(um_hard_is_zero(p + n, sizes[i] - n), "no old contents, no old seal");
        fill(p, 0, n = sizes[i]);
        check_end(p, n);
    }
    *in_place = um_count.realloc_in_place - *in_place;
    *moved = um_count.realloc_moved - *moved;
    take_back(p);
    um_hard_add_stats(&after);
    cr_expect_eq(after.large_live_bytes, before.large_live_bytes);
    um_hard_flush();
    um_space_check();
}

Test(hard_large, resizing_keeps_pages_in_place) {
    uint64_t in_place, moved;
    grow_and_shrink(&in_place, &moved);
    cr_expect_eq(in_place, 16, "%u in place, %u moved", (unsigned)in_place, (unsigned)moved);
}

Test(hard_large, resizing_moves_pages_in_full, .init = start_full) {
    uint64_t in_place, moved;
    grow_and_shrink(&in_place, &moved);
    cr_expect_eq(in_place, 0);
    cr_expect_eq(moved, 16);
}

Test(hard_large, what_it_grows_into_reads_as_zero) {
    enum { SLOTS = 64 };
    size_t n = 3 * UM_SLOT_BYTES, more = 5 * UM_SLOT_BYTES;
    um_span *s = um_space_alloc(0, SLOTS, 1, NULL);
    char *p;
    memset(um_span_start(s), 'x', SLOTS * UM_SLOT_BYTES);
    um_space_free(s, SLOTS * UM_SLOT_BYTES);
    p = give(n);
    cr_assert_eq(*end_of(span_of(p)), 'x', "used memory lies behind it");
    cr_assert_eq(resized(p, more), p);
    cr_expect(um_hard_is_zero(p + n, more - n));
    check_end(p, more);
}

/* Bytes from there on that are one mapping. */
static size_t mapped_as_one(const void *at) {
    char line[512];
    size_t bytes = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    cr_assert_not_null(maps);
    while (!bytes && fgets(line, sizeof line, maps)) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) == 2 && from <= (uintptr_t)at &&
            (uintptr_t)at < to)
            bytes = to - (uintptr_t)at;
    }
    (void)fclose(maps);
    return bytes;
}

/* The kernel merges no mapping with one whose pages came from elsewhere. */
Test(hard_large, freed_pages_that_were_moved_become_one_mapping, .init = start_full) {
    char *q = memset(give(200000), 1, 200000), *p = resized(q, 300000), *start = um_span_start(span_of(p));
    size_t bytes = (size_t)(end_of(span_of(p)) - start);
    cr_assert_eq(um_count.realloc_moved, 1);
    take_back(p);
    um_hard_flush();
    cr_expect_geq(mapped_as_one(start), bytes);
}

static void grow(void *p) {
    (void)um_hard_realloc(p, um_span_of(p), 120000, UM_HARD_FRAME);
}

Test(hard_large, only_blocks_of_malloc_are_resized_in_full, .init = start_full) {
    char *p = um_hard_alloc(100000, 0, UM_FAMILY_NEW, UM_HARD_FRAME);
    expect_death(grow, p,
                 "umalloc: mismatched free: %p (100000-byte block, allocated by new, freed by free)\n",
                 (void *)p);
}

static size_t in_memory(const char *p) {
    size_t n = 0;
    const char *end = end_of(span_of(p));
    for (const char *at = um_span_start(span_of(p)); at < end; at += um_os_page_bytes) {
        unsigned char there;
        cr_assert_eq(mincore((void *)(uintptr_t)at, um_os_page_bytes, &there), 0);
        n += there & 1;
    }
    return n * um_os_page_bytes;
}

Test(hard_large, moves_when_its_neighbour_is_in_the_way) {
    char *p = give(100000), *neighbour[64], *q;
    for (int i = 0; i < 64; i++)
        neighbour[i] = give(100000);
    fill(p, 0, 100000);
    q = resized(p, 190000);
    cr_expect_neq(q, p);
    cr_expect_eq(um_count.realloc_moved, 1);
    cr_expect_eq(kind_of(p), UM_SPAN_HARD_FREED);
    cr_expect_not(readable(p), "the old address is no good");
    expect_words(free_again, p, "umalloc: double free: ");
    verify(q, 100000);
    check_end(q, 190000);
    for (int i = 0; i < 64; i++)
        take_back(neighbour[i]);
    take_back(q);
    um_hard_flush();
    um_space_check();
}

Test(hard_large, what_shrinks_gives_its_memory_back) {
    char *p = give(2 * UM_MIB);
    fill(p, 0, 2 * UM_MIB);
    p = resized(p, UM_MIB + UM_MIB / 4);
    cr_expect_leq(in_memory(p), UM_MIB + UM_MIB / 4 + 2 * um_os_page_bytes);
    p = resized(p, 100000);
    cr_expect_lt(span_of(p)->slots, 4, "and its addresses, where they are much more");
    verify(p, 100000);
}

Test(hard_large, doubled_ones_end_at_a_guard_again) {
    char *p = give(50000);
    p = resized(p, 50100);
    cr_expect_neq((uintptr_t)(p + um_round_up(50100, 16)) % um_os_page_bytes, 0);
    p = resized(p, 100500);
    cr_expect_eq((uintptr_t)(p + um_round_up(100500, 16)) % um_os_page_bytes, 0);
}

Test(hard_large, a_write_behind_a_resized_block_is_found) {
    size_t n = 50003;
    char *p = resized(give(50000), n);
    for (size_t at = 0; at < 2000; at += at < 8 ? 1 : 300) {
        spoil(p + n + at);
        expect_words(free_again, p, "umalloc: block was written beyond its end: ");
        spoil(p + n + at);
    }
    expect_words(read_at, (void *)um_round_up((uintptr_t)p + n, um_os_page_bytes),
                 "umalloc: access out of bounds: ");
    take_back(p);
}

Test(hard_large, without_guards_resizing_works_too) {
    char *p;
    while (um_hard_guards_take(1))
        ;
    p = give(100000);
    fill(p, 0, 100000);
    p = resized(p, 180000);
    verify(p, 100000);
    p = resized(p, 120000);
    verify(p, 100000);
    cr_expect(um_hard_is_zero(p + 120000 + UM_HARD_SEAL_BYTES, 180000 - 120000 - UM_HARD_SEAL_BYTES));
    take_back(p);
}

Test(hard_large, copies_where_pages_cannot_be_moved, .init = start_full) {
    char *p = give(100000);
    cr_assert(refuse(SYS_mremap, ENOSYS));
    fill(p, 0, 100000);
    for (size_t n = 100001; n < 200000; n += 9999) {
        char *q = resized(p, n);
        cr_assert_neq(q, p);
        verify(q, 100000);
        check_end(q, n);
        p = q;
    }
    cr_expect_eq(um_count.realloc_moved, 0);
    take_back(p);
    um_hard_flush();
    um_space_check();
}
