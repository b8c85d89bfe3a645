/* The part of Criterion that the unit tests use, for builds with ThreadSanitizer and for other machines:
   Criterion keeps its own memory at addresses that this sanitizer has taken for its shadow, and does not
   start; and it is not installed for machines but this one. Each test runs in a child process, like there; a
   finding of the sanitizer ends the child with a status of its own and so fails the test. Included by one
   file a program, it is the whole runner. --without=SUITE::NAME, which may be a pattern of the shell, leaves
   tests out, and it is a failure if there are none such; other arguments are ignored. No theories, no
   parameters, no timeouts. */
#ifndef UM_PLAIN_CRITERION_H
#define UM_PLAIN_CRITERION_H

#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct plain_options {
    void (*init)(void), (*fini)(void);
    int signal, exit_code;
    bool disabled;
    double timeout;
    const char *description;
};

struct plain_test {
    const char *suite, *name;
    void (*body)(void);
    struct plain_options options;
    struct plain_test *next;
};

static struct plain_test *plain_first, **plain_last = &plain_first;
static _Atomic(bool) plain_failed; /* in the child; any of its threads may set it */
static struct plain_options plain_suite_options;

static inline void plain_register(struct plain_test *t) {
    *plain_last = t;
    plain_last = &t->next;
}

/* Runs one test in the child that was forked for it. */
static inline void plain_child(const struct plain_test *t) {
    void (*init)(void) = t->options.init ? t->options.init : plain_suite_options.init;
    void (*fini)(void) = t->options.fini ? t->options.fini : plain_suite_options.fini;
    if (init)
        init();
    t->body();
    if (fini)
        fini();
    fflush(NULL);
    if (plain_failed)
        _exit(1);
    exit(0); /* handlers run: the sanitizer reports there */
}

static inline bool plain_run(const struct plain_test *t) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        plain_child(t);
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == t->options.signal;
    return !t->options.signal && WEXITSTATUS(status) == t->options.exit_code;
}

static inline bool plain_matches(const char *argument, const struct plain_test *t) {
    static const char option[] = "--without=";
    char name[256];
    (void)snprintf(name, sizeof name, "%s::%s", t->suite, t->name);
    return strncmp(argument, option, sizeof option - 1) == 0 &&
           fnmatch(argument + sizeof option - 1, name, 0) == 0;
}

static inline bool plain_left_out(const struct plain_test *t, char **arguments) {
    while (*arguments && !plain_matches(*arguments, t))
        arguments++;
    return *arguments;
}

/* How many of the arguments name no test. */
static inline unsigned plain_strays(char **arguments) {
    unsigned strays = 0;
    for (; *arguments; arguments++) {
        const struct plain_test *t = plain_first;
        while (t && !plain_matches(*arguments, t))
            t = t->next;
        if (!t && strncmp(*arguments, "--without", 9) == 0) {
            printf("FAILED %s: no such test\n", *arguments);
            strays++;
        }
    }
    return strays;
}

int main(int argc, char **argv) {
    unsigned failures = plain_strays(argv + (argc > 0)), tests = 0;
    for (const struct plain_test *t = plain_first; t; t = t->next) {
        if (t->options.disabled)
            continue;
        if (plain_left_out(t, argv + (argc > 0))) {
            printf("left out %s::%s\n", t->suite, t->name);
            continue;
        }
        bool good = plain_run(t);
        printf("%s %s::%s\n", good ? "ok    " : "FAILED", t->suite, t->name);
        failures += !good;
        tests++;
    }
    printf("%u tests, %u failed\n", tests, failures);
    return failures || !tests;
}

#define PLAIN_OPTIONS(...) ((struct plain_options){.timeout = 0, __VA_ARGS__})

#define Test(suite_, name_, ...)                                                                             \
    static void suite_##_##name_##_body(void);                                                               \
    __attribute__((constructor)) static void suite_##_##name_##_register(void) {                             \
        static struct plain_test test = {#suite_, #name_, suite_##_##name_##_body, {0}, NULL};               \
        test.options = PLAIN_OPTIONS(__VA_ARGS__);                                                           \
        plain_register(&test);                                                                               \
    }                                                                                                        \
    static void suite_##_##name_##_body(void)

/* One suite a file, as the unit tests have it. */
#define TestSuite(suite_, ...)                                                                               \
    __attribute__((constructor)) static void suite_##_options(void) {                                        \
        plain_suite_options = PLAIN_OPTIONS(__VA_ARGS__);                                                    \
    }                                                                                                        \
    _Static_assert(true, #suite_)

/* The message, if any, is a format and its arguments. */
#define PLAIN_FAIL(fatal, text, ...)                                                                         \
    do {                                                                                                     \
        plain_failed = true;                                                                                 \
        fprintf(stderr, "%s:%d: %s", __FILE__, __LINE__, text);                                              \
        fprintf(stderr, " " __VA_ARGS__);                                                                    \
        fputc('\n', stderr);                                                                                 \
        if (fatal) {                                                                                         \
            fflush(NULL);                                                                                    \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)
#define PLAIN_CHECK(fatal, held, text, ...)                                                                  \
    do {                                                                                                     \
        if (!(held))                                                                                         \
            PLAIN_FAIL(fatal, text, __VA_ARGS__);                                                            \
    } while (0)

#define cr_assert(c, ...)            PLAIN_CHECK(true, c, #c, __VA_ARGS__)
#define cr_assert_not(c, ...)        PLAIN_CHECK(true, !(c), "not " #c, __VA_ARGS__)
#define cr_assert_eq(a, b, ...)      PLAIN_CHECK(true, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...)     PLAIN_CHECK(true, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...)      PLAIN_CHECK(true, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)     PLAIN_CHECK(true, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...)      PLAIN_CHECK(true, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...)     PLAIN_CHECK(true, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_null(p, ...)       PLAIN_CHECK(true, (p) == NULL, #p " == NULL", __VA_ARGS__)
#define cr_assert_not_null(p, ...)   PLAIN_CHECK(true, (p) != NULL, #p " != NULL", __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)  PLAIN_CHECK(true, strcmp(a, b) == 0, #a " is " #b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) PLAIN_CHECK(true, strcmp(a, b) != 0, #a " is not " #b, __VA_ARGS__)
#define cr_assert_fail(...)          PLAIN_FAIL(true, "failed", __VA_ARGS__)

#define cr_expect(c, ...)            PLAIN_CHECK(false, c, #c, __VA_ARGS__)
#define cr_expect_not(c, ...)        PLAIN_CHECK(false, !(c), "not " #c, __VA_ARGS__)
#define cr_expect_eq(a, b, ...)      PLAIN_CHECK(false, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...)     PLAIN_CHECK(false, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...)      PLAIN_CHECK(false, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_expect_leq(a, b, ...)     PLAIN_CHECK(false, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...)      PLAIN_CHECK(false, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...)     PLAIN_CHECK(false, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_expect_null(p, ...)       PLAIN_CHECK(false, (p) == NULL, #p " == NULL", __VA_ARGS__)
#define cr_expect_not_null(p, ...)   PLAIN_CHECK(false, (p) != NULL, #p " != NULL", __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)  PLAIN_CHECK(false, strcmp(a, b) == 0, #a " is " #b, __VA_ARGS__)
#define cr_expect_str_neq(a, b, ...) PLAIN_CHECK(false, strcmp(a, b) != 0, #a " is not " #b, __VA_ARGS__)
#define cr_expect_fail(...)          PLAIN_FAIL(false, "failed", __VA_ARGS__)

#endif
