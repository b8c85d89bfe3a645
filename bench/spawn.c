/* Starts a program again and again under each of several preloads, in turn, and prints what each run cost.
 *
 *   spawn ROUNDS NAME=PRELOAD... -- PROGRAM ARGS...
 *
 * One line a run: NAME, nanoseconds from posix_spawn to its end, KiB resident at its exit. An empty PRELOAD
 * means none. Time and memory come from separate runs: for the second the program is traced and its page
 * tables are read as it exits, because the kernel's own counters (ru_maxrss) lag by some pages a CPU and
 * start at the size of the parent. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PRELOADS_MAX 32

extern char **environ;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static _Noreturn void die(const char *what) {
    perror(what);
    exit(1);
}

static void set_preload(const char *path) {
    if (*path ? setenv("LD_PRELOAD", path, 1) : unsetenv("LD_PRELOAD"))
        die("setenv");
}

static void want_success(int status, char *program) {
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        fprintf(stderr, "%s ended with wait status %#x\n", program, status);
        exit(1);
    }
}

static uint64_t timed(char **command) {
    pid_t pid;
    int status;
    uint64_t start = now_ns();
    errno = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
    if (errno || wait4(pid, &status, 0, NULL) != pid)
        die(command[0]);
    uint64_t took = now_ns() - start;
    want_success(status, command[0]);
    return took;
}

static unsigned long rss_of(pid_t pid) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0)
        die(path);
    close(fd);
    text[n] = 0;
    const char *rss = strstr(text, "\nRss:");
    return rss ? strtoul(rss + 5, NULL, 10) : 0;
}

static unsigned long resident_at_exit(char **command) {
    unsigned long rss = 0;
    pid_t pid = fork();
    if (!pid) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || raise(SIGSTOP))
            _exit(126);
        execvp(command[0], command);
        _exit(127);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        die("cannot trace");
    if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL)))
        die("ptrace");
    for (int deliver = 0;;) {
        if (ptrace(PTRACE_CONT, pid, NULL, (void *)(long)deliver) || waitpid(pid, &status, 0) != pid)
            die("ptrace");
        if (!WIFSTOPPED(status))
            break;
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8))
            rss = rss_of(pid);
        deliver = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
    }
    want_success(status, command[0]);
    return rss;
}

int main(int argc, char **argv) {
    char *name[PRELOADS_MAX], *path[PRELOADS_MAX];
    int preloads = 0, at = 2;
    for (; at < argc && strcmp(argv[at], "--"); at++, preloads++) {
        char *equals = strchr(argv[at], '=');
        if (!equals || preloads == PRELOADS_MAX)
            return 2;
        *equals = 0;
        name[preloads] = argv[at];
        path[preloads] = equals + 1;
    }
    if (at + 1 >= argc || !preloads)
        return 2;
    for (long round = strtol(argv[1], NULL, 10); round > 0; round--)
        for (int i = 0; i < preloads; i++) {
            set_preload(path[i]);
            uint64_t ns = timed(argv + at + 1);
            unsigned long kib = resident_at_exit(argv + at + 1);
            printf("%s %llu %lu\n", name[i], (unsigned long long)ns, kib);
        }
    return 0;
}
