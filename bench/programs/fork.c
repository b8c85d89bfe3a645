/* Fork: a process with a heap forks again and again, as a server does that saves a snapshot.
 *
 *   fork MIB MILLISECONDS
 *
 * The heap holds MIB of blocks of 16 to 1024 bytes. Each child checks and replaces 200 of them and exits;
 * the parent does the same meanwhile and waits. Both write to pages that they share, so an allocator that
 * keeps its own words close together copies fewer of them. Prints ns a fork with its child's work, and the
 * page faults in both. */
#include "program.h"
#include <sys/resource.h>
#include <sys/wait.h>

#define REPLACED 200

static block *blocks;
static size_t count;

static void replace(uint64_t random) {
    for (int i = 0; i < REPLACED; i++) {
        block *b = &blocks[random_below(&random, count)];
        give(*b);
        *b = take(16 + random_below(&random, 1009));
    }
}

static double faults(void) {
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    return (double)(self.ru_minflt + children.ru_minflt);
}

int main(int argc, char **argv) {
    size_t goal = argument(argv, argc, 1, 1) * MIB;
    uint64_t random = 1, forks = 0, span = argument(argv, argc, 2, 1) * NS_PER_MS;
    blocks = books(goal / 16 * sizeof *blocks);
    for (size_t bytes = 0; bytes < goal; bytes += blocks[count++].bytes)
        blocks[count] = take(16 + random_below(&random, 1009));
    double faults_before = faults();
    uint64_t start = now_ns();
    do {
        int status;
        pid_t child = fork();
        if (child < 0)
            stop(STATUS_NO_MEMORY, "no process");
        replace(next_random(&random) + (child == 0));
        if (!child)
            _exit(0);
        if (waitpid(child, &status, 0) != child || status)
            stop(STATUS_BROKEN, "a child failed");
        forks++;
    } while (now_ns() - start < span);
    report((double)(now_ns() - start), forks);
    figure("faults_a_fork", (faults() - faults_before) / (double)forks);
    return 0;
}
