/* What test_tracking.py tracks.
 *
 *   tracked leaks    7 blocks of 1001 bytes leaked by leak_here, and what is given back
 *   tracked log FD   the same, and blocks of other kinds, between um_track_start and um_track_stop with that
 * log
 *
 * TRACKED_LINKED: the API is there. Nothing else allocates meanwhile. */
#ifdef TRACKED_LINKED
#include <umalloc/track.h>
#endif

#include <stdlib.h>
#include <string.h>

#define LEAKS      7
#define LEAK_BYTES 1001
#define HUGE_BYTES ((size_t)256 << 20)

static void *volatile kept[LEAKS];

__attribute__((noinline)) void leak_here(void) {
    for (volatile int i = 0; i < LEAKS; i++) /* one call, not unrolled */
        kept[i] = malloc(LEAK_BYTES);
}

__attribute__((noinline)) static void work(void) {
    void *volatile p = malloc(10);
    leak_here();
    p = realloc(p, 20);
    free(p);
    p = aligned_alloc(4096, 8192);
    free(p);
    p = malloc(HUGE_BYTES);
    free(p);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "leaks") == 0) {
        work();
        return 0;
    }
#ifdef TRACKED_LINKED
    if (argc == 3 && strcmp(argv[1], "log") == 0) {
        um_track_config how = {.size = sizeof how, .log_fd = atoi(argv[2])};
        if (um_track_start(&how))
            return 3;
        work();
        um_track_stop();
        return 0;
    }
#endif
    return 2;
}
