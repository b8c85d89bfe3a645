/* What the kernel has behind addresses. Slow: for reports. errno stays, async-signal-safe. */
#ifndef UM_PAGEMAP_H
#define UM_PAGEMAP_H

#include "base/base.h"

/* Bytes of the range that huge pages hold now, transparent ones or explicit. 0, or an errno value where the
   kernel tells in neither of its two ways. */
UM_HIDDEN int um_os_huge_bytes(uintptr_t at, size_t bytes, uint64_t *out);

#endif
