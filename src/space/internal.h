/* Shared by the files of this layer only. */
#ifndef UM_SPACE_INTERNAL_H
#define UM_SPACE_INTERNAL_H

#include "space/bins.h"
#include "space/huge.h"
#include "space/place.h"
#include "space/space.h"
#include "space/window.h"

/* As um_hugepages_mode; asserted equal in purge.c. */
enum {
    UM_SPACE_HUGE_AUTO,
    UM_SPACE_HUGE_OFF,
    UM_SPACE_HUGE_THP,
    UM_SPACE_HUGE_ALWAYS,
    UM_SPACE_HUGE_POOL_2M,
    UM_SPACE_HUGE_POOL_1G
};

/* All fields under `lock`, but the atomic one and meta. */
typedef struct um_space {
    um_lock lock;
    size_t first_slot;                   /* first ever opened */
    size_t open_slot, region_end;        /* fresh memory comes from here */
    size_t opened_slots, unmapped_slots; /* opened and not lost; of them given back with their addresses */
    size_t active_slots, dirty_bytes;
    _Atomic(size_t) active_seen; /* active_slots; relaxed, no lock to read it: a hint */
    size_t run_slots;            /* of the active ones, those in spans of more than one */
    _Atomic(size_t) full_slots;  /* active one-slot spans in use to their end; relaxed, no lock: a hint */
    _Atomic(size_t) slack_pages; /* of active large spans, not asked for; relaxed, no lock: a hint */
    size_t peak_now, peak_before, peak_ever; /* of active bytes: this interval, the last; of active + dirty */
    size_t trimmed_bytes;                    /* by um_space_trim_idle, and not wanted since */
    size_t missed_now, missed_before;        /* of those, wanted again: this interval, the last */
    uint64_t interval_ms;                    /* start of this interval */
    uint64_t purge_again_ms;                 /* the kernel refused to purge: not before this */
    bool stuck;                              /* the kernel would not move pages: not tried again */
    um_span *oldest, *youngest;              /* dirty spans by age */
    um_span *kept;                           /* dirty spans whose purge would cost more than it gives */
    size_t kept_bytes;                       /* of those, part of dirty_bytes */
    size_t told_footprint, told_dirty;       /* this space's part of the sums of all: um_space_tell_locked */
    um_huge huge;
    um_bins bins[UM_STATES];
    struct {
        um_lock lock; /* rank: before any space's */
        char *at;
        size_t left, total;
    } meta; /* the allocator's own records, under their own lock */
} um_space;

extern UM_HIDDEN um_space um_spaces[UM_NODES_MAX];
/* A bit for each node that has opened memory. Written under the window lock; relaxed: who misses one that
   opens just now finds nothing there to do. */
extern UM_HIDDEN _Atomic(uint64_t) um_spaces_used;

UM_INLINE bool um_space_is_used(unsigned node) {
    return atomic_load_explicit(&um_spaces_used, memory_order_relaxed) >> node & 1;
}

/* The next space that is used, from sp on; NULL: none. */
UM_INLINE um_space *um_space_used_from(um_space *sp) {
    for (; sp < um_spaces + UM_NODES_MAX; sp++)
        if (um_space_is_used((unsigned)(sp - um_spaces)))
            return sp;
    return NULL;
}

#define UM_EACH_SPACE(sp)                                                                                    \
    for (um_space *sp = um_space_used_from(um_spaces); sp; sp = um_space_used_from(sp + 1))

/* The slot was opened, and for this space: what lies beside its spans, at a region's end, may be another's.
   Regions are claimed in the order of their addresses, so the node of one below open_slot was set before. */
UM_INLINE bool um_space_holds_locked(const um_space *sp, size_t slot) {
    return slot >= sp->first_slot && slot < sp->open_slot &&
           um_space_window.table[um_round_down(slot, UM_REGION_SLOTS)].node == sp - um_spaces;
}

/* Where the space's next span begins, from a slot on that is inside of none; open_slot: there is no more. */
UM_HIDDEN size_t um_space_next_locked(const um_space *sp, size_t slot);

/* The last reading of the clock. Relaxed: a recent one will do. It is read outside of every lock, for
   somebody may have wrapped clock_gettime and allocate in it. */
extern UM_HIDDEN _Atomic(uint64_t) um_space_now_ms;
UM_HIDDEN uint64_t um_space_read_clock(void);

/* The nodes with memory that the process may use now. */
UM_HIDDEN void um_place_allowed(um_node_set *out);
/* The places were made: they take turns as often as was asked for. */
UM_HIDDEN void um_place_make_turns(const um_placing_spec *asked);

/* Adds what changed to the sums of all spaces: once for each time that the lock is held, for an instruction
   that locks the bus waits for all stores before it. */
UM_HIDDEN void um_space_tell_locked(um_space *sp);
UM_INLINE void um_space_unlock(um_space *sp) {
    um_space_tell_locked(sp);
    um_lock_drop(&sp->lock);
}

UM_HIDDEN void um_space_detach_locked(um_space *sp, um_span *s);
/* Cuts a detached span after `slots`; the rest is filed in its state. */
UM_HIDDEN void um_space_split_locked(um_space *sp, um_span *s, size_t slots);
UM_INLINE bool um_hugetlb_asked(void) {
    return um_space_setting.hugepages >= UM_SPACE_HUGE_POOL_2M;
}
/* Replaces a span's memory by zeroed memory; the state that this leaves it in. */
UM_HIDDEN um_span_state um_space_map_anew(um_space *sp, const um_span *s);
/* What of a span that was taken is clean: slots from its start on. */
#define UM_GAPS 4u
typedef struct um_gap {
    size_t at, slots;
} um_gap;
typedef struct um_gaps {
    unsigned count;
    um_gap gap[UM_GAPS];
} um_gaps;
/* Of spans as long as that at least: moves dirty pages from elsewhere into the gaps of a BUSY span, as many
   as there are in pieces worth it; *zeroed becomes false if any came. False: the span is gone, for it could
   not be mapped any more. */
#define UM_GATHER_SLOTS_MIN 4u
UM_HIDDEN bool um_space_gather(um_space *sp, um_span *s, const um_gaps *gaps, bool *zeroed);
/* Of as many: a span cut of free ones that lie side by side, where most of it is dirty; NULL: nowhere. */
UM_HIDDEN um_span *um_space_take_mixed_locked(um_space *sp, size_t slots, um_gaps *gaps);
/* Slots at which a mapping may begin, of all spaces. Relaxed: a counter. */
extern UM_HIDDEN _Atomic(unsigned) um_space_seams;
/* No mapping begins inside the span any more. */
UM_HIDDEN void um_space_forget_seams_locked(um_span *s);
UM_HIDDEN bool um_space_has_seams(const um_span *s);
UM_HIDDEN void um_space_insert_locked(um_space *sp, um_span *s, um_span_state state, size_t bytes);
/* Cuts a detached span to `slots` after the first `skip`; what is before and behind is filed in its state. */
UM_HIDDEN um_span *um_space_cut_locked(um_space *sp, um_span *s, size_t skip, size_t slots);
/* Makes sure that the next `slots` slots may be mapped. */
UM_HIDDEN int um_space_claim_locked(um_space *sp, size_t slots);
/* The slots that come next were mapped: files them clean. */
UM_HIDDEN void um_space_opened_locked(um_space *sp, size_t slots, bool pool);
/* Opens fresh memory and files it clean. */
UM_HIDDEN int um_space_open_locked(um_space *sp, size_t slots);
/* Bytes that may be dirty now. */
UM_HIDDEN size_t um_space_budget_locked(const um_space *sp);
/* More is dirty than that; what is kept does not count. */
UM_INLINE bool um_space_crowded_locked(um_space *sp) {
    um_space_tell_locked(sp); /* the budget depends on the sums */
    return sp->dirty_bytes - sp->kept_bytes > um_space_budget_locked(sp);
}
UM_HIDDEN void um_space_purge_excess(um_space *sp);
/* Oldest first, while more than keep bytes are dirty or the oldest was freed before `before_ms`. Forced: what
   is kept too, and though the kernel refused a moment ago. Whether any went. */
UM_HIDDEN bool um_space_purge(um_space *sp, size_t keep, uint64_t before_ms, bool forced);
/* A span of the age list is kept until it is reused or um_space_unkeep_locked is called. */
UM_HIDDEN void um_space_keep_locked(um_space *sp, um_span *s);
UM_HIDDEN void um_space_unkeep_locked(um_space *sp, um_span *s);
/* A span so little touched is not worth keeping dirty: threads that try many classes once leave many such. */
UM_HIDDEN bool um_space_sparse(size_t dirty_bytes, size_t slots);

#endif
