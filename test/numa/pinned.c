/* Memory from pools of huge pages, and memory put into place at the start, on a machine with several nodes.
 * Run in the lab, by numa_pinned.sh, which sets pools and options.
 *
 *   pinned fill PLACE MIB   writes so much by a thread of that place (0, 1 ...); prints the pages on its node
 * in percent, and MiB that are from a pool pinned start            prints MiB that are from a pool, and MiB
 * in memory, before anything was allocated pinned quiet            a thread of each place: after its warm-up
 * no page fault */
#include "check.h"
#include "places.h"

#include <malloc.h>
#include <sys/resource.h>

#define BLOCK 100000

static size_t from_pool(void) {
    return check_proc_kib("/proc/self/smaps_rollup", "Private_Hugetlb:") / 1024;
}

typedef struct task {
    const place *where;
    size_t mib, faults;
    census *pages;
} task;

static void *fill(void *arg) {
    task *t = arg;
    go_to(t->where);
    for (size_t i = 0; i < t->mib * MIB / BLOCK; i++)
        census_count(t->pages, block_touch((block){malloc(BLOCK), BLOCK}));
    return NULL;
}

static void work(void) {
    static const size_t sizes[] = {24, 300, 4000, 30000, 100000, MIB, 4 * MIB};
    block blocks[LENGTH(sizes) * 4];
    for (size_t round = 0; round < 20; round++) {
        for (size_t i = 0; i < LENGTH(blocks); i++)
            blocks[i] = take(sizes[i % LENGTH(sizes)]);
        for (size_t i = 0; i < LENGTH(blocks); i++)
            give(blocks[i]);
        malloc_trim(0); /* what may go does */
    }
}

static size_t faults_now(void) {
    struct rusage u;
    CHECK(getrusage(RUSAGE_THREAD, &u) == 0, "getrusage");
    return (size_t)u.ru_minflt;
}

static void *quiet(void *arg) {
    task *t = arg;
    go_to(t->where);
    work();
    t->faults = faults_now();
    work();
    t->faults = faults_now() - t->faults;
    return NULL;
}

static void run(void *(*what)(void *), task *j) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, what, j) == 0, "a thread");
    pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
    size_t faults = 0;
    if (argc == 2 && !strcmp(argv[1], "start")) {
        printf("%zu %zu\n", from_pool(), check_proc_kib("/proc/self/status", "VmRSS:") / 1024);
        return 0;
    }
    find_places();
    if (argc == 4 && !strcmp(argv[1], "fill")) {
        task t = {&places[atoi(argv[2])], strtoul(argv[3], NULL, 10), 0, census_new()};
        run(fill, &t);
        printf("%zu %zu\n", 100 * census_on(t.pages, t.where->wanted) / census_all(t.pages), from_pool());
        return 0;
    }
    CHECK(argc == 2 && !strcmp(argv[1], "quiet"), "usage");
    for (size_t i = 0; i < place_count; i++) {
        task t = {.where = &places[i]};
        run(quiet, &t);
        faults += t.faults;
    }
    printf("%zu\n", faults);
    return faults > 0;
}
