/* Values a thread and hooks a module. One thread-specific key serves all modules: its destructor hands each
   module the value that the thread leaves behind. Destructors of the program's own keys and thread_local
   objects may use a module after that, and set values anew; the key comes round again for them, as often as
   libc allows. In the last round values are refused, so that none is lost: a module then works without. */
#include "ext/local.h"
#include "os/lock.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

#define LAST_ROUND ((uintptr_t)PTHREAD_DESTRUCTOR_ITERATIONS)

__thread void *um_local[UM_MODULES_LOCAL];
static __thread uintptr_t rounds; /* so often did the key's destructor run */

static um_lock lock; /* rank: before all others; guards what follows */
static const um_local_hooks *_Atomic hooks_of[UM_MODULES_LOCAL]; /* const once set; X1, X2 */
static bool started;
static int start_error;
static pthread_key_t key;

static const um_local_hooks *hooks(unsigned m) {
    /* X1: acquire pairs with the release in um_local_use: the module's table is complete. */
    return atomic_load_explicit(&hooks_of[m], memory_order_acquire);
}

static void thread_ends(void *unused) {
    (void)unused;
    rounds++;
    for (unsigned m = 0; m < UM_MODULES_LOCAL; m++) {
        void *own = um_local[m];
        um_local[m] = NULL;
        if (own && hooks(m)->thread_ends)
            hooks(m)->thread_ends(own);
    }
}

static void before_fork(void) {
    for (unsigned m = 0; m < UM_MODULES_LOCAL; m++)
        if (hooks(m) && hooks(m)->before_fork)
            hooks(m)->before_fork();
    um_lock_take(&lock);
}

static void in_parent(void) {
    um_lock_drop(&lock);
    for (unsigned m = UM_MODULES_LOCAL; m-- > 0;)
        if (hooks(m) && hooks(m)->in_parent)
            hooks(m)->in_parent();
}

static void in_child(void) {
    um_lock_reset(&lock);
    for (unsigned m = UM_MODULES_LOCAL; m-- > 0;)
        if (hooks(m) && hooks(m)->in_child)
            hooks(m)->in_child();
}

static int start_locked(void) {
    if (!started) {
        start_error = pthread_key_create(&key, thread_ends);
        if (!start_error && (start_error = pthread_atfork(before_fork, in_parent, in_child)) != 0)
            (void)pthread_key_delete(key); /* cannot fail: it was just made */
        started = !start_error;
    }
    return start_error;
}

int um_local_use(um_module m, const um_local_hooks *table) {
    int err;
    if (um_likely(hooks(m) != NULL))
        return 0;
    um_lock_take(&lock);
    err = start_locked();
    if (!err)
        atomic_store_explicit(&hooks_of[m], table, memory_order_release); /* X2: pairs with X1 */
    um_lock_drop(&lock);
    return err;
}

int um_local_set(um_module m, void *own) {
    int err;
    if (rounds >= LAST_ROUND)
        return ECANCELED;
    err = pthread_setspecific(key, &um_local); /* any value but NULL brings the destructor */
    if (!err)
        um_local[m] = own;
    return err;
}
