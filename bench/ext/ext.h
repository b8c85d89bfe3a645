/* What the benchmarks of the -lumalloc API share: a table of cases, and a main that lists them or runs one.
 *
 *     PROGRAM --list          a line "CASE BACKEND" for each row of the table
 *     PROGRAM CASE BACKEND    runs it and prints "ns_per_op=FLOAT ops=N"
 *
 * A case is run with ever more operations until it lasts; the last run is what counts, by the processor time
 * of all its threads, which other programs disturb little. BENCH_SECONDS says how long a run must last. A
 * source has one line EXT_MAIN(table). It is compiled with -lumalloc, and again with BENCH_PLAIN without it:
 * then the backend malloc, which is that of the process, is glibc's, and there must be no other. BENCH_HAVE_X
 * says that the peer X of bench/ext/meson.build is there. */
#ifndef BENCH_EXT_H
#define BENCH_EXT_H

#include "../programs/program.h"

typedef struct ext_case {
    const char *name;          /* without spaces */
    const char *backend;       /* umalloc, malloc or a peer's name */
    void (*run)(uint64_t ops); /* does ops operations, and what it must before and after; repeatable */
} ext_case;

#define EXT_SECONDS 0.3

static inline double ext_seconds(void) {
    const char *text = getenv("BENCH_SECONDS");
    char *end = NULL;
    double seconds = text ? strtod(text, &end) : EXT_SECONDS;
    if (text && (*end || !(seconds > 0)))
        stop(STATUS_USAGE, "BENCH_SECONDS is no number of seconds");
    return seconds;
}

/* ns of one operation. */
static inline double ext_measure(const ext_case *c, uint64_t *ops) {
    double least_ns = ext_seconds() * NS_PER_S;
    for (*ops = 256;; *ops *= 2) {
        uint64_t from = now_ns();
        c->run(*ops);
        double took = (double)(now_ns() - from);
        if (took >= least_ns || *ops >> 40)
            return took / (double)*ops;
    }
}

static inline int ext_main(int argc, char **argv, const ext_case *cases, size_t count) {
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < count; i++)
            say("%s %s\n", cases[i].name, cases[i].backend);
        return 0;
    }
    for (size_t i = 0; argc == 3 && i < count; i++)
        if (strcmp(cases[i].name, argv[1]) == 0 && strcmp(cases[i].backend, argv[2]) == 0) {
            uint64_t ops;
            double ns = ext_measure(&cases[i], &ops);
            say("ns_per_op=%.4g ops=%llu\n", ns, (unsigned long long)ops);
            return 0;
        }
    stop(STATUS_USAGE, "the arguments are --list, or a case and a backend that it lists");
}

#define EXT_MAIN(table)                                                                                      \
    int main(int argc, char **argv) {                                                                        \
        return ext_main(argc, argv, table, LENGTH(table));                                                   \
    }

#endif
