/* Long requests where dirty and clean memory lie side by side: the place with most of what is dirty is taken,
   its ends stay what they were, and gaps get pages from elsewhere. */
#include "space/internal.h"
#include "conf/counters.h"
#include "os/os.h"

#include "pulls.h"
#include "spans.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum { NODE = 0, LIVE = 64, STEPS = 20000, SLOTS_MOST = 40, ROW = 16, FILL = 0x5a };

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
    um_space_setting.decay_ms = 86400000; /* age is nobody's reason */
}

TestSuite(mixed, .init = start);

static size_t dirty_slots(void) {
    um_space_stats st;
    um_space_check();
    um_space_stat(NODE, &st);
    return st.dirty >> UM_SLOT_SHIFT;
}

/* Spans side by side between two barriers. Rows are taken before any is given back, which leaves each of them
   dirty and clean in turn. */
typedef struct row {
    um_span *s[ROW];
    size_t count;
} row;

static row take_row(const size_t *slots) { /* 0 ends the list */
    row r = {.count = 0};
    (void)take_filled(1);
    for (; slots[r.count]; r.count++)
        r.s[r.count] = take_filled(slots[r.count]);
    (void)take_filled(1);
    return r;
}

static void give_clean(um_span *s) {
    cr_assert_eq(um_os_purge((uintptr_t)um_span_start(s), (size_t)s->slots << UM_SLOT_SHIFT), 0);
    um_space_free(s, 0);
}

static um_span *give_row(const row *r) {
    for (size_t i = 0; i < r->count; i++)
        if (i % 2)
            give_clean(r->s[i]);
        else
            um_space_free(r->s[i], (size_t)r->s[i]->slots << UM_SLOT_SHIFT);
    return r->s[0];
}

static um_span *lay_out(const size_t *slots) {
    row r = take_row(slots);
    return give_row(&r);
}

static um_span *take_long(size_t slots, bool *zeroed) {
    um_span *s = um_space_alloc(NODE, slots, 1, zeroed);
    cr_assert_not_null(s);
    um_span_set_kind(s, UM_SPAN_LARGE);
    return s;
}

/* Slots of s, from one on, all of whose bytes are this one. */
static size_t slots_of(const um_span *s, size_t from, int byte) {
    size_t n = 0;
    for (; from + n < s->slots; n++) {
        const char *p = um_span_start(s + from + n);
        if (p[0] != byte || memcmp(p, p + 1, UM_SLOT_BYTES - 1) != 0)
            break;
    }
    return n;
}

Test(mixed, dirty_memory_serves_with_the_clean_behind_it) {
    um_span *at = lay_out((size_t[]){8, 40, 0}), *s;
    bool zeroed = true;
    s = take_long(20, &zeroed);
    cr_expect_eq(s, at);
    cr_expect_not(zeroed);
    cr_expect_eq(slots_of(s, 0, FILL), 8);
    cr_expect_eq(slots_of(s, 8, 0), 12);
    cr_expect_eq(s->bytes, 8 * UM_SLOT_BYTES);
    cr_expect_eq(um_space_around(s + 8), s);
    cr_expect_eq(um_space_around(s + 19), s);
    cr_expect_eq(dirty_slots(), 0);
    cr_expect_eq(take_long(28, &zeroed), at + 20, "what is left is clean as it was");
    cr_expect(zeroed);
}

Test(mixed, where_no_more_is_free_behind_the_clean_before_it_serves) {
    um_span *at = lay_out((size_t[]){1, 40, 8, 0}), *s;
    bool zeroed = true;
    s = take_long(20, &zeroed);
    cr_expect_eq(s, at + 29);
    cr_expect_not(zeroed);
    cr_expect_eq(slots_of(s, 12, FILL), 8);
    cr_expect_eq(at[1].slots, 28);
    cr_expect_eq(at[1].state, UM_CLEAN);
}

Test(mixed, the_place_with_most_of_it_wins) {
    row r[] = {take_row((size_t[]){3, 40, 0}), take_row((size_t[]){9, 40, 0}),
               take_row((size_t[]){3, 40, 0})};
    um_span *s;
    bool zeroed;
    for (size_t i = 0; i < 3; i++)
        (void)give_row(&r[i]);
    s = take_long(20, &zeroed);
    cr_expect_eq(s, r[1].s[0]);
    cr_expect_eq(dirty_slots(), 6, "a short request takes no short pieces");
}

Test(mixed, gaps_get_pages_from_elsewhere) {
    row near = take_row((size_t[]){8, 40, 0}), far = take_row((size_t[]){7, 0});
    um_span *at = give_row(&near), *s;
    bool zeroed;
    (void)give_row(&far);
    s = take_long(20, &zeroed);
    cr_expect_eq(s, at);
    cr_expect_eq(slots_of(s, 0, FILL), 15);
    cr_expect_eq(slots_of(s, 15, 0), 5);
    cr_expect_eq(dirty_slots(), 0);
}

Test(mixed, short_gaps_are_not_worth_a_move) {
    row near = take_row((size_t[]){8, 3, 8, 0}), far = take_row((size_t[]){7, 0});
    um_span *at = give_row(&near), *s;
    bool zeroed;
    (void)give_row(&far);
    s = take_long(19, &zeroed);
    cr_expect_eq(s, at);
    cr_expect_eq(pulls, 0);
    cr_expect_eq(dirty_slots(), 7);
}

Test(mixed, a_move_that_fails_makes_all_of_it_anew) {
    row near = take_row((size_t[]){8, 5, 8, 5, 0}), far = take_row((size_t[]){7, 0});
    um_span *at = give_row(&near), *s;
    bool zeroed = false;
    (void)give_row(&far);
    fail_with = EFAULT;
    s = take_long(26, &zeroed);
    cr_expect_eq(s, at);
    cr_expect_eq(pulls, 1, "not tried again");
    cr_expect(zeroed);
    cr_expect_eq(slots_of(s, 0, 0), 26);
    cr_expect_eq(dirty_slots(), 7);
}

Test(mixed, many_parts_become_one_span) {
    um_span *at = lay_out((size_t[]){2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0}), *s;
    bool zeroed;
    s = take_long(23, &zeroed);
    cr_expect_eq(s, at);
    cr_expect_eq(dirty_slots(), 0);
    cr_expect_eq(s->slots, 23);
    um_space_free(s, 1);
    cr_expect_eq(dirty_slots(), 0, "a byte");
    cr_expect_eq(at->slots, 23);
    cr_expect_eq(um_spaces[NODE].oldest, at);
}

Test(mixed, what_was_unmapped_is_no_part_of_it) {
    um_span *at, *gone, *s;
    bool zeroed;
    (void)take_filled(1);
    at = take_filled(8);
    gone = take_filled(40);
    (void)take_filled(1);
    um_os_space_limited = true;
    um_space_free(gone, 40 * UM_SLOT_BYTES);
    cr_assert(um_space_trim(0));
    cr_assert_eq(gone->state, UM_UNMAPPED);
    um_space_free(at, 8 * UM_SLOT_BYTES);
    s = take_long(20, &zeroed);
    cr_expect_neq(s, at);
    memset(um_span_start(s), 1, 20 * UM_SLOT_BYTES);
    um_space_check();
}

Test(mixed, aligned_requests_stay_aligned) {
    bool zeroed;
    um_span *s;
    (void)lay_out((size_t[]){7, 40, 0});
    s = um_space_alloc(NODE, 16, 16, &zeroed);
    cr_assert_not_null(s);
    cr_expect_eq((uintptr_t)um_span_start(s) % (16 * UM_SLOT_BYTES), 0);
}

static void mark(um_span *s, uint64_t value) {
    for (size_t i = 0; i < s->slots; i++)
        *(volatile uint64_t *)um_span_start(s + i) = value + i;
}

static void expect_mark(um_span *s, uint64_t value) {
    for (size_t i = 0; i < s->slots; i++)
        cr_assert_eq(*(volatile uint64_t *)um_span_start(s + i), value + i);
}

Test(mixed, no_two_owners_ever) {
    um_span *live[LIVE] = {NULL};
    uint64_t random = 1;
    um_space_setting.dirty_max = 16 * UM_MIB;
    for (uint64_t step = 1; step <= STEPS; step++) {
        um_span **s = &live[(random = random * 6364136223846793005u + 1442695040888963407u) >> 58];
        bool zeroed;
        if (*s) {
            expect_mark(*s, (uint64_t)(s - live) << 32);
            if (random >> 40 & 3)
                um_space_free(*s, (size_t)(*s)->slots << UM_SLOT_SHIFT);
            else
                give_clean(*s);
            *s = NULL;
        } else {
            *s = take_long(1 + (random >> 33) % SLOTS_MOST, &zeroed);
            if (zeroed)
                cr_assert_eq(*(volatile uint64_t *)um_span_start(*s + (*s)->slots - 1), 0);
            mark(*s, (uint64_t)(s - live) << 32);
        }
        if (step % 256 == 0)
            um_space_check();
    }
}
