/* fresh: slots of memory that the kernel has yet to find pages for. */
#ifndef UM_FRESH_H
#define UM_FRESH_H

#include "space/span.h"

struct um_space;

/* A span of clean memory is about to be handed out: its pages are surely wanted, all of them. */
UM_HIDDEN bool um_fresh_wanted_locked(const struct um_space *sp, const um_span *s);
/* Has the kernel put all its pages into place in one call, where it can. Nanoseconds that took. */
UM_HIDDEN uint64_t um_fresh_fill(const um_span *s);

#endif
