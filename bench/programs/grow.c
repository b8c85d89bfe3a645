/* First touch: a heap that only grows, each block written in full, as a program that loads its data.
 *
 *   grow LEAST MOST MIB
 *
 * Sizes lie evenly from LEAST to MOST bytes, until MIB are live. Much of the time is the kernel's, for fresh
 * pages: an allocator wins by asking for them in the right way, and by not touching more than it hands out.
 * Prints ns a block and what the heap costs beyond the blocks' own bytes. */
#include "program.h"

int main(int argc, char **argv) {
    size_t least = argument(argv, argc, 1, 16), most = argument(argv, argc, 2, least);
    size_t goal = argument(argv, argc, 3, 1) * MIB, bytes = 0;
    uint64_t random = 1, blocks = 0;
    double before = rss_mib();
    void *last = NULL; /* each block holds the address of the one before */
    uint64_t start = now_ns();
    for (; bytes < goal; blocks++) {
        size_t size = least + random_below(&random, most - least + 1);
        void **fresh = malloc(size);
        if (!fresh)
            stop(STATUS_NO_MEMORY, "no memory");
        memset(fresh, 1, size);
        *fresh = last;
        last = fresh;
        bytes += size;
    }
    uint64_t took = now_ns() - start, seen = 0;
    for (void *at = last; at && seen <= blocks; at = *(void **)at)
        seen++;
    if (seen != blocks)
        stop(STATUS_BROKEN, "a block is lost");
    report((double)took, blocks);
    figure("overhead_bytes_a_block", ((rss_mib() - before) * MIB - (double)bytes) / (double)blocks);
    return 0;
}
