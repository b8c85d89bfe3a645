/* Fills a snapshot of the whole allocator. */
#ifndef UM_GATHER_H
#define UM_GATHER_H

#include "conf/stats.h"

/* Safe while other threads allocate: their figures are as of their last slow path. Takes each layer's locks
 * in turn. */
UM_HIDDEN void um_gather(um_snapshot *out);
/* Adds what is measured of a snapshot: huge pages and, where there are several nodes, on which the pages are.
   Takes milliseconds; for reports. */
UM_HIDDEN void um_gather_placement(um_snapshot *out);

#endif
