/* A hash join that keeps to its nodes: of two tables, one row of R for each key, find for every row of S its
   row of R. One thread is pinned to each node. Rows are first sent to the node that their key's hash names,
   each thread writing to a piece of memory of its own there; then each node joins what it has, all of it in
   local memory. With nodes of one's own the same program with everything on one node (UMALLOC_NUMA=none, or
   "prefer:0" below) shows the difference.

   Prints rows, matches, time, and how much of the nodes' memory lies where it is meant to. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <umalloc/numa.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NODES_MAX 16
#define ROWS      400000u /* of R; S has as many, about half of which have a match */

typedef struct row {
    uint32_t key, value;
} row;

/* Rows that one thread sends to one node. */
typedef struct parcel {
    row *rows;
    size_t count;
} parcel;

typedef struct worker {
    unsigned number, node, cpu;
    uint64_t first, end; /* of the rows that it makes */
    parcel r[NODES_MAX], s[NODES_MAX];
    size_t matches, wrong;
    double local; /* of its table's pages, in percent */
} worker;

static worker workers[NODES_MAX];
static unsigned count;
static um_numa_policy *on_node[NODES_MAX];
static pthread_barrier_t everybody;

static uint32_t mix(uint32_t key) {
    key *= 0x9E3779B1u;
    return key ^ key >> 15;
}

static void *must(void *p) {
    if (!p) {
        perror("numa_join");
        exit(1);
    }
    return p;
}

static void put(parcel *p, uint32_t key, uint32_t value) {
    p->rows[p->count++] = (row){key, value};
}

/* A parcel may get all rows in the worst case; pages that it does not fill cost nothing. */
static void send_rows(worker *w) {
    for (unsigned n = 0; n < count; n++) {
        size_t bytes = (w->end - w->first) * sizeof(row);
        w->r[n].rows = must(um_numa_alloc(on_node[n], bytes));
        w->s[n].rows = must(um_numa_alloc(on_node[n], bytes));
    }
    for (uint64_t i = w->first; i < w->end; i++) {
        uint32_t key = (uint32_t)i, wanted = mix((uint32_t)i) % (2 * ROWS);
        put(&w->r[mix(key) % count], key, key + 1);
        put(&w->s[mix(wanted) % count], wanted, wanted);
    }
}

static size_t slot_of(uint32_t key, size_t mask) {
    return (mix(key) >> 4) & mask;
}

/* Open addressing; a value of 0 is an empty slot. */
static void build(row *table, size_t mask, unsigned here) {
    for (unsigned from = 0; from < count; from++)
        for (size_t i = 0; i < workers[from].r[here].count; i++) {
            row it = workers[from].r[here].rows[i];
            size_t at = slot_of(it.key, mask);
            while (table[at].value)
                at = (at + 1) & mask;
            table[at] = it;
        }
}

static void probe(worker *w, const row *table, size_t mask) {
    for (unsigned from = 0; from < count; from++)
        for (size_t i = 0; i < workers[from].s[w->number].count; i++) {
            uint32_t key = workers[from].s[w->number].rows[i].key;
            size_t at = slot_of(key, mask);
            while (table[at].value && table[at].key != key)
                at = (at + 1) & mask;
            w->matches += table[at].value != 0;
            w->wrong += table[at].value && table[at].value != key + 1;
        }
}

static double local_pages(const char *at, size_t bytes, unsigned node) {
    size_t pages = 0, there = 0;
    for (size_t i = 0; i < bytes; i += 4096) {
        int is = um_numa_actual(at + i);
        pages += is >= 0;
        there += is == (int)node;
    }
    return pages ? 100.0 * (double)there / (double)pages : 100; /* the kernel may not tell */
}

static void *work(void *arg) {
    worker *w = arg;
    size_t rows = 0, mask = 1;
    row *table;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(w->cpu, &cpus);
    (void)sched_setaffinity(0, sizeof cpus, &cpus); /* where that is refused memory follows the thread */
    send_rows(w);
    pthread_barrier_wait(&everybody);
    for (unsigned from = 0; from < count; from++)
        rows += workers[from].r[w->number].count;
    while (mask < 2 * rows)
        mask = 2 * mask + 1;
    table = must(um_numa_alloc(on_node[w->number], (mask + 1) * sizeof(row)));
    memset(table, 0, (mask + 1) * sizeof(row));
    build(table, mask, w->number);
    probe(w, table, mask);
    w->local = local_pages((const char *)table, (mask + 1) * sizeof(row), w->node);
    pthread_barrier_wait(&everybody);
    um_numa_free(table);
    for (unsigned n = 0; n < count; n++) {
        um_numa_free(w->r[n].rows);
        um_numa_free(w->s[n].rows);
    }
    return NULL;
}

/* A thread for each node that has memory and processors. */
static void find_nodes(void) {
    unsigned nodes[NODES_MAX];
    size_t n = um_numa_nodes(nodes, NODES_MAX);
    for (size_t i = 0; i < n && i < NODES_MAX; i++) {
        char text[32];
        unsigned cpu = 0;
        size_t cpus = um_numa_cpus(nodes[i], &cpu, 1);
        if (cpus == 0 && n > 1)
            continue;
        snprintf(text, sizeof text, "prefer:%u", nodes[i]);
        on_node[count] = must(um_numa_policy_new(text));
        workers[count] = (worker){.number = count, .node = nodes[i], .cpu = cpu};
        count++;
    }
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(void) {
    pthread_t threads[NODES_MAX];
    size_t matches = 0, wrong = 0, due = 0;
    double start, local = 0;
    find_nodes();
    pthread_barrier_init(&everybody, NULL, count);
    for (uint32_t i = 0; i < ROWS; i++)
        due += mix(i) % (2 * ROWS) < ROWS;
    start = seconds();
    for (unsigned i = 0; i < count; i++) {
        workers[i].first = (uint64_t)ROWS * i / count;
        workers[i].end = (uint64_t)ROWS * (i + 1) / count;
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
            must(NULL);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        matches += workers[i].matches;
        wrong += workers[i].wrong;
        local += workers[i].local / count;
        um_numa_policy_delete(on_node[i]);
    }
    printf("nodes: %u; %u rows joined with %u in %.0f ms: %zu matches, %.1f%% of the tables' pages local\n",
           count, ROWS, ROWS, 1000 * (seconds() - start), matches, local);
    return matches == due && !wrong ? 0 : 1;
}
