/* Many idle threads: what an allocator keeps for threads that have been busy and now wait.
 *
 *   idle THREADS KIB ONE_OF
 *
 * One after the other, THREADS threads allocate KIB of blocks of 16 to 4096 bytes, free all but one of ONE_OF
 * (all, if that is 0), and wait. Then the main thread does so sixteen times over: it can use again what they
 * freed, or needs fresh memory. Prints seconds, the resident size when all wait and at the end, the KiB a
 * thread beyond what it still uses, and `series rss_mib_by_threads`: those that wait. */
#include "program.h"

#define MOST 4096

static size_t bytes_each, one_of;
static pthread_barrier_t parked, leave; /* of the one thread that works and main; of all */
static series rss = {.name = "rss_mib_by_threads"};

static size_t used_bytes; /* written by one thread at a time: the barrier `parked` is between them */

static void work(uint64_t random) {
    block *blocks = books(bytes_each / 16 * sizeof *blocks);
    size_t n = 0;
    for (size_t bytes = 0; bytes < bytes_each; bytes += blocks[n++].bytes)
        blocks[n] = take(16 + random_below(&random, MOST - 15));
    for (size_t i = 0; i < n; i++)
        if (!one_of || i % one_of)
            give(blocks[i]);
        else
            used_bytes += blocks[i].bytes;
    munmap(blocks, bytes_each / 16 * sizeof *blocks);
}

static void *work_and_wait(void *arg) {
    work((uintptr_t)arg);
    pthread_barrier_wait(&parked);
    pthread_barrier_wait(&leave);
    return NULL;
}

int main(int argc, char **argv) {
    static pthread_t thread[THREADS_MAX];
    size_t threads = argument(argv, argc, 1, 1);
    bytes_each = argument(argv, argc, 2, 1) * 1024;
    one_of = argument(argv, argc, 3, 0);
    if (threads > THREADS_MAX)
        stop(STATUS_USAGE, "too many threads");
    pthread_barrier_init(&parked, NULL, 2);
    pthread_barrier_init(&leave, NULL, (unsigned)threads + 1);
    double before = rss_mib();
    uint64_t start = now_ns();
    for (size_t i = 0; i < threads; i++) {
        series_add(&rss, (double)i, rss_mib());
        if (pthread_create(&thread[i], NULL, work_and_wait, (void *)(i + 1)))
            stop(STATUS_NO_MEMORY, "no thread");
        pthread_barrier_wait(&parked);
    }
    double idle_mib = rss_mib(), used_mib = (double)used_bytes / MIB;
    series_add(&rss, (double)threads, idle_mib);
    for (size_t i = 0; i < 16; i++)
        work(threads + i + 1);
    figure("seconds", (double)(now_ns() - start) / NS_PER_S);
    figure("peak_kib", peak_kib());
    figure("rss_idle_mib", idle_mib);
    figure("kib_a_thread", (idle_mib - before - used_mib) * 1024 / (double)threads);
    figure("rss_end_mib", rss_mib());
    series_print(&rss);
    pthread_barrier_wait(&leave);
    for (size_t i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    return 0;
}
