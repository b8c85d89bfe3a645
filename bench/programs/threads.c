/* Short-lived threads: what it costs to begin, use and end an allocator's state of a thread.
 *
 *   threads AT_ONCE BLOCKS MILLISECONDS
 *
 * AT_ONCE threads begin; each allocates BLOCKS blocks of 16 to 1024 bytes, frees all but eight, and ends; the
 * main thread frees what they left and starts the next. Prints ns a thread (wall time / threads). */
#include "program.h"

#define LEFT 8

typedef struct task {
    pthread_t thread;
    uint64_t random;
    size_t count;
    block left[LEFT];
} task;

static void *run(void *arg) {
    task *t = arg;
    block *blocks = malloc(t->count * sizeof *blocks);
    if (!blocks)
        stop(STATUS_NO_MEMORY, "no memory");
    for (size_t i = 0; i < t->count; i++)
        blocks[i] = take(16 + random_below(&t->random, 1009));
    for (size_t i = LEFT; i < t->count; i++)
        give(blocks[i]);
    memcpy(t->left, blocks, sizeof t->left);
    free(blocks);
    return NULL;
}

int main(int argc, char **argv) {
    static task tasks[THREADS_MAX];
    size_t at_once = argument(argv, argc, 1, 1), count = argument(argv, argc, 2, LEFT);
    uint64_t start = now_ns(), end = start + argument(argv, argc, 3, 1) * NS_PER_MS, threads = 0;
    if (at_once > THREADS_MAX)
        stop(STATUS_USAGE, "too many threads");
    for (size_t i = 0; i < at_once; i++)
        tasks[i] = (task){.random = i + 1, .count = count};
    do {
        for (size_t i = 0; i < at_once; i++)
            if (pthread_create(&tasks[i].thread, NULL, run, &tasks[i]))
                stop(STATUS_NO_MEMORY, "no thread");
        for (size_t i = 0; i < at_once; i++) {
            pthread_join(tasks[i].thread, NULL);
            for (size_t b = 0; b < LEFT; b++)
                give(tasks[i].left[b]);
        }
        threads += at_once;
    } while (now_ns() < end);
    report((double)(now_ns() - start), threads);
    return 0;
}
