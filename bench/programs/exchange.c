/* Threads that each allocate, and free what the others allocated: the pattern of xmalloc, without its lock.
 *
 *   exchange MOST THREADS MILLISECONDS
 *
 * A thread fills a batch of 64 blocks of 16 to MOST bytes, the batch's own record included, puts it in a
 * random one of 64 places that all threads share, and frees the batch that lay there. Prints ns a block (wall
 * time x threads / blocks). */
#include "program.h"
#include <stdatomic.h>

#define BATCH  64
#define PLACES 64

typedef struct batch {
    block blocks[BATCH];
} batch;

typedef struct work {
    uint64_t random, blocks;
} __attribute__((aligned(2 * LINE_BYTES))) work;

static _Atomic(batch *)
    places[PLACES]; /* exchanged with acquire and release: what is in a place is its taker's */
static size_t most;
static uint64_t until_ns;

static batch *make(work *w) {
    batch *b = malloc(sizeof *b);
    if (!b)
        stop(STATUS_NO_MEMORY, "no memory");
    for (size_t i = 0; i < BATCH; i++)
        b->blocks[i] = take(16 + random_below(&w->random, most - 15));
    w->blocks += BATCH + 1;
    return b;
}

static void end(batch *b) {
    if (!b)
        return;
    for (size_t i = 0; i < BATCH; i++)
        give(b->blocks[i]);
    free(b);
}

static void run(void *arg) {
    work *w = arg;
    do
        end(atomic_exchange_explicit(&places[random_below(&w->random, PLACES)], make(w),
                                     memory_order_acq_rel));
    while (now_ns() < until_ns);
}

int main(int argc, char **argv) {
    static work works[THREADS_MAX];
    most = argument(argv, argc, 1, 16);
    size_t threads = argument(argv, argc, 2, 1);
    until_ns = now_ns() + argument(argv, argc, 3, 1) * NS_PER_MS;
    for (size_t i = 0; i < THREADS_MAX; i++)
        works[i].random = i + 1;
    uint64_t took = together(threads, run, works, sizeof *works), blocks = 0;
    for (size_t i = 0; i < threads; i++)
        blocks += works[i].blocks;
    for (size_t i = 0; i < PLACES; i++)
        end(places[i]);
    report((double)took * (double)threads, blocks);
    return 0;
}
