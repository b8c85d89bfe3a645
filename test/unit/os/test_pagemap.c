/* Huge pages are counted alike by both ways to ask, and as the kernel lists them for each mapping. Where it
   gives none (transparent_hugepage is never), only that nothing is counted is tested. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/pagemap.h"
#include "os/os.h"

#include "refuse.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define HUGE                                                                                                 \
    ((size_t)2 << 20) /* smaller than a huge page of 16 KiB and 64 KiB pages: then there are none            \
                       */
#define PAGES 6u

static uintptr_t at; /* aligned; PAGES huge pages */

/* One mapping in two parts: all but the last two huge pages are to be huge, of which the third is untouched.
 */
static void start(void) {
    um_os_init();
    cr_assert_eq(um_os_map((PAGES + 2) * HUGE, &at), 0);
    at = um_round_up(at, HUGE);
    um_os_hugepage(at, (PAGES - 2) * HUGE, true);
    um_os_hugepage(at + (PAGES - 2) * HUGE, 2 * HUGE, false);
    for (unsigned i = 0; i < PAGES; i++)
        if (i != 2)
            memset((void *)(at + i * HUGE), 1, HUGE);
    cr_assert_eq(*(volatile char *)(at + 2 * HUGE), 0);
}

TestSuite(pagemap, .init = start);

/* By a reader that shares nothing with ours. */
static uint64_t oracle(void) {
    char line[4096];
    unsigned long from, end, kib;
    uintptr_t first = 0;
    uint64_t sum = 0;
    FILE *f = fopen("/proc/self/smaps", "r");
    cr_assert_not_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &from, &end) == 2)
            first = from;
        if (sscanf(line, "AnonHugePages: %lu kB", &kib) == 1 && first >= at && first < at + PAGES * HUGE)
            sum += kib * 1024;
    }
    fclose(f);
    return sum;
}

Test(pagemap, both_ways_agree_with_the_list_of_mappings) {
    uint64_t scanned = 1, summed = 1, wanted = oracle();
    errno = 123;
    cr_assert_eq(um_os_huge_bytes(at, PAGES * HUGE, &scanned), 0);
    cr_expect_eq(errno, 123);
    cr_expect_eq(scanned, wanted, "%lu of %lu", (unsigned long)scanned, (unsigned long)wanted);
    cr_expect_leq(scanned, (PAGES - 3) * HUGE);
    cr_assert(refuse(SYS_ioctl, ENOTTY)); /* as before Linux 6.7 */
    cr_assert_eq(um_os_huge_bytes(at, PAGES * HUGE, &summed), 0);
    cr_expect_eq(summed, wanted);
}

Test(pagemap, only_the_range_counts) {
    uint64_t bytes, all = oracle();
    cr_expect_eq(um_os_huge_bytes(at + (PAGES - 2) * HUGE, 2 * HUGE, &bytes), 0);
    cr_expect_eq(bytes, 0, "those that must not be huge");
    cr_expect_eq(um_os_huge_bytes(at + 2 * HUGE, HUGE, &bytes), 0);
    cr_expect_eq(bytes, 0, "zeros");
    memset((void *)at, 2, HUGE);
    cr_expect_eq(um_os_huge_bytes(at, HUGE, &bytes), 0);
    cr_expect(bytes == 0 || bytes == all || bytes == HUGE, "%lu", (unsigned long)bytes);
    cr_assert_eq(um_os_unmap(at, PAGES * HUGE), 0);
    cr_expect_eq(um_os_huge_bytes(at, PAGES * HUGE, &bytes), 0);
    cr_expect_eq(bytes, 0, "gone");
}

/* More pieces than one call of the kernel answers with: every second huge page gives its memory back. */
Test(pagemap, many_pieces) {
    enum { PIECES = 40 };
    uint64_t scanned, summed;
    cr_assert_eq(um_os_map((2 * PIECES + 1) * HUGE, &at), 0);
    at = um_round_up(at, HUGE);
    um_os_hugepage(at, 2 * PIECES * HUGE, true);
    for (unsigned i = 0; i < PIECES; i++)
        *(char *)(at + 2 * i * HUGE) = 1;
    cr_assert_eq(um_os_huge_bytes(at, 2 * PIECES * HUGE, &scanned), 0);
    cr_assert(refuse(SYS_ioctl, ENOTTY));
    cr_assert_eq(um_os_huge_bytes(at, 2 * PIECES * HUGE, &summed), 0);
    cr_expect_eq(scanned, summed);
}

Test(pagemap, nobody_tells) {
    uint64_t bytes = 5;
    cr_assert(refuse(SYS_openat, EACCES));
    cr_expect_eq(um_os_huge_bytes(at, PAGES * HUGE, &bytes), EACCES);
    cr_expect_eq(bytes, 0);
}
