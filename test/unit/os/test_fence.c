/* Order that only one side pays for. That the kernel orders other threads cannot be seen from here; the
   stress test of reclaim would. */
#include "os/fence.h"
#include "os/os.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Seen in a fresh process: this one may have joined. */
static int asks_first(void) {
    int status;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(um_os_fence_all());
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

Test(fence, is_joined_before_it_is_asked_for) {
    int err = um_os_fence_join();
    if (err) {
        cr_expect(err == ENOSYS || err == EINVAL || err == EPERM, "%d", err);
        return;
    }
    cr_expect_eq(um_os_fence_join(), 0, "twice is as good as once");
    cr_expect_eq(um_os_fence_all(), 0);
}

Test(fence, who_did_not_join_is_refused) {
    int err = asks_first();
    cr_expect(err == EPERM || err == ENOSYS || err == EINVAL, "%d", err);
}

Test(fence, a_nap_lasts) {
    struct timespec before, after;
    cr_assert_eq(clock_gettime(CLOCK_MONOTONIC, &before), 0);
    errno = 1234;
    um_os_nap(3000);
    cr_expect_eq(errno, 1234);
    cr_assert_eq(clock_gettime(CLOCK_MONOTONIC, &after), 0);
    cr_expect_geq((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec, 3000000);
}
