/* fork: the parent takes every lock in rank order, so that the child inherits consistent structures; the
   child resets the locks. Prepare handlers run in the reverse order of their registration, so the library is
   linked to be initialised before all others (-z initfirst): ours is the last to run, after every handler
   that may wait for a thread which allocates. Where another library comes first all the same, its handlers
   may at least allocate: the forking thread passes its own locks. libc's fork takes its lock of the list of
   streams still later, and threads allocate under that one, so it is taken here, first. Heaps of the other
   threads stay as they were: their owners do not exist in the child, which the generation tells. The child
   takes their id off their slabs, and each becomes an orphan when the child first frees one of its blocks. So
   a child of a program with one heap touches one page here. A program with one thread may fork in a handler
   that interrupted malloc, as with libc's own: no lock is taken then, for that would be waiting for itself.

   _Fork runs no handlers, for it may be called in a signal's, and its child may only call what is
   async-signal-safe. But it may use its memory: where that is of a pool of huge pages, the child leaves the
   pool, without a lock. */
#include "front/aside.h"
#include "front/front.h"
#include "space/hugetlb.h"
#include "space/space.h"

#include <errno.h>
#include <sys/single_threaded.h>
#include <sys/types.h>

/* What libc's pthread_atfork, which is linked statically, calls: that would be a page of its own at the
 * start. */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);
extern void *__dso_handle UM_HIDDEN;

/* libc's, of the list of streams: may be taken again by who holds it. In the child of a process with threads
 * libc has reset it before our handler runs. */
extern void _IO_list_lock(void);
extern void _IO_list_unlock(void);

static um_hugetlb_gate gate; /* under the locks that all who fork take */

static void before(void) {
    if (__libc_single_threaded) {
        um_lock_alone = true;
    } else {
        _IO_list_lock();
        um_theap_lock_all();
        um_hard_lock_all();
        um_space_lock_all();
    }
    um_hugetlb_before_fork(&gate);
    atomic_store_explicit(&um_lock_forker, um_thread_id(), memory_order_relaxed); /* see lock.h */
}

static void in_parent(void) {
    um_hugetlb_in_parent(&gate);
    atomic_store_explicit(&um_lock_forker, 0, memory_order_relaxed);
    if (um_lock_alone) {
        um_lock_alone = false;
    } else {
        um_space_unlock_all();
        um_hard_unlock_all();
        um_theap_unlock_all();
        _IO_list_unlock();
    }
}

static void in_child(void) {
    um_hugetlb_in_child(&gate);
    um_theap_child_after_fork();
    um_hard_child_after_fork();
    um_space_reset_locks();
    um_front_init_child();
    um_front_exit_child();
    atomic_store_explicit(&um_lock_forker, 0, memory_order_relaxed);
    um_lock_alone = false;
}

void um_front_fork_init(void) {
    (void)__register_atfork(before, in_parent, in_child,
                            __dso_handle); /* fails without memory only: then fork is as safe as without us */
}

#if !defined UM_STATIC && !UM_TSAN
pid_t _Fork(void);

UM_EXPORT pid_t _Fork(void) {
    pid_t (*next)(void) = (pid_t(*)(void))(uintptr_t)um_aside_find("_Fork");
    um_hugetlb_gate own;
    pid_t pid;
    if (!next) {
        errno = ENOSYS;
        return -1;
    }
    um_hugetlb_before_fork(&own);
    pid = next();
    if (pid == 0)
        um_hugetlb_in_child(&own);
    else
        um_hugetlb_in_parent(&own);
    return pid;
}
#endif
