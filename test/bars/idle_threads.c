/* Threads that used malloc for a moment and then sit idle: what does each hold, and what stays after they are
 * gone?
 *
 *   idle_threads THREADS none|turn|together LARGEST DECAY_MS
 *
 * Each thread takes 64 sizes, evenly spaced up to LARGEST, and frees them: one at a time (turn), or all after
 * the last (together); none does not touch the heap and gives what a thread costs by itself. Every block is
 * written. Prints KiB a thread while all of them wait, at once and after the decay time, then MiB that remain
 * after the last was joined. */
#include "rss.h"
#include <pthread.h>

#define SIZES 64

static pthread_barrier_t used, leave;
static const char *order;
static size_t largest;

static void *thread_main(void *unused) {
    void *block[SIZES];
    int together = !strcmp(order, "together");
    for (size_t i = 0; i < SIZES && strcmp(order, "none"); i++) {
        size_t bytes = largest / SIZES * (i + 1);
        block[i] = malloc(bytes);
        if (!block[i])
            exit(3);
        memset(block[i], 1, bytes);
        if (!together)
            free(block[i]);
    }
    for (size_t i = 0; i < SIZES && together; i++)
        free(block[i]);
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&leave);
    return unused;
}

int main(int argc, char **argv) {
    static pthread_t thread[4096];
    size_t threads = argc == 5 ? strtoul(argv[1], NULL, 10) : 0;
    if (!threads || threads > 4096)
        return 2;
    order = argv[2];
    largest = strtoul(argv[3], NULL, 10);
    free(malloc(1));
    pthread_barrier_init(&used, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&leave, NULL, (unsigned)threads + 1);
    size_t before = rss_kib();
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, thread_main, NULL))
            return 3;
    pthread_barrier_wait(&used);
    dprintf(1, "alive %f\n", ((double)rss_kib() - (double)before) / (double)threads);
    wait_and_call(strtoul(argv[4], NULL, 10));
    dprintf(1, "decayed %f\n", ((double)rss_kib() - (double)before) / (double)threads);
    pthread_barrier_wait(&leave);
    for (size_t i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    dprintf(1, "exited %f\n", ((double)rss_kib() - (double)before) / 1024);
    return 0;
}
