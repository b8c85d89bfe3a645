/* Runs a program once and writes what it cost: wall time, cpu time and peak resident size, of it and of the
 * children it waited for. Of several processes the peak is the largest one's, and cpu time is the sum.
 *
 *   launch FIGURES PRELOAD PROGRAM [ARGUMENT...]
 *
 * FIGURES is the file for the lines "name value"; an empty PRELOAD preloads nothing. The exit status is the
 * program's, or 128 and the signal that ended it.
 *
 * This is a small static program because exec hands the peak resident size of the address space before it on:
 * a child of a Python interpreter never shows a peak below that of its parent. This one is below 1 MiB. The
 * kernel counts pages in batches a cpu, so a peak is exact to some 100 KiB. Wall time includes fork, exec and
 * the dynamic loader. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t) {
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static _Noreturn void die(const char *what) {
    perror(what);
    exit(127);
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: launch FIGURES PRELOAD PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    int status;
    struct rusage used;
    double start = now_s();
    pid_t child = fork();
    if (child == 0) {
        if (*argv[2] && setenv("LD_PRELOAD", argv[2], 1))
            die("setenv");
        execvp(argv[3], argv + 3);
        die(argv[3]);
    }
    if (child < 0 || wait4(child, &status, 0, &used) != child)
        die("launch");
    double took = now_s() - start;
    FILE *out = fopen(argv[1], "w");
    if (!out)
        die(argv[1]);
    fprintf(out, "seconds %.9f\ncpu_s %.6f\npeak_kib %ld\n", took,
            seconds(used.ru_utime) + seconds(used.ru_stime), used.ru_maxrss);
    if (fclose(out))
        die(argv[1]);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
