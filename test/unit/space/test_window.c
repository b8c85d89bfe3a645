/* The window: where it lies, what it holds, and that it takes no place of anybody else. */
#include "space/window.h"
#include "os/os.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum { A_SLOT = sizeof(um_span) + sizeof(uintptr_t) }; /* bytes of the tables */

static void start(void) {
    um_os_init();
}

TestSuite(window, .init = start);

static uintptr_t address(size_t slot) {
    return um_space_window.base + (slot << UM_SLOT_SHIFT);
}

Test(window, opens_empty_with_its_table_before_it) {
    cr_assert_eq(um_window_init(), 0);
    um_window before = um_space_window;
    cr_expect_eq(um_space_window.base % UM_SLOT_BYTES, 0);
    cr_expect_lt((uintptr_t)um_space_window.table, um_space_window.base);
    cr_expect_eq((uintptr_t)um_space_window.table % sizeof(um_span), 0);
    cr_expect_eq(um_space_window.opened_bytes, 0);
    cr_expect_null(um_span_of((void *)um_space_window.base));
    cr_expect_eq(um_window_init(), 0);
    cr_expect(before.base == um_space_window.base && before.table == um_space_window.table);
}

/* A large foreign mapping further on would be the window's early end. */
Test(window, is_not_laid_over_what_others_have) {
    uintptr_t bytes = um_min(um_os_address_span() / 8, (uintptr_t)16 << 40), at = um_os_window_hint(bytes, 0);
    int err = um_os_map_at(at + bytes / 2, um_os_page_bytes);
    cr_assert(err == 0 || err == EEXIST, "%d", err);
    cr_assert_eq(um_window_init(), 0);
    cr_expect_neq(um_space_window.base, at);
}

Test(window, claims_whole_regions_one_after_the_other) {
    size_t first, count, next, more;
    cr_assert_eq(um_window_init(), 0);
    cr_assert_eq(um_window_claim(0, 1, &first, &count), 0);
    cr_expect_eq(first, 0);
    cr_expect_eq(count, UM_REGION_SLOTS);
    cr_expect_eq(um_window_table_bytes(), UM_HOME_OF_NOBODY_BYTES + UM_REGION_SLOTS * A_SLOT);
    cr_assert_eq(um_window_claim(1, UM_REGION_SLOTS + 1, &next, &more), 0);
    cr_expect_eq(next, UM_REGION_SLOTS);
    cr_expect_eq(more, 2 * UM_REGION_SLOTS);
    cr_expect_eq(um_window_table_bytes(), UM_HOME_OF_NOBODY_BYTES + 3 * UM_REGION_SLOTS * A_SLOT);
    cr_expect_eq(um_space_window.opened_bytes, 3 * UM_REGION_SLOTS * UM_SLOT_BYTES);
    for (size_t i = 0; i < 3; i++)
        cr_expect_eq(um_space_window.table[i * UM_REGION_SLOTS].node, i > 0, "%zu", i);
    for (size_t i = 0; i < 3 * UM_REGION_SLOTS; i++) { /* every record is there, zeroed */
        const um_span *s = um_space_window.table + i;
        const um_home *m = um_home_at(i << UM_SLOT_SHIFT);
        cr_assert(um_span_kind_of(s) == UM_SPAN_NONE && s->slots == 0, "%zu", i);
        cr_assert((char *)m == um_space_window.homes && *um_home_owner((um_home *)m) == UM_ID_NOBODY, "%zu",
                  i);
    }
}

Test(window, refuses_more_than_it_has) {
    size_t first, count;
    cr_assert_eq(um_window_init(), 0);
    cr_expect_eq(um_window_claim(0, (size_t)1 << 40, &first, &count), ENOMEM);
    cr_expect_eq(um_space_window.opened_bytes, 0);
    cr_expect_eq(um_window_claim(0, 1, &first, &count), 0);
}

Test(window, maps_zeroed_memory_where_nobody_else_does) {
    size_t first, count;
    uintptr_t taken;
    cr_assert_eq(um_window_init(), 0);
    cr_assert_eq(um_window_claim(0, 1, &first, &count), 0);
    cr_assert_eq(um_window_map(first, 2), 0);
    const char *p = (const char *)address(first);
    cr_expect(p[0] == 0 && memcmp(p, p + 1, 2 * UM_SLOT_BYTES - 1) == 0);
    memset((void *)address(first), 0x5a, 2 * UM_SLOT_BYTES);
    if (UM_TSAN)
        return; /* there the window is a reservation of ours, in which nobody else can map */
    taken = address(first + 4);
    cr_assert_eq(um_os_map_at(taken, um_os_page_bytes), 0);
    *(char *)taken = 0x77;
    cr_expect_eq(um_window_map(first + 2, 4), EEXIST);
    cr_expect_eq(*(char *)taken, 0x77);
    cr_expect_eq(um_window_map(first + 2, 2), 0);
}

Test(window, finds_the_record_of_its_addresses_only) {
    size_t first, count;
    int on_stack;
    cr_assert_eq(um_window_init(), 0);
    cr_assert_eq(um_window_claim(0, 1, &first, &count), 0);
    for (size_t i = 0; i < count; i++) {
        um_span *s = um_span_of((void *)address(i));
        cr_assert_eq(s, um_space_window.table + i);
        cr_assert_eq(um_span_of((void *)(address(i + 1) - 1)), s);
        cr_assert_eq((uintptr_t)um_span_start(s), address(i));
        cr_assert_eq(um_span_index(s), i);
    }
    cr_expect_null(um_span_of((void *)address(count)));
    cr_expect_null(um_span_of((void *)(address(0) - 1)));
    cr_expect_null(um_span_of(NULL));
    cr_expect_null(um_span_of(&on_stack));
    cr_expect_null(um_span_of((void *)UINTPTR_MAX));
}

/* Each place that would be chosen is taken: the kernel chooses. */
Test(window, works_where_no_place_can_be_chosen) {
    size_t first, count, bytes = um_min(um_os_address_span() / 8, (size_t)16 << 40);
    size_t table = bytes >> (UM_SLOT_SHIFT - UM_SPAN_SHIFT);
    uintptr_t chosen[3];
    for (unsigned i = 0; i < 3; i++) {
        chosen[i] = um_os_window_hint(bytes, i);
        if (!UM_TSAN) /* it never chooses */
            (void)um_os_map_at(chosen[i] - table, um_os_page_bytes);
    }
    cr_assert_eq(um_window_init(), 0);
    for (unsigned i = 0; i < 3; i++)
        cr_expect_neq(um_space_window.base, chosen[i]);
    cr_assert_eq(um_window_claim(0, 1, &first, &count), 0);
    cr_assert_eq(um_window_claim(0, 1, &first, &count), 0);
    cr_assert_eq(um_window_map(first, 3), 0);
    memset((void *)address(first), 0x5a, 3 * UM_SLOT_BYTES);
    cr_expect_eq(um_span_of((void *)address(first)), um_space_window.table + first);
}
