/* Fills a snapshot of the whole allocator. */
#ifndef UM_GATHER_H
#define UM_GATHER_H

#include "conf/stats.h"
#include "heap/heap.h"

/* Safe while other threads allocate: their figures are as of their last slow path. Takes each layer's locks
 * in turn. */
UM_HIDDEN void um_gather(um_snapshot *out);
/* Blocks of a list in a slab, or of a class cache from b on, though its owner may be changing it: at most
   `most`, and never outside of memory that stays mapped while the spaces are paused. Calls f for each, if it
   is not NULL. How many. */
UM_HIDDEN unsigned um_gather_list(const um_span *s, const um_block *b, unsigned most,
                                  void (*f)(const um_block *b, void *ctx), void *ctx);
UM_HIDDEN unsigned um_gather_cached(const um_class_cache *k, const um_block *b,
                                    void (*f)(const um_block *b, void *ctx), void *ctx);
/* Adds what is measured of a snapshot: huge pages and, where there are several nodes, on which the pages are.
   Takes milliseconds; for reports. */
UM_HIDDEN void um_gather_placement(um_snapshot *out);

#endif
