/* huge: which of a space's memory the kernel may back by huge pages, and what purging does to them. */
#ifndef UM_HUGE_H
#define UM_HUGE_H

#include "space/span.h"

#define UM_HUGE_SLOTS ((size_t)32) /* 2 MiB */
#define UM_HUGE_RUNS  16u
#define UM_HUGE_MARKS 64u

/* Fresh memory that follows upon each other and was advised alike. */
typedef struct um_huge_run {
    size_t first, end; /* slots */
    bool huge;         /* advised now */
    bool gave_up;      /* was huge, until too many of its pages were broken up */
    bool pinned;       /* never given back (pin.h) */
    bool pool;         /* from a pool (pool.h) */
} um_huge_run;

/* A part of um_space, under its lock. */
typedef struct um_huge {
    uint32_t runs, marks;
    um_huge_run run[UM_HUGE_RUNS];
    size_t marked[UM_HUGE_MARKS]; /* huge pages (slot / 32) of huge runs that khugepaged must leave alone */
    uint64_t small_ns;            /* what a slot of small pages took; 0: not known */
    size_t dear_until;            /* bytes of the heap at which to look again what a huge page costs */
    bool went_without;            /* for they were dear */
    bool behind;                  /* small pages are to be made huge, from this one on */
    uint32_t turns;               /* slots taken meanwhile */
    size_t behind_page;
} um_huge;

struct um_space;

/* Not all was exempted, so it matters in which huge page a span is. */
UM_INLINE bool um_huge_any(const um_huge *h) {
    return h->runs > 1 || (h->runs && h->run[0].huge);
}

/* Notes fresh memory, and advises it unless it is from a pool. */
UM_HIDDEN void um_huge_opened_locked(struct um_space *sp, size_t first, size_t slots, bool pool);
/* The run of a slot; NULL: it is not known. */
UM_HIDDEN const um_huge_run *um_huge_run_of(const um_huge *h, size_t slot);
/* Advises memory that was mapped anew among what was opened. */
UM_HIDDEN void um_huge_renewed(struct um_space *sp, const um_span *s);
/* The alignment worth having for a span of `slots`, at least align. */
UM_HIDDEN size_t um_huge_align(const struct um_space *sp, size_t slots, size_t align);
/* Of spans of s's bin, it and a few behind it, that in the fullest huge page: so the emptiest ones become
   empty. */
UM_HIDDEN um_span *um_huge_fullest(um_span *s);
/* What to purge next of a space that has something in its age list. */
UM_HIDDEN um_span *um_huge_choose_locked(struct um_space *sp);
/* A dirty span whose purge would break up huge pages that are nearly all in use. */
UM_HIDDEN bool um_huge_keeps_locked(struct um_space *sp, const um_span *s);
/* After slots came free, from first to last: spans that were kept near them may be purged now. */
UM_HIDDEN void um_huge_freed_locked(struct um_space *sp, size_t first, size_t last);
/* Before the purge of a span, detached: keeps the kernel from filling the gap again. */
UM_HIDDEN void um_huge_purging_locked(struct um_space *sp, const um_span *s);
/* What it took to put a slot into place, and maybe the rest of its huge page. */
UM_HIDDEN void um_huge_paid(struct um_space *sp, uint64_t ns);
/* s has just been taken: the start of small pages that should become a huge one now, or 0. */
UM_HIDDEN uintptr_t um_huge_behind_locked(struct um_space *sp, const um_span *s);
/* Makes it one; without locks. */
UM_HIDDEN void um_huge_catch_up(uintptr_t at);
/* The same span with the clean slots beside it in its first and last huge page, which are to be purged too.
 */
UM_HIDDEN um_span *um_huge_widen_locked(struct um_space *sp, um_span *s);
/* From time to time: marked pages that are in use again may become whole. */
UM_HIDDEN void um_huge_tick_locked(struct um_space *sp);

#endif
