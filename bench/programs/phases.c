/* Fragmentation: a heap whose sizes change from phase to phase: a program that loads, indexes, then serves.
 *
 *   phases MIB ROUNDS
 *
 * Each phase has its own range of sizes. It fills the heap up to MIB of live bytes, then frees seven eighths
 * of all that is live, at random, so that survivors of every phase lie scattered. What was freed in one size
 * has to serve others. ROUNDS times through all phases. Prints seconds, the highest live set and resident
 * size, their ratio, and both over the steps (`series live_mib`, `series rss_mib`; x is seconds). */
#include "program.h"

#define SURVIVOR 8 /* one of so many survives a phase */
#define SAMPLES  8 /* points of a curve a phase */

static const struct {
    size_t least, most;
} phases[] = {{16, 64}, {200, 400}, {32, 32}, {1000, 4000}, {48, 120}, {8000, 32000}, {16, 1024}, {500, 700}};

static block *blocks;
static size_t count, live_bytes, most_live_bytes;
static uint64_t random_state = 1, start_ns;
static series rss = {.name = "rss_mib"}, live = {.name = "live_mib"};

static void sample(void) {
    double seconds = (double)(now_ns() - start_ns) / NS_PER_S;
    series_add(&rss, seconds, rss_mib());
    series_add(&live, seconds, (double)live_bytes / MIB);
}

static void fill(size_t goal, size_t least, size_t most) {
    for (size_t next = live_bytes; live_bytes < goal; count++) {
        if (live_bytes >= next) {
            sample();
            next += goal / SAMPLES;
        }
        blocks[count] = take(least + random_below(&random_state, most - least + 1));
        live_bytes += blocks[count].bytes;
    }
    most_live_bytes = live_bytes > most_live_bytes ? live_bytes : most_live_bytes;
    sample();
}

static void thin(void) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (random_below(&random_state, SURVIVOR)) {
            live_bytes -= blocks[i].bytes;
            give(blocks[i]);
        } else
            blocks[kept++] = blocks[i];
    count = kept;
    sample();
}

int main(int argc, char **argv) {
    size_t goal = argument(argv, argc, 1, 1) * MIB, rounds = argument(argv, argc, 2, 1);
    blocks =
        books(goal / 16 * sizeof *blocks); /* as if all were of 16 bytes; what is not used costs nothing */
    start_ns = now_ns();
    for (size_t round = 0; round < rounds; round++)
        for (size_t p = 0; p < LENGTH(phases); p++) {
            fill(goal, phases[p].least, phases[p].most);
            thin();
        }
    for (size_t i = 0; i < count; i++)
        give(blocks[i]);
    figure("seconds", (double)(now_ns() - start_ns) / NS_PER_S);
    figure("peak_kib", peak_kib());
    figure("live_peak_mib", (double)most_live_bytes / MIB);
    figure("peak_to_live", peak_kib() * 1024 / (double)most_live_bytes);
    series_print(&rss);
    series_print(&live);
    return 0;
}
