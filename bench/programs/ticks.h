/* The processor's counter as a clock for single operations.
 *
 * ticks_begin and ticks_end wait until what came before them is done and keep what follows from starting
 * early, so the work between them is what is counted; the cost of the pair itself is measured and to be
 * subtracted. Neither asks the kernel. The counter runs at a constant rate on every machine of the last
 * decade; the rate is measured against CLOCK_MONOTONIC, not taken from a table. On arm64 it is coarse (a tick
 * is 1 to 40 ns): see `resolution`. */
#ifndef BENCH_TICKS_H
#define BENCH_TICKS_H

#include "program.h"

#if defined(__x86_64__)
static inline uint64_t ticks_begin(void) {
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}
static inline uint64_t ticks_end(void) {
    uint32_t low, high;
    __asm__ volatile("rdtscp\n\tlfence" : "=a"(low), "=d"(high) : : "rcx", "memory");
    return (uint64_t)high << 32 | low;
}
#elif defined(__aarch64__)
static inline uint64_t ticks_begin(void) {
    uint64_t ticks;
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(ticks) : : "memory");
    return ticks;
}
static inline uint64_t ticks_end(void) {
    return ticks_begin();
}
#else
#error "no counter known for this processor"
#endif

typedef struct clockwork {
    double ns_a_tick;
    uint64_t overhead;   /* ticks between a begin and an end with nothing between, median */
    uint64_t resolution; /* least difference other than 0 that was seen, in ticks */
} clockwork;

static inline int compare_ticks(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static inline clockwork ticks_calibrate(void) {
    enum { PAIRS = 127, WARM_UP = 10000, SPAN_NS = 20 * NS_PER_MS };
    uint64_t pair[PAIRS]; /* under 1 KiB: glibc's qsort asks malloc for memory beyond */
    clockwork c = {.resolution = UINT64_MAX};
    uint64_t from = ticks_begin(), from_ns = now_ns(), to_ns;
    for (int i = -WARM_UP; i < PAIRS; i++) {
        uint64_t begin = ticks_begin(), took = ticks_end() - begin;
        if (i >= 0)
            pair[i] = took;
    }
    for (int i = 1; i < PAIRS; i++) {
        uint64_t step = pair[i] > pair[i - 1] ? pair[i] - pair[i - 1] : pair[i - 1] - pair[i];
        if (step && step < c.resolution)
            c.resolution = step;
    }
    qsort(pair, PAIRS, sizeof *pair, compare_ticks);
    c.overhead = pair[PAIRS / 2];
    while ((to_ns = now_ns()) - from_ns < SPAN_NS)
        ;
    c.ns_a_tick = (double)(to_ns - from_ns) / (double)(ticks_end() - from);
    return c;
}

#endif
