/* Copies of memory that may be missing, by calls that answer EFAULT where a load would be a signal. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/kernel.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

/* A write to a pipe and a read from it: what they cannot reach is EFAULT too. Never beyond a page of either
   side, so that what comes before missing memory is copied and the pipe has room. */
static int copy_by_pipe(uintptr_t to, uintptr_t from, size_t bytes, size_t *done) {
    size_t page = um_os_page_bytes;
    int fd[2], err = error_of(kernel(SYS_pipe2, (long)fd, O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0));
    if (err)
        return err;
    while (!err && *done < bytes) {
        uintptr_t src = from + *done, dst = to + *done;
        size_t n = um_min(bytes - *done, um_min(page - src % page, page - dst % page));
        long ret = kernel(SYS_write, fd[1], (long)src, (long)n, 0, 0, 0);
        if (ret > 0)
            ret = kernel(SYS_read, fd[0], (long)dst, ret, 0, 0, 0);
        if (ret > 0)
            *done += (size_t)ret;
        else
            err = ret ? error_of(ret) : EFAULT;
    }
    um_os_close(fd[0]);
    um_os_close(fd[1]);
    return err;
}

int um_os_copy(uintptr_t to, uintptr_t from, size_t bytes, size_t *done) {
    /* Written, not read: pages that are read from another process, or so, would have to be owned alone. */
    for (*done = 0; *done < bytes;) {
        struct iovec dst = {(void *)(to + *done), bytes - *done},
                     src = {(void *)(from + *done), bytes - *done};
        long ret = kernel(SYS_process_vm_writev, um_os_pid(), (long)&src, 1, (long)&dst, 1, 0);
        if (failed(ret) && ret != -EFAULT) /* refused by a filter */
            return copy_by_pipe(to, from, bytes, done);
        if (ret <= 0)
            return EFAULT;
        *done += (size_t)ret;
    }
    return 0;
}
