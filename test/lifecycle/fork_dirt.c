/* What a child of fork pays for frees: pages that it writes to are copied. Threads of the parent allocate and
   wait, so that nobody else writes; a child frees all blocks of one size, another all of every tenth
   thread's, and what has become its own is counted by the kernel. An allocator that keeps lists in freed
   blocks writes to their pages, so the bars are in proportion to these. fork_dirt THREADS BLOCKS FIRST
   SECOND: each thread has so many blocks; the first child may copy FIRST percent of the pages that hold what
   it frees, the second SECOND percent. Then the child works on, with threads of its own. */
#include "exercise.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { THREADS_MAX = 1000, BLOCKS_MAX = 200, SIZES = 4 };

static const size_t sizes[SIZES] = {24, 100, 600, 5000};
static size_t threads, blocks;
static void *(*block)[BLOCKS_MAX]; /* of each thread; in memory that no allocator knows */
static pthread_barrier_t all_are_there, leave;
static pid_t id[THREADS_MAX];
static _Atomic(size_t) on_the_way_to_sleep;

static void *allocate(void *number) {
    void **mine = block[(uintptr_t)number];
    for (size_t i = 0; i < blocks; i++) {
        mine[i] = malloc(sizes[i % SIZES]);
        CHECK(mine[i], "malloc(%zu)", sizes[i % SIZES]);
        memset(mine[i], 'x', sizes[i % SIZES]);
    }
    id[(uintptr_t)number] = gettid();
    pthread_barrier_wait(&all_are_there);
    on_the_way_to_sleep++;
    pthread_barrier_wait(&leave);
    for (size_t i = 0; i < blocks; i++)
        free(mine[i]);
    return NULL;
}

static bool is_asleep(pid_t thread) {
    char path[64], stat[512];
    int fd;
    ssize_t got;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && (got = read(fd, stat, sizeof stat - 1)) > 0, "%s", path);
    close(fd);
    stat[got] = 0;
    return strstr(stat, ") S ") != NULL;
}

/* A thread that runs on in the parent writes to its stack, and the old page is then the child's own. */
static void wait_until_all_sleep(void) {
    while (on_the_way_to_sleep < threads)
        sched_yield();
    for (size_t i = 0; i < threads; i++)
        while (!is_asleep(id[i]))
            sched_yield();
}

static size_t own_kib(void) {
    return check_proc_kib("/proc/self/smaps_rollup", "Private_Dirty:");
}

static int by_value(const void *a, const void *b) {
    const uintptr_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Which blocks a round frees. */
static bool chosen(int round, size_t thread, size_t i) {
    return round == 0 ? i % SIZES == 1 : thread % 10 == 0;
}

/* Pages that hold the freed blocks, in KiB. */
static size_t pages_of_chosen(int round) {
    static uintptr_t page[THREADS_MAX * BLOCKS_MAX * 2];
    size_t n = 0, different = 0, bytes = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t t = 0; t < threads; t++)
        for (size_t i = 0; i < blocks; i++)
            if (chosen(round, t, i)) {
                page[n++] = (uintptr_t)block[t][i] / bytes;
                page[n++] = ((uintptr_t)block[t][i] + sizes[i % SIZES] - 1) / bytes;
            }
    qsort(page, n, sizeof *page, by_value);
    for (size_t i = 0; i < n; i++)
        different += i == 0 || page[i] != page[i - 1];
    return different * bytes / 1024;
}

static void *work(void *unused) {
    exercise();
    return unused;
}

static void in_child(int round, size_t percent, size_t pages) {
    size_t before, dirty, bar = pages * percent / 100;
    check_watchdog(120);
    (void)own_kib(); /* its own buffers are there */
    before = own_kib();
    for (size_t t = 0; t < threads; t++)
        for (size_t i = 0; i < blocks; i++)
            if (chosen(round, t, i))
                free(block[t][i]);
    dirty = own_kib() - before;
    dprintf(1, "%s: %zu KiB of pages with freed blocks, %zu KiB copied, bar %zu KiB\n",
            round == 0 ? "one size" : "every tenth thread", pages, dirty, bar);
    CHECK(dirty <= bar, "%zu KiB", dirty);
    for (int i = 0; i < 3; i++) {
        pthread_t t;
        exercise();
        CHECK(pthread_create(&t, NULL, work, NULL) == 0, "a thread in a child");
        pthread_join(t, NULL);
    }
    _exit(0);
}

int main(int argc, char **argv) {
    static pthread_t t[THREADS_MAX];
    static pthread_attr_t small_stacks;
    check_library();
    CHECK(argc == 5, "usage: fork_dirt THREADS BLOCKS FIRST SECOND");
    check_watchdog(250);
    threads = strtoul(argv[1], NULL, 10);
    blocks = strtoul(argv[2], NULL, 10);
    CHECK(threads <= THREADS_MAX && blocks <= BLOCKS_MAX, "as much as there is room for");
    block = mmap(NULL, threads * sizeof *block, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(block != MAP_FAILED, "memory");
    pthread_barrier_init(&all_are_there, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&leave, NULL, (unsigned)threads + 1);
    pthread_attr_init(&small_stacks);
    pthread_attr_setstacksize(&small_stacks, 128 * CHECK_KIB);
    for (size_t i = 0; i < threads; i++)
        CHECK(pthread_create(&t[i], &small_stacks, allocate, (void *)i) == 0, "pthread_create");
    pthread_barrier_wait(&all_are_there);
    wait_until_all_sleep();
    for (int round = 0; round < 2; round++) {
        size_t pages = pages_of_chosen(round);
        int status;
        pid_t pid = fork();
        if (pid == 0)
            in_child(round, strtoul(argv[3 + round], NULL, 10), pages);
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid, "fork: %s", strerror(errno));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child ended with status %#x", status);
    }
    pthread_barrier_wait(&leave);
    for (size_t i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    return 0;
}
