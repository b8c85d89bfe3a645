/* heap: heaps of a program's own. What was allocated from one is freed with it, all at once, or block by
   block before.

   For work that ends as a whole (a request, a document, a frame), for memory that belongs on one NUMA node,
   and for a part of a program whose memory is to be counted and bounded apart from the rest.

       um_heap *h = um_heap_create(UM_HEAP_ONE_THREAD, UM_NODE(1));
       char *name = um_heap_malloc(h, 40);
       double *row = um_heap_alloc(h, n * sizeof *row, UM_ALIGN(64) | UM_ZERO);
       um_heap_free(h, name);
       um_heap_destroy(h);

   A block belongs to its heap: free() of it ends the process with a message, and so does um_heap_free with
   another heap. A block that is given back twice, and an address inside of a block, are found as malloc finds
   them: at once, or when the memory is used next, or not at all; UMALLOC_HARDEN does not watch heaps. Memory
   comes from the allocator's spans, follows its limits and is in its report; what a heap has free in whole
   slabs goes back, but for one. After um_heap_reset it keeps the slabs that were used since the reset before,
   for what comes next.

   Threads: a heap of UM_HEAP_ONE_THREAD takes no lock; its functions may be called by one thread at a time,
   in turn if the program orders them, but um_heap_free_any, which any thread may call at any time. A heap of
   UM_HEAP_SHARED may be used by all threads at once, under a lock of its own; only its end must be the last
   call. A child of fork has its own copy of each heap.

   Costs: 28 instructions for a block to 1 KiB and its free in a heap of one thread. In a shared one 58, of
   which two take and drop the lock: threads that use it at the same time wait for each other. A reset takes
   about 50 instructions for each size class in use, however many blocks there are. A heap takes 4 KiB, and 64
   KiB of addresses for each size class in use, of which little is memory at first. Up to four heaps that were
   destroyed are kept for the next ones of their kind and place, each with at most 512 KiB (less, or none, as
   UMALLOC_THREAD_CACHE says): so a heap for each request costs, beside its blocks, some hundred instructions
   and as many for each size class in use. um_trim gives those heaps back. */
#ifndef UMALLOC_HEAP_H
#define UMALLOC_HEAP_H

#include "umalloc.h"

UM_BEGIN

/* A heap. */
typedef struct um_heap um_heap;

/* Who may use a heap. */
typedef enum um_heap_kind {
    UM_HEAP_ONE_THREAD, /* one thread at a time: no lock */
    UM_HEAP_SHARED      /* any threads */
} um_heap_kind;

/* A new heap whose memory comes from `place`: 0, UM_LOCAL, UM_SPREAD (slab by slab in turn) or UM_NODE(id).
   NULL: ENOMEM; EINVAL, other flags, or no such node. */
UM_API um_heap *um_heap_create(um_heap_kind kind, um_flags place) UM_NOTHROW;
/* Ends a heap: every block of it is gone. Nobody may be in a call with it, now or later; one that has ended
   ends the process where that is seen. NULL is nothing to do. */
UM_API void um_heap_destroy(um_heap *h) UM_NOTHROW;
/* Frees all blocks at once; the heap stays, and so does memory that it needed of late: a slab for each size
   class that was used in one of the last 64 rounds from reset to reset, and others that the last round
   needed, up to UMALLOC_THREAD_CACHE (um_heap_trim gives all those back). Nobody else may be in a call with
   it, even a shared one. */
UM_API void um_heap_reset(um_heap *h) UM_NOTHROW;

/* A block of the heap, at a multiple of 16; bytes 0 gives a block that must not be accessed. NULL: ENOMEM. */
UM_API void *um_heap_malloc(um_heap *h, size_t bytes) UM_NOTHROW;
/* The same with flags: UM_ALIGN, UM_ZERO and UM_CLASS of umalloc.h. NULL: ENOMEM; EINVAL for other flags. */
UM_API void *um_heap_alloc(um_heap *h, size_t bytes, um_flags flags) UM_NOTHROW;
/* The block at its new size with its contents, perhaps elsewhere; p NULL: um_heap_alloc. Flags as there; with
   UM_ZERO, what is beyond um_heap_usable_size of the old block reads as zero. NULL, and the block as it was:
   as for um_heap_alloc. Ends the process where p is no block of the heap. */
UM_API void *um_heap_realloc(um_heap *h, void *p, size_t bytes, um_flags flags) UM_NOTHROW;
/* Gives a block back to its heap, h. NULL is nothing to do. */
UM_API void um_heap_free(um_heap *h, void *p) UM_NOTHROW;
/* The same from any thread at any time before the heap's end, without a lock: the heap takes the block back
   when it needs memory next. */
UM_API void um_heap_free_any(um_heap *h, void *p) UM_NOTHROW;

/* Bytes that a live block of the heap has. Ends the process where p is no such block, or NULL. */
UM_API size_t um_heap_usable_size(um_heap *h, const void *p) UM_NOTHROW;
/* Whether the address lies in memory that the heap holds. */
UM_API bool um_heap_owns(um_heap *h, const void *p) UM_NOTHROW;
/* Gives back what the heap holds and does not need. Walks the lists of its slabs. */
UM_API void um_heap_trim(um_heap *h) UM_NOTHROW;

/* What a heap holds now. */
typedef struct um_heap_usage {
    uint64_t live_blocks, live_bytes; /* usable bytes of the program's blocks */
    uint64_t held_bytes;              /* addresses of its slabs and large blocks */
    uint64_t slabs, large_blocks;
} um_heap_usage;

/* Fills out; walks the heap's slabs. */
UM_API void um_heap_stats(um_heap *h, um_heap_usage *out) UM_NOTHROW;

UM_END

#endif
