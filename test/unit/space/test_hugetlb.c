/* Pools of huge pages, as far as a machine without one can show: what happens where the pool has too few
 * pages. The rest is in test/numa/pools.c, which runs where there are pools. */
#include "space/internal.h"
#include "space/hugetlb.h"
#include "os/os.h"

#include "spans.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MORE = 1 << 20 }; /* slots: 64 GiB, more than any pool has here */

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
    um_space_setting.hugepages = UM_SPACE_HUGE_POOL_2M;
    um_space_setting.rigid = true;
}

TestSuite(pool, .init = start);

Test(pool, sizes_of_pages) {
    cr_expect(um_hugetlb_asked());
    cr_expect_eq(um_hugetlb_slots(), UM_HUGE_SLOTS);
    um_space_setting.hugepages = UM_SPACE_HUGE_POOL_1G;
    cr_expect(um_hugetlb_asked());
    cr_expect_eq(um_hugetlb_slots(), UM_GIB / UM_SLOT_BYTES);
    um_space_setting.hugepages = UM_SPACE_HUGE_ALWAYS;
    cr_expect_not(um_hugetlb_asked());
}

Test(pool, the_first_chunk_is_ordinary) {
    um_span *s = take(1);
    cr_expect_not(um_hugetlb_holds(&um_spaces[0], s));
    *um_span_start(s) = 1;
}

Test(pool, one_that_is_short_is_said_once_and_gone_around, .init = start) {
    static const char line[] =
        "umalloc: UMALLOC_HUGEPAGES=hugetlb:2M: the pool has too few pages (errno 12); using ordinary pages "
        "too\n";
    char said[2 * sizeof line] = "";
    size_t before;
    int fds[2], before_2 = dup(2);
    if (UM_TSAN) { /* the window is reserved then, and a pool is mapped only where nothing is */
        puts("skipped: no pool under ThreadSanitizer");
        return;
    }
    cr_assert(pipe(fds) == 0 && dup2(fds[1], 2) == 2);
    (void)take(1);
    before = um_spaces[0].open_slot;
    for (int i = 0; i < 2; i++)
        cr_expect_not(um_hugetlb_grow_locked(&um_spaces[0], MORE, MORE));
    cr_expect_eq(um_spaces[0].open_slot, before, "no addresses are lost");
    cr_assert(dup2(before_2, 2) == 2 && close(fds[1]) == 0); /* a read ends then, whatever was said */
    cr_expect_eq(read(fds[0], said, sizeof said - 1), (ssize_t)sizeof line - 1);
    cr_expect_str_eq(said, line);
    um_space_check();
}

Test(pool, what_cannot_be_read_is_an_error_and_no_signal) {
    size_t page = um_os_page_bytes;
    uintptr_t from, to;
    size_t done;
    cr_assert_eq(um_os_map(4 * page, &from), 0);
    cr_assert_eq(um_os_map(4 * page, &to), 0);
    memset((void *)from, 0x5a, 4 * page);
    cr_expect_eq(um_os_copy(to, from, 4 * page, &done), 0);
    cr_expect_eq(memcmp((void *)to, (void *)from, 4 * page), 0);
    cr_expect(um_os_is_mapped(from, 4 * page));
    cr_assert_eq(mprotect((void *)(from + page), page, PROT_NONE), 0);
    cr_expect_neq(um_os_copy(to, from, 4 * page, &done), 0);
    cr_expect(um_os_is_mapped(from, 4 * page));
    cr_assert_eq(um_os_unmap(from + page, page), 0);
    cr_expect_not(um_os_is_mapped(from, 4 * page));
}

Test(pool, a_gate_opens_when_it_is_closed) {
    int fds[2];
    cr_assert_eq(um_os_socket_pair(fds), 0);
    um_hugetlb_in_parent(&(um_hugetlb_gate){{fds[0], fds[1]}});
}

Test(pool, a_process_without_pool_memory_does_nothing_at_a_fork) {
    um_hugetlb_gate gate;
    (void)take(1);
    um_hugetlb_before_fork(&gate);
    cr_expect_lt(gate.fd[0], 0);
    um_hugetlb_in_parent(&gate);
    um_hugetlb_in_child(&gate);
    cr_expect_not(um_hugetlb_asked(), "a child takes none");
}
