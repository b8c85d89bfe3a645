/* Pages of fresh slots are put into place at once where the heap is full, and only there. */
#include "space/internal.h"
#include "os/os.h"

#include "spans.h"

#include <criterion/criterion.h>
#include <sys/mman.h>

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
    um_space_setting.hugepages = UM_SPACE_HUGE_OFF;
}

TestSuite(fresh, .init = start);

static void take_full(int count) {
    while (count--)
        um_space_note_full(take(1));
}

static size_t resident(const um_span *s) {
    unsigned char vec[64];
    size_t n = 0, pages = ((size_t)s->slots << UM_SLOT_SHIFT) / um_os_page_bytes;
    cr_assert_leq(pages, sizeof vec);
    cr_assert_eq(mincore(um_span_start(s), (size_t)s->slots << UM_SLOT_SHIFT, vec), 0);
    for (size_t i = 0; i < pages; i++)
        n += vec[i] & 1;
    return n * um_os_page_bytes;
}

Test(fresh, a_small_heap_is_left_alone) {
    take_full(31);
    cr_expect_eq(resident(take(1)), 0);
}

Test(fresh, a_full_heap_gets_whole_slots) {
    take_full(100);
    cr_expect_eq(resident(take(1)), UM_SLOT_BYTES);
    cr_expect_eq(resident(take(2)), 0, "longer ones may be used in part");
}

Test(fresh, one_of_slabs_begun_does_not) {
    take_full(100);
    for (int i = 0; i < 20; i++)
        (void)take(1);
    cr_expect_eq(resident(take(1)), 0);
}

Test(fresh, dirty_memory_is_as_it_is) {
    um_span *s;
    take_full(100);
    s = take(1);
    cr_assert_eq(um_os_purge((uintptr_t)um_span_start(s), UM_SLOT_BYTES), 0);
    um_space_free(s, UM_SLOT_BYTES);
    cr_expect_eq(take(1), s);
    cr_expect_eq(resident(s), 0);
}
