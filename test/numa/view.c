/* A program to look at: on each processor that it may use, a thread allocates small and large blocks and
   keeps them. Then it says "ready" and waits for the end of its input. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALL      20000
#define SMALL_SIZE 400
#define LARGE      8
#define LARGE_SIZE ((size_t)1 << 20)

static void take(size_t bytes) {
    void *block = malloc(bytes);
    if (!block)
        abort();
    memset(block, 1, bytes);
}

static void *fill(void *cpu) {
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET((size_t)cpu, &only);
    if (sched_setaffinity(0, sizeof only, &only) != 0)
        abort();
    for (int i = 0; i < SMALL; i++)
        take(SMALL_SIZE);
    for (int i = 0; i < LARGE; i++)
        take(LARGE_SIZE);
    return NULL;
}

int main(void) {
    cpu_set_t cpus;
    char c;
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0)
        return 1;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        pthread_t thread;
        if (CPU_ISSET(cpu, &cpus) &&
            (pthread_create(&thread, NULL, fill, (void *)cpu) != 0 || pthread_join(thread, NULL) != 0))
            return 1;
    }
    void *volatile here = malloc(100);
    printf("ready %d %p %zu\n", CPU_COUNT(&cpus), here, SMALL * (size_t)SMALL_SIZE + LARGE * LARGE_SIZE);
    fflush(stdout);
    while (read(0, &c, 1) > 0) {
    }
    return 0;
}
