/* common: what every public header of umalloc uses. Include the header of a family, not this one.

   Unless a function says otherwise: sizes are bytes, alignments are powers of two in bytes, memory is not
   zeroed, what fails for lack of memory returns NULL with errno ENOMEM, a wrong argument NULL with EINVAL (of
   functions that return no pointer: -1 or false), and no function may be called from a signal handler. A
   child of fork has a copy of all that its parent made, and may use it. */
#ifndef UMALLOC_COMMON_H
#define UMALLOC_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define UM_BEGIN   extern "C" {
#define UM_END     }
#define UM_NOTHROW noexcept
#else
#define UM_BEGIN
#define UM_END
#define UM_NOTHROW __attribute__((nothrow))
#endif

/* A function that libumalloc exports. */
#define UM_API __attribute__((visibility("default")))

#endif
