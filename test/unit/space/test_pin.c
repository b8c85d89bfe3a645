/* Pinned memory: it is in memory from the start, with its records, and nothing gives it back. */
#include "space/fresh.h"
#include "space/internal.h"
#include "space/pin.h"
#include "conf/counters.h"
#include "os/available.h"
#include "os/os.h"

#include "refuse.h"
#include "spans.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t available = UINT64_MAX;

uint64_t __wrap_um_os_available(const um_node_set *nodes);
uint64_t __wrap_um_os_available(const um_node_set *nodes) {
    (void)nodes;
    return available;
}

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
    um_space_setting.rigid = true;
}

TestSuite(pin, .init = start);

static void give(um_span *s) {
    um_space_free(s, (size_t)s->slots << UM_SLOT_SHIFT);
}

static size_t resident(const void *at, size_t bytes) {
    static unsigned char vec[1 << 18];
    size_t n = 0, pages = bytes / um_os_page_bytes;
    cr_assert_leq(pages, sizeof vec);
    cr_assert_eq(mincore((void *)at, bytes, vec), 0);
    for (size_t i = 0; i < pages; i++)
        n += vec[i] & 1;
    return n * um_os_page_bytes;
}

Test(pin, memory_is_there) {
    const char *base = (const char *)um_space_window.base;
    cr_assert_eq(um_pin(0, 64 * UM_MIB, 0), 0);
    cr_expect_eq(um_spaces[0].opened_slots, 64 * UM_MIB / UM_SLOT_BYTES);
    cr_expect_eq(resident(base, 64 * UM_MIB), 64 * UM_MIB);
    cr_expect_eq(resident(um_space_window.table, 128 * UM_KIB), 128 * UM_KIB, "the records too");
    cr_assert_eq(um_pin(0, 64 * UM_MIB, 0), 0);
    cr_expect_eq(um_spaces[0].opened_slots, 64 * UM_MIB / UM_SLOT_BYTES, "there are as many");
    cr_assert_eq(um_pin(0, 0, UM_MIB), 0);
    cr_expect_eq(um_spaces[0].opened_slots, 66 * UM_MIB / UM_SLOT_BYTES, "more, in whole huge pages");
    cr_expect_eq(resident(base, 66 * UM_MIB), 66 * UM_MIB);
}

Test(pin, what_is_open_already_counts) {
    um_span *s = take_filled(1);
    cr_assert_eq(um_pin(0, 16 * UM_MIB, 0), 0);
    cr_expect_eq(um_spaces[0].opened_slots, 16 * UM_MIB / UM_SLOT_BYTES);
    cr_expect_eq(resident((const char *)um_space_window.base, 16 * UM_MIB), 16 * UM_MIB);
    cr_expect_eq(*um_span_start(s), 0x5a);
}

Test(pin, nothing_gives_it_back) {
    um_span *s;
    cr_assert_eq(um_pin(0, 64 * UM_MIB, 0), 0);
    s = take_filled(1000);
    give(s);
    um_space_setting.dirty_max = 1;
    um_space_purge_excess(&um_spaces[0]);
    um_space_trim_idle();
    (void)um_space_trim(0);
    cr_expect_eq(s->state, UM_DIRTY);
    cr_expect_eq(um_spaces[0].kept_bytes, 1000 * UM_SLOT_BYTES);
    cr_expect_not(um_space_crowded_locked(&um_spaces[0]));
    cr_expect_eq(resident(um_span_start(s), 1000 * UM_SLOT_BYTES), 1000 * UM_SLOT_BYTES);
    um_space_check();
    cr_expect_eq(take_filled(1000), s, "and it is used again");
    cr_expect_eq(um_spaces[0].kept_bytes, 0);
}

Test(pin, ageing_ends_at_it) {
    um_span *s;
    um_space_setting.decay_ms = 1;
    cr_assert_eq(um_pin(0, 8 * UM_MIB, 0), 0);
    s = take_filled(256); /* begins in what is pinned */
    cr_assert_lt(um_span_index(s), 128);
    give(s);
    while (um_space_dirty > 0)
        um_space_tick();
    um_space_check();
    cr_expect_eq(um_spaces[0].dirty_bytes, (128 - um_span_index(s)) * UM_SLOT_BYTES);
    cr_expect_eq(um_space_window.table[128].state, UM_CLEAN);
    cr_expect_eq(resident((const char *)um_space_window.base, 8 * UM_MIB), 8 * UM_MIB);
    cr_expect_eq(resident((const char *)um_space_window.base + 8 * UM_MIB, 8 * UM_MIB), 0);
}

Test(pin, what_is_in_place_is_not_put_there_again) {
    um_space *sp = &um_spaces[0];
    um_span *s;
    cr_assert_eq(um_pin(0, 64 * UM_MIB, 0), 0);
    for (int i = 0; i < 200; i++) {
        s = um_space_alloc(0, 1, 1, NULL);
        cr_assert_not_null(s);
        cr_assert_not(um_fresh_wanted_locked(sp, s), "%d", i);
        um_span_set_kind(s, UM_SPAN_LARGE);
        um_space_note_full(s);
    }
    s = um_space_alloc(0, 1, 1, NULL);
    um_space_setting.rigid = false;
    cr_expect(um_fresh_wanted_locked(sp, s), "of ordinary memory it would be");
}

Test(pin, a_span_in_use_is_not_touched_by_other_ways) {
    um_span *s;
    cr_assert_eq(um_pin(0, 64 * UM_MIB, 0), 0);
    s = take_filled(200);
    cr_expect_neq(um_space_purge_part(um_span_start(s), UM_SLOT_BYTES), 0);
    cr_expect_eq(*um_span_start(s), 0x5a);
    cr_expect_null(um_space_move(s, 400, 200 * UM_SLOT_BYTES), "its place would be mapped anew");
    (void)take_filled(100);
    um_space_free(s, UM_SLOT_BYTES); /* hardly touched, by its word */
    cr_expect_eq(s->state, UM_DIRTY);
}

Test(pin, no_more_than_there_is) {
    available = 16 * UM_MIB;
    cr_expect_eq(um_pin(0, 4 * UM_GIB, 0), ENOMEM);
    cr_expect_eq(um_spaces[0].opened_slots, 16 * UM_MIB / UM_SLOT_BYTES);
    cr_expect_eq(um_count.prefaults_short, 1);
    available = UM_MIB;
    cr_expect_eq(um_pin(0, 0, UM_MIB), ENOMEM, "less than a huge page");
    cr_expect_eq(um_count.prefaults_short, 2);
}

Test(pin, once_for_each_node) {
    um_space_setting.prefault_bytes = 8 * UM_MIB;
    cr_expect_eq(um_pin_first(0), 0);
    cr_expect_eq(resident((const char *)um_space_window.base, 8 * UM_MIB), 8 * UM_MIB);
    um_space_setting.prefault_bytes = 16 * UM_MIB;
    cr_expect_eq(um_pin_first(0), 0);
    cr_expect_eq(um_spaces[0].opened_slots, 8 * UM_MIB / UM_SLOT_BYTES);
    cr_expect_eq(um_pin_first(3), 0);
    cr_expect_eq(um_spaces[3].opened_slots, 16 * UM_MIB / UM_SLOT_BYTES);
}

Test(pin, what_is_in_memory_is_not_told_as_given_back) {
    um_space_stats st;
    um_span *s;
    cr_assert_eq(um_pin(0, 8 * UM_MIB, 0), 0);
    um_space_stat(0, &st);
    cr_expect_eq(st.dirty, 8 * UM_MIB);
    s = take_filled(32);
    um_space_stat(0, &st);
    cr_expect_eq(st.dirty, 6 * UM_MIB);
    give(s);
    um_space_stat(0, &st);
    cr_expect_eq(st.dirty, 8 * UM_MIB);
    (void)take_filled(96); /* 6 MiB */
    (void)take_filled(64); /* beyond what is pinned, and more is opened with it */
    um_space_stat(0, &st);
    cr_expect_eq(st.dirty, 2 * UM_MIB);
}

Test(pin, what_cannot_be_locked_is_said_once_and_counted) {
    static const char line[] =
        "umalloc: UMALLOC_LOCK: not all memory can be locked (errno 1; see RLIMIT_MEMLOCK); the "
        "rest is put into place and kept\n";
    char said[2 * sizeof line] = "";
    int fds[2], before_2 = dup(2);
    um_space_setting.lock = true;
    cr_assert(pipe(fds) == 0 && dup2(fds[1], 2) == 2);
    cr_assert(refuse(SYS_mlock, EPERM));
    cr_expect_eq(um_pin(0, 0, 0), 0);
    (void)take_filled(100);
    cr_assert(dup2(before_2, 2) == 2 && close(fds[1]) == 0); /* a read ends then, whatever was said */
    cr_expect_eq(read(fds[0], said, sizeof said - 1), (ssize_t)sizeof line - 1);
    cr_expect_str_eq(said, line);
    cr_expect_geq(um_count.unlocked_bytes, um_spaces[0].opened_slots << UM_SLOT_SHIFT);
    cr_expect_lt(um_count.unlocked_bytes, (um_spaces[0].opened_slots + 16) << UM_SLOT_SHIFT);
}

Test(pin, locked_memory_is_pinned_as_it_is_opened) {
    um_span *s;
    um_space_setting.lock = true;
    cr_assert_eq(um_pin(0, 0, 0), 0);
    if (um_count.unlocked_bytes) {
        fputs("this process may not lock memory: the rest is not tested\n", stderr);
        return;
    }
    s = take_filled(2000);
    give(s);
    (void)um_space_trim(0);
    cr_expect_eq(s->state, UM_DIRTY);
    cr_expect_eq(um_spaces[0].dirty_bytes, 2000 * UM_SLOT_BYTES);
    cr_expect_eq(resident(um_span_start(s), 2000 * UM_SLOT_BYTES), 2000 * UM_SLOT_BYTES);
    um_space_check();
}

/* More could never be used; what there is counts. */
Test(pin, no_more_than_the_limit) {
    um_space_setting.limit_bytes = 16 * UM_MIB;
    cr_expect_eq(um_pin(0, 0, 32 * UM_MIB), ENOMEM);
    cr_expect_leq(um_spaces[0].opened_slots << UM_SLOT_SHIFT, 16 * UM_MIB);
    cr_expect_gt(um_spaces[0].opened_slots << UM_SLOT_SHIFT, 8 * UM_MIB, "but so much");
    um_space_setting.limit_bytes = 64 * UM_MIB;
    cr_expect_eq(um_pin(0, 0, 32 * UM_MIB), 0);
}
