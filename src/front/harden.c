/* The hardened allocator behind the entry points. Each function here is the last call of an entry point, so
   that its frame is the one that the program's stack goes on from. */
#include "front/front.h"
#include "hard/hard.h"

#include <errno.h>

_Atomic(const um_front_observer *) um_front_observed;

/* K2: acquire pairs with K1: what the observer needs is there. */
static const um_front_observer *observer(void) {
    return atomic_load_explicit(&um_front_observed, memory_order_acquire);
}

UM_NOINLINE void *um_front_hard_alloc(size_t bytes, size_t align, um_family family) {
    void *p = um_hard_alloc(bytes, align, family, UM_HARD_FRAME);
    const um_front_observer *o = observer();
    if (um_unlikely(!p)) {
        UM_COUNT_ADD(failed_allocs, 1);
        errno = ENOMEM;
    } else if (um_unlikely(o != NULL)) {
        o->allocated(p, bytes, align, UM_HARD_FRAME);
    }
    return p;
}

UM_NOINLINE void um_front_hard_free(void *p, um_span *s, um_family family, size_t bytes, size_t align) {
    um_hard_claim claim = {"invalid free", family, bytes, align};
    const um_front_observer *o = observer();
    if (um_unlikely(o != NULL))
        o->freed(p);
    um_hard_free(p, s, &claim, UM_HARD_FRAME);
}

UM_NOINLINE void *um_front_hard_realloc(void *p, um_span *s, size_t bytes) {
    const um_front_observer *o = observer();
    void *q;
    if (bytes == 0) { /* as glibc does */
        um_front_hard_free(p, s, UM_FAMILY_MALLOC, UM_HARD_UNSAID, 0);
        return NULL;
    }
    if (um_unlikely(o != NULL))
        o->freed(p);
    q = um_hard_realloc(p, s, bytes, UM_HARD_FRAME);
    if (um_unlikely(o != NULL))
        o->allocated(q ? q : p, q ? bytes : um_hard_usable(p, s, "invalid realloc"), 0, UM_HARD_FRAME);
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

void um_front_free_sized_as(void *p, um_family family, size_t bytes, size_t align) {
    /* No block has that size, and it must not be taken for nothing said. */
    um_front_free_as(p, family, um_min(bytes, UM_HARD_UNSAID - 1), align);
}
