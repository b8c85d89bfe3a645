/* fork: the parent takes every lock in rank order, so that the child inherits consistent structures; the
   child resets the locks. Heaps of the other threads stay as they were: their owners do not exist in the
   child, which the generation tells, and each of their slabs becomes an orphan when the child first frees one
   of its blocks. So a child that only runs exec touches one page here. */
#include "front/front.h"
#include "space/space.h"

#include <pthread.h>

static void before(void) {
    um_heap_lock_all();
    um_space_lock_all();
}

static void in_parent(void) {
    um_space_unlock_all();
    um_heap_unlock_all();
}

static void in_child(void) {
    um_space_reset_locks();
    um_heap_child_after_fork();
    um_front_init_child();
    um_front_exit_child();
}

void um_front_fork_init(void) {
    (void)pthread_atfork(before, in_parent,
                         in_child); /* fails without memory only: then fork is as safe as without us */
}
