/* A private expedited membarrier interrupts the processors that run threads of this process, and only those.
   A thread that does not run passes a fence when it is put on a processor. Cost: a few microseconds, against
   the tens of cycles of a fence in each thread. */
#include "os/fence.h"
#include "os/kernel.h"

#include <linux/membarrier.h>
#include <time.h>

int um_os_fence_join(void) {
    return error_of(kernel(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0));
}

int um_os_fence_all(void) {
    return error_of(kernel(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0));
}

void um_os_nap(uint32_t microseconds) {
    struct timespec ts = {0, (long)microseconds * 1000};
    (void)kernel(SYS_nanosleep, (long)&ts, 0, 0, 0, 0, 0); /* a signal may end it */
}
