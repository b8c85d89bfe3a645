/* Which place the flags of a request name. */
#ifndef UM_EXT_PLACE_H
#define UM_EXT_PLACE_H

#include "base/base.h"

#define UM_FLAGS_PLACE_SHIFT 16u
#define UM_PLACE_ANY         (~0u) /* no wish, or one that makes no difference here */

/* Of the high half of um_flags, without its lower one. 0, or EINVAL: there is no such place. */
UM_HIDDEN int um_ext_place(uint32_t wish, unsigned *place);

/* For a module that was told a place by flags which say nothing else: 0, or EINVAL. */
UM_HIDDEN int um_ext_check_place(uint32_t flags);
/* Where memory that it takes now comes from; without a wish, where the calling thread's does. */
UM_HIDDEN unsigned um_ext_place_now(uint32_t flags);

#endif
