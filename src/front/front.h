/* front: the malloc family, and the library's life from the first call to the report at exit. */
#ifndef UM_FRONT_H
#define UM_FRONT_H

#include "hard/hard.h"
#include "heap/heap.h"

/* The calling thread's heap, made and registered for hand-over at thread exit on the first call; NULL past
   its exit or without memory. */
UM_HIDDEN um_theap *um_front_heap(void);

/* Everything that malloc's fast path does not do. NULL with errno ENOMEM. bytes 0 gives a block. */
UM_HIDDEN void *um_front_alloc(size_t bytes);
UM_HIDDEN void *um_front_alloc_zeroed(size_t bytes);
UM_HIDDEN void *um_front_alloc_aligned(size_t align, size_t bytes);
/* A block of a place, if it has room, for any thread. The heaps must serve: see um_front_placeable. */
UM_HIDDEN void *um_front_alloc_at(unsigned place, size_t align, size_t bytes, bool zero);
/* Whether blocks can be had at a place: not hardened, not stepped aside. */
UM_HIDDEN bool um_front_placeable(void);
/* A free of a block that the calling thread does not own. */
UM_HIDDEN void um_front_free_other(void *p);
/* The first one for a slab, a thread's first or last calls, a large block, NULL, or misuse. s is
 * um_span_of(p). */
UM_HIDDEN void um_front_free_rare(void *p, um_span *s);
/* Frees a block that the caller says to be of that size and alignment: aborts where it is not. */
UM_HIDDEN void um_front_free_claimed(void *p, size_t bytes, size_t align);
/* What um_front_free_fast left to do. The caller promises the block's family, and its size (UM_HARD_UNSAID)
   and alignment (0) if it has something to say of them. */
UM_HIDDEN void um_front_free_as(void *p, um_family family, size_t bytes, size_t align);
/* The same where a size is said, whichever. */
UM_HIDDEN void um_front_free_sized_as(void *p, um_family family, size_t bytes, size_t align);
/* Usable bytes of the block that starts at p; aborts where there is none (`what` names the call). */
UM_HIDDEN size_t um_front_usable(const void *p, const char *what);

/* Serves from the hardened allocator from now on: the calling thread and all that have no heap yet. Not 0:
   no memory. One caller at a time. */
UM_HIDDEN int um_front_harden(int level);

/* Who is told of each block of the hardened allocator: after it was allocated, and before it is freed. */
typedef struct um_front_observer {
    void (*allocated)(void *p, size_t bytes, size_t align, void *frame);
    void (*freed)(void *p);
} um_front_observer;
/* NULL: nobody. K1 stores, K2 in harden.c loads. */
extern UM_HIDDEN _Atomic(const um_front_observer *) um_front_observed;

/* The same while the hardened allocator serves; errno is set on failure. */
UM_HIDDEN void *um_front_hard_alloc(size_t bytes, size_t align, um_family family);
UM_HIDDEN void um_front_hard_free(void *p, um_span *s, um_family family, size_t bytes, size_t align);
UM_HIDDEN void *um_front_hard_realloc(void *p, um_span *s, size_t bytes);

/* The entry points of the same names, for callers inside of the library. */
UM_HIDDEN void *um_front_realloc(void *p, size_t bytes);
UM_HIDDEN void um_front_free_sized(void *p, size_t bytes);
UM_HIDDEN int um_front_trim(size_t pad);

/* Writes the report where the options say, once a process. */
UM_HIDDEN void um_front_report(void);
/* The options that may change at any time (UM_OPTIONS_LIVE) take effect. */
UM_HIDDEN void um_front_apply_live(void);
/* Begins to track, as UMALLOC_TRACK asks. Of ext/track.c, and called if that is linked: a program that tracks
   nothing must not meet its code, not even to ask. */
UM_HIDDEN void um_front_track(void) __attribute__((weak));
UM_HIDDEN void um_front_fork_init(void);
UM_HIDDEN void um_front_init_child(void);
/* What a report needs; once is enough. Nothing to do while none is asked for. */
UM_HIDDEN void um_front_exit_init(void);
/* Remembers what fd 2 is now, for programs that close it; what of it is open still, or -1. */
UM_HIDDEN void um_front_keep_stderr(void);
UM_HIDDEN int um_front_stderr(void);
/* In the child of fork, after the locks were reset. */
UM_HIDDEN void um_front_exit_child(void);

/* A small block of a list at hand, or NULL. */
UM_INLINE void *um_front_take(size_t bytes) {
    /* Compared before anything is added: SIZE_MAX must not wrap, and 0 goes the slow way. */
    size_t n = bytes - 1;
    if (um_likely(n < UM_SMALL_MAX)) {
        um_home *m = um_tls.bins[n >> 4];
        um_block *b = m->list;
        if (um_likely(um_block_take(b))) {
            m->list = b->next;
            return b;
        }
    }
    return NULL;
}

/* The same for C++ objects, many of which other threads free: those come back in another processor's cache,
   so the next block's line is fetched while this one is used. It takes an instruction; malloc, which is to
   have no more than 12, goes without. */
UM_INLINE void *um_front_take_ahead(size_t bytes) {
    um_block *b = um_front_take(bytes);
    if (um_likely(b != NULL))
        __builtin_prefetch(b->next, 1);
    return b;
}

UM_INLINE void *um_front_malloc(size_t bytes) {
    void *p = um_front_take(bytes);
    return um_likely(p != NULL) ? p : um_front_alloc(bytes);
}

/* align is a power of two. Blocks lie at multiples of their size from an aligned start. The size of a class
   is a multiple of its step, a power of two; where that is less than align, a multiple of align is a class of
   its own, and else every class thereabouts is a multiple of align. A sum that wraps is 0, which is not
   small. */
UM_INLINE void *um_front_aligned(size_t align, size_t bytes) {
    void *p = um_front_take(um_round_up(bytes, align));
    return um_likely(p != NULL) ? p : um_front_alloc_aligned(align, bytes);
}

UM_INLINE void um_front_free(void *p) {
    size_t offset = um_window_offset(p);
    um_home *m;
    if (um_unlikely(!um_window_holds(offset))) {
        um_front_free_rare(p, NULL);
        return;
    }
    m = um_home_at(offset);
    /* relaxed: only this thread stores its own id */
    if (um_unlikely(UM_PEEK(uintptr_t, *um_home_owner(m)) != um_thread_id()))
        um_front_free_other(p);
    else
        um_theap_free(m, p);
}

/* The free of a block that the calling thread owns; false: nothing done. */
UM_INLINE bool um_front_free_fast(void *p) {
    size_t offset = um_window_offset(p);
    um_home *m;
    if (um_unlikely(!um_window_holds(offset)))
        return false;
    m = um_home_at(offset);
    /* relaxed: only this thread stores its own id */
    if (um_unlikely(UM_PEEK(uintptr_t, *um_home_owner(m)) != um_thread_id()))
        return false;
    um_theap_free(m, p);
    return true;
}

/* The same where the caller says the block's size, and is right: its home is the one that malloc takes such
   sizes from, and therefore the caller's. */
UM_INLINE bool um_front_free_sized_fast(void *p, size_t bytes) {
    size_t offset = um_window_offset(p);
    um_home *m;
    if (um_unlikely(bytes - 1 >= UM_SMALL_MAX || !um_window_holds(offset)))
        return false;
    m = um_home_at(offset);
    if (um_unlikely(m != um_tls.bins[(bytes - 1) >> 4]))
        return false;
    um_theap_free(m, p);
    return true;
}

#endif
