/* Small blocks: where they lie, that they read as zero, rest when freed, and that each misuse of one is
   found where the page on security says so. */
#include "hard_calls.h"

#include <stdlib.h>

TestSuite(hard_slab, .init = start_on);

/* A shard of the test's own, whose queues can be seen. */
static um_hard_shard own;

static void *give_own(size_t bytes) {
    um_hard_finding f = um_hard_fine();
    void *p;
    um_lock_take(&own.lock);
    p = um_hard_slab_alloc_locked(&own, bytes, UM_HARD_ALIGN_MIN,
                                  um_hard_tag(UM_HARD_LIVE, UM_FAMILY_MALLOC, false), &f);
    um_lock_drop(&own.lock);
    um_hard_say(&f);
    cr_assert_not_null(p);
    return p;
}

static um_hard_slab *slab_of(const void *p) {
    return um_span_of(p)->hard;
}

static unsigned number_of(const void *p) {
    return (unsigned)((uintptr_t)p % UM_SLOT_BYTES / slab_of(p)->block_bytes);
}

/* Ends all rest. */
static void flush_own(void) {
    um_hard_finding f;
    um_lock_take(&own.lock);
    f = um_hard_slab_flush_locked(&own);
    um_lock_drop(&own.lock);
    um_hard_say(&f);
}

Test(hard_slab, classes_hold_block_and_seal_at_their_alignment) {
    for (size_t align = UM_HARD_ALIGN_MIN; align <= UM_MEDIUM_MAX; align *= 2)
        for (size_t bytes = 1; bytes <= UM_HARD_SMALL_MAX; bytes += bytes / 16 + 1) {
            unsigned c = um_hard_class_for(bytes, align);
            cr_assert_lt(c, UM_CLASSES);
            cr_assert_geq(um_class_bytes(c), bytes + UM_HARD_SEAL_BYTES);
            cr_assert_eq(um_class_bytes(c) % align, 0);
        }
    cr_expect_eq(um_hard_class_for(0, UM_HARD_ALIGN_MIN), UM_HARD_EMPTY_CLASS);
    cr_expect_eq(um_class_bytes(um_hard_class_for(0, 64)) % 64, 0);
}

Test(hard_slab, blocks_read_as_zero_and_are_apart) {
    enum { N = 2000 };
    static unsigned char *p[N];
    static size_t n[N];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < N; i++) {
            n[i] = 1 + i * 37 % 900 + (i % 50 == 0 ? 20000 : 0);
            p[i] = give(n[i]);
            cr_assert_eq(usable(p[i]), n[i]);
            cr_assert(um_hard_is_zero((char *)p[i], n[i]));
            memset(p[i], (int)(i % 255) + 1, n[i]);
        }
        for (size_t i = 0; i < N; i++) {
            cr_assert(p[i][0] == i % 255 + 1 && memcmp(p[i], p[i] + 1, n[i] - 1) == 0, "block %zu", i);
            take_back(p[i]);
        }
    }
    um_hard_check();
}

Test(hard_slab, memory_of_others_reads_as_zero) {
    enum { SLOTS = 16, N = 100 };
    um_span *s = um_space_alloc(0, SLOTS, 1, NULL);
    unsigned inside = 0;
    cr_assert_not_null(s);
    memset(um_span_start(s), 'x', SLOTS * UM_SLOT_BYTES);
    um_space_free(s, SLOTS * UM_SLOT_BYTES);
    for (int i = 0; i < N; i++) {
        const char *p = give_own(5000);
        inside += (size_t)(p - um_span_start(s)) < SLOTS * UM_SLOT_BYTES;
        cr_assert(um_hard_is_zero(p, 5000), "block %d", i);
    }
    cr_expect_gt(inside, 0, "dirty memory is used first");
}

/* How many of n fresh blocks lie right behind the one before. */
static unsigned followers(unsigned n, size_t bytes) {
    unsigned found = 0;
    const char *before = give_own(bytes);
    for (unsigned i = 0; i < n; i++) {
        const char *p = give_own(bytes);
        found += p == before + slab_of(p)->block_bytes;
        before = p;
    }
    return found;
}

Test(hard_slab, order_is_random) {
    unsigned found = followers(4000, 100);
    cr_expect_lt(found, 260, "one in 16 follows by chance at most: %u of 4000", found);
    cr_expect_gt(found, 0);
    found = followers(2000, 3000); /* 20 a slab: the last ones are few to choose among */
    cr_expect_lt(found, 600, "%u of 2000", found);
}

Test(hard_slab, order_is_random_in_full, .init = start_full) {
    unsigned found = followers(4000, 100);
    cr_expect_lt(found, 200, "one in 128 follows by chance, or nearly: %u of 4000", found);
}

/* What it was freed before, when the block came back. */
static unsigned frees_until_back(void *p, size_t bytes) {
    for (unsigned i = 0; i < 1000000; i++) {
        void *q = give_own(bytes);
        if (q == p)
            return i;
        take_back(q);
    }
    return UINT32_MAX;
}

Test(hard_slab, freed_blocks_rest_and_come_back) {
    for (int i = 0; i < 5; i++) {
        void *p = give_own(100);
        unsigned waited;
        take_back(p);
        cr_expect_eq(um_hard_state_of(slab_of(p)->tags[number_of(p)]), UM_HARD_RESTING);
        waited = frees_until_back(p, 100);
        cr_expect_geq(waited, um_hard_setting.queue, "%u", waited);
        cr_expect_neq(waited, UINT32_MAX, "never came back");
        take_back(p);
    }
}

/* In which order n blocks come out of rest: how many leave right after the one freed before them. */
Test(hard_slab, rest_ends_in_random_order) {
    enum { N = 200 };
    static void *p[N];
    unsigned in_order = 0;
    for (int i = 0; i < N; i++)
        p[i] = give_own(64);
    for (int i = 0; i < N; i++)
        take_back(p[i]);
    cr_assert_gt(own.queue_count, 100);
    for (uint32_t i = 1; i < own.queue_count; i++)
        for (int j = 1; j < N; j++)
            in_order += own.queue[i] == p[j] && own.queue[i - 1] == p[j - 1];
    cr_expect_lt(in_order, own.queue_count / 2, "%u of %u", in_order, own.queue_count);
}

Test(hard_slab, rest_is_bounded) {
    enum { N = 3000 };
    static void *p[N];
    for (int big = 0; big < 2; big++) {
        for (int i = 0; i < N; i++)
            p[i] = give_own(big ? 5000 : 16);
        for (int i = 0; i < N; i++) {
            take_back(p[i]);
            cr_assert_leq(own.queue_count, um_hard_setting.queue);
            cr_assert_leq(own.queue_bytes, um_hard_setting.queue_bytes);
            cr_assert_leq(own.shuffled, um_hard_setting.shuffle);
        }
        cr_expect_eq(own.shuffled, um_hard_setting.shuffle);
        if (big)
            cr_expect_lt(own.queue_count, um_hard_setting.queue, "the bytes are the bound");
        else
            cr_expect_eq(own.queue_count, um_hard_setting.queue);
    }
}

Test(hard_slab, empty_slabs_go_back_but_one) {
    enum { N = 3000 };
    static void *p[N];
    unsigned with_memory = 0;
    const um_hard_slab *kept = NULL;
    for (int i = 0; i < N; i++)
        p[i] = give_own(500);
    for (int i = 0; i < N; i++)
        take_back(p[i]);
    flush_own();
    cr_expect_eq(own.shuffled + own.queue_count + own.queue_bytes, 0);
    for (const um_hard_slab *b = own.slabs; b; b = b->next_in_shard)
        if (b->span) {
            with_memory++;
            kept = b;
        }
    cr_expect_eq(with_memory, 1);
    cr_expect_eq(own.live_bytes, 0);
    for (int i = 0; i < N; i++) { /* with records that were used before */
        p[i] = give_own(500);
        cr_assert(um_hard_is_zero(p[i], 500));
        if (slab_of(p[i]) != kept && slab_of(p[i])->used == 1)
            for (unsigned j = 0; j < slab_of(p[i])->carved; j++)
                cr_assert(slab_of(p[i])->tags[j] == 0 || j == number_of(p[i]), "nothing is left of its past");
    }
    um_space_check();
}

static void free_in(void *p) {
    um_hard_slab_free(um_span_of(p), p, claim_of_free());
}

/* Another thread gave the slab back after this one had read its kind. */
Test(hard_slab, a_free_in_a_slab_that_is_gone_is_found) {
    char *p = give_own(100);
    const um_hard_slab *b = slab_of(p);
    take_back(p);
    flush_own();
    um_lock_take(&own.lock);
    um_hard_slab_close_locked(&own);
    um_lock_drop(&own.lock);
    cr_assert_null(b->span);
    cr_assert_eq(slab_of(p), b);
    expect_death(free_in, p, "umalloc: double free: %p (the memory is free)\n", (void *)p);
}

Test(hard_slab, the_last_slabs_go_back_when_memory_runs_out, .init = start_full) {
    enum { N = 40 };
    static char *p[N];
    um_hard_slab *first;
    for (size_t i = 0; i < N; i++)
        memset(p[i] = give(100 + i * 500), 'x', 100);
    first = slab_of(p[0]);
    for (size_t i = 1; i < N; i++)
        take_back(p[i]);
    um_hard_flush();
    cr_expect_eq(first->span, um_span_of(p[0]));
    cr_expect_eq(first->used, 1);
    for (const um_hard_slab *b = first->shard->slabs; b; b = b->next_in_shard)
        cr_expect(!b->span || b->used, "%u-byte blocks", b->block_bytes);
    um_space_check();
    for (size_t i = 1; i < N; i++)
        cr_expect(um_hard_is_zero(give(100 + i * 500), 100));
    take_back(p[0]);
}

static void check_all(void *unused) {
    (void)unused;
    um_hard_check();
}

static void ask_usable(void *p) {
    (void)usable(p);
}

static void resize(void *p) {
    (void)um_hard_realloc(p, um_span_of(p), 3 * usable(p), UM_HARD_FRAME);
}

static void free_again(void *p) {
    take_back(p);
}

static void free_inside(void *p) {
    take_back((char *)p + 16);
}

static void check_own(void *unused) {
    um_hard_finding f;
    (void)unused;
    um_lock_take(&own.lock);
    f = um_hard_slab_check_locked(&own);
    um_lock_drop(&own.lock);
    um_hard_say(&f);
}

Test(hard_slab, overflow_is_found_wherever_the_block_is_looked_at) {
    static const size_t sizes[] = {1, 8, 24, 100, 5000};
    for (size_t i = 0; i < UM_COUNT(sizes); i++) {
        size_t n = sizes[i], room;
        char *p = give_own(n);
        room = slab_of(p)->block_bytes - n;
        for (size_t at = 0; at < room; at += at < 9 ? 1 : room / 3) {
            spoil(p + n + at);
            expect_death(
                free_again, p,
                "umalloc: block was written beyond its end: %p (%zu-byte block, the seal behind it is "
                "broken)\n",
                (void *)p, n);
            expect_words(ask_usable, p, "umalloc: block was written beyond its end");
            expect_words(check_own, p, "umalloc: block was written beyond its end");
            spoil(p + n + at);
        }
        check_own(NULL);
    }
}

Test(hard_slab, overflow_is_found_by_realloc_and_by_the_check_of_all) {
    char *p = give(40);
    spoil(p + 41);
    expect_words(resize, p, "umalloc: block was written beyond its end");
    expect_words(check_all, NULL, "umalloc: block was written beyond its end");
}

Test(hard_slab, second_frees_are_found) {
    char *p = give_own(48), *inside = give_own(48);
    expect_death(free_inside, inside, "umalloc: invalid free: %p (48-byte block, not the start of a block)\n",
                 (void *)(inside + 16));
    take_back(p);
    expect_death(free_again, p, "umalloc: double free: %p (48-byte block, freed of late)\n", (void *)p);
    expect_death(ask_usable, p, "umalloc: invalid malloc_usable_size: %p (48-byte block, freed of late)\n",
                 (void *)p);
    flush_own();
    expect_death(free_again, p, "umalloc: double free: %p (48-byte block, the memory is free)\n", (void *)p);
}

Test(hard_slab, what_was_never_handed_out_is_no_block) {
    const char *p = give_own(48);
    char *start = um_span_start(slab_of(p)->span);
    char *beyond = start + (size_t)(slab_of(p)->capacity - 1) * slab_of(p)->block_bytes;
    char *between = start + UM_SLOT_BYTES - 8;
    expect_death(free_again, beyond, "umalloc: invalid free: %p (no block starts here)\n", (void *)beyond);
    expect_death(free_again, between, "umalloc: invalid free: %p (not the start of a block)\n",
                 (void *)between);
}

Test(hard_slab, freed_blocks_are_cleared) {
    char *p = give_own(300);
    memset(p, 'x', 300);
    take_back(p);
    cr_expect(um_hard_is_zero(p, slab_of(p)->block_bytes));
}

static void take_all(void *bytes) {
    for (int i = 0; i < 100000; i++) {
        void *p = give_own(*(size_t *)bytes);
        take_back(p);
    }
}

Test(hard_slab, a_write_after_free_is_found_at_reuse) {
    size_t n = 200;
    char *p = give_own(n);
    take_back(p);
    spoil(p);
    expect_words(take_all, &n, "umalloc: freed memory was written to: ");
    spoil(p);
    spoil(p + n - 1);
    expect_words(take_all, &n, "umalloc: freed memory was written to: ");
    spoil(p + n - 1);
    check_own(NULL);
}

Test(hard_slab, full_looks_at_whole_blocks, .init = start_full) {
    size_t n = 5000;
    char *p = give_own(n);
    take_back(p);
    spoil(p + n - 1);
    expect_death(check_own, NULL,
                 "umalloc: freed memory was written to: %p (%zu-byte block, seen in a check of all blocks)\n",
                 (void *)p, n);
    expect_death(take_all, &n,
                 "umalloc: freed memory was written to: %p (%zu-byte block, seen at the end of its rest)\n",
                 (void *)p, n);
}

static void take_many(void *bytes) {
    for (int i = 0; i < 1000; i++)
        (void)give_own(*(size_t *)bytes);
}

Test(hard_slab, full_looks_again_at_reuse, .init = start_full) {
    size_t n = 5000;
    char *p = give_own(n);
    take_back(p);
    flush_own();
    spoil(p + n - 1);
    expect_death(
        take_many, &n,
        "umalloc: freed memory was written to: %p (%zu-byte block, seen when it was to be used again)\n",
        (void *)p, n);
}

Test(hard_slab, last_page_of_a_slab_has_no_access_in_full, .init = start_full) {
    const char *p = give_own(100), *start = um_span_start(slab_of(p)->span);
    const char *last = start + UM_SLOT_BYTES - um_os_page_bytes;
    if (um_os_page_bytes == UM_SLOT_BYTES) {
        cr_expect_not(slab_of(p)->guarded, "it would have no other page");
        return;
    }
    cr_expect(slab_of(p)->guarded);
    cr_expect_leq((size_t)slab_of(p)->capacity * slab_of(p)->block_bytes, (size_t)(last - start));
    cr_expect(readable(last - 8));
    cr_expect_not(readable(last));
    cr_expect_not(readable(start + UM_SLOT_BYTES - 8));
}

Test(hard_slab, guards_end_where_mappings_would_be_scarce, .init = start_full) {
    unsigned taken = 0;
    const char *p;
    while (um_hard_guards_take(1))
        taken++;
    cr_expect_gt(taken, 1000);
    cr_expect_not(um_hard_guards_take(1));
    p = give_own(100);
    cr_expect_not(slab_of(p)->guarded);
    cr_expect_eq(slab_of(p)->capacity, UM_SLOT_BYTES / slab_of(p)->block_bytes);
    cr_expect(readable(um_span_start(slab_of(p)->span) + UM_SLOT_BYTES - 8));
    um_hard_guards_give(1);
    cr_expect(um_hard_guards_take(1), "refusals cost nothing");
}

Test(hard_slab, a_slab_that_goes_back_gives_its_mappings_back, .init = start_full) {
    enum { N = 600, ROUNDS = 50 }; /* far more slabs than there are guards */
    static void *p[N];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++)
            p[i] = give_own(10000);
        cr_assert_eq(slab_of(p[N - 1])->guarded, um_os_page_bytes < UM_SLOT_BYTES, "round %d", round);
        for (int i = 0; i < N; i++)
            take_back(p[i]);
        flush_own();
    }
}

Test(hard_slab, blocks_of_no_bytes_have_no_access) {
    char *p = give_own(0), *q = give_own(0);
    cr_expect_neq(p, q);
    cr_expect_not(readable(p));
    cr_expect_not(readable(q));
    cr_expect_eq(usable(p), 0);
    take_back(p);
    expect_words(free_again, p, "umalloc: double free: ");
    check_own(NULL);
}

Test(hard_slab, records_lie_between_pages_without_access) {
    const char *p = give_own(100);
    const um_hard_slab *b = slab_of(p);
    const um_span *s = um_span_of(b);
    const char *from, *to;
    cr_assert_not_null(s);
    while (um_span_kind_of(s) == UM_SPAN_NONE)
        s--;
    cr_expect_eq(um_span_kind_of(s), UM_SPAN_META, "no block is there");
    from = um_span_start(s);
    to = from + ((size_t)s->slots << UM_SLOT_SHIFT);
    cr_expect((const char *)b >= from + um_os_page_bytes && (const char *)(b->tags + b->capacity) <= to);
    cr_expect_not(readable(from));
    cr_expect(readable(from + um_os_page_bytes));
    cr_expect(readable(to - um_os_page_bytes - 8));
    cr_expect_not(readable(to - um_os_page_bytes));
}

Test(hard_slab, resizes_in_its_class_and_seals_anew) {
    char *p = give_own(40);
    memset(p, 'x', 40);
    cr_expect_not(um_hard_slab_resize(um_span_of(p), p, 41), "another class");
    cr_expect_not(um_hard_slab_resize(um_span_of(p), p, UM_HARD_SMALL_MAX + 1));
    take_back(p);
    p = give_own(5100);
    memset(p, 'x', 5100);
    cr_assert(um_hard_slab_resize(um_span_of(p), p, 4900));
    cr_expect_eq(usable(p), 4900);
    cr_expect(um_hard_is_zero(p + 4908, slab_of(p)->block_bytes - 4908),
              "nothing is left of the longer block");
    cr_assert(um_hard_slab_resize(um_span_of(p), p, 5000));
    cr_expect_eq(usable(p), 5000);
    cr_expect(um_hard_is_zero(p + 4900, 100), "nor of its seal");
    cr_expect_eq(own.live_bytes, 5000);
    take_back(p);
    cr_expect_eq(own.live_bytes, 0);
}
