/* depot: where the threads of a pool exchange magazines. Two stacks without locks, of magazines that hold
   objects and of empty ones. Theory at the top of depot.c. */
#ifndef UM_DEPOT_H
#define UM_DEPOT_H

#include "base/base.h"

/* Objects are its holder's alone; count is written by the holder and read by who asks for figures. */
typedef struct um_magazine {
    _Atomic(size_t) count;  /* relaxed: the holder's own, and figures */
    size_t limit;           /* const */
    uint32_t index;         /* const, from 1 */
    _Atomic(uint32_t) next; /* index of the one below, while in a stack; D3 */
    void *objects[];        /* limit of them, and one word for who holds it */
} um_magazine;

#define UM_DEPOT_INDEX_BITS 24u
#define UM_DEPOT_CHUNKS     17u
#define UM_DEPOT_FIRST      64u /* magazines of chunk 0; chunk k has 2^k times as many */

typedef struct um_depot {
    _Alignas(UM_CACHE_LINE_BYTES) _Atomic(uint64_t) full;  /* those with objects; D1, D2 */
    _Alignas(UM_CACHE_LINE_BYTES) _Atomic(uint64_t) empty; /* likewise */
    _Alignas(UM_CACHE_LINE_BYTES) _Atomic(uint32_t) made;  /* magazines; relaxed: numbers */
    uint32_t limit;                                        /* const: objects a magazine */
    uint32_t stride;                                       /* const: bytes from one to the next */
    char *_Atomic chunks[UM_DEPOT_CHUNKS];                 /* D6; [0] const */
} um_depot;

/* Bytes of chunk 0, which the caller gives. */
UM_HIDDEN size_t um_depot_first_bytes(uint32_t limit);
/* `first` reads as anything. Other threads do not see the depot yet. */
UM_HIDDEN void um_depot_init(um_depot *d, uint32_t limit, char *first);
/* Bytes of the chunks but the first. */
UM_HIDDEN size_t um_depot_bytes(um_depot *d);
/* Gives the chunks back but the first. */
UM_HIDDEN void um_depot_end(um_depot *d);
/* Sees that there are so many magazines at least; the new ones are empty. False: no memory, or too many. */
UM_HIDDEN bool um_depot_ensure(um_depot *d, size_t magazines);
UM_HIDDEN void um_depot_push(_Atomic(uint64_t) *stack, um_magazine *m);
/* NULL: it was empty at a moment of the call. */
UM_HIDDEN um_magazine *um_depot_pop(um_depot *d, _Atomic(uint64_t) *stack);

#endif
