/* The remote word of a slab: everything that threads other than the owner change, in 64 bits, so that one
   compare-and-swap tells who owned the slab when the blocks arrived.

   - bits 0-15: number (from 1) of the newest remotely freed block, 0 if none.
   - bits 16-31: how many there are.
   - bit 32, PENDING: a token. Its holder will see that the owner looks at the slab: it is in the owner's
   pending stack, or in the hands of one thread that is about to put it there. A slab with it is never given
   back.
   - bit 33, ORPHAN: no owner. The list above then holds all free blocks.
   - bit 34, BUSY: all blocks had come back; a thread is giving their pages back for an idle owner. No list.
   - bit 35, PURGED: the same, done. No list. Bit 36, KEPT, beside it: the kernel refused, the memory is as it
   was.
   - bits 40-63: epoch, rises whenever the slab changes hands.

   Partners (docs/concurrency.md): R1 push, release: publishes the chain's links. A1 take, acquire: the owner
   reads them. */
#ifndef UM_REMOTE_H
#define UM_REMOTE_H

#include "slab/slab.h"

#define UM_REMOTE_HEAD_MASK   0xffffull
#define UM_REMOTE_COUNT_SHIFT 16u
#define UM_REMOTE_COUNT_MASK  (0xffffull << UM_REMOTE_COUNT_SHIFT)
#define UM_REMOTE_PENDING     (1ull << 32)
#define UM_REMOTE_ORPHAN      (1ull << 33)
#define UM_REMOTE_BUSY        (1ull << 34)
#define UM_REMOTE_PURGED      (1ull << 35)
#define UM_REMOTE_KEPT        (1ull << 36)
#define UM_REMOTE_EPOCH_ONE   (1ull << 40)
#define UM_REMOTE_LIST_MASK   (UM_REMOTE_HEAD_MASK | UM_REMOTE_COUNT_MASK)

UM_INLINE unsigned um_remote_count(uint64_t w) {
    return (unsigned)((w & UM_REMOTE_COUNT_MASK) >> UM_REMOTE_COUNT_SHIFT);
}

/* Something is left to do with the word before the slab is given back. */
#define UM_REMOTE_UNSETTLED (UM_REMOTE_LIST_MASK | UM_REMOTE_PENDING | UM_REMOTE_BUSY | UM_REMOTE_PURGED)

#define UM_REMOTE_PURGE_MASK (UM_REMOTE_PURGED | UM_REMOTE_KEPT)

/* The list's first block, or the end mark. */
UM_INLINE um_block *um_remote_head(const um_span *s, uint64_t w) {
    uint64_t n = w & UM_REMOTE_HEAD_MASK;
    return n ? (um_block *)(um_span_start(s) + (n - 1) * s->block_bytes) : um_slab_end(s);
}

UM_INLINE uint64_t um_remote_first(const um_span *s, const um_block *head) {
    return um_slab_index(s, head) + 1ull;
}

UM_INLINE uint64_t um_remote_sum(unsigned count) {
    return (uint64_t)count << UM_REMOTE_COUNT_SHIFT;
}

#endif
