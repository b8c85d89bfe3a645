/* Size classes: 16-byte steps to 512, then sixteen a doubling to 32 KiB. All are multiples of 16, so are
   their slabs' blocks. The worst waste of a doubling is 1/17 of the block, the mean about 2%. All is
   arithmetic: a table would be one more page of constants that every program touches. */
#ifndef UM_CLASSES_H
#define UM_CLASSES_H

#include "base/base.h"

#define UM_CLASSES    128u
#define UM_SMALL_MAX  1024u  /* bytes; served by the bins in thread-local storage */
#define UM_MEDIUM_MAX 32768u /* bytes; served from slabs */
#define UM_SMALL_BINS (UM_SMALL_MAX / 16)

/* Bytes of a block of the class. Sixteen classes a doubling from 256 on; below, the steps are as from 256. */
UM_INLINE uint32_t um_class_bytes(unsigned c) {
    return c < 16 ? (c + 1) * 16 : (17 + c % 16) << (c / 16 + 3);
}

/* 1 <= bytes <= UM_MEDIUM_MAX */
UM_INLINE unsigned um_class_of(size_t bytes) {
    size_t n = bytes - 1;
    unsigned top;
    if (n < 512)
        return (unsigned)(n >> 4);
    top = um_log2_floor(n);
    return (top - 7) * 16 + (unsigned)((n >> (top - 4)) & 15);
}

/* The one or two thread-local bins that a class serves, each for 16 bytes of request; from UM_SMALL_BINS on,
   the class has none. */
UM_INLINE unsigned um_class_first_bin(unsigned c) {
    return c < 32 ? c : 2 * c - 32;
}

UM_INLINE unsigned um_class_last_bin(unsigned c) {
    return c < 32 ? c : 2 * c - 31;
}

#endif
