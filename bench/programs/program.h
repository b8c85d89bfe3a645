/* What the benchmark programs share: arguments, time, random numbers, blocks that are touched and tagged,
 * threads, resident size, figures.
 *
 * A program prints one "name value" a line, and curves as "series NAME x y". Its own books lie in memory of
 * mmap, so the allocator serves the pattern alone. Every block carries a tag that is checked before it is
 * freed: an allocator that hands out memory twice, or loses some, ends the run.
 *
 * Blocks are written as programs write them: one word in each cache line up to 1 KiB, one in each page
 * beyond, and the last byte. Writing all of a large block would measure memory, not the allocator.
 *
 * Compile with -fno-builtin: a compiler that knows malloc may drop a pair of calls. */
#ifndef BENCH_PROGRAM_H
#define BENCH_PROGRAM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES       64
#define PAGE_BYTES       4096
#define SMALL_BYTES      1024 /* blocks up to this are touched line by line */
#define THREADS_MAX      64
#define SERIES_MAX       256
#define MIB              ((size_t)1 << 20)
#define NS_PER_S         1000000000u
#define NS_PER_MS        1000000u
#define LENGTH(array)    (sizeof(array) / sizeof *(array))
#define STATUS_BROKEN    1 /* the allocator did something wrong */
#define STATUS_USAGE     2
#define STATUS_NO_MEMORY 3 /* or no thread, process or file */

static inline _Noreturn void stop(int status, const char *why) {
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, why);
    _exit(status);
}

/* Argument `at` as a whole number from `least`. */
static inline size_t argument(char **argv, int argc, int at, size_t least) {
    char *end = NULL;
    size_t value = at < argc ? strtoul(argv[at], &end, 10) : 0;
    if (!end || *end || value < least)
        stop(STATUS_USAGE, "an argument is missing or wrong; the top of the source says which there are");
    return value;
}

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Marsaglia's xorshift64 with shifts 13, 7, 17 (Journal of Statistical Software 8(14), 2003); never 0. */
static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Below n, which fits 32 bits. */
static inline size_t random_below(uint64_t *state, size_t n) {
    return (size_t)((next_random(state) >> 32) * n >> 32);
}

/* Zeroed memory for a program's own books. */
static inline void *books(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        stop(STATUS_NO_MEMORY, "mmap failed");
    return p;
}

typedef struct block {
    void *at;
    size_t bytes;
} block;

static inline uint64_t block_tag(block b) {
    return (uintptr_t)b.at * 0x9e3779b97f4a7c15u ^ b.bytes;
}

/* Writes to a fresh block as its program would. */
static inline block block_touch(block b) {
    if (!b.at)
        stop(STATUS_NO_MEMORY, "no memory");
    uint64_t tag = block_tag(b);
    volatile unsigned char *bytes = b.at;
    size_t step = b.bytes <= SMALL_BYTES ? LINE_BYTES : PAGE_BYTES;
    bytes[b.bytes - 1] = (unsigned char)(tag >> 56);
    for (size_t at = 0; at + 16 <= b.bytes; at += step)
        *(volatile uint64_t *)(bytes + at) = tag;
    return b;
}

/* Checks a block that is about to be freed and wipes its tag: whoever else was given it will notice. */
static inline void block_end(block b) {
    uint64_t tag = block_tag(b);
    volatile uint64_t *first = b.at;
    volatile unsigned char *last = (unsigned char *)b.at + b.bytes - 1;
    if ((b.bytes >= 16 && *first != tag) || *last != tag >> 56)
        stop(STATUS_BROKEN, "a block lost its tag");
    if (b.bytes >= 16)
        *first = 0;
    *last = (unsigned char)~(tag >> 56);
}

static inline block take(size_t bytes) {
    return block_touch((block){malloc(bytes), bytes});
}

static inline void give(block b) {
    block_end(b);
    free(b.at);
}

/* As give, of a place that may be empty. */
static inline void give_if(block b) {
    if (b.at)
        give(b);
}

/* A random order of 0..n-1. */
static inline void shuffle(uint32_t *order, size_t n, uint64_t *random) {
    for (size_t i = 0; i < n; i++) {
        size_t j = random_below(random, i + 1);
        order[i] = order[j];
        order[j] = (uint32_t)i;
    }
}

/* Threads that begin together. `together` runs body(args + i * stride) on each and answers the time from the
 * begin of the first to the end of the last. They take it themselves: this thread may be scheduled long after
 * it let them go. */
typedef struct job {
    pthread_t thread;
    pthread_barrier_t *start;
    void (*body)(void *);
    void *arg;
    uint64_t begin_ns, end_ns;
} job;

static inline void *job_run(void *arg) {
    job *j = arg;
    pthread_barrier_wait(j->start);
    j->begin_ns = now_ns();
    j->body(j->arg);
    j->end_ns = now_ns();
    return NULL;
}

static inline uint64_t together(size_t threads, void (*body)(void *), void *args, size_t stride) {
    static job jobs[THREADS_MAX];
    pthread_barrier_t start;
    if (threads > THREADS_MAX)
        stop(STATUS_USAGE, "too many threads");
    pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
    for (size_t i = 0; i < threads; i++) {
        jobs[i] = (job){.start = &start, .body = body, .arg = (char *)args + i * stride};
        if (pthread_create(&jobs[i].thread, NULL, job_run, &jobs[i]))
            stop(STATUS_NO_MEMORY, "no thread");
    }
    pthread_barrier_wait(&start);
    uint64_t begin = UINT64_MAX, end = 0;
    for (size_t i = 0; i < threads; i++) {
        pthread_join(jobs[i].thread, NULL);
        begin = jobs[i].begin_ns < begin ? jobs[i].begin_ns : begin;
        end = jobs[i].end_ns > end ? jobs[i].end_ns : end;
    }
    pthread_barrier_destroy(&start);
    return end - begin;
}

/* A whole file of /proc, as a string in a static buffer: one thread at a time. */
static inline const char *proc_text(const char *path) {
    static char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0)
        stop(STATUS_NO_MEMORY, path);
    close(fd);
    text[n] = 0;
    return text;
}

static inline double rss_mib(void) {
    return (double)strtoul(strchr(proc_text("/proc/self/statm"), ' '), NULL, 10) * PAGE_BYTES / MIB;
}

/* Highest resident size of this program since its exec: ru_maxrss would start at the size of its parent. */
static inline double peak_kib(void) {
    const char *at = strstr(proc_text("/proc/self/status"), "\nVmHWM:");
    return at ? (double)strtoul(at + strlen("\nVmHWM:"), NULL, 10) : 0;
}

/* A line on stdout by one write, without stdio's buffer, which would come from malloc. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
    char line[160];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || write(STDOUT_FILENO, line, (size_t)n) != n)
        stop(STATUS_NO_MEMORY, "cannot write");
}

static inline void figure(const char *name, double value) {
    say("%s %.9g\n", name, value);
}

/* The last lines of a program whose time is that of an operation. */
static inline void report(double ns, uint64_t operations) {
    figure("ns", ns / (double)operations);
    figure("ops", (double)operations);
    figure("peak_kib", peak_kib());
}

/* A curve. When it is full, every second point goes and only every second one is taken from then on. */
typedef struct series {
    const char *name;
    size_t points, seen, stride;
    double x[SERIES_MAX], y[SERIES_MAX];
} series;

static inline void series_add(series *s, double x, double y) {
    s->stride += !s->stride;
    if (s->seen++ % s->stride)
        return;
    if (s->points == SERIES_MAX) {
        for (s->points = 0; s->points < SERIES_MAX / 2; s->points++) {
            s->x[s->points] = s->x[2 * s->points];
            s->y[s->points] = s->y[2 * s->points];
        }
        s->stride *= 2;
    }
    s->x[s->points] = x;
    s->y[s->points++] = y;
}

static inline void series_print(const series *s) {
    for (size_t i = 0; i < s->points; i++)
        say("series %s %.6g %.6g\n", s->name, s->x[i], s->y[i]);
}

#endif
