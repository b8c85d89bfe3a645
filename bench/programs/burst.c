/* Burst and decay: a service that needs much memory for a moment, and what it keeps of it afterwards.
 *
 *   burst MIB MILLISECONDS
 *
 * Blocks of 16 bytes to 64 KiB (even over the logarithm) are allocated up to MIB, then all are freed but one
 * of a hundred. For MILLISECONDS from there the program serves: it replaces 200 blocks of 16 to 1024 bytes,
 * pauses for a millisecond, and again. Prints seconds of the burst alone (its mallocs and frees), the
 * resident size at the end, its mean over the time after the burst, and all of it as `series rss_mib`. */
#include "program.h"
#include <math.h>

#define SURVIVOR 100
#define SERVED   1000
#define REQUEST  200
#define PAUSE_NS (long)NS_PER_MS

static uint64_t random_state = 1, start_ns;
static series rss = {.name = "rss_mib"};
static block served[SERVED];

static double sample(void) {
    double mib = rss_mib();
    series_add(&rss, (double)(now_ns() - start_ns) / NS_PER_S, mib);
    return mib;
}

static void burst(size_t goal) {
    block *blocks = books(goal / 16 * sizeof *blocks);
    size_t n = 0, next = 0;
    for (size_t bytes = 0; bytes < goal; bytes += blocks[n++].bytes) {
        if (bytes >= next) {
            sample();
            next += goal / 16;
        }
        blocks[n] = take((size_t)exp2(4 + 12.0 * (double)random_below(&random_state, MIB) / MIB));
    }
    sample();
    for (size_t i = 0; i < n; i++)
        if (i % SURVIVOR)
            give(blocks[i]);
    munmap(blocks, goal / 16 * sizeof *blocks);
}

static void serve(void) {
    for (int i = 0; i < REQUEST; i++) {
        block *b = &served[random_below(&random_state, SERVED)];
        give_if(*b);
        *b = take(16 + random_below(&random_state, 1009));
    }
    clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

int main(int argc, char **argv) {
    size_t goal = argument(argv, argc, 1, 1) * MIB, ms = argument(argv, argc, 2, 1), n = 0;
    double sum = 0;
    start_ns = now_ns();
    burst(goal);
    uint64_t end_ns = now_ns();
    for (uint64_t next = end_ns; now_ns() < end_ns + ms * NS_PER_MS; serve())
        if (now_ns() >= next) {
            sum += sample();
            n++;
            next += ms * NS_PER_MS / (SERIES_MAX / 2);
        }
    figure("seconds", (double)(end_ns - start_ns) / NS_PER_S);
    figure("peak_kib", peak_kib());
    figure("rss_end_mib", sample());
    figure("rss_mean_mib", sum / (double)n);
    series_print(&rss);
    return 0;
}
