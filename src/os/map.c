/* The system calls of maps: files, what of them is mapped, and what the kernel is told about it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/map.h"
#include "os/kernel.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define PREFAULT_ATTEMPTS 16

/* relaxed: counters, nobody synchronises on them */
#define UM_OS_COUNT(id) ((void)atomic_fetch_add_explicit(&um_os_calls.id, 1, memory_order_relaxed))

int um_os_file_open(const char *path, um_os_file_mode mode, bool plain) {
    long flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (plain ? O_NOFOLLOW : 0) |
                 (mode == UM_OS_FILE_READ ? O_RDONLY : O_RDWR) | (mode == UM_OS_FILE_CREATE ? O_CREAT : 0);
    return (int)kernel(SYS_openat, AT_FDCWD, (long)path, flags, 0600, 0, 0);
}

int um_os_file_remove(const char *path) {
    return error_of(kernel(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0, 0));
}

int um_os_memfd(unsigned shift) {
    unsigned long flags =
        MFD_CLOEXEC | MFD_ALLOW_SEALING | (shift ? MFD_HUGETLB | (unsigned long)shift << MAP_HUGE_SHIFT : 0);
    return (int)kernel(SYS_memfd_create, (long)"umalloc", (long)flags, 0, 0, 0, 0);
}

int um_os_file_bytes(int fd, uint64_t *out) {
    struct stat st;
    long ret = kernel(SYS_fstat, fd, (long)&st, 0, 0, 0, 0);
    if (failed(ret))
        return error_of(ret);
    if (!S_ISREG(st.st_mode))
        return S_ISDIR(st.st_mode) ? EISDIR : ENODEV;
    *out = (uint64_t)st.st_size;
    return 0;
}

int um_os_file_cut(int fd, uint64_t bytes) {
    return error_of(kernel(SYS_ftruncate, fd, (long)bytes, 0, 0, 0, 0));
}

int um_os_file_seal(int fd, bool fixed) {
    return error_of(kernel(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_SHRINK | (fixed ? F_SEAL_GROW : 0), 0, 0, 0));
}

int um_os_file_map_in(int fd, uint64_t offset, size_t bytes, um_os_file_map how, uintptr_t *out) {
    long prot = how == UM_OS_MAP_READ ? PROT_READ : PROT_READ | PROT_WRITE, ret;
    UM_OS_COUNT(mmap_calls);
    ret = kernel(SYS_mmap, 0, (long)bytes, prot, how == UM_OS_MAP_COPY ? MAP_PRIVATE : MAP_SHARED, fd,
                 (long)offset);
    if (!failed(ret))
        *out = (uintptr_t)ret;
    return error_of(ret);
}

int um_os_file_map_resize(uintptr_t at, size_t bytes, size_t new_bytes, uintptr_t *out) {
    long ret;
    UM_OS_COUNT(mremap_calls);
    ret = kernel(SYS_mremap, (long)at, (long)bytes, (long)new_bytes, MREMAP_MAYMOVE, 0, 0);
    if (!failed(ret))
        *out = (uintptr_t)ret;
    return error_of(ret);
}

static int advise(uintptr_t at, size_t bytes, int advice) {
    UM_OS_COUNT(madvise_calls);
    return error_of(kernel(SYS_madvise, (long)at, (long)bytes, advice, 0, 0, 0));
}

int um_os_advise(uintptr_t at, size_t bytes, um_os_advice advice) {
    static const int advices[UM_OS_ADVICES] = {MADV_NORMAL,   MADV_SEQUENTIAL, MADV_RANDOM,
                                               MADV_WILLNEED, MADV_DONTNEED,   MADV_HUGEPAGE};
    return advise(at, bytes, advices[advice]);
}

int um_os_file_prefault(uintptr_t at, size_t bytes, bool write) {
    int err = EINTR;
    /* A retry goes on where the last one stopped; bounded, for a caller never hangs. */
    for (unsigned i = 0; i < PREFAULT_ATTEMPTS && (err == EINTR || err == EAGAIN); i++)
        err = advise(at, bytes, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    return err;
}

int um_os_unlock(uintptr_t at, size_t bytes) {
    return error_of(kernel(SYS_munlock, (long)at, (long)bytes, 0, 0, 0, 0));
}

int um_os_file_flush(uintptr_t at, size_t bytes) {
    return error_of(kernel(SYS_msync, (long)at, (long)bytes, MS_SYNC, 0, 0, 0));
}
