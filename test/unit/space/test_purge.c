/* What goes back to the system and when: the budget, age, trimming, refusal, and addresses. */
#include "space/internal.h"
#include "conf/counters.h"
#include "os/os.h"

#include "spans.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPANS = 64, SLOTS = 16 }; /* 64 MiB */

static um_span *spans[SPANS], *barriers[SPANS];

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
}

TestSuite(purge, .init = start);

static um_space_stats stat_now(void) {
    um_space_stats st;
    um_space_check();
    um_space_stat(0, &st);
    return st;
}

static void give(um_span *s) {
    um_space_free(s, (size_t)s->slots << UM_SLOT_SHIFT);
}

/* Spans of 1 MiB, each with a barrier behind it, so that free ones do not merge. */
static void take_all(void) {
    for (int i = 0; i < SPANS; i++) {
        spans[i] = take_filled(SLOTS);
        barriers[i] = take_filled(1);
    }
}

static bool reads_zero(const um_span *s) {
    const char *p = um_span_start(s);
    return p[0] == 0 && memcmp(p, p + 1, ((size_t)s->slots << UM_SLOT_SHIFT) - 1) == 0;
}

Test(purge, dirty_stays_within_the_recent_peak) {
    take_all();
    for (int i = 0; i < SPANS; i++)
        give(spans[i]);
    cr_expect_eq(stat_now().dirty, SPANS * SLOTS * UM_SLOT_BYTES, "the program had that much in use");
    cr_expect_eq(um_count.purges, 0);
    for (int i = 0; i < SPANS; i++)
        spans[i] = take_filled(SLOTS);
    cr_expect_eq(stat_now().dirty, 0);
    cr_expect_eq(stat_now().peak, stat_now().active);
}

Test(purge, growth_takes_from_the_budget) {
    um_space_stats st;
    take_all();
    for (int i = 0; i < SPANS; i++)
        give(spans[i]);
    um_spaces[0].stuck = true;            /* what is dirty cannot come along */
    (void)take_filled(SPANS * SLOTS / 2); /* longer than any free span: fresh memory */
    st = stat_now();
    cr_expect_leq(st.active + st.dirty, (SPANS * SLOTS + SPANS) * UM_SLOT_BYTES);
    cr_expect_gt(um_count.purges, 0);
}

Test(purge, beyond_a_soft_limit_the_budget_is_less) {
    size_t all = SPANS * (SLOTS + 1) * UM_SLOT_BYTES;
    take_all();
    um_space_setting.soft_limit_bytes = all - 8 * UM_MIB;
    um_space_setting.dirty_max = SIZE_MAX; /* would keep all */
    give(spans[0]);
    cr_expect_eq(stat_now().dirty, 0, "beyond it nothing stays");
    for (int i = 1; i < 20; i++)
        give(spans[i]);
    cr_expect_leq(stat_now().active + stat_now().dirty, um_space_setting.soft_limit_bytes);
    cr_expect_gt(stat_now().dirty, 8 * UM_MIB, "below it the usual budget holds");
}

Test(purge, oldest_go_first_down_to_the_maximum) {
    um_space_setting.dirty_max = 10 * UM_MIB;
    take_all();
    for (int i = 0; i < SPANS; i++) {
        give(spans[i]);
        cr_assert_leq(stat_now().dirty, 10 * UM_MIB);
    }
    cr_expect_eq(stat_now().dirty, 10 * UM_MIB);
    for (int i = 0; i < SPANS; i++)
        cr_expect_eq(spans[i]->state, i < SPANS - 10 ? UM_CLEAN : UM_DIRTY, "%d", i);
    cr_expect(reads_zero(spans[0]));
    cr_expect_eq(um_count.purges, SPANS - 10);
    cr_expect_eq(um_count.purged_bytes, (SPANS - 10) * UM_MIB);
}

Test(purge, of_a_long_span_only_the_excess_goes) {
    um_span *before = take_filled(1), *s = take_filled(16 * SLOTS);
    um_space_setting.dirty_max = 10 * UM_MIB;
    give(s);
    cr_expect_eq(stat_now().dirty, 10 * UM_MIB);
    cr_expect_eq(um_count.purged_bytes, 6 * UM_MIB);
    cr_expect_eq(s->slots, 10 * SLOTS);
    cr_expect_eq(s[10 * SLOTS].slots, um_spaces[0].opened_slots - 1 - 10 * SLOTS, "all that is clean is one");
    give(before);
    cr_expect_eq(stat_now().dirty, 9 * UM_MIB + UM_SLOT_BYTES, "no less than 1 MiB at a time");
}

Test(purge, what_goes_of_a_long_span_is_beside_clean_memory) {
    um_span *s = take_filled(4 * SLOTS), *dirty = take_filled(16 * SLOTS), *last = take_filled(1);
    um_space_free(s, 0); /* never touched: clean */
    um_space_setting.dirty_max = 10 * UM_MIB;
    give(dirty);
    cr_expect_eq(stat_now().dirty, 10 * UM_MIB);
    cr_expect_eq(s->slots, 10 * SLOTS);
    cr_expect_eq(s->state, UM_CLEAN);
    cr_expect_eq(last[-1].slots, 10 * SLOTS);
    cr_expect_eq(dirty[6 * SLOTS].state, UM_DIRTY);
}

Test(purge, decay_zero_keeps_nothing) {
    um_space_setting.decay_ms = 0;
    take_all();
    for (int i = 0; i < SPANS; i++) {
        give(spans[i]);
        cr_assert_eq(stat_now().dirty, 0);
    }
}

Test(purge, trim_stops_at_what_shall_be_kept) {
    take_all();
    for (int i = 0; i < SPANS; i++)
        give(spans[i]);
    cr_expect(um_space_trim(20 * UM_MIB));
    cr_expect_eq(stat_now().dirty, 20 * UM_MIB);
    cr_expect_not(um_space_trim(20 * UM_MIB), "nothing more to do");
    cr_expect(um_space_trim(0));
    cr_expect_eq(stat_now().dirty, 0);
    cr_expect_eq(um_space_dirty, 0);
    cr_expect_not(um_space_trim(0));
}

Test(purge, a_thread_that_ended_leaves_a_quarter) {
    take_all();
    for (int i = 0; i < SPANS / 2; i++)
        give(spans[i]);
    um_space_trim_idle();
    cr_expect_leq(stat_now().dirty, stat_now().active / 4);
    cr_expect_geq(stat_now().dirty + UM_MIB, stat_now().active / 4);
    for (int i = SPANS / 2; i < SPANS; i++)
        give(spans[i]);
    for (int i = 0; i < SPANS; i++)
        give(barriers[i]);
    um_space_trim_idle();
    cr_expect_leq(stat_now().dirty, UM_MIB);
}

Test(purge, young_memory_does_not_decay) {
    take_all();
    for (int i = 0; i < SPANS; i++)
        give(spans[i]);
    um_space_tick();
    um_space_tick();
    cr_expect_eq(stat_now().dirty, SPANS * UM_MIB);
}

/* Ends when age has done its work, however slow the machine. */
Test(purge, old_memory_decays_by_ticks_alone) {
    um_space_setting.decay_ms = 20;
    take_all();
    for (int i = 0; i < SPANS; i++)
        give(spans[i]);
    while (um_space_dirty > 0)
        um_space_tick();
    cr_expect_eq(stat_now().dirty, 0);
    cr_expect_eq(spans[SPANS - 1]->state, UM_CLEAN);
    cr_expect(reads_zero(spans[SPANS - 1]));
}

/* What is freed long after the peak finds a budget without it. Ends when age has done its work, too. */
Test(purge, the_peak_is_forgotten) {
    um_space_setting.decay_ms = 20;
    take_all();
    for (int i = 0; i < SPANS - 1; i++)
        give(spans[i]);
    while (um_max(um_spaces[0].peak_before, um_spaces[0].peak_now) > um_spaces[0].active_slots
                                                                         << UM_SLOT_SHIFT)
        um_space_tick();
    um_space_setting.decay_ms = 86400000;
    (void)take_filled(400);
    give(spans[SPANS - 1]);
    cr_expect_leq(stat_now().dirty, 4 * UM_MIB);
}

Test(purge, spans_hardly_touched_go_at_once) {
    um_span *a, *b;
    take_all();
    a = take_filled(SLOTS);
    (void)take_filled(1);
    b = take_filled(SLOTS);
    for (int i = 0; i < 8; i++)
        give(spans[i]);
    um_space_free(a, UM_SLOT_BYTES); /* says one of sixteen slots */
    cr_expect_eq(a->state, UM_CLEAN);
    cr_expect(reads_zero(a));
    um_space_free(b, SLOTS * UM_SLOT_BYTES);
    cr_expect_eq(b->state, UM_DIRTY);
    cr_expect_eq(stat_now().dirty, 9 * UM_MIB);
}

/* The kernel refuses to take locked pages: they stay dirty, are not called zero, and are not tried at once
   again. */
Test(purge, locked_memory_stays_dirty) {
    bool zeroed = true;
    um_span *s = take_filled(SLOTS);
    (void)take_filled(1);
    cr_assert_eq(syscall(SYS_mlock, um_span_start(s), SLOTS * UM_SLOT_BYTES), 0);
    give(s);
    cr_expect_not(um_space_trim(0));
    cr_expect_eq(stat_now().dirty, SLOTS * UM_SLOT_BYTES);
    cr_expect_eq(s->state, UM_DIRTY);
    cr_expect_eq(um_count.purge_failures, 1);
    cr_expect_eq(um_count.purges, 0);
    um_space_trim_idle();
    um_space_purge_excess(&um_spaces[0]);
    um_space_setting.dirty_max = 1;
    um_space_purge_excess(&um_spaces[0]);
    cr_expect_eq(um_count.purge_failures, 1, "refused a moment ago");
    cr_expect_eq(um_space_alloc(0, SLOTS, 1, &zeroed), s);
    cr_expect_not(zeroed);
    cr_expect_eq(*um_span_start(s), 0x5a);
}

Test(purge, beyond_a_soft_limit_what_was_refused_a_moment_ago_is_tried_again) {
    um_span *s = take_filled(SLOTS);
    (void)take_filled(1);
    cr_assert_eq(syscall(SYS_mlock, um_span_start(s), SLOTS * UM_SLOT_BYTES), 0);
    give(s);
    cr_expect_not(um_space_trim(0));
    cr_assert_eq(syscall(SYS_munlock, um_span_start(s), SLOTS * UM_SLOT_BYTES), 0);
    um_space_setting.soft_limit_bytes = 1;
    um_space_purge_excess(&um_spaces[0]);
    cr_expect_eq(s->state, UM_DIRTY, "usually it is not");
    um_space_relieve();
    cr_expect_eq(s->state, UM_CLEAN);
    cr_expect_eq(stat_now().dirty, 0);
}

Test(purge, scarce_addresses_are_given_back_and_taken_again) {
    bool zeroed = false;
    size_t mapped;
    um_span *s = take_filled(SLOTS), *small;
    (void)take_filled(1);
    small = take_filled(SLOTS - 1);
    (void)take_filled(1);
    um_os_space_limited = true;
    mapped = stat_now().mapped;
    give(s);
    give(small);
    cr_expect(um_space_trim(0));
    cr_expect_eq(s->state, UM_UNMAPPED);
    cr_expect_eq(small->state, UM_CLEAN, "not worth a mapping of its own");
    cr_expect_eq(stat_now().unmapped, SLOTS * UM_SLOT_BYTES);
    cr_expect_eq(stat_now().mapped, mapped - SLOTS * UM_SLOT_BYTES);
    for (um_span *t = NULL; t != s;) { /* clean memory comes first */
        t = um_space_alloc(0, SLOTS, 1, &zeroed);
        cr_assert_not_null(t);
        cr_assert(zeroed);
        um_span_set_kind(t, UM_SPAN_LARGE);
    }
    cr_expect(reads_zero(s));
    memset(um_span_start(s), 1, SLOTS * UM_SLOT_BYTES);
    cr_expect_eq(stat_now().unmapped, 0);
}

Test(purge, extends_into_addresses_that_were_given_back) {
    bool zeroed = false;
    um_span *s = take_filled(4), *t = take_filled(2 * SLOTS);
    (void)take_filled(1);
    um_os_space_limited = true;
    give(t);
    cr_expect(um_space_trim(0));
    cr_assert_eq(stat_now().unmapped, 2 * SLOTS * UM_SLOT_BYTES);
    cr_assert(um_space_extend(s, 4 + SLOTS, &zeroed));
    cr_expect(zeroed);
    memset(um_span_start(s), 1, (4 + SLOTS) * UM_SLOT_BYTES);
    cr_expect_eq(stat_now().unmapped, SLOTS * UM_SLOT_BYTES);
}
