/* Two ways to ask which memory huge pages hold: the scan of /proc/self/pagemap (Linux 6.7), which skips what
   is not mapped and takes microseconds; else /proc/self/smaps, for which the kernel walks all of the process.
 */
#include "os/pagemap.h"
#include "os/file.h"
#include "os/kernel.h"
#include "os/os.h"

#include <errno.h>

#define SCAN         0xC0606610l /* ioctl: read and write, 96 bytes, 'f', 16 */
#define IS_PRESENT   (1ull << 3)
#define IS_ZERO_PAGE (1ull << 5)
#define IS_HUGE      (1ull << 6)
#define RANGES       16u

/* The kernel's, of linux/fs.h. */
typedef struct page_region {
    uint64_t start, end, categories;
} page_region;

typedef struct scan_arg {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t inverted, mask, anyof_mask, return_mask;
} scan_arg;
_Static_assert(sizeof(scan_arg) == 96, "as the number of the call says");

static int scan(int fd, uintptr_t at, size_t bytes, uint64_t *out) {
    page_region found[RANGES] = {{0, 0, 0}};
    scan_arg arg = {.size = sizeof arg,
                    .start = at,
                    .end = at + bytes,
                    .vec = (uintptr_t)found,
                    .vec_len = RANGES,
                    .inverted = IS_ZERO_PAGE,
                    .mask = IS_HUGE | IS_PRESENT | IS_ZERO_PAGE,
                    .return_mask = IS_HUGE};
    *out = 0;
    while (arg.start < arg.end) {
        long n = kernel(SYS_ioctl, fd, SCAN, (long)&arg, 0, 0, 0);
        if (failed(n))
            return error_of(n);
        for (long i = 0; i < n; i++)
            *out += found[i].end - found[i].start;
        if (arg.walk_end <= arg.start) /* no progress: never hang */
            return EIO;
        arg.start = arg.walk_end;
    }
    return 0;
}

/* Mappings are headed by a line "start-end ..." and described by lines "Name: n kB". */
static int sum_mappings(uintptr_t at, size_t bytes, uint64_t *out) {
    static const char names[][20] = {"AnonHugePages:", "Private_Hugetlb:", "Shared_Hugetlb:"};
    um_file f;
    uint64_t start = 0, kib;
    int err = um_file_open(&f, "/proc/self/smaps"), c;
    *out = 0;
    if (err)
        return err;
    do {
        uint64_t n;
        c = um_file_peek(&f);
        if (um_file_number(&f, 16, &n)) {
            start = n;
        } else if (start >= at && start - at < bytes) {
            for (unsigned i = 0; i < UM_COUNT(names); i++)
                if (c == names[i][0] && um_file_word(&f, names[i])) {
                    um_file_skip_blanks(&f);
                    if (um_file_number(&f, 10, &kib))
                        *out += kib * UM_KIB;
                    break;
                }
        }
        while ((c = um_file_next(&f)) >= 0 && c != '\n') {
        }
    } while (c >= 0);
    um_file_close(&f);
    return 0;
}

int um_os_huge_bytes(uintptr_t at, size_t bytes, uint64_t *out) {
    int fd = um_os_open("/proc/self/pagemap");
    if (fd >= 0) {
        int err = scan(fd, at, bytes, out);
        um_os_close(fd);
        if (!err)
            return 0;
    }
    return sum_mappings(at, bytes, out);
}
