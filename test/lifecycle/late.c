/* Calls from after main: handlers of atexit, on_exit and at_quick_exit, and the destructors of this program
   and of a shared object (late_dso.c), while another thread still allocates. Each station prints a word; the
   caller compares. Argument: return, exit or quick. */
#include "exercise.h"

#include <pthread.h>

void late_dso_keep(void *p);

static struct exercise from_main;

static void say(const char *word) {
    CHECK(write(1, word, strlen(word)) == (ssize_t)strlen(word), "write");
}

static void at_exit(void) {
    exercise();
    say("atexit ");
}

static void at_exit_of_constructor(void) {
    exercise_drop(&from_main);
    exercise();
    say("first-atexit ");
}

static void with_status(int status, void *arg) {
    (void)status;
    exercise();
    free(arg);
    say("on_exit ");
}

static void at_quick(void) {
    exercise();
    say("at_quick_exit ");
}

__attribute__((constructor)) static void start(void) {
    atexit(at_exit_of_constructor);
}

__attribute__((destructor(101))) static void last_destructor(void) {
    exercise();
    say("destructor ");
}

static void *never_stops(void *unused) {
    (void)unused;
    for (;;)
        exercise();
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t t;
    check_library();
    check_watchdog(60);
    CHECK(argc == 2, "usage: late return|exit|quick");
    exercise_take(&from_main);
    atexit(at_exit);
    on_exit(with_status, malloc(100));
    at_quick_exit(at_quick);
    late_dso_keep(malloc(1000));
    CHECK(pthread_create(&t, NULL, never_stops, NULL) == 0, "pthread_create");
    pthread_detach(t);
    if (strcmp(argv[1], "exit") == 0)
        exit(0);
    if (strcmp(argv[1], "quick") == 0)
        quick_exit(0);
    return 0;
}
