/* Dirty pieces that come together for a longer request: their pages move, nothing is purged, what stays
   behind reads as zero, and whatever the kernel refuses leaves all as it was. */
#include "../../lib/check.h"
#include "space/internal.h"
#include "conf/counters.h"
#include "os/os.h"

#include "pulls.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIECES = 8, SLOTS = 6, ALL = PIECES * SLOTS };

static um_span *pieces[PIECES];

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
    um_space_setting.decay_ms = 86400000; /* age is nobody's reason */
}

TestSuite(gather, .init = start);

static um_span *take(size_t slots, bool *zeroed) {
    um_span *s = um_space_alloc(0, slots, 1, zeroed);
    cr_assert_not_null(s);
    um_span_set_kind(s, UM_SPAN_LARGE);
    return s;
}

static um_span *take_filled(size_t slots) {
    um_span *s = take(slots, NULL);
    memset(um_span_start(s), 0x5a, slots << UM_SLOT_SHIFT);
    return s;
}

static void give(um_span *s) {
    um_space_free(s, (size_t)s->slots << UM_SLOT_SHIFT);
}

static bool all(const um_span *s, int byte) {
    const char *p = um_span_start(s);
    return p[0] == byte && memcmp(p, p + 1, ((size_t)s->slots << UM_SLOT_SHIFT) - 1) == 0;
}

static size_t dirty(void) {
    um_space_stats st;
    um_space_check();
    um_space_stat(0, &st);
    return st.dirty;
}

/* Free spans that do not merge, each with a barrier behind it. */
static void leave_pieces(size_t slots) {
    for (int i = 0; i < PIECES; i++) {
        pieces[i] = take_filled(slots);
        (void)take_filled(1);
    }
    for (int i = 0; i < PIECES; i++)
        give(pieces[i]);
    cr_assert_eq(dirty(), PIECES * slots << UM_SLOT_SHIFT);
}

Test(gather, pieces_serve_a_longer_request) {
    bool zeroed = true;
    um_span *s;
    leave_pieces(SLOTS);
    s = take(ALL, &zeroed);
    cr_expect_not(zeroed);
    cr_expect(all(s, 0x5a), "all pages came along");
    cr_expect_eq(dirty(), 0);
    cr_expect_eq(um_count.purges, 0);
    for (int i = 0; i < PIECES; i++) {
        cr_expect_eq(take(SLOTS, &zeroed), pieces[PIECES - 1 - i]);
        cr_expect(zeroed && all(pieces[PIECES - 1 - i], 0), "what they left is clean");
    }
}

Test(gather, takes_no_more_than_it_needs) {
    bool zeroed = true;
    um_span *s;
    leave_pieces(SLOTS);
    s = take(ALL - 2, &zeroed);
    cr_expect(!zeroed && all(s, 0x5a));
    cr_expect_eq(dirty(), 2 * UM_SLOT_BYTES);
}

Test(gather, the_rest_of_a_request_is_zero) {
    bool zeroed = true;
    um_span *s;
    leave_pieces(SLOTS);
    s = take(ALL + 10, &zeroed);
    cr_expect_not(zeroed);
    cr_expect_eq(um_span_start(s)[((size_t)ALL << UM_SLOT_SHIFT) - 1], 0x5a);
    cr_expect_eq(um_span_start(s)[(size_t)ALL << UM_SLOT_SHIFT], 0);
}

Test(gather, short_requests_leave_short_pieces) {
    bool zeroed = false;
    leave_pieces(2);
    (void)take(8, &zeroed);
    cr_expect(zeroed);
    cr_expect_eq(dirty(), PIECES * 2 * UM_SLOT_BYTES);
}

/* One piece that consists of eight mappings is moved by eight calls; purged, it is one again. */
Test(gather, what_was_moved_can_be_moved_and_purged) {
    bool zeroed = true;
    um_span *s;
    leave_pieces(SLOTS);
    s = take(ALL, NULL);
    cr_expect_geq(um_space_seams, PIECES);
    (void)take_filled(1); /* else it would serve together with what is behind it */
    give(s);
    s = take(2 * ALL, &zeroed);
    cr_expect_not(zeroed);
    cr_expect_eq(um_span_start(s)[((size_t)ALL << UM_SLOT_SHIFT) - 1], 0x5a, "all pages came along again");
    give(s);
    cr_expect(um_space_trim(0));
    cr_expect_leq(um_space_seams, PIECES + 4, "of those that it was moved from, and at the ends");
    cr_expect_eq(dirty(), 0);
    cr_expect(all(take(2 * ALL, &zeroed), 0));
    cr_expect(zeroed);
}

static void expect_no_change(um_span *s) {
    bool zeroed = false;
    um_span *t = take(2 * ALL, &zeroed);
    cr_expect(zeroed && all(t, 0));
    cr_expect_eq(dirty(), (size_t)ALL << UM_SLOT_SHIFT);
    cr_expect_eq(take(ALL, &zeroed), s);
    cr_expect(!zeroed && all(s, 0x5a));
}

/* A seam that was not noted: kernels before 6.17 move nothing across it. */
Test(gather, a_move_that_fails_changes_nothing) {
    um_span *s = take_filled(ALL);
    (void)take_filled(1);
    give(s);
    fail_with = EFAULT;
    expect_no_change(s);
    cr_expect_not(um_spaces[0].stuck);
    cr_expect(s[ALL / 2].seam, "it is tried in halves another time");
}

Test(gather, a_kernel_that_cannot_is_not_asked_again) {
    um_span *s = take_filled(ALL);
    (void)take_filled(1);
    give(s);
    fail_with = EINVAL;
    expect_no_change(s);
    cr_expect(um_spaces[0].stuck);
}

/* The kernel would take the lock off all that lies in the same mapping. */
Test(gather, locked_memory_stays) {
    um_span *s = take_filled(ALL);
    (void)take_filled(1);
    cr_assert_eq(syscall(SYS_mlock, um_span_start(s), (size_t)ALL << UM_SLOT_SHIFT), 0);
    give(s);
    expect_no_change(s);
}

/* A span of 32 GiB has 64 MiB of records, and all but the first have no memory. */
Test(gather, records_inside_a_span_are_not_written_in_vain) {
    enum { LONG = 1 << 15 };
    um_span *s = take(LONG, NULL);
    size_t before = check_proc_kib("/proc/self/smaps_rollup", "\nAnonymous:");
    atomic_fetch_add(&um_space_seams, 1); /* one somewhere else */
    um_lock_take(&um_spaces[0].lock);
    um_space_forget_seams_locked(s);
    um_lock_drop(&um_spaces[0].lock);
    if (!UM_TSAN) /* it has a shadow of what is read */
        cr_expect_leq(check_proc_kib("/proc/self/smaps_rollup", "\nAnonymous:"), before + 2 * CHECK_KIB,
                      "in KiB, of 4 MiB of records");
    cr_expect_eq(um_space_seams, 1);
}

Test(gather, spaces_with_huge_pages_are_left_alone) {
    bool zeroed = false;
    um_space_setting.hugepages = UM_SPACE_HUGE_ALWAYS;
    leave_pieces(SLOTS);
    (void)take(ALL, &zeroed);
    cr_expect(zeroed);
}
