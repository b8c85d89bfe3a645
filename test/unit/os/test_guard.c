/* Guard regions split no mapping, and what is in memory is told page by page. */
#include "os/guard.h"
#include "os/os.h"
#include "in_core.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#define PAGES 8

static char *map(void) {
    uintptr_t at;
    um_os_init();
    cr_assert_eq(um_os_map(PAGES * um_os_page_bytes, &at), 0);
    return (char *)at;
}

Test(guard, pages_in_memory_are_told) {
    char *p = map();
    unsigned char in_core[PAGES];
    p[2 * um_os_page_bytes] = 1;
    p[5 * um_os_page_bytes] = 1;
    cr_assert_eq(in_core_by(um_os_in_core, (uintptr_t)p, PAGES, in_core), 0);
    for (int i = 0; i < PAGES; i++)
        cr_expect_eq(in_core[i] & 1, i == 2 || i == 5);
    cr_expect_eq(in_core_by(um_os_in_core, (uintptr_t)p + 1, PAGES - 1, in_core), EINVAL);
}

/* NULL where the kernel knows no guard regions. */
static char *guarded(void) {
    char *p = map();
    int err;
    (void)signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would end the process in its own way */
    err = um_os_guard((uintptr_t)p + um_os_page_bytes, um_os_page_bytes, true);
    cr_assert(err == 0 || err == EINVAL, "%d", err);
    return err || um_os_readable((uintptr_t)p + um_os_page_bytes) ? NULL : p; /* emulators take any advice */
}

Test(guard, a_guard_is_hit, .signal = SIGSEGV) {
    char *p = guarded();
    if (!p)
        raise(SIGSEGV); /* nothing to test */
    p[um_os_page_bytes - 1] = p[2 * um_os_page_bytes] = 1;
    *(volatile char *)(p + um_os_page_bytes) = 1;
}

Test(guard, a_guard_stays_when_its_page_is_purged, .signal = SIGSEGV) {
    char *p = guarded();
    if (!p)
        raise(SIGSEGV);
    cr_assert_eq(um_os_purge((uintptr_t)p, PAGES * um_os_page_bytes), 0);
    *(volatile char *)(p + um_os_page_bytes) = 1;
}

Test(guard, a_guard_goes) {
    char *p = guarded();
    if (!p)
        return;
    cr_assert_eq(um_os_guard((uintptr_t)p, PAGES * um_os_page_bytes, false), 0);
    for (size_t i = 0; i < PAGES * um_os_page_bytes; i++)
        cr_assert_eq(p[i], 0);
    memset(p, 1, PAGES * um_os_page_bytes);
}
