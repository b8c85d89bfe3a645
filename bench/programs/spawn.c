/* Start-up: what an allocator costs a program that hardly uses it, from its spawn to its end.
 *
 *   spawn MILLISECONDS PROGRAM ARGUMENTS...
 *
 * Spawns the program again and again with the environment as it is, so that what is preloaded here is there
 * too. Prints ns a run, the median, and ns_mean, which what else goes on in the machine moves more. peak_kib
 * is the program's: in a run apart it is traced and its page tables are read as it exits, because the
 * kernel's own counters (ru_maxrss) lag by some pages a processor and start at the size of the parent. */
#include "program.h"
#include <signal.h>
#include <spawn.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#define RUNS_MAX 65536

extern char **environ;

static void want_success(int status) {
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        stop(STATUS_BROKEN, "the program failed");
}

static uint32_t timed(char **command) {
    pid_t pid;
    int status;
    uint64_t start = now_ns();
    if (posix_spawnp(&pid, command[0], NULL, NULL, command, environ) || waitpid(pid, &status, 0) != pid)
        stop(STATUS_NO_MEMORY, "cannot spawn");
    uint64_t took = now_ns() - start;
    want_success(status);
    return took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
}

static double rss_kib_of(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    const char *rss = strstr(proc_text(path), "\nRss:");
    return rss ? (double)strtoul(rss + strlen("\nRss:"), NULL, 10) : 0;
}

static double resident_kib_at_exit(char **command) {
    double rss = 0;
    int status;
    pid_t pid = fork();
    if (!pid) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || raise(SIGSTOP))
            _exit(126);
        execvp(command[0], command);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL)))
        stop(STATUS_NO_MEMORY, "cannot trace");
    for (int deliver = 0;;) {
        if (ptrace(PTRACE_CONT, pid, NULL, (void *)(long)deliver) || waitpid(pid, &status, 0) != pid)
            stop(STATUS_NO_MEMORY, "cannot trace");
        if (!WIFSTOPPED(status))
            break;
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8))
            rss = rss_kib_of(pid);
        deliver = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
    }
    want_success(status);
    return rss;
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    uint64_t span = argument(argv, argc, 1, 1) * NS_PER_MS, start = now_ns();
    size_t runs = 0;
    uint32_t *took = books(RUNS_MAX * sizeof *took);
    if (argc < 3)
        stop(STATUS_USAGE, "no program");
    timed(argv + 2); /* finds the files cold */
    do
        took[runs++] = timed(argv + 2);
    while (runs < RUNS_MAX && now_ns() - start < span);
    double total = 0;
    for (size_t i = 0; i < runs; i++)
        total += took[i];
    qsort(took, runs, sizeof *took, compare);
    figure("ns", took[runs / 2]);
    figure("ns_mean", total / (double)runs);
    figure("ops", (double)runs);
    figure("peak_kib", resident_kib_at_exit(argv + 2));
    return 0;
}
