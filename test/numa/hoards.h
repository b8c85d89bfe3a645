/* What the cases of policies.c share: the machine as they see it, and threads with blocks of all sizes, whose
 * pages are counted by node. */
#ifndef UM_TEST_HOARDS_H
#define UM_TEST_HOARDS_H

#include "check.h"
#include "places.h"

#define BLOCKS_MAX 65536
#define VMAS_MAX   200

/* What a case knows of the machine: found out by the first process, whose calls no filter denies. */
typedef struct world {
    size_t count;
    place places[NODES_MAX];
    uint64_t allowed, with_cpus, nearest_to_lean;
    int a, b, lean; /* nodes; lean is -1 if there is none */
} world;

static world *w;

/* A thread's blocks of all sizes. */
typedef struct hoard {
    const place *where;
    block blocks[BLOCKS_MAX];
    size_t count;
} hoard;

typedef struct range {
    size_t least, most, bytes;
} range;

static const range ranges[] = {
    {16, 1024, 4 * MIB},
    {2048, 32 << 10, 4 * MIB},
    {64 << 10, 1 * MIB, 4 * MIB},
    {2 * MIB, 4 * MIB, 8 * MIB},
};

static size_t times = 1; /* as much of each range */

static void *gather(void *arg) {
    hoard *h = arg;
    uint64_t random = (uint64_t)h->where->cpu + 1;
    go_to(h->where);
    for (size_t r = 0; r < LENGTH(ranges); r++) {
        size_t bytes = 0;
        while (bytes < times * ranges[r].bytes) {
            block b = take(ranges[r].least + random_below(&random, ranges[r].most - ranges[r].least + 1));
            CHECK(h->count < BLOCKS_MAX, "room for a block");
            h->blocks[h->count++] = b;
            bytes += b.bytes;
        }
    }
    return NULL;
}

static hoard *hoards[NODES_MAX];

/* A thread for each place, with a hoard of its own. */
static void on_all_places(void *(*work)(void *hoard)) {
    pthread_t threads[NODES_MAX];
    for (size_t i = 0; i < w->count; i++) {
        hoards[i] = books(sizeof(hoard));
        hoards[i]->where = &w->places[i];
        CHECK(pthread_create(&threads[i], NULL, work, hoards[i]) == 0, "a thread");
    }
    for (size_t i = 0; i < w->count; i++)
        pthread_join(threads[i], NULL);
}

/* A thread on each place takes blocks of all sizes; they stay. */
static void gather_all(void) {
    on_all_places(gather);
    CHECK(check_vmas() < VMAS_MAX, "%zu mappings", check_vmas());
}

static void count_hoard(census *c, const hoard *h) {
    for (size_t i = 0; i < h->count; i++)
        census_count(c, h->blocks[i]);
}

static void expect_on(census *c, uint64_t nodes, double percent, const char *whose) {
    size_t good = census_on(c, nodes), all = census_all(c), nowhere = c->on[NODES_MAX];
    char text[512] = "";
    good +=
        nowhere < all / 100 ? nowhere : all / 100; /* the kernel has some in hand, where memory is tight */
    for (int n = 0; n < NODES_MAX; n++)
        if (c->on[n])
            snprintf(text + strlen(text), sizeof text - strlen(text), " node %d: %zu", n, c->on[n]);
    CHECK(100.0 * (double)good >= percent * (double)all, "%.1f%% of the pages of %s on nodes %#llx;%s",
          percent, whose, (unsigned long long)nodes, text);
}

#endif
