/* The last words: one line on stderr, then abort. Kinds and form are part of the contract and tested
 * verbatim. */
#ifndef UM_FATAL_H
#define UM_FATAL_H

#include "base/base.h"

/* `umalloc: KIND: 0xADDRESS (N-byte block, DETAIL) in thread TID`; block_bytes 0 leaves the block's size out,
   detail may be NULL; without both there are no parentheses. */
UM_HIDDEN _Noreturn void um_fatal(const char *kind, const void *address, size_t block_bytes,
                                  const char *detail);

/* NULL, or what more there is to say of an address, after the line and before the end. */
extern UM_HIDDEN void (*um_fatal_tell)(const void *address);

#endif
