/* room: memory for the modules of ext, in spans of 64 KiB slots from the space of a node. Never a mapping of
   their own: so purging, limits, placement, huge pages and the report hold for it too. */
#ifndef UM_ROOM_H
#define UM_ROOM_H

#include "conf/counters.h"
#include "space/place.h"

/* At least `bytes` from a multiple of `align` (a power of two), whole slots; of the place or of the next that
   the policy allows. *zeroed (may be NULL) tells whether it reads as zero. NULL: out of memory, errno is set.
 */
UM_HIDDEN void *um_room_take(um_module m, unsigned place, size_t bytes, size_t align, bool *zeroed);
/* Makes all of p, from um_room_take, read as zero and cost no memory. False: the kernel refused, nothing
   changed. */
UM_HIDDEN bool um_room_purge(void *p);
/* p came from um_room_take. touched: an estimate of the bytes that were written since, or since
   um_room_purge; 0 says that none was. What was not zero when it was taken needs no mention. */
UM_HIDDEN void um_room_give(void *p, size_t touched);
/* In place; false: no room there, nothing changed. */
UM_HIDDEN bool um_room_extend(void *p, size_t bytes);
/* Bytes that p, from um_room_take, has: a multiple of the slot. */
UM_HIDDEN size_t um_room_bytes(const void *p);
/* A word beside p, from um_room_take, for the module's own use: who holds p reads and writes it. */
UM_HIDDEN uint32_t *um_room_word(const void *p);
/* Whether p is the start of what the module took and did not give back. */
UM_HIDDEN bool um_room_is(um_module m, const void *p);
/* p is that, or the program deletes what is gone: says so, with the function that was called, and aborts. */
UM_HIDDEN void um_room_must_be(um_module m, const void *p, const char *call);
/* The place of the calling thread, where there is no other wish. */
UM_INLINE unsigned um_room_here(void) {
    return um_place_here();
}

#endif
