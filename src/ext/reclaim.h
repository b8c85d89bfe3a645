/* reclaim: the records behind read sections and hazard pointers, and the bags in which objects wait. */
#ifndef UM_RECLAIM_H
#define UM_RECLAIM_H

#include "ext/local.h"

#include <umalloc/reclaim.h>

#define UM_BAG_OBJECTS 62u

/* Why an object waits: for read sections, or for hazard pointers. */
typedef enum um_pile_kind { UM_PILE_EPOCH, UM_PILE_HAZARD, UM_PILES } um_pile_kind;

typedef struct um_retired {
    void *object;
    void (*reclaim)(void *object); /* never NULL */
} um_retired;

/* A bag of retired objects. */
typedef struct um_bag {
    struct um_bag *next;
    uint64_t stamp; /* epoch at its closing: it is old once no section of this epoch or before runs */
    uint64_t held;  /* bit i: a hazard pointer names the object i */
    uint64_t count;
    um_retired of[UM_BAG_OBJECTS];
} um_bag;

_Static_assert(sizeof(um_bag) == 1024, "a whole number of bags fills a slot");

/* Batches of one kind: one that fills, and closed ones in the order of their stamps. */
typedef struct um_pile {
    um_bag *filling, *first, *last;
    size_t closed; /* bags from first to last */
    size_t due;    /* look again at so many */
} um_pile;

struct um_hazard {
    _Atomic(const void *) object; /* written by its thread; H1, H2 */
};

/* What a thread has, from its first use to its end; then the record goes to another. Never given back:
   whoever walks over all records may be late. */
typedef struct um_reader {
    /* Line 0: written by the thread all the time, read by who looks. */
    _Atomic(uint64_t) active;             /* the epoch at which its section began, 0: in none; G1..G3 */
    uint64_t nest;                        /* owner only: sections in each other */
    _Atomic(uint64_t) retired, reclaimed; /* counters, by this record's threads */
    _Atomic(uint32_t) thread;             /* its id, for people */
    uint32_t taken;                       /* owner only: bit i: hazards[i] is in use */
    bool busy;                            /* owner only: it is calling functions that reclaim */
    struct um_reader *next_free;          /* under the lock */
    char pad[8];
    /* Line 1 */
    struct um_hazard hazards[UM_HAZARDS_A_THREAD];
    /* The owner's. */
    um_pile piles[UM_PILES];
    uint64_t told; /* of `retired`, to the report */
    char pad2[40];
} um_reader;

_Static_assert(sizeof(um_reader) == 256, "a record is whole lines");
_Static_assert(offsetof(um_reader, hazards) == 64, "two lines that others read");

/* Sections must run a fence each, for the kernel has none for all threads. const once a record is out. */
extern UM_HIDDEN bool um_reclaim_fences;

/* The calling thread's record; NULL: there is no memory for one, or the thread is past its end. */
UM_HIDDEN um_reader *um_reader_join(void);
UM_INLINE um_reader *um_reader_own(void) {
    um_reader *own = um_local[UM_MODULE_reclaim];
    return um_likely(own != NULL) ? own : um_reader_join();
}
/* All records, in use or not. */
UM_HIDDEN void um_readers_each(void (*f)(um_reader *r, void *ctx), void *ctx);
/* After it, what any thread stored before it passed some point is seen here, and what this thread stored
   before is seen by all that it reads after that point. False: the kernel refused for once, or for good. */
UM_HIDDEN bool um_reclaim_order(void);
/* For good: nothing gets old any more in this process. */
UM_HIDDEN bool um_reclaim_refused(void);
/* Waits a little, longer at each turn. */
UM_HIDDEN void um_reclaim_wait(unsigned *turn);

/* The calling thread retires an object, of either kind. */
UM_HIDDEN bool um_reclaim_put(um_pile_kind kind, void *object, void (*reclaim)(void *object));
/* Calls the functions of all objects of b that are not held, which leaves the held ones at its front. */
UM_HIDDEN void um_bag_empty(um_reader *own, um_bag *b);
UM_HIDDEN void um_bag_give(um_bag *b);
UM_HIDDEN void um_pile_append(um_pile *p, um_bag *b);

/* epoch.c: a stamp for a bag whose objects nobody finds any more. */
UM_HIDDEN uint64_t um_epoch_stamp(void);
/* Stamps below it are old. */
UM_HIDDEN uint64_t um_epoch_old(void);
/* Looks who reads, and answers as um_epoch_old does. */
UM_HIDDEN uint64_t um_epoch_look(void);
/* Until `stamp` is old. False: it will never be. */
UM_HIDDEN bool um_epoch_wait(uint64_t stamp);
/* The reader in the oldest section: its thread's id, 0 if there is none, and how many stamps ago it began. */
UM_HIDDEN uint32_t um_epoch_oldest(uint64_t *stamps);
/* In the child of fork, before another thread: `known` says whether the thread has a record. */
UM_HIDDEN void um_epoch_in_child(bool known);

/* hazard.c: reclaims what no hazard pointer names of the closed bags of the pile, which is the caller's. */
UM_HIDDEN void um_hazard_sift(um_reader *own, um_pile *p);

#endif
