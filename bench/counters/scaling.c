/* Threads by pattern, for counting and for timing what an allocator costs as they grow.
 *
 *   scaling PATTERN THREADS OPERATIONS
 *
 * local     each thread replaces random blocks of its own live set
 * handover  the same, but live sets go round: every 256 replacements a thread takes the set of its neighbour,
 *           as larson's server threads do with their successors
 * pairs     one thread of each pair allocates, the other frees
 * gather    all threads but one allocate, that one frees
 * scatter   one thread allocates, all others free
 * churn     each thread starts a short-lived thread again and again, which replaces 64 blocks and leaves 16
 * to its parent, who frees them
 *
 * An operation is a malloc and the free of its block. Blocks have 16 to 512 bytes, drawn evenly; who
 * allocates writes the first word, who frees reads it first. OPERATIONS are those of each thread that
 * allocates. Blocks travel in rings of one producer and one consumer, whose indices lie on lines of their own
 * and are read anew only when a side finds its ring full or empty: they cost the program little beside the
 * blocks. */
#include "program.h"

#include "cores.h"
#include <stdatomic.h>

#define LIVE         256
#define RING         128
#define HANDOVER     256
#define SHORT_BLOCKS 64
#define SHORT_LEFT   16
#define LEAST        16
#define MOST         512
#define PAD          __attribute__((aligned(2 * LINE_BYTES)))

typedef struct ring {
    void *blocks[RING];
    PAD _Atomic(size_t) written; /* the producer's; release, pairs with the consumer's acquire */
    size_t read_seen;
    PAD _Atomic(size_t) read; /* the consumer's; release: the place may be written anew */
    size_t written_seen;
} PAD ring;

typedef struct worker {
    uint64_t random;
    void *live[LIVE];
} PAD worker;

typedef struct pattern {
    const char *name;
    void (*body)(size_t index);
    size_t least_threads;
} pattern;

static size_t threads, operations;
static worker workers[CORES_MAX];
static ring rings[CORES_MAX];
static PAD _Atomic(size_t) handed[CORES_MAX]; /* rounds of handover that a thread has finished; release */

static void *fresh(worker *w) {
    uint64_t *p = malloc(LEAST + random_below(&w->random, MOST - LEAST + 1));
    if (!p)
        stop(STATUS_NO_MEMORY, "no memory");
    *p = (uintptr_t)p;
    return p;
}

static void end(void *block) {
    if (block && *(uint64_t *)block != (uintptr_t)block)
        stop(STATUS_BROKEN, "a block lost its tag");
    free(block);
}

static void replace(worker *own, worker *set, size_t times) {
    while (times--) {
        void **place = &set->live[random_below(&own->random, LIVE)];
        end(*place);
        *place = fresh(own);
    }
}

static void put(ring *r, void *block) {
    size_t at = atomic_load_explicit(&r->written, memory_order_relaxed); /* our own */
    while (at - r->read_seen == RING) {
        r->read_seen = atomic_load_explicit(&r->read, memory_order_acquire);
        if (at - r->read_seen == RING)
            cores_pause();
    }
    r->blocks[at % RING] = block;
    atomic_store_explicit(&r->written, at + 1, memory_order_release);
}

/* NULL where the ring is empty. */
static void *take_from(ring *r) {
    size_t at = atomic_load_explicit(&r->read, memory_order_relaxed); /* our own */
    void *block;
    if (at == r->written_seen) {
        r->written_seen = atomic_load_explicit(&r->written, memory_order_acquire);
        if (at == r->written_seen)
            return NULL;
    }
    block = r->blocks[at % RING];
    atomic_store_explicit(&r->read, at + 1, memory_order_release);
    return block;
}

/* Frees what comes in `count` rings from `first` on, `stride` apart, until each has carried its share. */
static void drain(size_t first, size_t count, size_t share) {
    size_t left = count * share;
    while (left) {
        size_t got = 0;
        for (size_t i = 0; i < count; i++)
            for (void *block; got < left && (block = take_from(&rings[first + i])); got++)
                end(block);
        left -= got;
        cores_done(got);
        if (!got)
            cores_pause();
    }
}

/* Steady: the warm-up is long enough for the live set to have seen its highest counts of each size. */
static void local(size_t index) {
    worker *w = &workers[index];
    replace(w, w, 64 * LIVE);
    cores_meet();
    replace(w, w, operations);
    cores_done(operations);
    cores_meet();
}

/* In round n thread i works on set (i + n) mod threads, which its neighbour i + 1 had in round n - 1. */
static void handover(size_t index) {
    worker *own = &workers[index];
    size_t rounds = operations / HANDOVER, neighbour = (index + 1) % threads;
    replace(own, own, 8 * LIVE);
    cores_meet();
    for (size_t n = 0; n < rounds; n++) {
        while (atomic_load_explicit(&handed[neighbour], memory_order_acquire) < n)
            cores_pause();
        replace(own, &workers[(index + n) % threads], HANDOVER);
        atomic_store_explicit(&handed[index], n + 1, memory_order_release);
    }
    cores_done(rounds * HANDOVER);
    cores_meet();
}

static void produce(worker *w, size_t first, size_t count, size_t blocks) {
    for (size_t i = 0; i < blocks; i++)
        put(&rings[first + i % count], fresh(w));
}

/* Half of the operations go before the counting begins. */
static void send(size_t index, size_t first, size_t count) {
    produce(&workers[index], first, count, operations / 2 * count);
    cores_meet();
    produce(&workers[index], first, count, operations * count);
    cores_meet();
}

static void receive(size_t first, size_t count) {
    drain(first, count, operations / 2);
    cores_meet();
    drain(first, count, operations);
    cores_meet();
}

static void pairs(size_t index) {
    if (index % 2)
        receive(index / 2, 1);
    else
        send(index, index / 2, 1);
}

static void gather(size_t index) {
    if (index)
        send(index, index - 1, 1);
    else
        receive(0, threads - 1);
}

/* The one producer sends each receiver its share. */
static void scatter(size_t index) {
    if (index)
        receive(index - 1, 1);
    else
        send(0, 0, threads - 1);
}

static void short_life(void *arg) {
    worker *parent = arg;
    void *blocks[SHORT_BLOCKS];
    for (size_t i = 0; i < SHORT_BLOCKS; i++)
        blocks[i] = fresh(parent);
    for (size_t i = 0; i < SHORT_LEFT; i++)
        parent->live[i] = blocks[i];
    for (size_t i = SHORT_LEFT; i < SHORT_BLOCKS; i++)
        end(blocks[i]);
}

static void lives(worker *w, size_t count) {
    while (count--) {
        cores_short_thread(short_life, w);
        for (size_t i = 0; i < SHORT_LEFT; i++)
            end(w->live[i]);
    }
}

static void churn(size_t index) {
    worker *w = &workers[index];
    size_t count = operations / SHORT_BLOCKS;
    lives(w, 4);
    cores_meet();
    lives(w, count);
    cores_done(count * SHORT_BLOCKS);
    cores_meet();
}

static const pattern patterns[] = {{"local", local, 1},   {"handover", handover, 1}, {"pairs", pairs, 2},
                                   {"gather", gather, 2}, {"scatter", scatter, 2},   {"churn", churn, 1}};

int main(int argc, char **argv) {
    threads = argument(argv, argc, 2, 1);
    operations = argument(argv, argc, 3, HANDOVER);
    if (threads > CORES_MAX)
        stop(STATUS_USAGE, "too many threads");
    for (size_t i = 0; i < CORES_MAX; i++)
        workers[i].random = (i + 1) * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < LENGTH(patterns); i++)
        if (!strcmp(patterns[i].name, argv[1]) && threads >= patterns[i].least_threads) {
            cores_run(threads, patterns[i].body);
            cores_report();
            return 0;
        }
    stop(STATUS_USAGE, "no such pattern, or it needs more threads");
}
