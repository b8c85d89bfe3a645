/* The hardened allocator behind the entry points. Each function here is the last call of an entry point, so
   that its frame is the one that the program's stack goes on from. */
#include "front/front.h"
#include "hard/hard.h"

#include <errno.h>

UM_NOINLINE void *um_front_hard_alloc(size_t bytes, size_t align, um_family family) {
    void *p = um_hard_alloc(bytes, align, family, UM_HARD_FRAME);
    if (um_unlikely(!p)) {
        UM_COUNT_ADD(failed_allocs, 1);
        errno = ENOMEM;
    }
    return p;
}

UM_NOINLINE void um_front_hard_free(void *p, um_span *s, um_family family, size_t bytes, size_t align) {
    um_hard_claim claim = {"invalid free", family, bytes, align};
    um_hard_free(p, s, &claim, UM_HARD_FRAME);
}

UM_NOINLINE void *um_front_hard_realloc(void *p, um_span *s, size_t bytes) {
    void *q;
    if (bytes == 0) { /* as glibc does */
        um_front_hard_free(p, s, UM_FAMILY_MALLOC, UM_HARD_UNSAID, 0);
        return NULL;
    }
    q = um_hard_realloc(p, s, bytes, UM_HARD_FRAME);
    if (um_unlikely(!q)) {
        UM_COUNT_ADD(failed_allocs, 1);
        errno = ENOMEM;
    }
    return q;
}

void um_front_free_as(void *p, um_family family, size_t bytes, size_t align) {
    um_span *s = um_span_of(p);
    if (um_unlikely(um_hard_level && s && um_hard_owns(s)))
        um_front_hard_free(p, s, family, bytes, align);
    else if (bytes != UM_HARD_UNSAID)
        um_front_free_claimed(p, bytes, um_max(align, 1));
    else if (s)
        um_front_free_other(p);
    else
        um_front_free_rare(p, NULL);
}
