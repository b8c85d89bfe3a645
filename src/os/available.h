/* What the kernel can still give before it has to kill: for those who would rather be refused. */
#ifndef UM_AVAILABLE_H
#define UM_AVAILABLE_H

#include "os/numa.h"

/* Bytes that may still be touched, of memory on `nodes` (kernel ids) and within the process's control groups.
   What the kernel can reclaim at once, of files, counts; what it would have to swap out does not. An estimate
   of now: others take memory too. UINT64_MAX: nobody tells. Reads some files. */
UM_HIDDEN uint64_t um_os_available(const um_node_set *nodes);
/* Of node `id` alone, whatever the groups allow. */
UM_HIDDEN uint64_t um_os_available_on(unsigned id);
/* Within the control groups alone; UINT64_MAX: no limit that can be read. */
UM_HIDDEN uint64_t um_os_memory_left(void);

#endif
