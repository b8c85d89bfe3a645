/* local: what each thread keeps for a module of ext, and who is told when a thread ends or the process forks.
   Nothing of it exists before a program calls a module that needs it. */
#ifndef UM_LOCAL_H
#define UM_LOCAL_H

#include "conf/counters.h"

typedef struct um_local_hooks {
    void (*thread_ends)(void *own); /* in the thread, whose value is NULL by then; NULL: nothing to do */
    /* Around fork, each may be NULL. Modules are called in their order before, in reverse order after. */
    void (*before_fork)(void);
    void (*in_parent)(void);
    void (*in_child)(void); /* single-threaded; values of the forking thread are as they were */
} um_local_hooks;

/* The calling thread's value for each module; NULL until um_local_set. */
extern UM_HIDDEN __thread void *um_local[UM_MODULES_LOCAL] __attribute__((tls_model("initial-exec")));

/* Registers a module; the first call counts, any thread. 0, or an errno value where the system has no room
   for hooks: then the module must do without values. */
UM_HIDDEN int um_local_use(um_module m, const um_local_hooks *hooks);
/* Sets the calling thread's value, of a module in use. 0, or an errno value, and no value set: without
   memory, or ECANCELED once the thread's hooks ran for the last time. */
UM_HIDDEN int um_local_set(um_module m, void *own);

#endif
