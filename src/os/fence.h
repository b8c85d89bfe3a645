/* fence: order among threads that costs only one side. Who asks rarely makes all other threads of the process
   pass a full fence (membarrier), so those who run often need none of their own. */
#ifndef UM_OS_FENCE_H
#define UM_OS_FENCE_H

#include "base/base.h"

/* Tells the kernel that the process will ask; before the first um_os_fence_all, again in a child of fork.
   Not 0: it knows no such thing, or a filter refuses it. */
UM_HIDDEN int um_os_fence_join(void);
/* On 0 every thread of the process has passed a full fence between call and return. ENOMEM: try again. */
UM_HIDDEN int um_os_fence_all(void);
/* Gives the processor away for about that long; less where a signal comes. */
UM_HIDDEN void um_os_nap(uint32_t microseconds);

#endif
