/* False sharing: whether threads that write to small blocks of their own write to the same cache lines.
 *
 *   sharing PATTERN BYTES THREADS MILLISECONDS
 *
 * active   each thread allocates a block, writes to it and frees it, again and again
 * passive  as active, but before that one thread allocates a block for each, and each frees its one
 *
 * Active shares if blocks of one line are dealt to several threads; passive also if a block goes back to the
 * thread that freed it while its neighbour went to another.
 *
 * The patterns are active-false and passive-false of Berger et al., "Hoard: a scalable memory allocator for
 * multithreaded applications" (ASPLOS 2000). A block is written 1000 times. Prints ns a write (wall time x
 * threads / writes), which sharing multiplies where threads run at the same time: one processor shows
 * nothing. */
#include "program.h"
#include <stdbool.h>

#define WRITES 1000

typedef struct work {
    size_t bytes;
    uint64_t blocks;
    block given;
} __attribute__((aligned(2 * LINE_BYTES))) work;

static uint64_t until_ns;

static void write_often(block b) {
    volatile uint32_t *word = (volatile uint32_t *)b.at;
    for (uint32_t i = 0; i < WRITES; i++)
        word[i % 4] += i; /* 16 bytes, as the smallest block has */
    block_touch(b);
}

static void run(void *arg) {
    work *w = arg;
    give_if(w->given);
    do {
        block b = take(w->bytes);
        write_often(b);
        give(b);
        w->blocks++;
    } while (now_ns() < until_ns);
}

int main(int argc, char **argv) {
    static work works[THREADS_MAX];
    size_t bytes = argument(argv, argc, 2, 16), threads = argument(argv, argc, 3, 1);
    bool passive = !strcmp(argv[1], "passive");
    if (!passive && strcmp(argv[1], "active"))
        stop(STATUS_USAGE, "no such pattern");
    for (size_t i = 0; i < threads && i < THREADS_MAX; i++)
        works[i] = (work){.bytes = bytes, .given = passive ? take(bytes) : (block){NULL, 0}};
    until_ns = now_ns() + argument(argv, argc, 4, 1) * NS_PER_MS;
    uint64_t took = together(threads, run, works, sizeof *works), blocks = 0;
    for (size_t i = 0; i < threads; i++)
        blocks += works[i].blocks;
    report((double)took * (double)threads, blocks * WRITES);
    return 0;
}
