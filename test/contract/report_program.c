/* A program of known deeds for test_report.py: each argument is one deed, done in order. The last one is how
   it ends. Deeds print only what the test compares; a deed that fails ends the program with status 99. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORK_BLOCKS = 1000, WORK_FREED = 400, WORK_BYTES = 100, REMOTE_BLOCKS = 5000, CHILD_BLOCKS = 50 };

static void require(bool good) {
    if (!good)
        _exit(99);
}

static void say(const char *s) {
    require(write(1, s, strlen(s)) == (ssize_t)strlen(s));
}

/* 1000 blocks of 100 bytes, 400 of them freed, and 8 MiB that stay. */
static void *kept[WORK_BLOCKS + 1];
static void work(void) {
    for (int i = 0; i < WORK_BLOCKS; i++)
        require((kept[i] = malloc(WORK_BYTES)) != NULL);
    for (int i = 0; i < WORK_FREED; i++)
        free(kept[i]);
    require((kept[WORK_BLOCKS] = malloc(8u << 20)) != NULL);
    memset(kept[WORK_BLOCKS], 1, 8u << 20);
}

/* A thread makes blocks that this one frees. */
static void *made[REMOTE_BLOCKS];
static void *maker(void *unused) {
    for (int i = 0; i < REMOTE_BLOCKS; i++)
        require((made[i] = malloc(64)) != NULL);
    return unused;
}

static pthread_barrier_t made_all, freed_all;
static void *maker_that_stays(void *unused) {
    maker(unused);
    pthread_barrier_wait(&made_all);
    pthread_barrier_wait(&freed_all);
    return unused;
}

static void remote(void) {
    pthread_t thread;
    pthread_barrier_init(&made_all, NULL, 2);
    pthread_barrier_init(&freed_all, NULL, 2);
    require(!pthread_create(&thread, NULL, maker_that_stays, NULL));
    pthread_barrier_wait(&made_all);
    for (int i = 0; i < REMOTE_BLOCKS; i++)
        free(made[i]);
    pthread_barrier_wait(&freed_all);
    require(!pthread_join(thread, NULL));
}

/* A thread makes 5000 blocks, frees every other one and ends; this one frees the rest, then makes 3000 and
 * frees 1000. */
static void *maker_that_ends(void *unused) {
    maker(unused);
    for (int i = 0; i < REMOTE_BLOCKS; i += 2)
        free(made[i]);
    return unused;
}

static void orphans(void) {
    pthread_t thread;
    require(!pthread_create(&thread, NULL, maker_that_ends, NULL) && !pthread_join(thread, NULL));
    for (int i = 1; i < REMOTE_BLOCKS; i += 2)
        free(made[i]);
    for (int i = 0; i < 3000; i++)
        require((made[i] = malloc(64)) != NULL);
    for (int i = 0; i < 1000; i++)
        free(made[i]);
}

/* The child makes 50 blocks of 3000 bytes and says its pid. */
static void child(bool leave_at_once) {
    pid_t pid = fork();
    require(pid >= 0);
    if (!pid) {
        char line[32];
        for (int i = 0; i < CHILD_BLOCKS; i++)
            require((kept[i] = malloc(3000)) != NULL);
        snprintf(line, sizeof line, "child %d\n", (int)getpid());
        say(line);
        if (leave_at_once)
            _exit(0);
        exit(0);
    }
    int status;
    require(waitpid(pid, &status, 0) == pid && !status);
}

/* A child that shares our memory and fails to become another program. */
static void vfork_and_fail(void) {
    pid_t pid = vfork();
    require(pid >= 0);
    if (!pid) {
        execl("/no/such/program", "program", (char *)NULL);
        _exit(3);
    }
    int status;
    require(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 3);
}

/* A child whose making no fork handler saw. */
static void bare_child(void) {
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    require(pid >= 0);
    if (!pid)
        _exit(3);
    int status;
    require(waitpid((pid_t)pid, &status, 0) == pid && WEXITSTATUS(status) == 3);
}

/* Every descriptor becomes the file: what a daemon does, at its worst. */
static void take_descriptors(const char *path) {
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    require(fd >= 0);
    for (int other = 0; other < 1024; other++)
        require(other == fd || dup2(fd, other) == other);
    require(write(2, "data\n", 5) == 5);
}

static void take_stderr(const char *path) {
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    require(fd >= 0 && (fd == 2 || dup2(fd, 2) == 2));
    require(write(2, "data\n", 5) == 5);
}

static void late_work(void) {
    free(malloc(100000));
}

static void end(const char *how) {
    if (!strcmp(how, "exit"))
        exit(0);
    if (!strcmp(how, "exit7"))
        exit(7);
    if (!strcmp(how, "_exit"))
        _exit(0);
    if (!strcmp(how, "_Exit"))
        _Exit(0);
    if (!strcmp(how, "quick_exit"))
        quick_exit(0);
    if (!strcmp(how, "pthread_exit"))
        pthread_exit(NULL);
    require(!strcmp(how, "return"));
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc - 1; i++) {
        if (!strcmp(argv[i], "work"))
            work();
        else if (!strcmp(argv[i], "remote"))
            remote();
        else if (!strcmp(argv[i], "orphans"))
            orphans();
        else if (!strcmp(argv[i], "hello"))
            say("hello\n");
        else if (!strcmp(argv[i], "secure"))
            say(getauxval(AT_SECURE) ? "secure\n" : "not secure\n");
        else if (!strcmp(argv[i], "whose")) /* glibc's blocks of 100 bytes have 104 */
            say(malloc_usable_size(malloc(100)) % 16 ? "another's\n" : "ours\n");
        else if (!strcmp(argv[i], "close"))
            require(!close_range(0, 2, 0));
        else if (!strcmp(argv[i], "take_stderr"))
            take_stderr(argv[++i]);
        else if (!strcmp(argv[i], "take_descriptors"))
            take_descriptors(argv[++i]);
        else if (!strcmp(argv[i], "late"))
            require(!atexit(late_work));
        else if (!strcmp(argv[i], "fork"))
            child(false);
        else if (!strcmp(argv[i], "fork_exit"))
            child(true);
        else if (!strcmp(argv[i], "vfork"))
            vfork_and_fail();
        else if (!strcmp(argv[i], "bare_child"))
            bare_child();
        else if (!strcmp(argv[i], "chdir"))
            require(!chdir("/"));
        else if (!strcmp(argv[i], "exec"))
            execl("/proc/self/exe", "report_program", "hello", "exit", (char *)NULL);
        else
            require(false);
    }
    end(argv[argc - 1]);
    return 0;
}
