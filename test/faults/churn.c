/* A churn that leaves what it freed in pieces too short for what comes next: in each round blocks twice as
   long as in the round before, each with a short one behind it that stays. Never more than LIVE MIB are in
   use. usage: churn LIVE */
#include "../lib/check.h"

enum { ROUNDS = 4, BLOCKS_MAX = 4096 };

int main(int argc, char **argv) {
    static void *block[BLOCKS_MAX];
    size_t bytes = 256 * CHECK_KIB, live;
    check_library();
    check_watchdog(120);
    CHECK(argc == 2, "usage: churn LIVE");
    live = strtoul(argv[1], NULL, 10) * CHECK_MIB;
    for (int round = 0; round < ROUNDS; round++, bytes *= 2) {
        size_t n = live / (ROUNDS * bytes) * (ROUNDS - 1);
        CHECK(n <= BLOCKS_MAX, "%zu blocks", n);
        for (size_t i = 0; i < n; i++) {
            void *stays = malloc(40000);
            block[i] = malloc(bytes);
            CHECK(stays && block[i], "block %zu of %zu", i, n);
            memset(stays, 1, 40000);
            memset(block[i], 1, bytes);
        }
        for (size_t i = 0; i < n; i++)
            free(block[i]);
    }
    printf("%zu\n", check_rss_kib());
    return 0;
}
