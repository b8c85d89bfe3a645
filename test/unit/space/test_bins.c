/* The bins against a plain array: what is found fits, is as small as promised, and is found whenever it is
   there. */
#include "space/bins.h"

#include "seeded.h"

#include <criterion/criterion.h>

enum { SPANS = 64, ROUNDS = 200000 };

static um_bins bins;
static um_span spans[SPANS];
static bool in[SPANS];

/* The least length among those in the bins that is at least `slots`; 0: none. */
static size_t least(size_t slots) {
    size_t best = 0;
    for (int i = 0; i < SPANS; i++)
        if (in[i] && spans[i].slots >= slots && (!best || spans[i].slots < best))
            best = spans[i].slots;
    return best;
}

static void expect_found(size_t slots) {
    const um_span *s = um_bins_find(&bins, slots);
    size_t best = least(slots);
    cr_assert_eq(s != NULL, best != 0, "%zu slots", slots);
    if (!s)
        return;
    cr_assert(s >= spans && s < spans + SPANS && in[s - spans]);
    cr_assert_geq(s->slots, slots);
    if (best <= UM_BINS_EXACT) /* beyond, within its quarter of a doubling or a full one more */
        cr_assert_eq(s->slots, best, "%zu slots", slots);
    else
        cr_assert_leq(s->slots, best + best / 2, "%zu slots", slots);
}

static void flip(int i, size_t slots) {
    if (in[i]) {
        um_bins_remove(&bins, &spans[i]);
    } else {
        spans[i].slots = (uint32_t)slots;
        um_bins_insert(&bins, &spans[i]);
    }
    in[i] = !in[i];
}

Test(bins, empty_ones_hold_nothing) {
    for (size_t slots = 1; slots <= (size_t)1 << 28; slots *= 2)
        cr_expect_null(um_bins_find(&bins, slots));
}

Test(bins, one_span_serves_all_up_to_its_length) {
    for (size_t have = 1; have <= (size_t)1 << 28; have += have / 5 + 1) {
        flip(0, have);
        for (size_t want = 1; want <= have; want += want / 7 + 1)
            cr_assert_eq(um_bins_find(&bins, want), &spans[0], "%zu of %zu", want, have);
        cr_assert_eq(um_bins_find(&bins, have), &spans[0]);
        cr_assert_null(um_bins_find(&bins, have + 1));
        flip(0, 0);
        cr_assert_null(um_bins_find(&bins, 1));
    }
}

Test(bins, last_in_comes_first) {
    for (int i = 0; i < 5; i++)
        flip(i, 7);
    for (int i = 5; i-- > 0;) {
        cr_expect_eq(um_bins_find(&bins, 7), &spans[i]);
        flip(i, 0);
    }
}

Test(bins, any_order_of_lengths_to_the_largest) {
    seeded_start(1);
    for (int round = 0; round < ROUNDS; round++) {
        size_t most = (size_t)1 << seeded_below(28);
        flip((int)seeded_below(SPANS), 1 + seeded_below(most));
        expect_found(1 + seeded_below(most));
    }
}

Test(bins, finds_what_lies_deep_in_its_own_list) {
    flip(0, 39);
    for (int i = 1; i < 20; i++)
        flip(i, 33); /* the same list, before it */
    cr_expect_eq(um_bins_find(&bins, 39), &spans[0]);
}
