/* Large blocks: lengths and alignments, the promise of zero, a small cache, growing and shrinking with
   contents kept. */
#include "heap_calls.h"

#include "os/os.h"
#include "space/internal.h"

static um_theap *heap;

static void start(void) {
    heap = um_theap_get();
    cr_assert_not_null(heap);
}

TestSuite(large, .init = start);

static bool all(const void *at, size_t bytes, int byte) {
    const unsigned char *p = at;
    return p[0] == byte && memcmp(p, p + 1, bytes - 1) == 0;
}

static void *take(size_t bytes, size_t align, bool *zeroed) {
    void *p = um_large_alloc(heap, bytes, align, zeroed);
    if (p) {
        const um_span *s = um_span_of(p);
        cr_assert_eq(um_span_kind_of(s), UM_SPAN_LARGE);
        cr_assert_eq(um_span_start(s), p);
        cr_assert_eq(s->owner, UM_ID_NOBODY);
        cr_assert_eq(s->bytes, um_round_up(bytes, um_os_page_bytes));
        cr_assert_leq(s->bytes, (size_t)s->slots << UM_SLOT_SHIFT);
        cr_assert_eq((uintptr_t)p % um_max(align, UM_SLOT_BYTES), 0);
    }
    return p;
}

static void *take_filled(size_t bytes) {
    bool zeroed;
    void *p = take(bytes, 16, &zeroed);
    cr_assert_not_null(p);
    return memset(p, 0x5a, bytes);
}

static void give_back(void *p) {
    um_large_free(heap, um_span_of(p));
}

Test(large, lengths_and_alignments) {
    bool zeroed;
    for (size_t bytes = UM_MEDIUM_MAX + 1; bytes < 8 * UM_MIB; bytes = bytes * 3 / 2 + 4097)
        for (size_t align = 16; align <= 32 * UM_MIB; align *= 4) {
            unsigned char *p = take(bytes, align, &zeroed);
            cr_assert_not_null(p);
            if (zeroed)
                cr_assert(all(p, bytes, 0));
            p[0] = p[bytes - 1] = 0x5a;
            give_back(p);
        }
    cr_expect_not_null(take(100, UM_GIB, &zeroed), "1 GiB");
    um_space_check();
}

Test(large, too_much_is_refused) {
    bool zeroed;
    cr_expect_null(take(((size_t)1 << 46) + 1, 16, &zeroed));
    cr_expect_null(take(SIZE_MAX / 2, 16, &zeroed));
    cr_expect_null(take(100000, (size_t)1 << 47, &zeroed));
    cr_expect_not_null(take(100000, 16, &zeroed));
}

Test(large, zero_is_told_from_dirty) {
    bool zeroed;
    unsigned char *p = take(300000, 16, &zeroed);
    cr_expect(zeroed && all(p, 300000, 0));
    memset(p, 0x5a, 300000);
    give_back(p);
    p = take(300000, 16, &zeroed);
    cr_expect_not(zeroed, "from the cache");
    memset(p, 0x5a, 300000);
    give_back(p);
    um_large_flush(heap);
    p = take(200000, 16, &zeroed);
    cr_expect(zeroed ? all(p, 200000, 0) : true);
    cr_expect_not(zeroed, "the space reuses dirty memory first");
}

Test(large, cache_serves_exact_lengths) {
    bool zeroed;
    void *a = take_filled(100000), *b = take_filled(250000);
    give_back(a);
    give_back(b);
    cr_expect_eq(um_span_kind_of(um_span_of(a)), UM_SPAN_CACHED);
    cr_expect_eq(heap->large_count, 2);
    cr_expect_eq(take(200000, 4096, &zeroed), b);
    cr_expect_eq(take(100001, 65536, &zeroed), a);
    cr_expect_eq(heap->large_hits, 2);
    cr_expect_eq(heap->large_count, 0);
    cr_expect_eq(heap->large_bytes, 0);
    give_back(b);
    cr_expect_neq(take(100000, 16, &zeroed), b, "longer than asked");
    cr_expect_eq(heap->large_count, 1);
}

Test(large, cache_is_bounded_and_drops_the_oldest) {
    void *p[64];
    for (int i = 0; i < 64; i++)
        p[i] = take_filled(UM_SLOT_BYTES);
    for (int i = 0; i < 64; i++) {
        give_back(p[i]);
        cr_assert_leq(heap->large_count, UM_LARGE_CACHE);
        cr_assert_leq(heap->large_bytes, um_theap_cache_bytes / 2);
    }
    cr_expect_eq(heap->large[heap->large_count - 1], um_span_of(p[63]));
    um_theap_cache_bytes = 64 * UM_MIB; /* the count alone is the bound now */
    for (int i = 0; i < 64; i++)
        p[i] = take_filled(UM_SLOT_BYTES);
    for (int i = 0; i < 64; i++) {
        give_back(p[i]);
        cr_assert_leq(heap->large_count, UM_LARGE_CACHE);
    }
    um_theap_cache_bytes = UM_MIB;
    cr_expect_neq(um_span_kind_of(um_span_of(p[0])), UM_SPAN_CACHED);
    give_back(take_filled(4 * UM_MIB));
    cr_expect_neq(heap->large[heap->large_count - 1]->slots, 64, "too long to keep");
    um_large_flush(heap);
    cr_expect_eq(heap->large_count, 0);
    cr_expect_eq(heap->large_bytes, 0);
    um_space_check();
}

static void *slab_blocks[32];

/* Four blocks of 16 KiB a slab. */
static void take_slabs(unsigned blocks) {
    for (unsigned i = 0; i < blocks; i++)
        cr_assert_not_null(slab_blocks[i] = give(16384));
}

static void dirty_slots(unsigned blocks) {
    take_slabs(blocks);
    for (unsigned i = 0; i < blocks; i++)
        take_back(slab_blocks[i]);
    um_theap_flush(heap);
}

Test(large, a_class_that_fills_slabs_gets_slots_at_once) {
    unsigned kept;
    dirty_slots(32);
    take_slabs(12);
    kept = heap->large_count;
    cr_assert_gt(kept, 1);
    cr_expect_eq(heap->large_bytes, kept * UM_SLOT_BYTES);
    for (unsigned i = 0; i < kept; i++) {
        cr_expect_eq(um_span_kind_of(heap->large[i]), UM_SPAN_CACHED);
        cr_expect_eq(heap->large[i]->slots, 1);
    }
    take_slabs(4);
    cr_expect_eq(heap->large_count, kept - 1, "the next slab is one of them");
    check_heap(heap);
    um_space_check();
    um_theap_flush(heap);
    cr_expect_eq(heap->large_count, 0);
    um_space_check();
}

Test(large, slots_are_fetched_within_the_bound_of_the_cache) {
    dirty_slots(32);
    um_theap_set_cache(4 * UM_SLOT_BYTES);
    take_slabs(16);
    cr_expect_leq(heap->large_bytes, 2 * UM_SLOT_BYTES);
    um_theap_flush(heap);
    um_theap_set_cache(0);
    take_slabs(16);
    cr_expect_eq(heap->large_count, 0);
}

/* A block of a slot that was freed may be a slab next: it has no slack then. */
Test(large, a_kept_block_becomes_a_slab) {
    bool zeroed;
    void *p = take(40000, 16, &zeroed);
    cr_assert_gt(um_spaces[0].slack_pages, 0);
    give_back(p);
    cr_assert_eq(heap->large_count, 1);
    cr_assert_eq(give(1024), p);
    cr_expect_eq(um_spaces[0].slack_pages, 0);
    cr_expect_eq(um_span_kind_of(um_span_of(p)), UM_SPAN_SLAB);
    cr_expect_eq(heap->large_count, 0);
    check_heap(heap);
}

Test(large, no_cache_if_none_is_wanted) {
    um_theap_cache_bytes = 0;
    give_back(take_filled(100000));
    cr_expect_eq(heap->large_count, 0);
    um_large_free(NULL, um_span_of(take_filled(100000)));
    cr_expect_eq(count_slabs().large, 0);
    cr_expect_eq(heap->large_allocs, 2);
    cr_expect_eq(heap->large_frees + um_count.large_frees, 2);
}

Test(large, resizes_in_place_where_room_is) {
    unsigned char *p = take_filled(10 * UM_SLOT_BYTES);
    cr_expect_eq(um_large_resize(heap, um_span_of(p), 10 * UM_SLOT_BYTES - 5000), p, "the same slots");
    cr_expect_eq(um_span_of(p)->bytes, 10 * UM_SLOT_BYTES - um_round_down(5000, um_os_page_bytes));
    cr_expect_eq(um_large_resize(heap, um_span_of(p), 3 * UM_SLOT_BYTES), p);
    cr_expect_eq(um_span_of(p)->slots, 3);
    cr_expect_eq(um_large_resize(heap, um_span_of(p), 8 * UM_SLOT_BYTES), p);
    cr_expect(all(p, 3 * UM_SLOT_BYTES, 0x5a));
    memset(p, 0x66, 8 * UM_SLOT_BYTES);
    cr_expect_eq(um_count.realloc_in_place, 3);
    um_space_check();
}

Test(large, leaves_to_the_caller_what_it_cannot_do) {
    unsigned char *p = take_filled(10 * UM_SLOT_BYTES);
    (void)take_filled(UM_SLOT_BYTES); /* in the way */
    cr_expect_null(um_large_resize(heap, um_span_of(p), 11 * UM_SLOT_BYTES), "too little to move");
    cr_expect_null(um_large_resize(heap, um_span_of(p), UM_MEDIUM_MAX), "no large block");
    cr_expect_null(um_large_resize(heap, um_span_of(p), SIZE_MAX / 2));
    cr_expect_eq(um_span_of(p)->slots, 10);
    cr_expect(all(p, 10 * UM_SLOT_BYTES, 0x5a));
}

Test(large, moves_pages_of_a_megabyte_and_more) {
    unsigned char *p = take_filled(32 * UM_SLOT_BYTES), *q;
    (void)take_filled(UM_SLOT_BYTES); /* in the way */
    q = um_large_resize(heap, um_span_of(p), 50 * UM_SLOT_BYTES);
    cr_assert(q && q != p);
    cr_expect(all(q, 32 * UM_SLOT_BYTES, 0x5a));
    cr_expect_eq(um_span_kind_of(um_span_of(q)), UM_SPAN_LARGE);
    cr_expect_eq(um_span_of(q)->bytes, 50 * UM_SLOT_BYTES);
    cr_expect_eq(um_count.realloc_moved, 1);
    memset(q, 0x66, 50 * UM_SLOT_BYTES);
    give_back(q);
    cr_expect_neq(um_span_kind_of(um_span_of(q)), UM_SPAN_CACHED, "its mapping is not like its neighbours'");
    um_space_check();
}

Test(large, grows_step_by_step_with_its_contents) {
    size_t *p = take_filled(UM_MIB), words = UM_MIB / sizeof *p;
    void *block = p;
    for (size_t i = 0; i < words; i++)
        p[i] = i;
    for (size_t mib = 2; mib <= 64; mib++) {
        (void)take_filled(UM_SLOT_BYTES * (1 + mib % 3)); /* often in the way */
        block = um_large_resize(heap, um_span_of(block), mib * UM_MIB);
        cr_assert_not_null(block);
        p = block;
        for (size_t i = 0; i < words; i += 511)
            cr_assert_eq(p[i], i);
        for (; words < mib * UM_MIB / sizeof *p; words++)
            p[words] = words;
    }
    for (size_t i = 0; i < words; i++)
        cr_assert_eq(p[i], i);
    um_space_check();
}

Test(large, zeroes_by_giving_pages_back) {
    unsigned char *p = take_filled(9 * UM_MIB), *small = take_filled(UM_MIB);
    cr_expect(um_large_zero(p));
    cr_expect(all(p, 9 * UM_MIB, 0));
    cr_expect_not(um_large_zero(small), "clearing beats it");
    cr_expect(all(small, UM_MIB, 0x5a));
}

Test(large, limit) {
    bool zeroed;
    um_space_setting.limit_bytes = 16 * UM_MIB;
    void *p = take(10 * UM_MIB, 16, &zeroed);
    cr_assert_not_null(p);
    cr_expect_null(take(10 * UM_MIB, 16, &zeroed));
    cr_expect_null(um_large_resize(heap, um_span_of(p), 17 * UM_MIB));
    cr_expect_eq(um_span_of(p)->bytes, 10 * UM_MIB);
    give_back(p);
    cr_expect_not_null(take(10 * UM_MIB, 16, &zeroed));
}

Test(large, what_was_cut_joins_its_rest_again) {
    for (int round = 0; round < 20; round++) {
        unsigned char *p = take_filled(16 * UM_SLOT_BYTES);
        for (size_t slots = 8; slots; slots /= 2)
            cr_assert_eq(um_large_resize(heap, um_span_of(p), slots * UM_SLOT_BYTES), p);
        give_back(p);
        cr_assert_eq(heap->large_count, 0);
    }
    cr_expect_eq(um_count.purges, 0, "one hole of sixteen slots serves every round");
    um_space_check();
}
