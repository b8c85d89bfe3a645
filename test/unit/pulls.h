/* Counts the pages that are moved, and lets the kernel refuse: for programs linked with --wrap=um_os_pull. */
#ifndef UM_TEST_PULLS_H
#define UM_TEST_PULLS_H

#include "os/os.h"

#include <criterion/criterion.h>

static int pulls;
static int fail_with; /* what the kernel answers when it may not move pages; it has unmapped the target */

int __real_um_os_pull(uintptr_t from, size_t bytes, uintptr_t to);
int __wrap_um_os_pull(uintptr_t from, size_t bytes, uintptr_t to);

int __wrap_um_os_pull(uintptr_t from, size_t bytes, uintptr_t to) {
    pulls++;
    if (!fail_with)
        return __real_um_os_pull(from, bytes, to);
    cr_assert_eq(um_os_unmap(to, bytes), 0);
    return fail_with;
}

#endif
