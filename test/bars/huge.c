/* Huge pages: how much of a heap they back, and what a heap that was churned costs.
 *
 *   huge grow MIB BYTES          fills MIB with blocks of BYTES
 *   huge churn MIB ROUNDS MS     a burst of MIB of small blocks, freed; then a live set of half of that whose
 *                                blocks, small and large, are replaced in random order; waits for MS, the
 *                                decay time; then lets the kernel collapse all that it may
 *   huge scan MIB ROUNDS MS      the same, but waits until khugepaged has been through all memory
 *
 * Prints MiB: resident, in huge pages, peak; live, resident after the decay and after the collapse; and the
 * number of mappings. As it is set on most machines khugepaged takes minutes: MADV_COLLAPSE does at once what
 * it would do at its worst, for each huge page that has memory and is not exempted. */
#include "rss.h"
#include <stdbool.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define HUGE_BYTES ((size_t)2 << 20)
#define BLOCKS     4096
#define SCANS      3

typedef struct mapping {
    size_t from, to;
} mapping;

static void print_mib(const char *name, size_t kib) {
    dprintf(1, "%s %f\n", name, (double)kib / 1024);
}

static void grow(size_t bytes, size_t block) {
    void **head = NULL;
    for (size_t done = 0; done < bytes; done += block) {
        void **b = malloc(block);
        memset(b, 1, block);
        *b = head;
        head = b;
    }
    print_mib("resident", rss_kib());
    print_mib("huge", proc_kib("/proc/self/smaps_rollup", "\nAnonHugePages:"));
    print_mib("peak", proc_kib("/proc/self/status", "\nVmHWM:"));
}

/* Mappings of this process; those that may be collapsed, in `out`. */
static size_t mappings(mapping *out, size_t *collapsible) {
    static char line[4096];
    FILE *f = fopen("/proc/self/smaps", "r");
    size_t count = 0, from, to;
    mapping at = {0, 0};
    *collapsible = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%zx-%zx ", &from, &to) == 2) {
            at = (mapping){from, to};
            count++;
        } else if (!strncmp(line, "VmFlags:", 8) && strstr(line, " hg") && *collapsible < BLOCKS) {
            out[(*collapsible)++] = at;
        }
    }
    if (f)
        fclose(f);
    return count;
}

static void collapse(const mapping *m) {
    static unsigned char present[512];
    for (size_t at = (m->from + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1); at + HUGE_BYTES <= m->to;
         at += HUGE_BYTES) {
        if (mincore((void *)at, HUGE_BYTES, present) == 0 && memchr(present, 1, sizeof present))
            (void)madvise((void *)at, HUGE_BYTES,
                          MADV_COLLAPSE); /* what cannot be collapsed stays as it is */
    }
}

typedef struct live {
    char *block;
    size_t bytes;
} live;

static size_t fill(live *l, bool small, uint64_t *random) {
    l->bytes = small ? 400 : 65536 * (1 + next_random(random) % 4);
    l->block = malloc(l->bytes);
    if (!l->block)
        exit(3);
    memset(l->block, 1, l->bytes);
    return l->bytes;
}

static void burst(size_t bytes) {
    void **head = NULL;
    for (size_t done = 0; done < bytes; done += 400) {
        void **b = malloc(400);
        memset(b, 1, 400);
        *b = head;
        head = b;
    }
    for (void **b = head; b; b = head) {
        head = *b;
        free(b);
    }
}

/* A pass that is under way may have been here before; the second one after it looks again at what the first
   one changed. */
static void wait_for_scans(void) {
    const char *file = "/sys/kernel/mm/transparent_hugepage/khugepaged/full_scans";
    struct timespec moment = {.tv_nsec = 10000000};
    for (size_t first = proc_kib(file, ""); proc_kib(file, "") < first + SCANS;)
        nanosleep(&moment, NULL);
}

static void collapse_all(const mapping *maps, size_t count) {
    for (size_t i = 0; i < count; i++)
        collapse(&maps[i]);
}

static void churn(size_t bytes, size_t rounds, unsigned long ms, bool scan) {
    static mapping maps[BLOCKS];
    uint64_t random = 88172645463325252u;
    size_t count = 0, total = 0, collapsible, capacity = bytes / 2 / 400;
    live *set =
        mmap(NULL, capacity * sizeof *set, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    burst(bytes);
    while (total < bytes / 2)
        total += fill(&set[count++], next_random(&random) % 256 != 0, &random);
    for (size_t i = 0; i < rounds; i++) {
        live *l = &set[next_random(&random) % count];
        total -= l->bytes;
        free(l->block);
        total += fill(l, l->bytes == 400, &random);
    }
    wait_and_call(ms);
    print_mib("live", total / 1024);
    print_mib("decayed", rss_kib() - count * sizeof *set / 1024);
    print_mib("huge", proc_kib("/proc/self/smaps_rollup", "\nAnonHugePages:"));
    dprintf(1, "mappings %zu\n", mappings(maps, &collapsible));
    if (scan)
        wait_for_scans();
    else
        collapse_all(maps, collapsible);
    print_mib("collapsed", rss_kib() - count * sizeof *set / 1024);
    print_mib("huge_then", proc_kib("/proc/self/smaps_rollup", "\nAnonHugePages:"));
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "grow"))
        grow(strtoul(argv[2], NULL, 10) << 20, strtoul(argv[3], NULL, 10));
    else if (argc == 5 && (!strcmp(argv[1], "churn") || !strcmp(argv[1], "scan")))
        churn(strtoul(argv[2], NULL, 10) << 20, strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10),
              !strcmp(argv[1], "scan"));
    else
        return 2;
    return 0;
}
