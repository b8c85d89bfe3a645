/* hard: the hardened allocator. It serves instead of the heaps once an option asks for it (um_hard_start) and
   trades speed for finding misuse; the heaps' fast paths never see it. Small blocks come from slabs of its
   own, in shards under a lock each, at random places; their sizes, states and families are kept apart from
   them, between guard pages. Some small blocks get a page of their own. Large blocks lie between guard pages.
   Freed blocks are cleared and rest before they are used again. What is found ends the process
   (os/fatal.h). */
#ifndef UM_HARD_H
#define UM_HARD_H

#include "conf/stats.h"
#include "space/span.h"

enum { UM_HARD_OFF, UM_HARD_ON, UM_HARD_FULL }; /* as um_harden_level */

/* const after um_hard_start, which the library's constructor calls, or a program that starts tracking. The
   store there publishes what it made (K3, release); each read is an acquire (K4). */
extern UM_HIDDEN _Atomic(int) um_hard_level;

#define UM_HARD_FRAMES 14u

typedef struct um_hard_trace {
    uint32_t thread, depth;
    uintptr_t pc[UM_HARD_FRAMES];
} um_hard_trace;
UM_HIDDEN void um_hard_trace_take(um_hard_trace *t, const void *frame);

/* By which of the three ways a block was asked for, and must be given back. */
typedef enum um_family { UM_FAMILY_MALLOC, UM_FAMILY_NEW, UM_FAMILY_NEW_ARRAY } um_family;

#define UM_HARD_UNSAID SIZE_MAX

/* What the caller of a free says of the block. */
typedef struct um_hard_claim {
    const char *what; /* kind of the message where there is no such block: "invalid free" */
    um_family family;
    size_t bytes; /* UM_HARD_UNSAID: nothing */
    size_t align; /* 0: nothing */
} um_hard_claim;

/* Frame of the function that the program called: where its stack is walked from. */
#define UM_HARD_FRAME __builtin_frame_address(0)

/* Starts to serve. Nonzero: out of memory, the heaps go on serving. */
UM_HIDDEN int um_hard_start(int level);

/* A block that reads as zero, or NULL. align is a power of two; below 16 it is taken for 16. */
UM_HIDDEN void *um_hard_alloc(size_t bytes, size_t align, um_family family, void *frame);
UM_HIDDEN void um_hard_free(void *p, um_span *s, const um_hard_claim *claim, void *frame);
/* Bytes asked for; aborts where no block starts at p. */
UM_HIDDEN size_t um_hard_usable(const void *p, const um_span *s, const char *what);
/* bytes is not 0. */
UM_HIDDEN void *um_hard_realloc(void *p, um_span *s, size_t bytes, void *frame);

/* The address lies in memory of this layer, whose record is s. */
UM_INLINE bool um_hard_owns(const um_span *s) {
    return um_span_kind_of(s) >= UM_SPAN_HARD;
}

/* Checks every block there is; aborts on the first that was written beyond its end or after its free. */
UM_HIDDEN void um_hard_check(void);
/* Ends the rest of all freed blocks and gives back what is empty. */
UM_HIDDEN void um_hard_flush(void);
UM_HIDDEN void um_hard_add_stats(um_snapshot *out);

typedef struct um_hard_block {
    void *start;
    size_t bytes; /* asked for */
} um_hard_block;

/* How far a walk of the live blocks has come; all zero at the start. */
typedef struct um_hard_cursor {
    unsigned part;
    const struct um_hard_slab *slab;
    size_t at;
} um_hard_cursor;

/* The next live blocks, `most` at most; 0: that was all. Nothing is locked between two calls. */
UM_HIDDEN unsigned um_hard_live(um_hard_cursor *c, um_hard_block *out, unsigned most);

UM_HIDDEN void um_hard_lock_all(void);
UM_HIDDEN void um_hard_unlock_all(void);
UM_HIDDEN void um_hard_child_after_fork(void);

#endif
