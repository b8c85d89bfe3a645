/* Small loops over malloc and free, each for a given time.
 *
 *   loop PATTERN LEAST MOST THREADS MILLISECONDS
 *
 * tight    malloc, free
 * lifo     a batch of mallocs, then its frees in reverse order
 * fifo     a batch, freed in its own order
 * random   a batch, freed in random order
 * replace  the blocks of a batch replaced one by one at random: a steady live set
 * calloc   as lifo, by calloc; what comes must be zero
 * aligned  as lifo, by posix_memalign with alignments from 32 to 4096, next to plain mallocs
 *
 * Sizes lie from LEAST to MOST bytes with even density over their logarithm, taken in turn from 1024 drawn at
 * the start. A batch is 1000 blocks, fewer if they came to more than 64 MiB. Each thread has its own. Prints
 * ns a pair (wall time x threads / pairs): a thread's cost of a pair, whatever the number of threads. */
#include "program.h"
#include <math.h>

#define BATCH       1000
#define BATCH_BYTES (64 * MIB)
#define SIZES       1024 /* a power of two */

typedef struct work {
    size_t batch, next_size;
    uint64_t random, pairs, until_ns;
    void (*round)(struct work *w);
    size_t sizes[SIZES];
    uint32_t order[BATCH];
    block blocks[BATCH];
} __attribute__((aligned(2 * LINE_BYTES))) work;

static size_t next_size(work *w) {
    return w->sizes[w->next_size++ % SIZES];
}

static void tight(work *w) {
    for (size_t i = 0; i < w->batch; i++)
        give(take(next_size(w)));
}

static void fill(work *w) {
    for (size_t i = 0; i < w->batch; i++)
        w->blocks[i] = take(next_size(w));
}

static void give_in_reverse(work *w) {
    for (size_t i = w->batch; i-- > 0;)
        give(w->blocks[i]);
}

static void lifo(work *w) {
    fill(w);
    give_in_reverse(w);
}

static void fifo(work *w) {
    fill(w);
    for (size_t i = 0; i < w->batch; i++)
        give(w->blocks[i]);
}

static void in_random_order(work *w) {
    fill(w);
    for (size_t i = 0; i < w->batch; i++)
        give(w->blocks[w->order[i]]);
}

static void replace(work *w) {
    for (size_t i = 0; i < w->batch; i++) {
        block *b = &w->blocks[random_below(&w->random, w->batch)];
        give_if(*b);
        *b = take(next_size(w));
    }
}

static void zeroed(work *w) {
    for (size_t i = 0; i < w->batch; i++) {
        block b = {calloc(1, w->sizes[i % SIZES]), w->sizes[i % SIZES]};
        size_t step = b.bytes <= SMALL_BYTES ? sizeof(uint64_t) : PAGE_BYTES;
        for (size_t at = 0; b.at && at + sizeof(uint64_t) <= b.bytes; at += step)
            if (*(volatile uint64_t *)((char *)b.at + at))
                stop(STATUS_BROKEN, "calloc gave bytes that are not zero");
        w->blocks[i] = block_touch(b);
    }
    give_in_reverse(w);
}

static void aligned(work *w) {
    for (size_t i = 0; i < w->batch; i++) {
        block b = {NULL, next_size(w)};
        size_t alignment = (size_t)32 << i % 16;
        if (alignment > PAGE_BYTES) { /* half of the blocks */
            w->blocks[i] = take(b.bytes);
            continue;
        }
        if (posix_memalign(&b.at, alignment, b.bytes))
            stop(STATUS_NO_MEMORY, "no aligned memory");
        if ((uintptr_t)b.at % alignment)
            stop(STATUS_BROKEN, "a block is not aligned");
        w->blocks[i] = block_touch(b);
    }
    give_in_reverse(w);
}

static void run(void *arg) {
    work *w = arg;
    do {
        w->round(w);
        w->pairs += w->batch;
    } while (now_ns() < w->until_ns);
}

static void (*pattern(const char *name))(work *w) {
    static const struct {
        const char *name;
        void (*round)(work *w);
    } patterns[] = {
        {"tight", tight},     {"lifo", lifo},     {"fifo", fifo},      {"random", in_random_order},
        {"replace", replace}, {"calloc", zeroed}, {"aligned", aligned}};
    for (size_t i = 0; i < LENGTH(patterns); i++)
        if (!strcmp(name, patterns[i].name))
            return patterns[i].round;
    stop(STATUS_USAGE, "no such pattern");
}

int main(int argc, char **argv) {
    size_t least = argument(argv, argc, 2, 16), most = argument(argv, argc, 3, least);
    size_t threads = argument(argv, argc, 4, 1), ms = argument(argv, argc, 5, 1);
    work *works = books(threads * sizeof *works);
    for (size_t i = 0; i < threads; i++) {
        work *w = &works[i];
        size_t total = 0;
        w->random = i + 1;
        w->round = pattern(argv[1]);
        for (size_t s = 0; s < SIZES; s++) {
            double part = (double)random_below(&w->random, SIZES) / (SIZES - 1);
            w->sizes[s] =
                least == most ? least : (size_t)((double)least * pow((double)most / (double)least, part));
            total += w->sizes[s];
        }
        w->batch = BATCH_BYTES / (total / SIZES) < BATCH ? BATCH_BYTES / (total / SIZES) : BATCH;
        if (!w->batch)
            stop(STATUS_USAGE, "too large a block");
        shuffle(w->order, w->batch, &w->random);
        w->until_ns = now_ns() + ms * NS_PER_MS;
    }
    uint64_t took = together(threads, run, works, sizeof *works), pairs = 0;
    for (size_t i = 0; i < threads; i++)
        pairs += works[i].pairs;
    report((double)took * (double)threads, pairs);
    return 0;
}
