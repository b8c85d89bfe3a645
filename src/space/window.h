/* window: the one range of addresses that umalloc uses, and the tables of span records and homes
   beside it. None is reserved: each grows by mapping the next region where nobody else maps, so an idle
   process pays for what it opened only, and limits on address space or locked memory see true figures. */
#ifndef UM_WINDOW_H
#define UM_WINDOW_H

#include "space/span.h"

/* What a node takes from the window at a time; all its records become readable with it. */
#define UM_REGION_SLOTS ((size_t)8192) /* 512 MiB; their homes fill the largest page there is, 64 KiB */

/* Idempotent. Nonzero: no place for a window. */
UM_HIDDEN int um_window_init(void);
/* Claims the next regions for `node`, enough for `slots`; first slot in *first. The memory itself is not
   mapped yet. Serialised by the caller (the window lock). */
UM_HIDDEN int um_window_claim(unsigned node, size_t slots, size_t *first, size_t *count);
/* Maps zeroed memory for claimed slots. EEXIST: somebody else maps there, the slots are lost. */
UM_HIDDEN int um_window_map(size_t first, size_t slots);
UM_HIDDEN size_t um_window_table_bytes(void);

#endif
