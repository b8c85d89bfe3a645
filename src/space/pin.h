/* pin: memory that is there before it is asked for and stays, for programs that must not wait for the kernel
   (UMALLOC_PREFAULT, UMALLOC_PREFAULT_THREAD, UMALLOC_LOCK). */
#ifndef UM_PIN_H
#define UM_PIN_H

#include "space/space.h"

struct um_space;

/* Opens memory of the node until there are `bytes`, `more` than there are if that is larger, from a pool if
   one is asked for, and puts all that is open into memory, locked if um_space_setting.lock. None of it is
   given back from then on. No more than the kernel can give without killing, nor than
   um_space_setting.limit_bytes lets be used. 0 or an errno value: what could be had is used. */
UM_HIDDEN int um_pin(unsigned node, size_t bytes, size_t more);
/* The first call for a node does that with um_space_setting.prefault_bytes. */
UM_HIDDEN int um_pin_node(unsigned node);
UM_INLINE int um_pin_first(unsigned node) {
    return um_likely(um_space_setting.prefault_bytes == 0) ? 0 : um_pin_node(node);
}
/* Locks fresh memory, where um_space_setting.lock asks for it. */
UM_HIDDEN void um_pin_opened(size_t first, size_t slots);
/* The first part of a free span that may be given back where um_space_setting.rigid: *skip slots from its
   start, *slots long. */
UM_HIDDEN void um_pin_spare_locked(struct um_space *sp, const um_span *s, size_t *skip, size_t *slots);
/* Bytes of clean spans that are in memory all the same. */
UM_HIDDEN size_t um_pin_clean_locked(const struct um_space *sp);

#endif
