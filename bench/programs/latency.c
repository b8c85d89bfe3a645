/* How long single calls of malloc and free take, up to the slowest.
 *
 *   latency PATTERN BLOCKS CALLS
 *
 * steady  a set of BLOCKS blocks, replaced at random: 20 replacements a block to warm up, then CALLS timed
 * grow    a heap that grows from nothing to BLOCKS, then shrinks to nothing in random order
 * regrow  as grow, but timed the second time: what a warm-up leaves behind
 *
 * Sizes lie evenly from 16 to 1024 bytes, one thread. Every call is timed by the processor's counter
 * (ticks.h), less the timer's own cost. Each block is touched after its malloc, outside the timed part, and
 * checked before its free.
 *
 * Prints malloc_p50, _p90, _p99, _p99.9, _p99.99, _max in ns, the same of free, and of each size group
 * (malloc_16-64_p50), and the curves malloc_ns and free_ns; ns is the sum of both medians. No call is left
 * out. What others did to the run is counted beside it: SLOW_NS is longer than any work in a steady set
 * takes, so a gap that long between two calls, where only this program runs, is an interrupt, another thread
 * or another virtual machine. From the gaps follows how many calls such an event will have hit
 * (`disturbed_calls_expected`; in grow the kernel's work for fresh pages counts too); `slow_calls` is how
 * many took that long, and `slow_calls_switched` in how many of them the kernel ran another thread. */
#include "ticks.h"
#include <stdbool.h>
#include <sys/resource.h>

#define LEAST       16
#define MOST        1024
#define SLOW_NS     3000
#define WARM_UP     20
#define GROUP_SHIFT 30 /* a sample is its size group above, its ticks below this bit */
#define TICKS_MAX   ((1u << GROUP_SHIFT) - 1)

static const struct {
    const char *name;
    size_t most;
} groups[] = {{"16-64_", 64}, {"65-256_", 256}, {"257-1024_", MOST}};

typedef struct samples {
    const char *call;
    size_t count;
    uint32_t *of;
} samples;

static clockwork timer;
static uint64_t slow_ticks, last_end, in_calls, between_calls;
static size_t slow_calls, slow_calls_switched, gaps;
static long switches;

static long switches_now(void) {
    struct rusage use;
    getrusage(RUSAGE_THREAD, &use);
    return use.ru_nvcsw + use.ru_nivcsw;
}

/* Books a call. What was between the last one and this is this program's own work, or a disturbance. */
static void book(samples *s, size_t bytes, uint64_t begin, uint64_t end) {
    uint64_t took = end - begin, gap = begin - last_end;
    uint32_t group = (bytes > groups[0].most) + (bytes > groups[1].most);
    took = took > timer.overhead ? took - timer.overhead : 0;
    s->of[s->count++] = group << GROUP_SHIFT | (uint32_t)(took < TICKS_MAX ? took : TICKS_MAX);
    in_calls += took;
    between_calls += gap;
    if (gap > slow_ticks || took > slow_ticks) {
        long now = switches_now();
        gaps += gap > slow_ticks;
        slow_calls += took > slow_ticks;
        slow_calls_switched += took > slow_ticks && gap <= slow_ticks && now > switches;
        switches = now;
        end = ticks_end();
    }
    last_end = end;
}

static void timed_take(samples *s, block *b, size_t bytes) {
    uint64_t begin = ticks_begin();
    void *at = malloc(bytes);
    uint64_t end = ticks_end();
    book(s, bytes, begin, end);
    *b = block_touch((block){at, bytes});
}

static void timed_give(samples *s, block *b) {
    block_end(*b);
    uint64_t begin = ticks_begin();
    free(b->at);
    uint64_t end = ticks_end();
    book(s, b->bytes, begin, end);
    b->at = NULL;
}

static samples samples_of(const char *call, size_t room) {
    samples s = {call, 0, books(room * sizeof *s.of)};
    memset(s.of, 1, room * sizeof *s.of); /* in memory before the first call is timed */
    return s;
}

static void clear(samples *mallocs, samples *frees) {
    mallocs->count = frees->count = 0;
    in_calls = between_calls = slow_calls = slow_calls_switched = gaps = 0;
    switches = switches_now();
    last_end = ticks_end();
}

static size_t random_size(uint64_t *random) {
    return LEAST + random_below(random, MOST - LEAST + 1);
}

static void steady(block *blocks, size_t n, size_t calls, samples *mallocs, samples *frees) {
    uint64_t random = 1;
    for (size_t i = 0; i < n; i++)
        blocks[i] = take(random_size(&random));
    for (size_t i = 0; i < WARM_UP * n; i++) {
        block *b = &blocks[random_below(&random, n)];
        give(*b);
        *b = take(random_size(&random));
    }
    clear(mallocs, frees);
    for (size_t i = 0; i < calls; i++) {
        block *b = &blocks[random_below(&random, n)];
        timed_give(frees, b);
        timed_take(mallocs, b, random_size(&random));
    }
}

static void grow(block *blocks, size_t n, samples *mallocs, samples *frees) {
    uint64_t random = 1;
    uint32_t *order = books(n * sizeof *order);
    shuffle(order, n, &random);
    clear(mallocs, frees);
    for (size_t i = 0; i < n; i++)
        timed_take(mallocs, &blocks[i], random_size(&random));
    for (size_t i = 0; i < n; i++)
        timed_give(frees, &blocks[order[i]]);
    munmap(order, n * sizeof *order);
}

/* Sorts by 11 bits at a time; qsort would ask malloc for memory. */
static void sort(uint32_t *of, size_t n, uint32_t *spare) {
    enum { BITS = 11, PASSES = 3, BUCKETS = 1 << BITS };
    for (int pass = 0; pass < PASSES; pass++) {
        static size_t at[BUCKETS + 1];
        memset(at, 0, sizeof at);
        for (size_t i = 0; i < n; i++)
            at[(of[i] >> pass * BITS) % BUCKETS + 1]++;
        for (size_t b = 0; b < BUCKETS; b++)
            at[b + 1] += at[b];
        for (size_t i = 0; i < n; i++)
            spare[at[(of[i] >> pass * BITS) % BUCKETS]++] = of[i];
        uint32_t *swap = of;
        of = spare;
        spare = swap;
    }
    memcpy(spare, of, n * sizeof *of); /* after an odd number of passes: back to where they were */
}

/* The ticks below which `percent` of the sorted lie, in ns. */
static double percentile(const uint32_t *sorted, size_t n, double percent) {
    size_t rank = (size_t)((double)n * percent / 100);
    return sorted[rank < n ? rank : n - 1] * timer.ns_a_tick;
}

static void print_percentiles(const char *call, const char *group, const uint32_t *sorted, size_t n) {
    static const char *const percents[] = {"50", "90", "99", "99.9", "99.99"};
    for (size_t i = 0; i < LENGTH(percents) && n; i++)
        say("%s_%sp%s %.1f\n", call, group, percents[i], percentile(sorted, n, strtod(percents[i], NULL)));
    if (n)
        say("%s_%smax %.1f\n", call, group, percentile(sorted, n, 100));
}

static void print_curve(const char *call, const uint32_t *sorted, size_t n) {
    for (double rest = 100; rest / 100 * (double)n >= 1; rest /= 1.3) /* while a sample is left beyond */
        say("series %s_ns %.6g %.1f\n", call, 100 - rest, percentile(sorted, n, 100 - rest));
    say("series %s_ns 100 %.1f\n", call, percentile(sorted, n, 100));
}

/* Answers the median. */
static double print_samples(const samples *s) {
    uint32_t *sorted = books(s->count * sizeof *sorted), *spare = books(s->count * sizeof *spare);
    for (size_t group = 0; group <= LENGTH(groups); group++) {
        bool all = group == LENGTH(groups);
        size_t n = 0;
        for (size_t i = 0; i < s->count; i++)
            if (all || s->of[i] >> GROUP_SHIFT == group)
                sorted[n++] = s->of[i] & TICKS_MAX;
        sort(sorted, n, spare);
        print_percentiles(s->call, all ? "" : groups[group].name, sorted, n);
    }
    print_curve(s->call, sorted, s->count);
    return percentile(sorted, s->count, 50);
}

int main(int argc, char **argv) {
    size_t n = argument(argv, argc, 2, 1), calls = argument(argv, argc, 3, 1);
    bool is_steady = !strcmp(argv[1], "steady"), again = !strcmp(argv[1], "regrow");
    if (!is_steady && !again && strcmp(argv[1], "grow"))
        stop(STATUS_USAGE, "no such pattern");
    samples mallocs = samples_of("malloc", is_steady ? calls : n),
            frees = samples_of("free", is_steady ? calls : n);
    block *blocks = books(n * sizeof *blocks);
    memset(blocks, 1, n * sizeof *blocks);
    timer = ticks_calibrate();
    slow_ticks = (uint64_t)(SLOW_NS / timer.ns_a_tick);
    if (is_steady)
        steady(blocks, n, calls, &mallocs, &frees);
    for (int round = 0; !is_steady && round <= again; round++)
        grow(blocks, n, &mallocs, &frees);
    double peak = peak_kib();
    figure("ns", print_samples(&mallocs) + print_samples(&frees));
    figure("ops", (double)mallocs.count);
    figure("peak_kib", peak);
    figure("timer_ns", (double)timer.overhead * timer.ns_a_tick);
    figure("timer_resolution_ns", (double)timer.resolution * timer.ns_a_tick);
    figure("slow_calls", (double)slow_calls);
    figure("slow_calls_switched", (double)slow_calls_switched);
    figure("disturbed_calls_expected", (double)gaps * (double)in_calls / (double)between_calls);
    return 0;
}
