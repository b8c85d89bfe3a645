/* map: files in memory. As in os.h: results are 0 or an errno value (descriptors: or its negation). */
#ifndef UM_OS_MAP_H
#define UM_OS_MAP_H

#include "base/base.h"

typedef enum um_os_file_mode {
    UM_OS_FILE_READ,
    UM_OS_FILE_WRITE,
    UM_OS_FILE_CREATE /* and write, 0600 */
} um_os_file_mode;
typedef enum um_os_file_map {
    UM_OS_MAP_READ,
    UM_OS_MAP_WRITE,
    UM_OS_MAP_COPY /* private, writable */
} um_os_file_map;

/* A descriptor that does not wait for anything (a FIFO's other end); close-on-exec; symbolic links are not
   followed in the last place where `plain`. */
UM_HIDDEN int um_os_file_open(const char *path, um_os_file_mode mode, bool plain);
UM_HIDDEN int um_os_file_remove(const char *path);
/* A file without a name that can be sealed; of huge pages of 2^shift bytes where shift is not 0. */
UM_HIDDEN int um_os_memfd(unsigned shift);
/* ENODEV, EISDIR: not a regular file. */
UM_HIDDEN int um_os_file_bytes(int fd, uint64_t *out);
/* What is added reads as zero. */
UM_HIDDEN int um_os_file_cut(int fd, uint64_t bytes);
UM_HIDDEN int um_os_file_seal(int fd, bool fixed);

/* Maps from a multiple of the page size on, where the kernel chooses. */
UM_HIDDEN int um_os_file_map_in(int fd, uint64_t offset, size_t bytes, um_os_file_map how, uintptr_t *out);
/* Grows or shrinks a mapping, which may move. On failure nothing changed. */
UM_HIDDEN int um_os_file_map_resize(uintptr_t at, size_t bytes, size_t new_bytes, uintptr_t *out);
typedef enum um_os_advice {
    UM_OS_NORMAL,
    UM_OS_SEQUENTIAL,
    UM_OS_RANDOM,
    UM_OS_WILLNEED,
    UM_OS_DONTNEED,
    UM_OS_HUGEPAGE,
    UM_OS_ADVICES
} um_os_advice;
/* EINVAL: the kernel has no such advice for this memory. */
UM_HIDDEN int um_os_advise(uintptr_t at, size_t bytes, um_os_advice advice);
/* Pages are there afterwards, for reading or writing. EFAULT: some are behind the end of the file. */
UM_HIDDEN int um_os_file_prefault(uintptr_t at, size_t bytes, bool write);
UM_HIDDEN int um_os_unlock(uintptr_t at, size_t bytes);
UM_HIDDEN int um_os_file_flush(uintptr_t at, size_t bytes);

#endif
