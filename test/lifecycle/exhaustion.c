/* Memory that runs out, in each way that it can: malloc answers NULL and ENOMEM, never aborts, loses nothing,
   and works again once memory was freed. Modes: space MIB    until NULL, three times over; MIB is where a
   limit must have been met; the caller sets the limit (RLIMIT_AS, RLIMIT_DATA, UMALLOC_LIMIT); kept       so
   that threads keep what they freed, under UMALLOC_LIMIT; commit
   vm.overcommit_memory is 2: usual work, and one block that is more than the machine may commit; mappings no
   mapping can be made or split any more (max_map_count); locked       mlockall of all that is and will be:
   zeros are zeros, threads start. */
#include "exercise.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>

/* A stack of blocks of any size, linked through themselves. */
struct link {
    struct link *below;
    size_t size;
};

static struct link *top;
static size_t held_bytes;

static int push(size_t n) {
    errno = 0;
    struct link *l = malloc(n);
    if (!l) {
        CHECK(errno == ENOMEM, "NULL with errno %d", errno);
        return 0;
    }
    check_fill(l, n, n);
    l->below = top;
    l->size = n;
    top = l;
    held_bytes += n;
    return 1;
}

static void pop(void) {
    struct link *l = top;
    top = l->below;
    held_bytes -= l->size;
    for (size_t i = sizeof *l; i < l->size; i += check_step(l->size))
        CHECK((i % check_step(l->size)) || ((unsigned char *)l)[i] == check_byte(l->size, i) ||
                  l->size > CHECK_DENSE,
              "a block of %zu changed", l->size);
    free(l);
}

static sem_t exhausted, done;

/* Started while there was memory for a stack; its first-ever call comes when there is none. */
static void *first_call(void *unused) {
    (void)unused;
    sem_wait(&exhausted);
    errno = 0;
    void *p = malloc(100), *q = malloc(100 * CHECK_MIB);
    CHECK(p || errno == ENOMEM, "errno %d", errno);
    CHECK(!q, "100 MiB from nothing");
    free(p);
    sem_post(&done);
    return NULL;
}

/* The other entries at the point where 1 MiB is not to be had. */
static void others_fail(void) {
    const size_t n = 64 * CHECK_MIB;
    void *mark = &top, *p = mark;
    errno = 0;
    CHECK(!calloc(1, n) && errno == ENOMEM, "calloc, errno %d", errno);
    errno = 0;
    CHECK(!memalign(4096, n) && errno == ENOMEM, "memalign, errno %d", errno);
    CHECK(posix_memalign(&p, 4096, n) == ENOMEM && p == mark, "posix_memalign");
    if (top) {
        size_t size = top->size;
        errno = 0;
        CHECK(!realloc(top, n) && errno == ENOMEM, "realloc, errno %d", errno);
        CHECK(top->size == size, "realloc failed and changed the block");
    }
}

static void space(size_t most_mib) {
    static const size_t steps[] = {8 * CHECK_MIB, CHECK_MIB, 100 * CHECK_KIB, 20000, 3000, 200, 24};
    size_t reached[3];
    pthread_t t;
    sem_init(&exhausted, 0, 0);
    sem_init(&done, 0, 0);
    CHECK(pthread_create(&t, NULL, first_call, NULL) == 0, "pthread_create");
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            while (push(steps[i]))
                CHECK(held_bytes < most_mib * CHECK_MIB, "no limit in %zu MiB", most_mib);
            if (i == 1)
                others_fail();
        }
        reached[round] = held_bytes;
        if (round == 0) {
            sem_post(&exhausted);
            sem_wait(&done);
        }
        while (top)
            pop();
        exercise();
    }
    pthread_join(t, NULL);
    dprintf(1, "%zu %zu %zu\n", reached[0] >> 20, reached[1] >> 20, reached[2] >> 20);
    CHECK(reached[2] >= reached[0] / 10 * 9, "%zu bytes at first, %zu later", reached[0], reached[2]);
}

#define KEPT_BYTES ((size_t)256 * 1024) /* a whole number of the allocator's units */

/* One block as large as many were, when these are free. */
static void take_whole(size_t bytes, const char *what) {
    void *p = malloc(bytes);
    CHECK(p, "%zu bytes that were free, %s", bytes, what);
    free(p);
}

static void *handed[40];

static void *hand_over(void *unused) {
    for (size_t i = 0; i < 40; i++)
        CHECK(handed[i] = malloc(20000), "malloc");
    return unused;
}

/* Threads keep what they freed, and heaps wait for the next thread: not while memory is short. */
static void kept(void) {
    size_t all;
    pthread_t t;
    for (int i = 0; i < 4; i++)
        free(malloc(KEPT_BYTES));
    while (push(KEPT_BYTES))
        continue;
    all = held_bytes;
    while (top)
        pop();
    take_whole(all, "kept by this thread");
    CHECK(pthread_create(&t, NULL, hand_over, NULL) == 0, "pthread_create");
    pthread_join(t, NULL);
    for (size_t i = 0; i < 40; i++)
        free(handed[i]);
    take_whole(all - 2 * KEPT_BYTES, "of a thread that has ended"); /* libc keeps its stack's record */
}

static void commit(void) {
    for (size_t i = 0; i < 50; i++)
        exercise();
    size_t total = check_proc_kib("/proc/meminfo", "\nCommitLimit:") * 1024;
    errno = 0;
    CHECK(!malloc(total + CHECK_GIB) && errno == ENOMEM, "more than may be committed, errno %d", errno);
    void *p = malloc(100 * CHECK_MIB);
    CHECK(p, "100 MiB");
    memset(p, 1, 100 * CHECK_MIB);
    free(p);
    exercise();
}

/* Pages of alternate protection, until the kernel refuses one more mapping. */
static char *use_up_mappings(size_t *bytes) {
    size_t page = check_page(), most = 1;
    char text[32] = "";
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0 || (most = strtoul(text, NULL, 10)) > 2000000)
        check_skip("the limit of mappings is unknown or too high to reach");
    close(fd);
    *bytes = (most + 2) * page;
    char *p = mmap(NULL, *bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED, "%zu bytes of address space", *bytes);
    for (size_t i = 0; i < most; i += 2)
        if (mprotect(p + i * page, page, PROT_READ))
            break;
    void *one_more = mmap(NULL, page, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *last = mmap(NULL, page, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    last = last == MAP_FAILED ? last : mmap(NULL, page, PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(last == MAP_FAILED || one_more == MAP_FAILED, "mappings are left");
    return p;
}

static void mappings(void) {
    static void *before[2000];
    struct exercise e;
    size_t bytes, made = 0;
    exercise_take(&e);
    for (size_t i = 0; i < 2000; i++) {
        before[i] = malloc(i % 20 ? 1 + i * 17 % 30000 : 300000);
        CHECK(before[i], "malloc");
    }
    char *filler = use_up_mappings(&bytes);
    for (size_t i = 0; i < 2000; i += 2)
        free(before[i]);
    for (size_t i = 0; i < 2000; i += 2) {
        size_t n = 1 + i * 29 % 30000;
        errno = 0;
        before[i] = i % 50 ? malloc(n) : realloc(NULL, 4 * CHECK_MIB + n);
        CHECK(before[i] || errno == ENOMEM, "NULL with errno %d", errno);
        if (before[i]) {
            memset(before[i], 1, n);
            made++;
        }
    }
    for (size_t i = 0; i < 2000; i++) {
        errno = 4711;
        free(before[i]);
        CHECK(errno == 4711, "free set errno to %d", errno);
    }
    malloc_trim(0);
    exercise_verify(&e);
    CHECK(made >= 500, "only %zu of 1000 blocks were given, though as many had been freed", made);
    munmap(filler, bytes);
    exercise_drop(&e);
    for (size_t i = 0; i < 50; i++)
        exercise();
}

static void *locked_thread(void *unused) {
    (void)unused;
    for (size_t i = 0; i < 20; i++)
        exercise();
    return NULL;
}

static void locked(void) {
    static const size_t sizes[] = {16,     100,    1000,      5000,          32768,         40000,
                                   100000, 300000, CHECK_MIB, 5 * CHECK_MIB, 20 * CHECK_MIB};
    void *p[8];
    pthread_t t[4];
    exercise();
    if (mlockall(MCL_CURRENT | MCL_FUTURE))
        check_skip("mlockall is not allowed here");
    for (size_t round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            for (size_t k = 0; k < 8; k++) {
                p[k] = calloc(1, sizes[i]);
                CHECK(p[k], "calloc of %zu", sizes[i]);
                CHECK(check_zero(p[k], sizes[i]) == sizes[i], "calloc(1, %zu) is not zero", sizes[i]);
                memset(p[k], 0xff, sizes[i]);
            }
            for (size_t k = 0; k < 8; k++)
                free(p[k]);
            if (i % 3 == 0)
                malloc_trim(0);
        }
    for (size_t i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, locked_thread, NULL) == 0, "pthread_create");
    for (size_t i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    exercise();
    size_t rss = check_rss_kib();
    CHECK(rss < 800 * 1024, "RSS is %zu KiB: reserved space was locked too", rss);
}

int main(int argc, char **argv) {
    check_library();
    check_watchdog(300);
    CHECK(argc >= 2, "usage: exhaustion space MIB|kept|commit|mappings|locked");
    if (strcmp(argv[1], "space") == 0)
        space(exercise_number(argc, argv, 2, 1024));
    else if (strcmp(argv[1], "kept") == 0)
        kept();
    else if (strcmp(argv[1], "commit") == 0)
        commit();
    else if (strcmp(argv[1], "mappings") == 0)
        mappings();
    else if (strcmp(argv[1], "locked") == 0)
        locked();
    else
        CHECK(0, "no mode %s", argv[1]);
    return 0;
}
