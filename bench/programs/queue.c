/* Blocks that one thread allocates and another frees.
 *
 *   queue PRODUCERS CONSUMERS LEAST MOST MILLISECONDS
 *
 * Producers only allocate, consumers only free (1:1, 1:N, N:1, and N:N as xmalloc has it). A ring of 1024
 * blocks leads from each producer to each consumer; producers serve theirs in turn, 32 blocks at a time, so
 * the rings themselves cost little. Sizes lie evenly from LEAST to MOST bytes. A side that has to wait
 * yields. Prints wall ns a block. */
#include "program.h"
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#define RING  1024
#define GROUP 32

typedef struct ring {
    _Alignas(2 * LINE_BYTES) atomic_size_t head; /* written by the producer, released to the consumer */
    atomic_bool ended;                           /* likewise */
    _Alignas(2 * LINE_BYTES) atomic_size_t tail; /* written by the consumer, released to the producer */
    _Alignas(2 * LINE_BYTES) block blocks[RING]; /* from tail to head the consumer's, else the producer's */
} ring;

static ring *rings; /* that from p to c is rings[p * consumers + c] */
static size_t producers, consumers, least, most;
static uint64_t until_ns;
static uint64_t sent[THREADS_MAX];

static void produce(size_t me) {
    uint64_t random = me + 1;
    size_t turn = 0;
    do {
        ring *r = &rings[me * consumers + turn++ % consumers];
        size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
        while (head + GROUP - atomic_load_explicit(&r->tail, memory_order_acquire) > RING)
            sched_yield();
        for (size_t i = 0; i < GROUP; i++)
            r->blocks[(head + i) % RING] = take(least + random_below(&random, most - least + 1));
        atomic_store_explicit(&r->head, head + GROUP, memory_order_release);
        sent[me] += GROUP;
    } while (now_ns() < until_ns);
    for (size_t c = 0; c < consumers; c++)
        atomic_store_explicit(&rings[me * consumers + c].ended, true, memory_order_release);
}

/* Frees what is there; answers whether there was any, or may still come. */
static bool serve(ring *r, bool *any) {
    bool ended = atomic_load_explicit(&r->ended, memory_order_acquire);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    size_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    if (tail == head)
        return !ended;
    *any = true;
    for (; tail != head; tail++)
        give(r->blocks[tail % RING]);
    atomic_store_explicit(&r->tail, tail, memory_order_release);
    return true;
}

static void consume(size_t me) {
    for (bool open = true; open;) {
        bool any = false;
        open = false;
        for (size_t p = 0; p < producers; p++)
            open |= serve(&rings[p * consumers + me], &any);
        if (!any)
            sched_yield();
    }
}

static void run(void *arg) {
    size_t me = *(size_t *)arg;
    if (me < producers)
        produce(me);
    else
        consume(me - producers);
}

int main(int argc, char **argv) {
    static size_t who[THREADS_MAX];
    producers = argument(argv, argc, 1, 1);
    consumers = argument(argv, argc, 2, 1);
    least = argument(argv, argc, 3, 16);
    most = argument(argv, argc, 4, least);
    until_ns = now_ns() + argument(argv, argc, 5, 1) * NS_PER_MS;
    rings = books(producers * consumers * sizeof *rings);
    for (size_t i = 0; i < THREADS_MAX; i++)
        who[i] = i;
    uint64_t took = together(producers + consumers, run, who, sizeof *who), blocks = 0;
    for (size_t p = 0; p < producers; p++)
        blocks += sent[p];
    report((double)took, blocks);
    return 0;
}
