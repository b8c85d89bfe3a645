/* Runs a function in a child that is expected to die by SIGABRT with one exact line on stderr. Addresses in
   the line are given by the caller: the child is a fork, so they are its own as well. The line's end, which
   names the thread, is given nowhere: it must be the child's. */
#ifndef UM_TEST_DIES_H
#define UM_TEST_DIES_H

#include <criterion/criterion.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIES_EMULATOR "qemu: " /* where it runs us, it says the signal as well, on a line of its own */

static pid_t dies_child; /* the last one, whose only thread has this number too */

/* What the child wrote to stderr goes to text; the result is its wait status. */
static inline int dies_status(void (*f)(void *arg), void *arg, char *text, size_t room) {
    int ends[2], status = 0;
    size_t len = 0;
    cr_assert_eq(pipe(ends), 0);
    fflush(NULL);
    pid_t child = dies_child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        if (dup2(ends[1], 2) == 2)
            f(arg);
        _exit(0); /* it lived */
    }
    close(ends[1]);
    for (ssize_t n; len < room - 1 && (n = read(ends[0], text + len, room - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = 0;
    if (strstr(text, DIES_EMULATOR))
        *strstr(text, DIES_EMULATOR) = 0;
    close(ends[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

__attribute__((format(printf, 3, 4))) static inline void expect_death(void (*f)(void *arg), void *arg,
                                                                      const char *format, ...) {
    char got[1024], wanted[1024];
    va_list args;
    int status = dies_status(f, arg, got, sizeof got);
    va_start(args, format);
    int len = vsnprintf(wanted, sizeof wanted, format, args);
    va_end(args);
    if (len > 0 && wanted[len - 1] == '\n')
        (void)snprintf(wanted + len - 1, sizeof wanted - (size_t)len, " in thread %d\n", (int)dies_child);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "died otherwise: %#x", status);
    cr_expect(strcmp(got, wanted) == 0, "said: %s wanted: %s", got, wanted);
}

#endif
