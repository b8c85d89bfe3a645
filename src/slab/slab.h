/* slab: one slot cut into equal blocks of a size class. Blocks are cut lazily, an OS page's worth or a
   few at a time, so a slab costs the memory that was asked of it. */
#ifndef UM_SLAB_H
#define UM_SLAB_H

#include "slab/classes.h"
#include "space/span.h"

typedef enum um_slab_place {
    UM_PLACE_NONE,    /* in no queue: being made or given back */
    UM_PLACE_CURRENT, /* serves its class's bin */
    UM_PLACE_AVAIL,   /* has free blocks, waits its turn */
    UM_PLACE_EMPTY,   /* the same with no block in use: any class may take it */
    UM_PLACE_FULL,    /* had none when it was parked */
    UM_PLACE_ORPHAN,  /* without owner */
    UM_PLACE_CACHE,   /* no slab at all, but the cache of a class in a heap */
} um_slab_place;

#define UM_COUNTDOWN_NEVER 0x40000000u

/* Stands where no slab is: an empty list. Only its end is ever written, by um_block_take. */
extern UM_HIDDEN um_span um_span_none;

UM_INLINE um_block *um_slab_end(const um_span *s) {
    return (um_block *)(uintptr_t)&s->end;
}

/* Number of the block of a slab that p points into. The product with the rounded reciprocal errs by less than
   2^-16 of a block for offsets below 2^16, so its whole part is exact. */
UM_INLINE unsigned um_slab_index_by(uint32_t reciprocal, const void *p) {
    uint64_t offset = (uintptr_t)p & (UM_SLOT_BYTES - 1);
    return (unsigned)(offset * reciprocal >> 32);
}

UM_INLINE unsigned um_slab_index(const um_span *s, const void *p) {
    return um_slab_index_by(s->reciprocal, p);
}

/* p is the start of one of the slab's blocks. */
UM_INLINE bool um_slab_is_block(const um_span *s, const void *p) {
    unsigned i = um_slab_index(s, p);
    return i * s->block_bytes == ((uintptr_t)p & (UM_SLOT_BYTES - 1)) && i < s->capacity;
}

/* The blocks of a one-slot span, for whoever has it; nothing is cut yet. s->bytes is what may be dirty. */
UM_HIDDEN void um_slab_shape(um_span *s, unsigned class_id);
/* Makes an allocated one-slot span a slab without an owner. */
UM_HIDDEN void um_slab_init(um_span *s, unsigned class_id);
#define UM_TRANSIT_BYTES ((size_t)16384) /* of one chain of remote frees; but at least one block */
#define UM_CARVE_BYTES   ((size_t)4096)
/* Cuts more blocks, of about so many bytes, and puts them on the empty list. False: all are cut. */
UM_HIDDEN bool um_slab_carve(um_span *s, size_t at_a_time);
/* Bytes from the start that may have been touched. */
UM_HIDDEN size_t um_slab_touched(const um_span *s);
/* Blocks on the local list and its last block (NULL if none). Aborts on a damaged list: a block that is none,
   not cut, or met twice. */
UM_HIDDEN unsigned um_slab_walk(const um_span *s, um_block **tail);
/* The list's first block fails its mark: says what it was and aborts. */
UM_HIDDEN _Noreturn void um_slab_damaged(const um_span *s, const void *block);

#endif
