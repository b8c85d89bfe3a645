/* track: who allocated what, and did not free it.

   Off, and then it costs nothing. Once it is on, each block is in a table with its size, its time, its thread
   and the stack it was allocated from, and the hardened allocator serves: it finds writes beyond a block's
   end and after its free, double frees and wrong pointers (docs/security.md), for blocks are sealed behind
   their end and cleared when they are freed. UMALLOC_TRACK=1 turns it on from the start and reports at exit
   what is still live; a program turns it on by um_track_start.

       um_track_start(NULL);
       um_track_mark before = um_track_now();
       work();
       um_track_report(2, &before, NULL);

   Threads: any thread may call any function. Blocks allocated before the start are not in the table. Threads
   that allocated before the start go on with what they have until they call um_thread_flush; start before
   there are others.

   Costs, while it is on: a lock and some microseconds for each call of malloc and free, 160 bytes a live
   block. Stacks are walked along frame pointers: compile with -fno-omit-frame-pointer; names come from the
   dynamic symbols: link with -rdynamic. Once started, the hardened allocator serves until the process ends;
   um_track_stop ends the tracking. Where umalloc steps aside nothing can be tracked. */
#ifndef UMALLOC_TRACK_H
#define UMALLOC_TRACK_H

#include "umalloc.h"

UM_BEGIN

/* Frames of a stack that are kept. */
#define UM_TRACK_FRAMES 14u

/* How to track; all zero is right. */
typedef struct um_track_config {
    uint32_t size;        /* set by the caller: sizeof(um_track_config) */
    uint32_t stack_every; /* the stack of one block in so many is kept; 0 and 1: of all */
    bool report_at_exit;  /* what is still live, on stderr, as um_track_report does */
    bool full;            /* the checks of UMALLOC_HARDEN=full; nothing changes where it is on already */
    int log_fd;           /* each operation is written there too (um_track_operation); 0: none */
} um_track_config;

/* Turns tracking on; config NULL: the defaults. Once it is on, only a new start after um_track_stop changes
   how. 0; -1: EINVAL, a size that is none; EALREADY; ENOMEM; ENOTSUP, umalloc does not serve. */
UM_API int um_track_start(const um_track_config *config) UM_NOTHROW;
/* Turns it off and forgets the table. */
UM_API void um_track_stop(void) UM_NOTHROW;

/* A live block, as the table has it. */
typedef struct um_track_block {
    void *start;
    size_t bytes;                 /* asked for */
    uint64_t serial;              /* number of its allocation, from 1 */
    uint64_t time_ms;             /* monotonic clock, coarse */
    uint32_t thread;              /* the kernel's number */
    uint32_t depth;               /* of stack; 0: it was not kept */
    void *stack[UM_TRACK_FRAMES]; /* where the callers go on, innermost first */
} um_track_block;

/* Finds the block that starts at p. Whether there is one; fills out if it is not NULL. */
UM_API bool um_track_find(const void *p, um_track_block *out) UM_NOTHROW;

/* A moment: what had happened by then. */
typedef struct um_track_mark {
    uint64_t serial;                  /* allocations by then, all threads */
    uint64_t frees;                   /* of blocks in the table */
    uint64_t live_blocks, live_bytes; /* in the table */
    uint64_t lost;                    /* blocks that the table had no memory for */
} um_track_mark;

/* Now. All zero while tracking is off. */
UM_API um_track_mark um_track_now(void) UM_NOTHROW;

/* Calls `visit` for each live block that was allocated after `after` and not after `until` until it returns
   false; NULL means from the start, and until now. So two marks give the difference between two moments. The
   visitor may allocate and free, which it does not see. How many were visited; -1: ENOMEM. */
UM_API int64_t um_track_each(const um_track_mark *after, const um_track_mark *until,
                             bool (*visit)(const um_track_block *block, void *ctx), void *ctx);
/* Writes the same blocks to a file descriptor as text: how many, then by stack, the most bytes first, with
   names where there are some. How many blocks; -1: ENOMEM. */
UM_API int64_t um_track_report(int fd, const um_track_mark *after, const um_track_mark *until) UM_NOTHROW;
/* Checks all blocks for writes beyond their ends and, with `full`, freed ones for writes; ends the process
   with a message at the first. */
UM_API void um_track_check(void) UM_NOTHROW;

/* A part of the program's work, by one thread: what it allocated and did not free. */
typedef struct um_track_scope {
    um_track_mark begin;
    uint32_t thread;
    uint64_t leaked_blocks, leaked_bytes; /* set by um_track_end */
} um_track_scope;

/* Begins a scope of the calling thread; scopes may contain others. */
UM_API void um_track_begin(um_track_scope *scope) UM_NOTHROW;
/* Ends it, in the same thread: counts the blocks that this thread allocated since and that are live. How
   many; -1: ENOMEM. */
UM_API int64_t um_track_end(um_track_scope *scope) UM_NOTHROW;

/* What the log holds for each operation, in the machine's byte order, after eight bytes "umtrack1". A realloc
   is a free and an allocation. scripts/umalloc-replay reads it. */
typedef struct um_track_operation {
    uint64_t address;
    uint64_t bytes; /* of an allocation: asked for; of a free: UINT64_MAX */
    uint64_t align; /* of an allocation, 0: none was asked for */
    uint32_t thread;
    uint32_t time_ms; /* since the start of tracking */
} um_track_operation;

UM_END

#endif
