/* Which memory is advised for huge pages, what purging does to the advice, and which spans are kept or purged
   for the sake of whole pages. The kernel's own view is read from smaps, so the tests need no huge pages. */
#include "space/internal.h"
#include "os/os.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { PAGES = 400, SLOTS = (int)UM_HUGE_SLOTS };

static um_span *slot[PAGES * SLOTS];

/* What memory costs here: time stands still but for what these say. */
enum { SMALL_NS = 10000, CHEAP_NS = 200000, DEAR_NS = 4000000 };
static uint64_t clock_ns, huge_ns = CHEAP_NS;
static uintptr_t collapsed_from, collapsed_to;
static int collapses;

uint64_t __wrap_um_os_now_ns(void);
uint64_t __wrap_um_os_now_ns(void) {
    return clock_ns;
}

int __real_um_os_populate(uintptr_t at, size_t bytes);
int __wrap_um_os_populate(uintptr_t at, size_t bytes);
int __wrap_um_os_populate(uintptr_t at, size_t bytes) {
    clock_ns += bytes > UM_SLOT_BYTES ? huge_ns : SMALL_NS;
    return __real_um_os_populate(at, bytes);
}

int __wrap_um_os_collapse(uintptr_t at, size_t bytes);
int __wrap_um_os_collapse(uintptr_t at, size_t bytes) {
    cr_assert_eq(at % (2 * UM_MIB), 0);
    cr_assert_eq(bytes, 2 * UM_MIB);
    collapsed_from = collapses ? collapsed_from : at;
    collapsed_to = at + bytes;
    collapses++;
    return 0;
}

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
    um_space_setting.decay_ms = 86400000;
}

TestSuite(huge, .init = start);

static um_span *take(size_t slots, um_span_kind kind) {
    um_span *s = um_space_alloc(0, slots, 1, NULL);
    cr_assert_not_null(s);
    um_span_set_kind(s, kind);
    return s;
}

/* As a slab that is cut to its end. */
static um_span *take_full(void) {
    um_span *s = take(1, UM_SPAN_SLAB);
    um_space_note_full(s);
    *um_span_start(s) = 1;
    return s;
}

static void give(um_span *s) {
    um_space_free(s, (size_t)s->slots << UM_SLOT_SHIFT);
}

/* 'h' advised for huge pages, 'n' exempted, '-' neither; and how many mappings the slots are in. Other memory
   of the process is not counted: the runtime of a sanitizer maps and joins its own at any time. */
static char advice(const void *p, unsigned *mappings) {
    static char line[4096];
    FILE *f = fopen("/proc/self/smaps", "r");
    size_t from, to, start = um_space_window.base;
    size_t end = start + UM_PEEK(size_t, um_space_window.opened_bytes);
    char found = '?';
    bool inside = false;
    cr_assert_not_null(f);
    *mappings = 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "%zx-%zx ", &from, &to) == 2) {
            inside = (size_t)p >= from && (size_t)p < to;
            *mappings += to > start && from < end;
        } else if (inside && !strncmp(line, "VmFlags:", 8)) {
            found = strstr(line, " hg") ? 'h' : strstr(line, " nh") ? 'n' : '-';
        }
    (void)fclose(f);
    return found;
}

static char advice_of(const um_span *s) {
    unsigned mappings;
    return advice(um_span_start(s), &mappings);
}

/* Its start may be in memory that was opened before. */
static char advice_at_end(const um_span *s) {
    return advice_of(s + s->slots - 1);
}

/* The first of `count` whole huge pages of slots in use, all advised; slot[] from there on. */
static void take_pages(int count) {
    int i = 0;
    um_space_setting.hugepages = UM_SPACE_HUGE_ALWAYS;
    for (slot[0] = take_full(); um_span_index(slot[0]) % UM_HUGE_SLOTS;)
        slot[0] = take_full();
    for (i = 1; i < count * SLOTS; i++) {
        slot[i] = take_full();
        cr_assert_eq(slot[i], slot[0] + i);
    }
    um_space_setting.hugepages = UM_SPACE_HUGE_AUTO;
    cr_assert_eq(advice_of(slot[0]), 'h');
}

static void purge_all(void) {
    um_space_setting.dirty_max = 1;
    um_space_purge_excess(&um_spaces[0]);
    um_space_check();
}

Test(huge, a_small_heap_is_exempted) {
    um_span *s = NULL;
    for (size_t i = 0; i < 31 * UM_MIB / UM_SLOT_BYTES; i++)
        s = take_full();
    cr_expect_eq(advice_of(s), 'n');
}

Test(huge, a_heap_in_use_gets_them) {
    um_span *s = NULL;
    for (size_t i = 0; i < 64 * UM_MIB / UM_SLOT_BYTES; i++)
        s = take_full();
    cr_expect_eq(advice_of(s), 'h');
}

static um_span *grow_to(size_t mib) {
    um_span *s = NULL;
    while (um_spaces[0].full_slots < mib * UM_MIB / UM_SLOT_BYTES)
        s = take_full();
    return s;
}

/* Small pages until the heap has doubled, then another look. */
Test(huge, dear_ones_are_done_without) {
    um_span *s;
    huge_ns = DEAR_NS;
    s = grow_to(40);
    cr_expect_eq(advice_of(s), 'n');
    huge_ns = CHEAP_NS;
    s = grow_to(60);
    cr_expect_eq(advice_of(s), 'n', "not looked at again yet");
    s = grow_to(100);
    cr_expect_eq(advice_of(s), 'h');
    cr_expect_eq(collapses, 0);
}

Test(huge, one_dear_page_ends_it) {
    um_span *s = grow_to(40);
    cr_expect_eq(advice_of(s), 'h');
    um_huge_paid(&um_spaces[0], CHEAP_NS);
    cr_expect_eq(advice_of(s), 'h');
    um_huge_paid(&um_spaces[0], DEAR_NS);
    cr_expect_eq(advice_of(s), 'n', "what is touched from now on is small");
    s = grow_to(100);
    cr_expect_eq(advice_of(s), 'h');
}

Test(huge, a_big_heap_gets_them_at_any_price) {
    um_span *first, *s;
    huge_ns = DEAR_NS;
    first = grow_to(64);
    cr_expect_eq(advice_of(first), 'n');
    while (um_spaces[0].active_slots % UM_HUGE_SLOTS)
        (void)take(1, UM_SPAN_LARGE); /* one page of the heap that is not all slabs */
    atomic_fetch_add(&um_spaces[0].full_slots, 320 * UM_MIB / UM_SLOT_BYTES); /* as if there were more */
    for (int i = 0; i < 40 * SLOTS; i++)
        s = take_full();
    cr_expect_eq(advice_of(s), 'h');
    cr_expect_eq(advice_of(first), 'h');
    um_huge_paid(&um_spaces[0], DEAR_NS);
    cr_expect_eq(advice_of(s), 'h', "no price matters now");
    cr_expect_gt(collapses, 24, "what was small is made huge");
    cr_expect_lt(collapses, 24 + 40);
    cr_expect_eq(collapsed_from, um_space_window.base);
    cr_expect_geq(collapsed_to, (uintptr_t)um_span_start(first));
}

Test(huge, one_that_is_not_surely_in_use_does_not) {
    um_span *s = NULL;
    for (size_t i = 0; i < 64 * UM_MIB / UM_SLOT_BYTES; i++)
        s = take(1, UM_SPAN_SLAB);
    cr_expect_eq(advice_of(s), 'n');
    for (size_t i = 0; i < 400 * UM_MIB / UM_SLOT_BYTES; i += 16)
        s = take(16, UM_SPAN_LARGE);
    cr_expect_eq(advice_of(s), 'n', "stacks and tables are often touched in part");
}

Test(huge, a_large_block_gets_them_beside_as_much_that_is_in_use) {
    um_span *s = NULL;
    for (size_t i = 0; i < 100 * UM_MIB / UM_SLOT_BYTES; i++)
        (void)take_full();
    s = take(80 * UM_MIB / UM_SLOT_BYTES, UM_SPAN_LARGE);
    cr_expect_eq(advice_at_end(s), 'h');
    cr_expect_eq((uintptr_t)um_span_start(s) % (2 * UM_MIB), 0, "aligned to huge pages");
    s = take(400 * UM_MIB / UM_SLOT_BYTES, UM_SPAN_LARGE);
    cr_expect_eq(advice_at_end(s), 'n');
    s = take(300 * UM_MIB / UM_SLOT_BYTES, UM_SPAN_LARGE);
    cr_expect_eq(advice_at_end(s), 'h', "all is large here");
}

Test(huge, modes_that_say_so) {
    um_span *s;
    um_space_setting.hugepages = UM_SPACE_HUGE_THP;
    s = take(1, UM_SPAN_LARGE);
    cr_expect_eq(advice_at_end(s), 'n');
    s = take(100, UM_SPAN_LARGE);
    cr_expect_eq(advice_at_end(s), 'h');
    um_space_setting.hugepages = UM_SPACE_HUGE_OFF;
    s = take(2000, UM_SPAN_LARGE);
    cr_expect_eq(advice_at_end(s), 'n');
}

Test(huge, memory_that_was_moved_away_is_advised_again) {
    um_span *s, *t;
    take_pages(1);
    um_space_setting.hugepages = UM_SPACE_HUGE_ALWAYS;
    s = take(64, UM_SPAN_LARGE);
    (void)take(1, UM_SPAN_LARGE);
    memset(um_span_start(s), 1, 64 * UM_SLOT_BYTES);
    t = um_space_move(s, 128, 64 * UM_SLOT_BYTES);
    cr_assert_not_null(t);
    cr_expect_eq(advice_of(s), 'h');
    um_space_free(t, 0);
    cr_expect_eq(advice_of(t), 'h');
}

Test(huge, a_page_that_is_broken_up_is_marked_until_it_is_full) {
    unsigned before, mappings;
    take_pages(4);
    (void)advice(um_span_start(slot[0]), &before);
    for (int i = SLOTS; i < SLOTS + 8; i++)
        give(slot[i]);
    purge_all();
    cr_expect_eq(slot[SLOTS]->state, UM_CLEAN);
    cr_expect_eq(advice(um_span_start(slot[SLOTS]), &mappings), 'n');
    cr_expect_eq(mappings, before + 2);
    cr_expect_eq(advice_of(slot[0]), 'h');
    cr_expect_eq(advice_of(slot[2 * SLOTS]), 'h');
    um_huge_tick_locked(&um_spaces[0]);
    cr_expect_eq(advice_of(slot[SLOTS]), 'n');
    for (int i = 0; i < 8; i++)
        (void)take_full();
    um_huge_tick_locked(&um_spaces[0]);
    cr_expect_eq(advice_of(slot[SLOTS]), 'h');
    (void)advice(um_span_start(slot[0]), &mappings);
    cr_expect_eq(mappings, before);
}

Test(huge, a_page_that_is_emptied_is_not_marked) {
    take_pages(4);
    for (int i = SLOTS; i < 3 * SLOTS; i++)
        give(slot[i]);
    purge_all();
    cr_expect_eq(slot[SLOTS]->state, UM_CLEAN);
    cr_expect_eq(advice_of(slot[SLOTS]), 'h');
    cr_expect_eq(um_spaces[0].huge.marks, 0);
}

/* A huge page is there as a whole once it is touched, with slots that nobody has. */
Test(huge, what_is_clean_beside_a_purged_span_goes_too) {
    um_span *s, *t, *u;
    char *behind, *before;
    take_pages(1);
    um_space_setting.hugepages = UM_SPACE_HUGE_ALWAYS;
    s = take(UM_HUGE_SLOTS + 8, UM_SPAN_LARGE);
    t = take(UM_HUGE_SLOTS, UM_SPAN_LARGE);
    cr_assert_eq(t, s + 2 * UM_HUGE_SLOTS, "both begin at a huge page");
    behind = um_span_start(s) + (UM_HUGE_SLOTS + 8) * UM_SLOT_BYTES;
    behind[0] = behind[24 * UM_SLOT_BYTES - 1] = 1;
    give(s);
    purge_all();
    cr_expect_eq(behind[0], 0);
    cr_expect_eq(behind[24 * UM_SLOT_BYTES - 1], 0);
    s = take(8, UM_SPAN_LARGE);
    u = take(24, UM_SPAN_LARGE);
    cr_assert_eq(u, s + 8);
    cr_assert_eq(um_span_index(s) % UM_HUGE_SLOTS, 0);
    before = um_span_start(s);
    give(s);
    purge_all();
    before[0] = 1;
    give(u);
    purge_all();
    cr_expect_eq(before[0], 0);
    um_space_check();
}

Test(huge, gaps_in_full_pages_are_kept_while_they_are_full) {
    take_pages(3);
    give(slot[SLOTS + 5]);
    give(slot[SLOTS + 7]);
    purge_all();
    cr_expect_eq(slot[SLOTS + 5]->state, UM_DIRTY);
    cr_expect_eq(um_spaces[0].kept_bytes, 2 * UM_SLOT_BYTES);
    cr_expect_not(um_space_crowded_locked(&um_spaces[0]), "what is kept is not in excess");
    cr_expect_eq(um_space_dirty, 0, "nor hurries anybody");
    give(slot[SLOTS + 20]);
    cr_expect_eq(um_spaces[0].kept_bytes, 0);
    purge_all();
    cr_expect_eq(slot[SLOTS + 5]->state, UM_CLEAN);
    cr_expect_eq(slot[SLOTS + 20]->state, UM_CLEAN);
    cr_expect_eq(um_spaces[0].dirty_bytes, 0);
}

Test(huge, what_is_kept_is_reused_and_trimmed) {
    um_span *s;
    take_pages(3);
    um_space_setting.dirty_max = 1;
    give(slot[5]);
    give(slot[SLOTS + 5]);
    cr_expect_eq(um_spaces[0].kept_bytes, 2 * UM_SLOT_BYTES);
    s = take_full();
    cr_expect(s == slot[5] || s == slot[SLOTS + 5]);
    cr_expect_eq(um_spaces[0].kept_bytes, UM_SLOT_BYTES);
    um_space_check();
    cr_expect(um_space_trim(0));
    cr_expect_eq(um_spaces[0].dirty_bytes, 0);
    cr_expect_eq(um_spaces[0].kept_bytes, 0);
}

Test(huge, what_is_kept_goes_beyond_a_soft_limit) {
    take_pages(3);
    give(slot[SLOTS + 5]);
    give(slot[SLOTS + 7]);
    purge_all();
    cr_assert_eq(um_spaces[0].kept_bytes, 2 * UM_SLOT_BYTES);
    um_space_relieve();
    cr_expect_eq(um_spaces[0].dirty_bytes, 2 * UM_SLOT_BYTES, "there is no limit");
    um_space_setting.soft_limit_bytes = um_space_footprint - UM_SLOT_BYTES;
    um_space_relieve();
    cr_expect_eq(um_space_excess(), 0);
    cr_expect_lt(um_spaces[0].dirty_bytes, 2 * UM_SLOT_BYTES);
    um_space_check();
}

Test(huge, whole_pages_are_purged_before_parts) {
    take_pages(4);
    for (int i = 0; i < 10; i++)
        give(slot[i]);
    for (int i = 2 * SLOTS; i < 3 * SLOTS; i++)
        give(slot[i]);
    um_space_setting.dirty_max = 20 * UM_SLOT_BYTES;
    um_space_purge_excess(&um_spaces[0]);
    cr_expect_eq(slot[0]->state, UM_DIRTY, "older, but a part");
    cr_expect_eq(slot[2 * SLOTS]->state, UM_CLEAN);
}

Test(huge, small_spans_go_to_the_fullest_page) {
    um_span *s;
    take_pages(4);
    give(slot[SLOTS]); /* in a full page */
    for (int i = 2 * SLOTS; i < 3 * SLOTS; i += 4)
        give(slot[i]); /* in an emptier one, and freed later */
    s = take_full();
    cr_expect_eq(s, slot[SLOTS]);
}

/* Every second slot of all pages comes and goes: marks and mappings stay few, and the advice comes back once
   the heap is full and grows. */
Test(huge, too_many_marks_exempt_all_until_the_heap_is_full) {
    unsigned before, mappings;
    int at = 0;
    take_pages(PAGES);
    (void)advice(um_span_start(slot[0]), &before);
    for (int i = 0; i < PAGES * SLOTS; i += 2)
        give(slot[i]);
    purge_all();
    cr_expect_eq(advice(um_span_start(slot[0]), &mappings), 'n');
    cr_expect_eq(advice_of(slot[PAGES * SLOTS - 1]), 'n');
    cr_expect_leq(mappings, before + 1);
    um_space_setting.hugepages = UM_SPACE_HUGE_AUTO;
    for (; um_spaces[0].run_slots == 0 && advice_of(slot[0]) == 'n' && at < 2 * PAGES; at++)
        for (int i = 0; i < SLOTS; i++)
            (void)take_full();
    cr_expect_eq(advice_of(slot[0]), 'h');
    (void)advice(um_span_start(slot[0]), &mappings);
    cr_expect_leq(mappings, before + 1);
}

/* Blocks of 70,000 bytes: two slots, of which 14 pages are nobody's. */
static um_span *take_ragged(void) {
    um_span *s = take(2, UM_SPAN_LARGE);
    um_space_note_slack(s, 14);
    return s;
}

static bool last_run_is_huge(void) {
    const um_huge *h = &um_spaces[0].huge;
    return h->run[h->runs - 1].huge;
}

Test(huge, what_is_not_asked_for_keeps_them_away) {
    um_space_setting.hugepages = UM_SPACE_HUGE_THP;
    for (int i = 0; i < 1000; i++)
        slot[i] = take_ragged();
    cr_expect_not(last_run_is_huge());
    for (int i = 0; i < 1000; i++) {
        um_space_note_slack(slot[i], 0);
        um_space_free(slot[i], 2 * UM_SLOT_BYTES);
    }
    cr_expect_eq(um_spaces[0].slack_pages, 0);
    for (int i = 0; i < 3000; i++)
        (void)take(1, UM_SPAN_LARGE);
    cr_expect(last_run_is_huge());
    for (int i = 0; i < 100; i++)
        (void)take_ragged();
    for (size_t end = um_spaces[0].open_slot; um_spaces[0].open_slot == end;) /* more is opened */
        (void)take(1, UM_SPAN_LARGE);
    cr_expect(last_run_is_huge(), "few of them do not matter");
}
