/* Memory from pools of huge pages, where the pool is large enough, short, raced for, or empty at a fork. Run
 * in the lab, by pools.sh, which sets the pool up.
 *
 *   pools fill MIB            writes that much; prints MiB that are from the pool
 *   pools cycle MIB           the same, freed, then again: pages go back to the pool, and come from it again
 *   pools race MIB ROUNDS     while another process takes and leaves the pool all the time
 *   pools fork MIB ROUNDS     children read and write all of it, and so does the parent at the same time
 *   pools _Fork MIB ROUNDS    the same by _Fork, which runs no handlers
 *   pools threads MIB ROUNDS  the same beside threads that write, allocate and free */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 100000
#define MOST  40000

static unsigned char *block[MOST];
static size_t count;

static size_t mib_of(const char *path, const char *field) {
    static char line[512];
    FILE *f = fopen(path, "r");
    size_t kib = 0;
    CHECK(f, "%s", path);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, field, strlen(field)))
            kib = strtoul(line + strlen(field), NULL, 10);
    (void)fclose(f);
    return kib / 1024;
}

static size_t from_pool(void) {
    return mib_of("/proc/self/smaps_rollup", "Private_Hugetlb:") +
           mib_of("/proc/self/smaps_rollup", "Shared_Hugetlb:");
}

static void fill(size_t mib) {
    while (count < mib * 1048576 / BLOCK) {
        CHECK(count < MOST, "room");
        block[count] = malloc(BLOCK);
        CHECK(block[count], "block %zu", count);
        memset(block[count], (int)(count & 127), BLOCK);
        count++;
    }
}

static void drop(void) {
    while (count)
        free(block[--count]);
    (void)malloc_trim(0);
}

static void verify(size_t step) {
    for (size_t i = 0; i < count; i++)
        for (size_t at = 0; at < BLOCK; at += step)
            CHECK(block[i][at] == (i & 127), "block %zu at %zu", i, at);
}

static void cycle(size_t mib) {
    for (int i = 0; i < 4; i++) {
        fill(mib);
        verify(999);
        printf("%zu ", from_pool());
        drop();
        printf("%zu ", from_pool());
    }
    printf("\n");
}

static void take_pool_for_ever(void) {
    size_t bytes = 8 << 20;
    for (;;) {
        char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
        if (p != MAP_FAILED) {
            for (size_t at = 0; at < bytes; at += 2 << 20)
                p[at] = 1;
            munmap(p, bytes);
        }
    }
}

static void race(size_t mib, size_t rounds) {
    pid_t rival = fork();
    if (rival == 0)
        take_pool_for_ever();
    for (size_t i = 0; i < rounds; i++) {
        fill(mib);
        verify(4999);
        drop();
    }
    kill(rival, SIGKILL);
    waitpid(rival, NULL, 0);
}

static void write_all(void) {
    for (size_t i = 0; i < count; i++)
        memset(block[i], (int)(i & 127), BLOCK);
}

static int child(void) {
    verify(4096);
    write_all();
    free(block[0]);
    block[0] = malloc(BLOCK);
    if (!block[0])
        return 3;
    memset(block[0], 0, BLOCK);
    verify(997);
    return from_pool() ? 4 : 0;
}

static void *write_for_ever(void *stop) {
    while (!*(volatile int *)stop)
        write_all();
    return NULL;
}

/* Small blocks of another thread. Their place is empty before they are freed. */
#define OTHERS 20000
static _Atomic(unsigned char *) other[OTHERS];

static size_t other_bytes(size_t i) {
    return 32 + i % 61 * 16;
}

/* Frees every third, then allocates them anew. */
static void *churn_for_ever(void *stop) {
    for (size_t step = 1; !*(volatile int *)stop; step = 3) {
        for (size_t i = 0; i < OTHERS; i += step)
            free(atomic_exchange(&other[i], NULL));
        for (size_t i = 0; i < OTHERS; i += step)
            other[i] = memset(malloc(other_bytes(i)), 0xee, other_bytes(i));
    }
    return NULL;
}

/* The child frees what the other thread had, and allocates. */
static int child_of_threads(void) {
    static unsigned char *mine[OTHERS];
    for (size_t i = 0; i < OTHERS; i++)
        free(other[i]);
    for (size_t i = 0; i < OTHERS; i++)
        mine[i] = memset(malloc(other_bytes(i)), (int)(i & 127), other_bytes(i));
    for (size_t i = 0; i < OTHERS; i++)
        for (size_t at = 0; at < other_bytes(i); at += 16)
            CHECK(mine[i][at] == (i & 127), "block %zu at %zu", i, at);
    return child();
}

static void forks(size_t mib, size_t rounds, int threads, pid_t (*how)(void)) {
    int stop = 0;
    pthread_t writer, churner;
    if (threads)
        CHECK(pthread_create(&churner, NULL, churn_for_ever, &stop) == 0, "pthread_create");
    while (threads && !other[OTHERS - 1])
        sched_yield(); /* its blocks are the first in the pool */
    fill(mib);
    if (threads)
        CHECK(pthread_create(&writer, NULL, write_for_ever, &stop) == 0, "pthread_create");
    for (size_t i = 0; i < rounds; i++) {
        int status;
        pid_t pid = how();
        CHECK(pid >= 0, "fork");
        if (pid == 0)
            _exit(threads ? child_of_threads() : child());
        write_all();
        CHECK(waitpid(pid, &status, 0) == pid, "waitpid");
        CHECK(status == 0, "child: status %x", status);
    }
    stop = 1;
    if (threads) {
        pthread_join(writer, NULL);
        pthread_join(churner, NULL);
    }
    verify(997);
}

int main(int argc, char **argv) {
    CHECK(argc >= 3, "usage");
    size_t mib = strtoul(argv[2], NULL, 10), rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
    if (!strcmp(argv[1], "fill")) {
        fill(mib);
        verify(997);
        printf("%zu\n", from_pool());
    } else if (!strcmp(argv[1], "cycle")) {
        cycle(mib);
    } else if (!strcmp(argv[1], "race")) {
        race(mib, rounds);
    } else {
        forks(mib, rounds, !strcmp(argv[1], "threads"), strcmp(argv[1], "_Fork") ? fork : _Fork);
    }
    return 0;
}
