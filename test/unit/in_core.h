/* What mincore tells, page by page of ours. qemu-user answers for the pages of the machine that it runs on,
   which may be smaller and so more; the room that the caller gives would not do. */
#ifndef UM_TEST_IN_CORE_H
#define UM_TEST_IN_CORE_H

#include "os/os.h"

#include <criterion/criterion.h>
#include <string.h>

#define IN_CORE_PAGES   64  /* at a time */
#define IN_CORE_SMALLER 16u /* a page may be as many of theirs */
#define IN_CORE_UNSAID  0xEE

typedef int in_core_asked(uintptr_t at, size_t pages, unsigned char *in_core);

static inline int in_core_by(in_core_asked *ask, uintptr_t at, size_t pages, unsigned char *in_core) {
    unsigned char theirs[IN_CORE_PAGES * IN_CORE_SMALLER];
    size_t each;
    int err;
    cr_assert_leq(pages, IN_CORE_PAGES);
    memset(theirs, IN_CORE_UNSAID, sizeof theirs);
    err = ask(at, pages, theirs);
    each = theirs[pages] == IN_CORE_UNSAID ? 1 : um_os_page_bytes / 4096;
    for (size_t i = 0; i < pages && !err; i++)
        for (size_t k = in_core[i] = 0; k < each; k++)
            in_core[i] |= theirs[i * each + k];
    return err;
}

#endif
