/* fork waits for each lock that another thread holds: the child must not get what that thread was in the
   midst of. The holder lets go when fork has met the lock, or is over. */
#include "heap/heap.h"
#include "os/lock.h"
#include "space/internal.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static __thread bool forks;
static _Atomic(bool) in_the_midst, waits, is_over;

void __real_um_lock_slow(um_lock *l);
void __wrap_um_lock_slow(um_lock *l);

void __wrap_um_lock_slow(um_lock *l) {
    if (forks)
        waits = true;
    __real_um_lock_slow(l);
}

/* Under the lock. */
static void be_long(void) {
    in_the_midst = true;
    while (!waits && !is_over)
        sched_yield();
    in_the_midst = false;
}

static void visit(um_theap *h, void *unused) {
    (void)unused;
    if (um_theap_is_first(h))
        be_long();
}

static void *hold_the_shared_heap(void *unused) {
    (void)um_theap_shared_lock();
    be_long();
    um_theap_shared_unlock();
    return unused;
}

static void *hold_the_registry(void *unused) {
    um_theap_each(visit, NULL);
    return unused;
}

static void *hold_the_orphans(void *unused) {
    um_lock_take(&um_orphan_lock);
    be_long();
    um_lock_drop(&um_orphan_lock);
    return unused;
}

static void *hold_the_space(void *unused) {
    um_lock_take(&um_spaces[0].lock);
    be_long();
    um_lock_drop(&um_spaces[0].lock);
    return unused;
}

static void expect_fork_waits_for(void *(*holder)(void *)) {
    pthread_t t;
    int status;
    pid_t child;
    free(malloc(1)); /* the first heap is this thread's */
    in_the_midst = waits = is_over = false;
    cr_assert_eq(pthread_create(&t, NULL, holder, NULL), 0);
    while (!in_the_midst)
        sched_yield();
    forks = true;
    child = fork();
    if (child == 0) {
        free(malloc(100000));
        _exit(in_the_midst);
    }
    forks = false;
    is_over = true;
    pthread_join(t, NULL);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x", status);
}

Test(fork, waits_for_the_shared_heap) {
    expect_fork_waits_for(hold_the_shared_heap);
}

Test(fork, waits_for_the_registry) {
    expect_fork_waits_for(hold_the_registry);
}

Test(fork, waits_for_the_orphans) {
    expect_fork_waits_for(hold_the_orphans);
}

Test(fork, waits_for_the_space) {
    expect_fork_waits_for(hold_the_space);
}
