/* guard: pages whose touch is an error, and which pages are in memory. */
#ifndef UM_OS_GUARD_H
#define UM_OS_GUARD_H

#include "base/base.h"

/* Makes whole pages of private memory guards, whose touch is SIGSEGV, or ordinary pages again; what was in
   them is gone, they read as zero afterwards. Splits no mapping; guards survive um_os_purge and are inherited
   over fork. EINVAL: the kernel has none (before Linux 6.13), or the memory is locked or of a pool. */
UM_HIDDEN int um_os_guard(uintptr_t at, size_t bytes, bool guarded);
/* Bit 0 of in_core[i]: the i-th page is in memory. */
UM_HIDDEN int um_os_in_core(uintptr_t at, size_t pages, unsigned char *in_core);

#endif
