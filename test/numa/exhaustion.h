/* Cases of policies.c in which memory runs out: of a node, of the machine, of a control group. */
#ifndef UM_TEST_EXHAUSTION_H
#define UM_TEST_EXHAUSTION_H

#include "hoards.h"

#include <malloc.h>

#define LEAN_BYTES (128 * MIB) /* a node with less is lean */

/* Takes blocks until there are no more. NULL must come with ENOMEM, and before `most` bytes. */
static hoard *exhaust(size_t bytes, size_t most) {
    hoard *h = books(sizeof *h);
    for (size_t sum = 0;; sum += bytes) {
        void *p;
        errno = 0;
        p = malloc(bytes);
        if (!p)
            break;
        CHECK(sum < most && h->count < BLOCKS_MAX, "NULL before %zu MiB in blocks of %zu", most / MIB, bytes);
        h->blocks[h->count++] = block_touch((block){p, bytes});
    }
    CHECK(errno == ENOMEM, "errno is %d", errno);
    return h;
}

static void give_all(hoard *h) {
    while (h->count)
        give(h->blocks[--h->count]);
}

static const place *place_of_lean(void) {
    for (size_t i = 0; i < w->count; i++)
        if (w->places[i].node == w->lean)
            return &w->places[i];
    CHECK(0, "the lean node has a cpu");
    return NULL;
}

/* A block that cannot grow stays as it is. */
static void grow_until_null(void) {
    size_t bytes = 1 * MIB;
    unsigned char *p = malloc(bytes), *grown;
    CHECK(p, "1 MiB");
    memset(p, 1, bytes);
    while ((grown = realloc(p, bytes + MIB))) {
        p = grown;
        memset(p + bytes, 1, MIB);
        bytes += MIB;
        CHECK(bytes < LEAN_BYTES, "NULL before %zu MiB", LEAN_BYTES / MIB);
    }
    CHECK(errno == ENOMEM, "errno is %d", errno);
    for (size_t i = 0; i < bytes; i += 4096)
        CHECK(p[i] == 1, "byte %zu stays", i);
    free(p);
}

/* The node is full: NULL, nobody is killed, and what is freed serves again. */
static void *fill_sizes(void *unused) {
    static const size_t sizes[] = {1000, 20000, 100000, 1 * MIB, 5 * MIB};
    (void)unused;
    go_to(place_of_lean());
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        hoard *h = exhaust(sizes[i], LEAN_BYTES);
        census *c = census_new();
        size_t count = h->count;
        count_hoard(c, h);
        expect_on(c, bit(w->lean), 100, "what fitted");
        CHECK(count * sizes[i] >= 16 * MIB, "blocks of %zu: %zu fitted", sizes[i], count);
        give_all(h);
        for (size_t j = 0; j < count / 2; j++)
            h->blocks[h->count++] = take(sizes[i]);
        give_all(h);
        malloc_trim(0);
    }
    grow_until_null();
    return NULL;
}

/* By a thread that has never been elsewhere. */
static void full(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, fill_sizes, NULL) == 0, "a thread");
    pthread_join(thread, NULL);
}

static void *fill_up(void *arg) {
    const place *where = arg;
    go_to(where);
    give_all(exhaust(50000, LEAN_BYTES));
    return NULL;
}

/* The same by a thread of each node at a time. */
static void full_for_threads(void) {
    pthread_t threads[NODES_MAX];
    for (size_t i = 0; i < w->count; i++)
        CHECK(pthread_create(&threads[i], NULL, fill_up, &w->places[i]) == 0, "a thread");
    for (size_t i = 0; i < w->count; i++)
        pthread_join(threads[i], NULL);
    go_to(place_of_lean());
    give(take(8 * MIB));
}

/* More than the lean node has, from a thread there: all is served, and most of it by the nearest node. */
static void falls_back(void) {
    hoard *h = books(sizeof *h);
    census *c = census_new();
    go_to(place_of_lean());
    for (size_t bytes = 0; bytes < LEAN_BYTES; bytes += 100000)
        h->blocks[h->count++] = take(100000);
    count_hoard(c, h);
    CHECK(census_on(c, bit(w->lean)) * PAGE_BYTES >= 16 * MIB, "the lean node is used: %zu pages",
          census_on(c, bit(w->lean)));
    expect_on(c, bit(w->lean) | w->nearest_to_lean, 99, "a thread on the lean node");
    give_all(h);
}

/* All is served, by these nodes. */
static void serves(uint64_t nodes) {
    census *c = census_new();
    hoard *h = books(sizeof *h);
    for (size_t i = 0; i < w->count; i++) {
        go_to(&w->places[i]);
        for (size_t bytes = 0; bytes < LEAN_BYTES / 2; bytes += 50000 + MIB) {
            h->blocks[h->count++] = take(50000);
            h->blocks[h->count++] = take(1 * MIB);
        }
    }
    count_hoard(c, h);
    expect_on(c, nodes, 100, "threads of all nodes");
    give_all(h);
}

static void all_serve(void) {
    serves(w->allowed);
}

static void two_serve(void) {
    serves(bit(w->lean) | bit(w->b));
}

/* Takes memory until there is no more: most of what there was, less what the kernel keeps for itself. What is
 * given back serves again. (Of memory that goes back to the kernel, its processors' own lists keep a part for
 * a while, which nobody counts as free.) */
#define KERNEL_BYTES (24 * MIB)

static void fill_and_give(size_t bytes, size_t available) {
    hoard *h = exhaust(bytes, SIZE_MAX);
    size_t count = h->count;
    CHECK(count * bytes + KERNEL_BYTES >= available / 10 * 6,
          "%zu MiB in blocks of %zu, where %zu were available", count * bytes / MIB, bytes, available / MIB);
    while (h->count > count / 2)
        give(h->blocks[--h->count]);
    while (h->count < count * 3 / 4)
        h->blocks[h->count++] = take(bytes);
    give_all(h);
    malloc_trim(0);
}

static size_t free_bytes(uint64_t nodes) {
    long long sum = 0, one;
    for (int n = 0; n < NODES_MAX; n++)
        if (nodes & bit(n) && numa_node_size64(n, &one) > 0)
            sum += one;
    return (size_t)sum;
}

/* No node has anything left: the kernel would have to kill. */
static void full_machine(void) {
    fill_and_give(20000, free_bytes(w->allowed));
    fill_and_give(10 * MIB, free_bytes(w->allowed));
}

/* A thread that has never been elsewhere takes all that its node gives. */
static void *fill_node(void *arg) {
    hoard *h = arg;
    go_to(h->where);
    for (void *p; (p = malloc(30000)); h->count++)
        h->blocks[h->count] = block_touch((block){p, 30000});
    CHECK(errno == ENOMEM, "errno is %d", errno);
    return NULL;
}

static void check_filled(hoard *h, size_t available) {
    census *c = census_new();
    count_hoard(c, h);
    expect_on(c, h->where->wanted, 100, "what fitted");
    CHECK(h->count * 30000 + KERNEL_BYTES >= available / 10 * 6,
          "%zu MiB on node %d, where %zu were available", h->count * 30000 / MIB, h->where->node,
          available / MIB);
}

/* One node after the other, then all at once: pages are looked at, so none lies elsewhere. (That free memory
 * is looked at too, before the kernel would have to kill, is what full_machine proves.) */
static void full_machine_by_threads(void) {
    size_t available[NODES_MAX];
    pthread_t thread;
    for (size_t i = 0; i < w->count; i++)
        available[i] = free_bytes(w->places[i].wanted);
    for (size_t i = 0; i < w->count; i++) {
        hoards[i] = books(sizeof(hoard));
        hoards[i]->where = &w->places[i];
        CHECK(pthread_create(&thread, NULL, fill_node, hoards[i]) == 0, "a thread");
        pthread_join(thread, NULL);
        check_filled(hoards[i], available[i]);
    }
    for (size_t i = 0; i < w->count; i++)
        give_all(hoards[i]);
    malloc_trim(0);
    on_all_places(fill_node);
    for (size_t i = 0; i < w->count; i++)
        check_filled(hoards[i], available[i]);
}

static void full_node(void) {
    fill_and_give(20000, free_bytes(bit(w->a)));
    fill_and_give(MIB, free_bytes(bit(w->a)));
}

#define GROUP_BYTES (64 * MIB)

static void full_group(void) {
    CHECK(malloc(2 * GROUP_BYTES) == NULL && errno == ENOMEM, "more than the group may have");
    fill_and_give(20000, GROUP_BYTES + KERNEL_BYTES);
    fill_and_give(MIB, GROUP_BYTES + KERNEL_BYTES);
}

/* Most of the node is memory that the kernel may take back: it is as good as free. */
static void reclaimable(void) {
    size_t bytes = free_bytes(bit(w->a)) / 8 * 7, available = free_bytes(bit(w->a));
    unsigned long node = bit(w->a);
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED && mbind(p, bytes, MPOL_BIND, &node, sizeof node * 8 + 1, 0) == 0, "memory there");
    memset(p, 1, bytes);
    CHECK(madvise(p, bytes, MADV_FREE) == 0, "MADV_FREE");
    fill_and_give(MIB, available + KERNEL_BYTES * 10 / 6); /* all of it, the kernel's part too */
}

#endif
