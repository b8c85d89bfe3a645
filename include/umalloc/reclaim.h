/* reclaim: freeing what other threads may still be reading.

   A lock-free structure unlinks an object while readers walk over it. It may be freed once none of them can
   hold it: um_retire and um_hazard_retire take it and see to that. Readers tell where they are in one of two
   ways. A read section (epochs) covers all that is read within it and costs two plain stores. A hazard
   pointer covers one object, and a reader that stands still holds back only that.

       um_epoch_enter();                              struct node *old = atomic_exchange(&head, new);
       struct node *n = atomic_load(&head);           um_retire(old, NULL);
       use(n);
       um_epoch_leave();

   Objects wait in bags of 62 a thread. A thread whose bags fill looks which of them are old enough and
   hands those to free, or to the function given with each object. What a thread leaves at its end, others
   take over. A reader that does not leave its section holds back all that is retired meanwhile:
   um_reclaim_bound bounds that and tells who it is.

   Cost: entering and leaving a section runs no atomic read-modify-write, no fence and no system call, where
   the kernel has membarrier (Linux 4.14); a look, of every 248 retired objects, is one such call and a walk
   over the threads. Without membarrier each section runs a fence; um_reclaim_stat says which. A filter of
   system calls that a program installs later must let membarrier pass. Where it refuses it, nothing is
   reclaimed any more, and nobody waits: um_retire goes on taking objects, whatever the bound,
   um_reclaim_flush returns at once, and um_epoch_synchronize, which cannot do what it says, ends the process
   with one line. A child of fork reclaims again.

   Any thread may call these functions at any time, also in destructors of thread-specific data, but not in a
   signal handler. A child of fork goes on with the sections and the retired objects of the thread that
   forked; what other threads had retired is never freed in it. */
#ifndef UMALLOC_RECLAIM_H
#define UMALLOC_RECLAIM_H

#include <umalloc/common.h>

UM_BEGIN

/* Begins a read section of the calling thread: nothing that another thread retires from now on is reclaimed
   before it ends. Sections nest; the outermost counts. Never fails and never waits. */
UM_API void um_epoch_enter(void) UM_NOTHROW;

/* Ends the read section that the last um_epoch_enter of the thread began. Without one: ends the process with
   one line. */
UM_API void um_epoch_leave(void) UM_NOTHROW;

/* Waits until every read section that is running now has ended. Within one of the calling thread: ends the
   process with one line, for it would wait for ever. */
UM_API void um_epoch_synchronize(void) UM_NOTHROW;

/* Reclaims the object once every read section that is running now has ended: calls reclaim(object), or
   free(object) where reclaim is NULL. No new reader may find the object any more. NULL is ignored. The call
   comes at some time later, in this thread or, after its end, in another, from within um_retire,
   um_hazard_retire, um_reclaim_flush or the end of the thread, possibly within a read section: it may retire
   more, but must not take a lock that the caller of those holds. False: no memory for a record (errno
   ENOMEM), and the object is still the caller's. */
UM_API bool um_retire(void *object, void (*reclaim)(void *object)) UM_NOTHROW;

/* One hazard pointer: names the one object that its thread reads. */
typedef struct um_hazard um_hazard;

/* Hazard pointers that a thread may have at once. */
#define UM_HAZARDS_A_THREAD 8

/* A hazard pointer for the calling thread, which names nothing yet. It is the thread's alone until
   um_hazard_give or its end. NULL: it has UM_HAZARDS_A_THREAD already (errno ENOSPC), or out of memory
   (ENOMEM). */
UM_API um_hazard *um_hazard_take(void) UM_NOTHROW;

/* Gives the hazard pointer back; what it named is no longer held. One that is not the calling thread's: ends
   the process with one line. */
UM_API void um_hazard_give(um_hazard *h) UM_NOTHROW;

/* Reads the pointer at `source`, an aligned word that others change atomically, and makes h name what it
   found: that object is not reclaimed until h names something else. Reads again until the word stood still
   meanwhile. The result may be NULL. Acquire: what was written before the pointer was published is seen. */
UM_API void *um_hazard_protect(um_hazard *h, const volatile void *source) UM_NOTHROW;

/* Makes h name the object, or nothing (NULL). The caller must be sure that it was not retired yet, or look
   again afterwards whether it can still be reached. */
UM_API void um_hazard_set(um_hazard *h, const void *object) UM_NOTHROW;

/* As um_retire, once no hazard pointer names the object; read sections do not count. Of the objects that a
   thread retired so there wait at most those that hazard pointers name, and 372, or three times as many as
   there are hazard pointers in use. */
UM_API bool um_hazard_retire(void *object, void (*reclaim)(void *object)) UM_NOTHROW;

/* Waits for the read sections that are running now and reclaims all that the calling thread, and threads that
   have ended, retired before; those that hazard pointers name are left. Within a read section, or in a
   function that reclaims: ends the process with one line. */
UM_API void um_reclaim_flush(void) UM_NOTHROW;

/* Bounds what waits where a reader does not leave: a thread with more than `objects` retired by um_retire and
   not reclaimed calls stalled(thread, waiting), with the thread id of the reader in the oldest section (0:
   not known) and the number of objects that wait in the calling thread, and then waits in um_retire for the
   reader, unless it is in a read section itself. Rounded up to bags of 62. 0: no bound, as at the start.
   stalled may be NULL; it is called at most once every 62 retired objects and must not retire. For the whole
   process; to be set before other threads retire. */
UM_API void um_reclaim_bound(size_t objects, void (*stalled)(uint32_t thread, size_t waiting)) UM_NOTHROW;

/* What the process did so far. Counts of other threads may be a little old. */
typedef struct um_reclaim_stats {
    uint64_t retired;       /* objects, by both ways */
    uint64_t reclaimed;     /* of those */
    uint64_t waiting;       /* the difference: garbage */
    uint64_t looks;         /* how often was looked who reads */
    uint64_t stalls;        /* looks after which as much waited as before */
    uint32_t oldest_thread; /* thread id of the reader in the oldest section now; 0: nobody is in one */
    uint32_t oldest_bags;   /* bags that were closed since that section began */
    bool sections_fence;    /* each section runs a fence, for there is no membarrier */
    bool refused;           /* membarrier was refused after it was allowed: nothing is reclaimed */
} um_reclaim_stats;

/* Fills the first `bytes` of *out; sizeof *out. */
UM_API void um_reclaim_stat(um_reclaim_stats *out, size_t bytes) UM_NOTHROW;

UM_END

#endif
