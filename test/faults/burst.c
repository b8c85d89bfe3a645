/* Takes so many MiB in small blocks, uses and frees them all, goes on with a few calls, and prints what is
   resident in KiB: at the peak and at the end. usage: burst MIB */
#include "../lib/check.h"

enum { BLOCK = 1000, CALLS = 4000 };

int main(int argc, char **argv) {
    size_t blocks, peak;
    void **block;
    check_library();
    check_watchdog(120);
    CHECK(argc == 2, "usage: burst MIB");
    blocks = strtoul(argv[1], NULL, 10) * CHECK_MIB / 1024;
    block = malloc(blocks * sizeof *block);
    CHECK(block, "malloc");
    for (size_t i = 0; i < blocks; i++) {
        block[i] = malloc(BLOCK);
        CHECK(block[i], "block %zu of %zu", i, blocks);
        memset(block[i], 1, BLOCK);
    }
    peak = check_rss_kib();
    for (size_t i = 0; i < blocks; i++)
        free(block[i]);
    free(block);
    for (size_t i = 0; i < CALLS; i++) {
        void *p = malloc(i * 37 % 20000);
        CHECK(p, "malloc");
        free(p);
    }
    printf("%zu %zu\n", peak, check_rss_kib());
    return 0;
}
