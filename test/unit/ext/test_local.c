/* Values a thread, and who hears of the end of a thread and of a fork. */
#include "ext/local.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static int ended, again, befores, parents, children;
static int late_error;

static void ends(void *own) {
    cr_expect_null(um_local[UM_MODULE_pool], "the value is taken away first");
    cr_expect_eq(own, &ended);
    ended++;
    if (again-- > 0)
        late_error = um_local_set(UM_MODULE_pool, own);
}

static void before(void) {
    befores++;
}

static void parent(void) {
    parents++;
}

static void in_child(void) {
    children++;
}

static const um_local_hooks hooks = {ends, before, parent, in_child};

static void *set_one(void *unused) {
    (void)unused;
    cr_assert_null(um_local[UM_MODULE_pool]);
    cr_assert_eq(um_local_set(UM_MODULE_pool, &ended), 0);
    cr_assert_eq(um_local[UM_MODULE_pool], &ended);
    return NULL;
}

static void run(void) {
    pthread_t t;
    cr_assert_eq(um_local_use(UM_MODULE_pool, &hooks), 0);
    cr_assert_eq(um_local_use(UM_MODULE_pool, &hooks), 0, "twice is as good as once");
    cr_assert_eq(pthread_create(&t, NULL, set_one, NULL), 0);
    cr_assert_eq(pthread_join(t, NULL), 0);
}

Test(local, a_thread_leaves_its_value) {
    run();
    cr_expect_eq(ended, 1);
}

Test(local, a_late_value_is_heard_of_too) {
    again = 1;
    run();
    cr_expect_eq(late_error, 0);
    cr_expect_eq(ended, 2);
}

/* A value set in the last round would be lost. ThreadSanitizer's own record of the thread is gone by then. */
Test(local, too_late_is_refused, .disabled = UM_TSAN) {
    again = 1000;
    run();
    cr_expect_eq(late_error, ECANCELED);
    cr_expect_geq(ended, 2);
    cr_expect_lt(ended, 100);
}

Test(local, a_fork_is_told) {
    int status;
    pid_t pid;
    cr_assert_eq(um_local_use(UM_MODULE_pool, &hooks), 0);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(children == 1 && befores == 1 && parents == 0 ? 0 : 1);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_expect_eq(befores, 1);
    cr_expect_eq(parents, 1);
    cr_expect_eq(children, 0);
}
