/* Guard regions are marks in the page table, not in the list of mappings. */
#include "os/guard.h"
#include "os/kernel.h"
#include "os/os.h"

#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

int um_os_guard(uintptr_t at, size_t bytes, bool guarded) {
    return error_of(kernel(SYS_madvise, (long)at, (long)bytes,
                           guarded ? MADV_GUARD_INSTALL : MADV_GUARD_REMOVE, 0, 0, 0));
}

int um_os_in_core(uintptr_t at, size_t pages, unsigned char *in_core) {
    return error_of(kernel(SYS_mincore, (long)at, (long)(pages * um_os_page_bytes), (long)in_core, 0, 0, 0));
}
