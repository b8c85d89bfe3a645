/* Prints the caches and NUMA nodes of this machine, and measures memory node by node: how long a load takes
   that depends on the last one, in random order, for sets that fit each cache and one that fits none; how
   fast one thread reads, writes and copies in order; and what a load costs at strides.

     umalloc-topo [--mib=N] [--ms=N] [--no-measures]

   --mib: the large set, by default four times the last cache, at least 64 and at most 512 MiB. --ms: how long
   each figure is measured at least, 100 by default. Figures are of one thread; from: the node whose first
   processor it is pinned to, to: the node of the memory. On a busy machine they say less. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <umalloc/cacheline.h>
#include <umalloc/numa.h>

#define MIB         ((size_t)1 << 20)
#define NODES_MOST  64
#define CPUS_MOST   1024
#define LARGE_MOST  (512 * MIB)
#define PIECE       MIB
#define CALLS_LEAST 30

typedef struct set {
    char *at;
    size_t bytes;
} set;

static size_t large_bytes, at_least_ms = 100;
static volatile uint64_t sink; /* what is read must be used */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- what there is --- */

static void print_bytes(size_t bytes) {
    if (bytes >= 10 * 1024 * MIB)
        printf("%.1f GiB", (double)bytes / 1024 / (double)MIB);
    else if (bytes >= 10 * MIB)
        printf("%zu MiB", bytes / MIB);
    else
        printf("%zu KiB", bytes / 1024);
}

static void print_caches(void) {
    um_cache c;
    printf("Caches of the first processor, lines of %zu bytes\n", um_cache_line_bytes());
    for (unsigned level = 1; um_cache_get(level, &c); level++) {
        printf("  level %u: ", level);
        print_bytes(c.bytes);
        printf(", %u ways, shared by %u\n", c.ways, c.sharers);
        large_bytes = large_bytes > 4 * c.bytes ? large_bytes : 4 * c.bytes;
    }
}

static void print_cpus(unsigned node) {
    static unsigned cpus[CPUS_MOST];
    size_t n = um_numa_cpus(node, cpus, CPUS_MOST);
    n = n < CPUS_MOST ? n : CPUS_MOST;
    if (!n)
        printf("no processor");
    for (size_t i = 0, run; i < n; i += run) {
        for (run = 1; i + run < n && cpus[i + run] == cpus[i] + run;)
            run++;
        printf(run > 1 ? "%s%u-%u" : "%s%u", i ? "," : "cpus ", cpus[i], cpus[i + run - 1]);
    }
}

static void print_nodes(const unsigned *nodes, size_t count) {
    printf("Nodes\n");
    for (size_t i = 0; i < count; i++) {
        uint64_t total, unused;
        printf("  node %u: ", nodes[i]);
        print_cpus(nodes[i]);
        if (um_numa_memory(nodes[i], &total, &unused) == 0) {
            printf(", ");
            print_bytes(total);
            printf(", of which ");
            print_bytes(unused);
            printf(" are free");
        }
        printf("; distances");
        for (size_t k = 0; k < count; k++)
            printf(" %u", um_numa_distance(nodes[i], nodes[k]));
        printf("\n");
    }
}

/* --- what is measured --- */

/* Seconds for one of `per_call` operations of f: the best call, for others are interrupted. */
static double seconds_of(void (*f)(const set *s), const set *s, double per_call) {
    double start = now(), best = 1e9, at = start;
    unsigned calls = 0;
    f(s); /* to have it where it will be */
    do {
        double from = now();
        f(s);
        at = now();
        best = at - from < best ? at - from : best;
    } while (++calls < CALLS_LEAST || (at - start) * 1000 < (double)at_least_ms);
    return best / per_call;
}

#define LOADS 5000

/* One random cycle through all lines (Sattolo's shuffle), so that no prefetcher guesses it. */
static void make_cycle(const set *s) {
    size_t lines = s->bytes / UM_CACHE_LINE;
    uint64_t random = 88172645463325252u;
    for (size_t i = 0; i < lines; i++)
        *(size_t *)(s->at + i * UM_CACHE_LINE) = i;
    for (size_t i = lines - 1; i > 0; i--) {
        random ^= random << 13; /* Marsaglia, Xorshift RNGs, 2003 */
        random ^= random >> 7;
        random ^= random << 17;
        size_t *a = (size_t *)(s->at + i * UM_CACHE_LINE),
               *b = (size_t *)(s->at + random % i * UM_CACHE_LINE);
        size_t other = *a;
        *a = *b;
        *b = other;
    }
}

static void chase(const set *s) {
    static size_t at;
    size_t i = at < s->bytes / UM_CACHE_LINE ? at : 0;
    for (unsigned n = 0; n < LOADS; n++)
        i = *(const size_t *)(s->at + i * UM_CACHE_LINE);
    at = i;
}

/* The next piece of the set: short enough to be done uninterrupted, and not there in the caches any more. */
static char *piece(const set *s) {
    static size_t at;
    at = at + 2 * PIECE <= s->bytes ? at + PIECE : 0;
    return s->at + at;
}

static void read_piece(const set *s) {
    uint64_t sum[4] = {0};
    for (const uint64_t *p = (const uint64_t *)piece(s), *end = p + PIECE / 8; p < end; p += 4)
        for (int k = 0; k < 4; k++)
            sum[k] += p[k];
    sink = sum[0] + sum[1] + sum[2] + sum[3];
}

static void write_piece(const set *s) {
    static int value;
    memset(piece(s), ++value, PIECE);
}

static void copy_piece(const set *s) {
    char *to = piece(s);
    memcpy(to, to + PIECE / 2, PIECE / 2);
    sink = (unsigned char)to[0];
}

static size_t stride;

static void read_strided(const set *s) {
    const char *p = piece(s);
    uint64_t sum = 0;
    for (size_t i = 0; i < PIECE; i += stride)
        sum += *(const uint64_t *)(p + i);
    sink = sum;
}

static double latency_ns(const set *s) {
    make_cycle(s);
    return seconds_of(chase, s, LOADS) * 1e9;
}

static void print_sets(const set *all) {
    um_cache c;
    printf("Loads in random order, each after the last\n");
    for (unsigned level = 1; um_cache_get(level, &c); level++) {
        set half = {all->at, c.bytes / 2};
        if (half.bytes <= all->bytes) {
            printf("  within level %u, ", level);
            print_bytes(half.bytes);
            printf(": %.1f ns\n", latency_ns(&half));
        }
    }
}

static void print_pair(unsigned from, unsigned to, const set *all) {
    static const size_t strides[] = {64, 256, 4096};
    double gb = (double)PIECE / 1e9;
    printf("  %4u %4u %9.1f %9.2f %9.2f %9.2f", from, to, latency_ns(all),
           gb / seconds_of(read_piece, all, 1), gb / seconds_of(write_piece, all, 1),
           gb / 2 / seconds_of(copy_piece, all, 1));
    for (size_t i = 0; i < sizeof strides / sizeof *strides; i++) {
        stride = strides[i];
        printf(" %9.2f", seconds_of(read_strided, all, (double)(PIECE / stride)) * 1e9);
    }
    printf("\n");
}

/* Memory on the node, touched. */
static set set_on(unsigned node) {
    char text[32];
    set s = {NULL, large_bytes};
    snprintf(text, sizeof text, "bind:%u", node);
    um_numa_policy *policy = um_numa_policy_new(text);
    s.at = policy ? um_numa_alloc(policy, s.bytes) : NULL;
    um_numa_policy_delete(policy);
    if (!s.at) {
        fprintf(stderr, "umalloc-topo: no %zu MiB on node %u: %s\n", s.bytes / MIB, node, strerror(errno));
        exit(1);
    }
    memset(s.at, 1, s.bytes);
    return s;
}

/* Pins to the first processor of the node that the process may use. */
static bool go_to(unsigned node) {
    static unsigned cpus[CPUS_MOST];
    size_t n = um_numa_cpus(node, cpus, CPUS_MOST);
    for (size_t i = 0; i < n && i < CPUS_MOST; i++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpus[i], &one);
        if (sched_setaffinity(0, sizeof one, &one) == 0)
            return true;
    }
    return false;
}

static void measure(const unsigned *nodes, size_t count) {
    bool first = true;
    for (size_t to = 0; to < count; to++) {
        set s = set_on(nodes[to]);
        for (size_t from = 0; from < count; from++) {
            if (!go_to(nodes[from]))
                continue;
            if (first) {
                print_sets(&s);
                printf("One thread and %zu MiB: ns a random load; GB/s read, written, copied in order; ns a "
                       "load at strides\n",
                       s.bytes / MIB);
                printf("  from   to    random      read     write      copy      64 B     256 B    4096 B\n");
                first = false;
            }
            print_pair(nodes[from], nodes[to], &s);
        }
        um_numa_free(s.at);
    }
}

static bool number(const char *arg, const char *name, size_t *out) {
    size_t n = strlen(name);
    char *end = NULL;
    if (strncmp(arg, name, n) != 0)
        return false;
    *out = strtoul(arg + n, &end, 10);
    return *out && end && !*end;
}

int main(int argc, char **argv) {
    unsigned nodes[NODES_MOST];
    size_t count = um_numa_nodes(nodes, NODES_MOST), mib = 0;
    bool measures = true;
    count = count < NODES_MOST ? count : NODES_MOST;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--no-measures") == 0)
            measures = false;
        else if (!number(argv[i], "--mib=", &mib) && !number(argv[i], "--ms=", &at_least_ms)) {
            fprintf(stderr, "usage: umalloc-topo [--mib=N] [--ms=N] [--no-measures]\n");
            return 2;
        }
    }
    large_bytes = 64 * MIB;
    print_caches();
    if (large_bytes > LARGE_MOST)
        large_bytes = LARGE_MOST;
    print_nodes(nodes, count);
    if (mib)
        large_bytes = mib * MIB;
    if (measures)
        measure(nodes, count);
    return 0;
}
