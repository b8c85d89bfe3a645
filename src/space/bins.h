/* bins: the free spans of one state, by length. Exact lists to 32 slots, four a doubling beyond, and a bitmap
   of the lists that hold something. The caller holds the space's lock. */
#ifndef UM_BINS_H
#define UM_BINS_H

#include "space/span.h"

#define UM_BINS_EXACT 32u
#define UM_BINS       128u

typedef struct um_bins {
    uint64_t used[UM_BINS / 64];
    um_span *head[UM_BINS];
} um_bins;

UM_HIDDEN void um_bins_insert(um_bins *b, um_span *s);
UM_HIDDEN void um_bins_remove(um_bins *b, um_span *s);
/* A span of at least `slots`, near the least that will do; not removed. NULL: none. */
UM_HIDDEN um_span *um_bins_find(const um_bins *b, size_t slots);

#endif
