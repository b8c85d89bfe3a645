/* The span allocator: alignment, contents, the promise of zero, growth in place and by moving, and the limit.
   A random sequence of all operations runs against a shadow of what each span must hold, with every structure
   walked on the way. */
#include "space/internal.h"
#include "os/os.h"

#include "ageless.h"
#include "seeded.h"

#include <criterion/criterion.h>
#include <string.h>

enum { SPANS = 48, ROUNDS = 4000, LIVE_SLOTS_MAX = 1500 };

/* Every page of a span in hand holds its fill; 0: it was zero when taken, and nobody touched it. */
struct held {
    um_span *span;
    unsigned char fill;
};

static struct held held[SPANS];
static size_t live_slots;

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
}

TestSuite(space, .init = start);

static size_t bytes_of(const um_span *s) {
    return (size_t)s->slots << UM_SLOT_SHIFT;
}

static bool all(const um_span *s, size_t from, size_t to, int byte) {
    const unsigned char *p = (const unsigned char *)um_span_start(s) + from;
    return from == to || (p[0] == byte && memcmp(p, p + 1, to - from - 1) == 0);
}

static void fill(struct held *h) {
    h->fill = (unsigned char)(1 + seeded_below(255));
    memset(um_span_start(h->span), h->fill, bytes_of(h->span));
}

static um_span *take(size_t slots, size_t align, bool *zeroed) {
    um_span *s = um_space_alloc(0, slots, align, zeroed);
    if (s) {
        cr_assert_eq(um_span_kind_of(s), UM_SPAN_BUSY);
        um_span_set_kind(s, UM_SPAN_LARGE);
        cr_assert_eq(s->slots, slots);
        cr_assert_eq((uintptr_t)um_span_start(s) % (align << UM_SLOT_SHIFT), 0);
        if (zeroed && *zeroed)
            cr_assert(all(s, 0, bytes_of(s), 0), "said to be zero");
    }
    return s;
}

static um_span *take_filled(size_t slots) {
    um_span *s = take(slots, 1, NULL);
    cr_assert_not_null(s);
    memset(um_span_start(s), 0x5a, bytes_of(s));
    return s;
}

static um_space_stats stat_now(void) {
    um_space_stats st;
    um_space_stat(0, &st);
    return st;
}

Test(space, gives_lengths_and_alignments) {
    bool zeroed;
    for (size_t slots = 1; slots <= 512; slots += slots / 3 + 1)
        for (size_t align = 1; align <= 256; align *= 2)
            cr_assert_not_null(take(slots, align, &zeroed));
    um_space_check();
    cr_expect_not_null(take(1, 16384, &zeroed), "1 GiB");
    um_space_check();
}

Test(space, refuses_the_impossible) {
    bool zeroed;
    cr_expect_null(um_space_alloc(0, 0, 1, &zeroed));
    cr_expect_null(um_space_alloc(0, ((size_t)1 << 28) + 1, 1, &zeroed));
    cr_expect_null(um_space_alloc(0, 1, (size_t)1 << 30, &zeroed));
    cr_expect_null(um_space_alloc(0, (size_t)1 << 28, 2, &zeroed), "more than any window");
    um_space_check();
    cr_expect_not_null(take(1, 1, &zeroed));
}

Test(space, what_was_written_is_not_called_zero) {
    bool zeroed;
    um_span *s = take_filled(5);
    um_space_free(s, bytes_of(s));
    s = take(5, 1, &zeroed);
    cr_expect_not(zeroed);
    cr_expect(all(s, 0, bytes_of(s), 0x5a), "the same span, its pages warm");
    um_space_free(s, bytes_of(s));
    um_space_check();
}

Test(space, what_was_not_touched_stays_zero) {
    bool zeroed;
    um_span *s = take(5, 1, &zeroed);
    cr_assert(zeroed);
    um_space_free(s, 0);
    cr_expect_eq(stat_now().dirty, 0);
    s = take(7, 1, &zeroed);
    cr_expect(zeroed);
}

Test(space, dirty_memory_is_used_before_fresh) {
    um_span *s[8], *barrier;
    size_t mapped;
    for (int i = 0; i < 8; i++)
        s[i] = take_filled(3);
    barrier = take_filled(1);
    mapped = stat_now().mapped;
    for (int i = 0; i < 8; i++)
        um_space_free(s[i], bytes_of(s[i]));
    um_space_check();
    cr_expect_eq(stat_now().dirty, 24 * UM_SLOT_BYTES);
    s[0] = take(24, 1, NULL); /* neighbours have merged */
    cr_expect_eq(s[0] + 24, barrier);
    cr_expect_eq(stat_now().dirty, 0);
    cr_expect_eq(stat_now().mapped, mapped);
}

Test(space, extends_into_free_neighbours_only) {
    bool zeroed;
    um_span *a = take_filled(4), *b = take_filled(4), *c = take_filled(4);
    cr_expect_not(um_space_extend(a, 5, &zeroed), "b is in use");
    um_space_free(b, bytes_of(b));
    cr_expect_not(um_space_extend(a, 9, &zeroed), "c is in use");
    cr_assert(um_space_extend(a, 6, &zeroed));
    cr_expect_not(zeroed);
    cr_expect_eq(a->slots, 6);
    cr_expect(all(a, 0, 4 * UM_SLOT_BYTES, 0x5a));
    um_space_check();
    cr_assert(um_space_extend(a, 8, &zeroed));
    cr_expect_not(um_space_extend(a, 9, &zeroed));
    cr_assert(um_space_extend(c, 4 + 300, &zeroed), "into memory never opened");
    cr_expect(zeroed && all(c, 4 * UM_SLOT_BYTES, bytes_of(c), 0));
    cr_expect_not(um_space_extend(c, (size_t)1 << 29, &zeroed));
    um_space_check();
}

Test(space, extends_across_a_region) {
    bool zeroed;
    um_span *s = take(4, 1, &zeroed);
    cr_assert(um_space_extend(s, 2 * UM_REGION_SLOTS, &zeroed));
    cr_expect(zeroed);
    memset(um_span_start(s) + bytes_of(s) - 1, 1, 1);
    um_space_check();
    um_space_free(s, bytes_of(s));
    um_space_check();
}

Test(space, shrinks_in_place) {
    bool zeroed;
    um_span *s = take_filled(10);
    um_space_shrink(s, 3);
    cr_expect_eq(s->slots, 3);
    cr_expect(all(s, 0, bytes_of(s), 0x5a));
    cr_expect_eq(stat_now().active, 3 * UM_SLOT_BYTES);
    um_space_check();
    cr_assert(um_space_extend(s, 10, &zeroed));
    cr_expect_not(zeroed);
    um_space_check();
}

Test(space, moves_pages_and_keeps_contents) {
    bool zeroed;
    um_span *s = take_filled(20), *t = um_space_move(s, 50, 20 * UM_SLOT_BYTES);
    cr_assert_not_null(t);
    um_span_set_kind(t, UM_SPAN_LARGE);
    cr_expect_eq(t->slots, 50);
    cr_expect(all(t, 0, 20 * UM_SLOT_BYTES, 0x5a));
    cr_expect_eq(stat_now().active, 50 * UM_SLOT_BYTES);
    um_space_check();
    cr_assert_not_null(take(20, 1, &zeroed), "the hole is memory again");
    memset(um_span_start(t), 0x66, bytes_of(t));
    um_space_shrink(t, 30);
    um_space_check();
    um_space_free(t, bytes_of(t));
    um_space_check();
    t = take(50, 1, &zeroed);
    memset(um_span_start(t), 0x77, bytes_of(t));
}

Test(space, move_that_fails_changes_nothing) {
    um_span *s = take_filled(20);
    cr_expect_null(um_space_move(s, (size_t)1 << 29, 20 * UM_SLOT_BYTES));
    um_space_setting.limit_bytes = 30 * UM_SLOT_BYTES;
    cr_expect_null(um_space_move(s, 25, 20 * UM_SLOT_BYTES));
    cr_expect_eq(um_span_kind_of(s), UM_SPAN_LARGE);
    cr_expect(all(s, 0, bytes_of(s), 0x5a));
    um_space_check();
}

Test(space, limit_answers_null_and_recovers) {
    um_span *s[64];
    size_t n = 0;
    bool zeroed;
    um_space_setting.limit_bytes = 4 * UM_MIB;
    while (n < 64 && (s[n] = take(2, 1, &zeroed)) != NULL)
        n++;
    cr_expect_eq(n, 32);
    cr_expect_not(um_space_extend(s[n - 1], 3, &zeroed));
    um_space_free(s[--n], 0);
    cr_assert_not_null(s[n++] = take(2, 1, &zeroed));
    while (n) {
        n--;
        memset(um_span_start(s[n]), 1, bytes_of(s[n]));
        um_space_free(s[n], bytes_of(s[n]));
    }
    um_space_check();
    cr_expect_not_null(take(64, 1, &zeroed), "what was kept for reuse gives way");
    cr_expect_null(take(1, 1, &zeroed));
    um_space_check();
}

Test(space, limit_counts_dirty_memory) {
    bool zeroed;
    um_span *small[32];
    um_space_setting.limit_bytes = 4 * UM_MIB;
    for (int i = 0; i < 32; i++)
        small[i] = take_filled(2);
    for (int i = 0; i < 32; i += 2) /* 2 MiB in pieces too short */
        um_space_free(small[i], bytes_of(small[i]));
    cr_expect_not_null(take(16, 1, &zeroed));
    cr_expect_leq(stat_now().active + stat_now().dirty, 4 * UM_MIB);
    um_space_check();
}

Test(space, records_are_zeroed_and_aligned) {
    um_span *s = take_filled(1);
    um_space_free(s, bytes_of(s)); /* a dirty slot lies ready */
    for (int i = 0; i < 100; i++) {
        const unsigned char *p = um_space_meta(0, 3001);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % UM_CACHE_LINE_BYTES, 0);
        cr_assert(p[0] == 0 && memcmp(p, p + 1, 3000) == 0);
        memset((void *)(uintptr_t)p, 0x5a, 3001);
    }
    cr_expect_not_null(um_space_meta(0, 5 * UM_SLOT_BYTES));
    cr_expect_geq(stat_now().metadata, 10 * UM_SLOT_BYTES);
    um_space_check();
}

static void count_slots(const um_span *s, void *ctx) {
    *(size_t *)ctx += s->slots;
}

Test(space, each_visits_all_that_is_open) {
    size_t slots = 0;
    um_span *s = take_filled(9);
    (void)take_filled(1);
    um_space_free(s, bytes_of(s));
    um_space_each(0, count_slots, &slots);
    cr_expect_eq(slots << UM_SLOT_SHIFT, stat_now().mapped);
    slots = 0;
    um_space_each(1, count_slots, &slots);
    cr_expect_eq(slots, 0);
}

Test(space, nodes_have_regions_of_their_own) {
    um_span *a = um_space_alloc(0, 1, 1, NULL), *b = um_space_alloc(1, 1, 1, NULL);
    cr_assert(a && b);
    cr_expect_eq(a->node, 0);
    cr_expect_eq(b->node, 1);
    cr_expect_neq(um_span_index(a) / UM_REGION_SLOTS, um_span_index(b) / UM_REGION_SLOTS);
    um_space_check();
    um_space_free(b, UM_SLOT_BYTES);
    cr_expect_eq(um_space_alloc(1, 1, 1, NULL), b);
    um_space_check();
}

Test(space, locks_can_be_held_and_reset_for_fork) {
    um_space_lock_all();
    um_space_unlock_all();
    cr_expect_not_null(take(1, 1, NULL));
    um_space_lock_all();
    um_space_reset_locks();
    cr_expect_not_null(take(1, 1, NULL));
    cr_expect_not_null(um_space_meta(0, 64));
    um_space_check();
}

static void random_take(struct held *h) {
    bool zeroed;
    size_t slots = 1 + seeded_below(seeded_below(8) ? 6 : 200), align = (size_t)1 << seeded_below(7);
    if (live_slots + slots > LIVE_SLOTS_MAX)
        return;
    h->span = take(slots, align, &zeroed);
    cr_assert_not_null(h->span);
    live_slots += slots;
    h->fill = 0;
    if (!zeroed || seeded_below(4))
        fill(h);
}

static void random_free(struct held *h) {
    live_slots -= h->span->slots;
    um_space_free(h->span, h->fill ? bytes_of(h->span) : 0);
    h->span = NULL;
}

static void random_extend(struct held *h) {
    bool zeroed;
    size_t old = h->span->slots, more = 1 + seeded_below(8);
    if (!um_space_extend(h->span, old + more, &zeroed)) {
        cr_assert_eq(h->span->slots, old);
        return;
    }
    live_slots += more;
    cr_assert_eq(h->span->slots, old + more);
    cr_assert(!zeroed || all(h->span, old << UM_SLOT_SHIFT, bytes_of(h->span), 0));
    cr_assert(all(h->span, 0, old << UM_SLOT_SHIFT, h->fill));
    fill(h);
}

static void random_shrink(struct held *h) {
    size_t slots = 1 + seeded_below(h->span->slots);
    if (slots == h->span->slots)
        return;
    live_slots -= h->span->slots - slots;
    um_space_shrink(h->span, slots);
}

static void random_move(struct held *h) {
    size_t old = h->span->slots, slots = old + 1 + seeded_below(20);
    um_span *t;
    if (live_slots + slots > LIVE_SLOTS_MAX)
        return;
    t = um_space_move(h->span, slots, old << UM_SLOT_SHIFT);
    cr_assert_not_null(t);
    um_span_set_kind(t, UM_SPAN_LARGE);
    live_slots += slots - old;
    cr_assert_eq(t->slots, slots);
    h->span = t;
    cr_assert(all(t, 0, old << UM_SLOT_SHIFT, h->fill));
    fill(h);
}

static void random_operation(struct held *h) {
    if (!h->span) {
        random_take(h);
        return;
    }
    cr_assert(all(h->span, 0, bytes_of(h->span), h->fill), "somebody else wrote there");
    switch (seeded_below(8)) {
    case 0:
        random_extend(h);
        break;
    case 1:
        random_shrink(h);
        break;
    case 2:
        random_move(h);
        break;
    default:
        random_free(h);
    }
}

static void random_run(uint64_t seed) {
    seeded_start(seed);
    for (int round = 0; round < ROUNDS; round++) {
        random_operation(&held[seeded_below(SPANS)]);
        if (seeded_below(100) == 0)
            (void)um_space_trim(seeded_below(16) << 20);
        if (round % 16 == 0) {
            um_space_check();
            cr_assert_eq(stat_now().active, live_slots << UM_SLOT_SHIFT);
        }
    }
    for (int i = 0; i < SPANS; i++)
        if (held[i].span)
            random_free(&held[i]);
    um_space_check();
    cr_expect_eq(stat_now().active, 0);
    (void)um_space_trim(0);
    um_space_check();
    cr_expect_eq(stat_now().dirty, 0);
    cr_expect_eq(um_space_footprint, 0);
    cr_expect_eq(um_space_dirty, 0);
}

Test(space, random_operations) {
    random_run(1);
}

Test(space, random_operations_where_addresses_are_given_back) {
    um_os_space_limited = true;
    random_run(2);
    cr_expect_gt(stat_now().unmapped, 0);
}

Test(space, where_addresses_are_scarce_little_is_opened_ahead) {
    um_os_space_limited = true;
    for (size_t taken = 1; taken <= 300; taken++) {
        (void)take(1, 1, NULL);
        cr_assert_leq(um_spaces[0].opened_slots, taken + um_max(4, taken / 8), "%zu", taken);
    }
    (void)take(5, 1, NULL);
    um_space_check();
}

/* Regions are claimed in turn, so where one was used to its end another node's begins. */
static void fill_regions(um_span *s[], int count) {
    static const unsigned node[] = {0, 1, 0};
    um_space_setting.decay_ms = 86400000;
    um_space_setting.hugepages = UM_SPACE_HUGE_OFF;
    for (int i = 0; i < count; i++) {
        s[i] = um_space_alloc(node[i], UM_REGION_SLOTS, 1, NULL);
        cr_assert_not_null(s[i]);
        cr_assert_eq(um_span_index(s[i]), i * UM_REGION_SLOTS);
    }
}

static void count(const um_span *s, void *seen) {
    cr_expect_eq(um_span_kind_of(s), UM_SPAN_FREE);
    *(size_t *)seen += s->slots;
}

static size_t free_at(const um_span *s) {
    return um_span_kind_of(s) == UM_SPAN_FREE ? s->slots : 0;
}

Test(space, spans_of_two_nodes_never_merge) {
    um_span *s[3];
    size_t seen = 0;
    fill_regions(s, 3);
    um_space_free(s[1], 1);
    um_space_free(s[0], 1);
    um_space_free(s[2], 1);
    um_space_check();
    for (int i = 0; i < 3; i++)
        cr_expect_eq(free_at(s[i]), UM_REGION_SLOTS, "%d", i);
    cr_expect_eq(um_space_node_of(um_span_start(s[1] + 1)), 1);
    um_space_each(0, count, &seen);
    cr_expect_eq(seen, 2 * UM_REGION_SLOTS, "its own, each once");
}

Test(space, a_list_goes_back_to_the_spaces_it_is_of) {
    um_span *s[3];
    fill_regions(s, 3);
    for (int i = 0; i < 3; i++) {
        s[i]->bytes = (size_t)i * UM_SLOT_BYTES;
        s[i]->next = i < 2 ? s[i + 1] : NULL;
    }
    um_space_free_list(s[0]);
    um_space_check();
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(free_at(s[i]), UM_REGION_SLOTS, "%d", i);
        cr_expect_eq(s[i]->state, i ? UM_DIRTY : UM_CLEAN, "%d", i);
    }
    um_space_free_list(NULL);
}

Test(space, takes_dirty_slots_and_no_others) {
    um_span *got[8], *barrier, *s = take_filled(3);
    size_t footprint = um_space_footprint;
    cr_expect_eq(um_space_take_dirty(0, got, 8), 0, "what is clean would be a fault");
    barrier = take_filled(1);
    um_space_free(s, bytes_of(s));
    um_place.strict = true;
    cr_expect_eq(um_space_take_dirty(0, got, 8), 0, "nobody has looked at their pages");
    um_place.strict = false;
    cr_assert_eq(um_space_take_dirty(0, got, 2), 2);
    cr_assert_eq(um_space_take_dirty(0, got + 2, 6), 1);
    cr_expect_eq(stat_now().dirty, 0);
    cr_expect_eq(stat_now().active, 4 * UM_SLOT_BYTES);
    cr_expect_eq(um_space_footprint, footprint + UM_SLOT_BYTES, "the barrier");
    for (int i = 0; i < 3; i++) {
        cr_assert(got[i] >= s && got[i] < barrier && got[i]->slots == 1);
        for (int k = 0; k < i; k++)
            cr_assert_neq(got[i], got[k]);
        um_span_set_kind(got[i], UM_SPAN_CACHED);
        got[i]->bytes = UM_SLOT_BYTES;
        got[i]->next = i ? got[i - 1] : NULL;
    }
    um_space_check();
    um_space_free_list(got[2]);
    cr_expect_eq(stat_now().dirty, 3 * UM_SLOT_BYTES);
    um_space_check();
}

Test(space, nothing_is_taken_beside_a_span_from_another_node) {
    um_span *s[3], *last;
    bool zeroed;
    fill_regions(s, 3);
    um_space_shrink(s[0], UM_REGION_SLOTS - 8); /* dirty, before what is clean of the other node */
    um_space_free(s[1], 0);
    last = s[0] + UM_REGION_SLOTS - 8;
    cr_expect_neq(um_space_alloc(0, 20, 1, &zeroed), last);
    um_space_check();
    cr_expect_not(um_space_extend(s[0], UM_REGION_SLOTS + 1, &zeroed));
    cr_expect(um_space_extend(s[0], UM_REGION_SLOTS, &zeroed));
    cr_expect_not(um_space_extend(s[0], UM_REGION_SLOTS + 1, &zeroed));
    cr_expect_eq(free_at(s[1]), UM_REGION_SLOTS);
    um_space_check();
}

Test(space, growth_does_not_go_on_in_another_nodes_region) {
    um_span *s[2];
    bool zeroed;
    fill_regions(s, 2);
    um_space_free(s[1], 0);
    cr_expect_not(um_space_extend(s[0], UM_REGION_SLOTS + 1, &zeroed));
    cr_expect_eq(free_at(s[1]), UM_REGION_SLOTS);
    um_space_check();
}
