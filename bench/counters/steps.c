/* A given number of operations, for counting what the kernel is asked for.
 *
 *   steps PATTERN LEAST MOST OPERATIONS
 *
 * steady  a live set of 10,000 blocks (fewer if they came to more than 64 MiB), replaced one by one at
 * random: an operation is a free and a malloc grow    blocks that stay: an operation is a malloc and the
 * first touch of the block wave    the same live set allocated and freed as a whole, again and again: as
 * steady
 *
 * Sizes are drawn evenly from LEAST to MOST. Whoever counts takes the difference between N and 2N operations,
 * so that start, warming up and end cancel out. */
#include "program.h"

#define LIVE_MOST  10000
#define LIVE_BYTES (64 * MIB)

static uint64_t seed = 0x9e3779b97f4a7c15u;
static size_t least, most, live;
static block *blocks;

static block fresh(void) {
    return take(least + random_below(&seed, most - least + 1));
}

static void steady(size_t operations) {
    for (size_t i = 0; i < operations; i++) {
        block *b = &blocks[random_below(&seed, live)];
        give_if(*b);
        *b = fresh();
    }
}

static void grow(size_t operations) {
    while (operations--)
        (void)fresh();
}

static void wave(size_t operations) {
    for (size_t done = 0; done < operations; done += live) {
        for (size_t i = 0; i < live; i++)
            blocks[i] = fresh();
        for (size_t i = 0; i < live; i++)
            give(blocks[i]);
    }
}

static const struct {
    const char *name;
    void (*run)(size_t operations);
} patterns[] = {{"steady", steady}, {"grow", grow}, {"wave", wave}};

int main(int argc, char **argv) {
    least = argument(argv, argc, 2, 1);
    most = argument(argv, argc, 3, least);
    size_t operations = argument(argv, argc, 4, 1), middle = (least + most) / 2;
    live = middle * LIVE_MOST > LIVE_BYTES ? LIVE_BYTES / middle : LIVE_MOST;
    blocks = books(LIVE_MOST * sizeof *blocks);
    for (size_t i = 0; i < LENGTH(patterns); i++)
        if (!strcmp(patterns[i].name, argv[1])) {
            patterns[i].run(operations);
            return 0;
        }
    stop(STATUS_USAGE, "no such pattern");
}
