/* What the programs of the memory bars share: resident size of this process, exact, read without the heap. */
#ifndef BARS_RSS_H
#define BARS_RSS_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The number after `field` in a /proc file of "Name: value kB" lines. */
static inline size_t proc_kib(const char *path, const char *field) {
    static char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *at = strstr(text, field);
    if (!at) {
        dprintf(2, "no %s in %s\n", field, path);
        exit(3);
    }
    return strtoul(at + strlen(field), NULL, 10);
}

/* The kernel's counters in statm lag behind by some pages a CPU; smaps_rollup walks the page tables. */
static inline size_t rss_kib(void) {
    return proc_kib("/proc/self/smaps_rollup", "\nRss:");
}

static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The documented contract of returning memory: its age passes, then the program makes a few calls. */
static inline void wait_and_call(unsigned long ms) {
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left))
        ;
    for (size_t i = 0; i < 20; i++) {
        void *volatile p = malloc(64 << (i % 8));
        free(p);
    }
}

#endif
