/* fork, vfork and posix_spawn of a program whose other threads allocate all the time. A child frees what it
   inherited, also from threads that it does not have, allocates, makes threads and forks again. A hang is
   ended by an alarm. threads T N   T allocating threads, two more fork N children altogether; vfork T N the
   child of vfork allocates and frees in the parent's memory; spawn T N     posix_spawn of true; handler 0 N
   no other thread, and a handler forks in the midst of malloc and free: either process then goes on with
   that. */
#include "exercise.h"

#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { SHARED = 256, OWN = 60, WATCHDOG_S = 120 };

/* Each thread swaps blocks in and frees what was there: nearly every free is of another thread's block. */
static _Atomic(unsigned char *) shared[SHARED];
static atomic_bool stop;
static size_t children;

/* Blocks begin with their size and end with a byte of it. */
static unsigned char *make(size_t n) {
    unsigned char *p = malloc(n);
    CHECK(p, "malloc(%zu)", n);
    memcpy(p, &n, sizeof n);
    p[n - 1] = (unsigned char)n;
    return p;
}

static void drop(unsigned char *p) {
    size_t n;
    if (!p)
        return;
    memcpy(&n, p, sizeof n);
    CHECK(n >= 9 && n < 300000 && p[n - 1] == (unsigned char)n, "a block changed");
    free(p);
}

static void swap_one(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    size_t n = *state >> 60 ? 9 + (*state >> 33) % 2000 : 9 + (*state >> 33) % 200000;
    drop(atomic_exchange(&shared[(*state >> 20) % SHARED], make(n)));
}

static void *allocate(void *seed) {
    uint64_t state = (uint64_t)(uintptr_t)seed;
    while (!atomic_load(&stop))
        swap_one(&state);
    return NULL;
}

static void *child_thread(void *unused) {
    uint64_t state = 99;
    (void)unused;
    for (size_t i = 0; i < 200; i++)
        swap_one(&state);
    return NULL;
}

static void wait_for(pid_t pid) {
    int status;
    CHECK(pid > 0, "fork: %s", strerror(errno));
    CHECK(waitpid(pid, &status, 0) == pid, "waitpid");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child ended with status %#x", status);
}

static void in_child(unsigned char **own, size_t round) {
    uint64_t state = round;
    alarm(WATCHDOG_S);
    for (size_t i = 0; i < OWN; i += 2)
        drop(own[i]);
    for (size_t i = 0; i < SHARED; i++)
        drop(atomic_exchange(&shared[i], NULL));
    for (size_t i = 0; i < 300; i++)
        swap_one(&state);
    if (round % 4 == 0) {
        pthread_t t[2];
        for (size_t i = 0; i < 2; i++)
            CHECK(pthread_create(&t[i], NULL, child_thread, NULL) == 0, "a thread in a child");
        for (size_t i = 0; i < 2; i++)
            pthread_join(t[i], NULL);
    }
    if (round % 4 == 1) {
        pid_t pid = fork();
        if (!pid) {
            alarm(WATCHDOG_S);
            for (size_t i = 1; i < OWN; i += 2)
                drop(own[i]);
            exercise();
            _exit(0);
        }
        wait_for(pid);
    }
    _exit(0);
}

static void *fork_children(void *unused) {
    unsigned char *own[OWN];
    (void)unused;
    for (size_t i = 0; i < OWN; i++)
        own[i] = make(9 + i * 71);
    for (size_t round = 0; round < children / 2; round++) {
        pid_t pid = fork();
        if (!pid)
            in_child(own, round);
        wait_for(pid);
    }
    for (size_t i = 0; i < OWN; i++)
        drop(own[i]);
    return NULL;
}

static void forks(void) {
    pthread_t t[2];
    for (size_t i = 0; i < 2; i++)
        CHECK(pthread_create(&t[i], NULL, fork_children, NULL) == 0, "pthread_create");
    for (size_t i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
}

static void vforks(void) {
    struct exercise e;
    exercise_take(&e);
    for (size_t round = 0; round < children; round++) {
        void *volatile from_child = NULL;
        pid_t pid = vfork();
        if (!pid) {
            from_child = malloc(100 + round);
            free(malloc(50));
            _exit(0);
        }
        wait_for(pid);
        CHECK(from_child, "the child of vfork got NULL");
        memset(from_child, 1, 100 + round);
        free(from_child);
        exercise_verify(&e);
    }
    exercise_drop(&e);
}

static void spawns(void) {
    extern char **environ;
    char *const argv[] = {(char[]){"true"}, NULL};
    for (size_t round = 0; round < children; round++) {
        pid_t pid;
        int error = posix_spawnp(&pid, "true", NULL, NULL, argv, environ);
        CHECK(error == 0, "posix_spawn: %s", strerror(error));
        wait_for(pid);
    }
}

static volatile sig_atomic_t forked, is_child;

static void fork_now(int signal) {
    int before = errno;
    pid_t pid = fork();
    (void)signal;
    if (pid == 0) {
        is_child = 1;
        alarm(WATCHDOG_S);
    } else {
        wait_for(pid);
        forked++;
    }
    errno = before;
}

/* Of blocks that each take the space's lock, most of the time. */
static void handlers(void) {
    struct sigaction act = {.sa_handler = fork_now};
    struct itimerval often = {{0, 1}, {0, 1}}; /* processor time: as often as the kernel can */
    uint64_t state = 1;
    CHECK(sigaction(SIGPROF, &act, NULL) == 0, "sigaction");
    CHECK(setitimer(ITIMER_PROF, &often, NULL) == 0, "setitimer");
    while (!is_child && (size_t)forked < children) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        drop(atomic_exchange(&shared[(state >> 20) % SHARED], make(70000 + (state >> 33) % 200000)));
    }
    if (is_child) {
        for (size_t i = 0; i < 300; i++)
            swap_one(&state);
        _exit(0);
    }
    CHECK(signal(SIGPROF, SIG_IGN) != SIG_ERR, "signal");
}

int main(int argc, char **argv) {
    check_library();
    CHECK(argc == 4, "usage: fork threads|vfork|spawn|handler THREADS CHILDREN");
    check_watchdog(900);
    size_t threads = strtoul(argv[2], NULL, 10);
    pthread_t t[1000];
    CHECK(threads <= 1000, "%zu threads", threads);
    children = strtoul(argv[3], NULL, 10);
    for (size_t i = 0; i < threads; i++)
        CHECK(pthread_create(&t[i], NULL, allocate, (void *)(i + 1)) == 0, "pthread_create");
    if (strcmp(argv[1], "threads") == 0)
        forks();
    else if (strcmp(argv[1], "vfork") == 0)
        vforks();
    else if (strcmp(argv[1], "handler") == 0)
        handlers();
    else
        spawns();
    atomic_store(&stop, true);
    for (size_t i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    for (size_t i = 0; i < SHARED; i++)
        drop(shared[i]);
    return 0;
}
