/* buddy: a region of memory in blocks of powers of two, split and merged on demand.

   For memory that is not ordinary, or that must stay in one piece: a shared segment, a device's or a GPU's
   range, a huge page, an arena for objects of very different sizes. The region may be the program's or one of
   ours. Nothing is ever written to it here: what is known of its blocks lies elsewhere, so the region need
   not even be memory that this process can reach.

       um_buddy *b = um_buddy_new(&(um_buddy_options){.bytes = 1 << 20, .block_bytes = 64});
       void *p = um_buddy_alloc(b, 1000);                // 1024 bytes
       um_buddy_free(b, p);                              // joined with its free neighbour, and so on
       um_buddy_delete(b);

   One thread at a time uses a region. Costs: some tens of instructions for an allocation or a free, and a
   step more for each halving of a block or joining of two; what is known takes a byte and a third for each
   smallest block. A request is served from the smallest free block that is large enough, so large ones last.
 */
#ifndef UMALLOC_BUDDY_H
#define UMALLOC_BUDDY_H

#include "umalloc.h"

UM_BEGIN

/* A region and what is known of its blocks. */
typedef struct um_buddy um_buddy;

/* How a region is to be. */
typedef struct um_buddy_options {
    void *region;       /* the program's, and its until um_buddy_delete; NULL: one of ours */
    size_t bytes;       /* of the region; what is left of a smallest block at its end is not used */
    size_t block_bytes; /* of the smallest block: a power of two from 16; 0: 64 */
    um_flags place;     /* where a region of ours comes from: 0 or UM_LOCAL, the node of the calling thread;
                           UM_SPREAD, region by region in turn; UM_NODE(id) */
} um_buddy_options;

/* What a region holds. */
typedef struct um_buddy_stats {
    size_t bytes;              /* that can be allocated, all together */
    size_t used_bytes;         /* in blocks that are out */
    size_t peak_bytes;         /* the most it ever was */
    size_t blocks;             /* that are out */
    size_t largest_free_bytes; /* the largest block to be had now */
    uint64_t splits, merges;   /* of a block into two, of two into one */
    uint64_t failures;         /* allocations answered with NULL */
} um_buddy_stats;

/* A region, all free. NULL: ENOMEM; EINVAL, no options, a smallest block that is no power of two, is below
   16 bytes or larger than the region, more than 2^32 of them, a region that wraps around the end of all
   addresses, or no such place. */
UM_API um_buddy *um_buddy_new(const um_buddy_options *options) UM_NOTHROW;

/* Gives our region and what is known of it back; NULL is nothing to do. One that was deleted before aborts
   the program, unless its memory serves again. */
UM_API void um_buddy_delete(um_buddy *buddy) UM_NOTHROW;

/* A block of the power of two that holds so many bytes (0: the smallest). It starts at a multiple of its size
   from the region's start, so it is aligned to its size as far as the region is; one of ours is to 2 MiB.
   NULL, ENOMEM: no block is free that is large enough. */
UM_API void *um_buddy_alloc(um_buddy *buddy, size_t bytes) UM_NOTHROW;

/* Gives a block back; NULL is nothing to do. Ends the process where p is not the start of a block that is
   out. */
UM_API void um_buddy_free(um_buddy *buddy, void *p) UM_NOTHROW;

/* Bytes of the block p, a power of two. Ends the process where p is not the start of a block that is out, or
   NULL. */
UM_API size_t um_buddy_block_bytes(const um_buddy *buddy, const void *p) UM_NOTHROW;

/* Makes all of the region free again. */
UM_API void um_buddy_reset(um_buddy *buddy) UM_NOTHROW;

/* What the region holds now. */
UM_API void um_buddy_read_stats(const um_buddy *buddy, um_buddy_stats *out) UM_NOTHROW;

UM_END

#endif
