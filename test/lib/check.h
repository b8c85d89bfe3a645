/* For test programs: a check that names its place, proof that the library under test serves malloc, a
   watchdog against hangs, and what the kernel says of the process. Nothing here allocates, so a broken
   allocator can still be reported on. */
#ifndef UM_TEST_CHECK_H
#define UM_TEST_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK_KIB ((size_t)1 << 10)
#define CHECK_MIB ((size_t)1 << 20)
#define CHECK_GIB ((size_t)1 << 30)

#define CHECK_SKIP_STATUS 77

/* Prints the place and what was expected, then ends the process with status 1. The text after the condition
   is a printf format. */
#define CHECK(cond, ...)                                                                                     \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            dprintf(2, "%s:%d: expected %s: ", __FILE__, __LINE__, #cond);                                   \
            dprintf(2, __VA_ARGS__);                                                                         \
            dprintf(2, "\n");                                                                                \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

#define CHECK_UNUSED __attribute__((unused))

/* Whether UMALLOC_LIB names the library whose behaviour is tested. Without it a program judges whatever
   allocator it finds: so a test can be tried on others. */
CHECK_UNUSED static int check_names_library(void) {
    const char *lib = getenv("UMALLOC_LIB");
    return lib && *lib;
}

/* 0 if the code at `fn` lies in the library under test, or none was named. */
CHECK_UNUSED static int check_is_foreign(void *fn) {
    char want[PATH_MAX], have[PATH_MAX];
    Dl_info info;
    if (!check_names_library())
        return 0;
    if (!fn || !dladdr(fn, &info) || !info.dli_fname)
        return 1;
    return !realpath(getenv("UMALLOC_LIB"), want) || !realpath(info.dli_fname, have) ||
           strcmp(want, have) != 0;
}

CHECK_UNUSED static void check_library(void) {
    CHECK(!check_is_foreign(dlsym(RTLD_DEFAULT, "malloc")), "malloc is not the one of %s",
          getenv("UMALLOC_LIB"));
}

/* A hang becomes death by SIGALRM. */
CHECK_UNUSED static void check_watchdog(unsigned seconds) {
    alarm(seconds);
}

CHECK_UNUSED static void check_skip(const char *reason) {
    dprintf(1, "SKIP: %s\n", reason);
    _exit(CHECK_SKIP_STATUS);
}

/* Value in KiB of a line like "VmRSS:   123 kB" of a /proc file, 0 if absent. */
CHECK_UNUSED static size_t check_proc_kib(const char *path, const char *key) {
    char buf[8192];
    size_t len = 0;
    ssize_t got;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0, "%s opens", path);
    while (len < sizeof buf - 1 && (got = read(fd, buf + len, sizeof buf - 1 - len)) > 0)
        len += (size_t)got;
    close(fd);
    buf[len] = 0;
    const char *at = strstr(buf, key);
    return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

CHECK_UNUSED static size_t check_rss_kib(void) {
    /* smaps_rollup is exact; the counters behind VmRSS lag by up to 64 pages a thread. */
    return check_proc_kib("/proc/self/smaps_rollup", "\nRss:");
}

CHECK_UNUSED static size_t check_peak_kib(void) {
    return check_proc_kib("/proc/self/status", "\nVmHWM:");
}

CHECK_UNUSED static size_t check_vmas(void) {
    char buf[4096];
    size_t lines = 0;
    ssize_t got;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0, "maps opens");
    while ((got = read(fd, buf, sizeof buf)) > 0)
        for (ssize_t i = 0; i < got; i++)
            lines += buf[i] == '\n';
    close(fd);
    return lines;
}

CHECK_UNUSED static size_t check_page(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* A byte that depends on the tag and the place. */
CHECK_UNUSED static unsigned char check_byte(uint64_t tag, size_t at) {
    return (unsigned char)((tag * 0x9E3779B97F4A7C15u + at * 0x2545F491u) >> 13);
}

/* Blocks beyond this size are written and compared at every CHECK_STRIDE-th byte and their last one only. */
#define CHECK_DENSE  (64 * CHECK_KIB)
#define CHECK_STRIDE 509

CHECK_UNUSED static size_t check_step(size_t n) {
    return n <= CHECK_DENSE ? 1 : CHECK_STRIDE;
}

/* Writes [0, n) as a pattern that check_pattern knows. */
CHECK_UNUSED static void check_fill(void *p, size_t n, uint64_t tag) {
    unsigned char *b = (unsigned char *)p;
    size_t step = check_step(n);
    for (size_t i = 0; i < n; i += step)
        b[i] = check_byte(tag, i);
    if (n)
        b[n - 1] = check_byte(tag, n - 1);
}

/* The first place in [0, n) of a block once filled with `filled` bytes that differs; n if none does. */
CHECK_UNUSED static size_t check_pattern(const void *p, size_t n, size_t filled, uint64_t tag) {
    const unsigned char *b = (const unsigned char *)p;
    size_t step = check_step(filled);
    for (size_t i = 0; i < n; i += step)
        if (b[i] != check_byte(tag, i))
            return i;
    if (n && n == filled && b[n - 1] != check_byte(tag, n - 1))
        return n - 1;
    return n;
}

/* The first byte of [0, n) that is not zero; n if none. */
CHECK_UNUSED static size_t check_zero(const void *p, size_t n) {
    const unsigned char *b = (const unsigned char *)p;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t w;
        memcpy(&w, b + i, 8);
        if (w)
            break;
    }
    while (i < n && !b[i])
        i++;
    return i;
}

#endif
