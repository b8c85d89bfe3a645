/* Random numbers that are the same in every run. */
#ifndef UM_TEST_SEEDED_H
#define UM_TEST_SEEDED_H

#include <stdint.h>

static __thread uint64_t seeded_state;

static inline void seeded_start(uint64_t seed) {
    seeded_state = seed * 0x9E3779B97F4A7C15ull + 1;
}

/* splitmix64 */
static inline uint64_t seeded_next(void) {
    uint64_t z = seeded_state += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/* 0 ... n - 1; n is not 0. */
static inline uint64_t seeded_below(uint64_t n) {
    return seeded_next() % n;
}

#endif
