/* space: where memory comes from and goes back to. Spans of 64 KiB slots, one space a NUMA node, each under
   one lock. Free spans are dirty (may be in memory), clean (zero, no memory) or unmapped, and merge with
   neighbours of their state. Dirty ones are reused first and purged oldest first: beyond the recent peak of
   demand at once, by age later. */
#ifndef UM_SPACE_H
#define UM_SPACE_H

#include "space/span.h"
#include "os/lock.h"

#define UM_NODES_MAX 64u

/* Settings, from the options; before they are read the defaults hold. The atomic ones may change at any time;
   relaxed: who reads the old value acts on it once more. */
typedef struct um_space_settings {
    _Atomic(uint64_t) decay_ms;
    _Atomic(uint64_t) dirty_max;        /* 0: adaptive */
    _Atomic(uint64_t) limit_bytes;      /* 0: none */
    _Atomic(uint64_t) soft_limit_bytes; /* 0: none */
    int hugepages;                      /* um_hugepages_mode */
    size_t prefault_bytes;              /* of each node that threads run on: see pin.c */
    bool lock;                          /* what is opened is locked */
    bool rigid;                         /* some memory must not be given back a page at a time: see pin.c */
} um_space_settings;
extern UM_HIDDEN um_space_settings um_space_setting;
#define UM_SPACE_SETTING(field) atomic_load_explicit(&um_space_setting.field, memory_order_relaxed)

/* Bytes; under the space's lock. dirty: all that is free and in memory, so what is pinned and clean too. */
typedef struct um_space_stats {
    size_t mapped, active, dirty, unmapped, metadata, peak;
} um_space_stats;

/* Idempotent, serialised by the caller. Nonzero where no window can be had. */
UM_HIDDEN int um_space_init(void);

/* Memory opened before the placement was decided is told of it. */
UM_HIDDEN void um_space_placed(void);

/* A span of `slots` whose start is aligned to align_slots (a power of two) slots, of the node's space or of
   the next that the placement allows (place.h). *zeroed (may be NULL) tells whether it reads as zero. NULL:
   out of memory or over the limit. Kind BUSY; the caller sets it. */
UM_HIDDEN um_span *um_space_alloc(unsigned node, size_t slots, size_t align_slots, bool *zeroed);
/* Gives a span back. dirty_bytes estimates what of it is in memory; 0 says that all of it reads as zero. */
UM_HIDDEN void um_space_free(um_span *s, size_t dirty_bytes);
/* The same of spans linked by `next`, whose `bytes` are that estimate, each space's with one hold of its
   lock if they follow each other. */
UM_HIDDEN void um_space_free_list(um_span *list);
/* At most so many dirty slots, each a span of its own, with one hold of the lock; how many there were. */
UM_HIDDEN unsigned um_space_take_dirty(unsigned node, um_span **slots, unsigned most);
/* The one-slot span is in use from end to end, not just its front. */
UM_HIDDEN void um_space_note_full(um_span *s);
/* So many OS pages at the end of a large span were not asked for; none before it is given back. */
UM_HIDDEN void um_space_note_slack(um_span *s, size_t pages);
/* In place; false: no room there. What is added reads as anything if *zeroed is false. */
UM_HIDDEN bool um_space_extend(um_span *s, size_t new_slots, bool *zeroed);
UM_HIDDEN void um_space_shrink(um_span *s, size_t new_slots);
/* A larger span with the pages of s moved, not copied; s is gone. NULL: s is as it was. */
UM_HIDDEN um_span *um_space_move(um_span *s, size_t new_slots, size_t used_bytes);
/* Gives pages of a span in use back; on 0 they read as zero next. Nonzero where memory is to stay. */
UM_HIDDEN int um_space_purge_part(void *at, size_t bytes);
/* Zeroed memory that is never given back, for the allocator's records; NULL if there is none. */
UM_HIDDEN void *um_space_meta(unsigned node, size_t bytes);

/* Purges what is due by age; cheap when nothing is. The time, in milliseconds. */
UM_HIDDEN uint64_t um_space_tick(void);
/* Purges oldest first until at most keep_bytes are dirty in each space. Returns whether anything was given
 * back. */
UM_HIDDEN bool um_space_trim(size_t keep_bytes);
/* A thread has ended: keeps no more than a quarter of what is active, for its demand may not come back. */
UM_HIDDEN void um_space_trim_idle(void);
/* Active and dirty bytes of all spaces. Relaxed: a counter. */
extern UM_HIDDEN _Atomic(size_t) um_space_footprint;
/* Dirty bytes of all spaces, and what um_space_expect added. Relaxed: a hint. */
extern UM_HIDDEN _Atomic(size_t) um_space_dirty;
#define UM_SPACE_UNEASY (8 * UM_MIB)
/* Counts memory that the layers above could give back into the hint; the difference may be negative, modulo
 * 2^64. */
UM_INLINE void um_space_expect(size_t bytes) {
    atomic_fetch_add_explicit(&um_space_dirty, bytes, memory_order_relaxed); /* hint */
}
/* More is dirty than a quiet process should keep: threads should come by soon. */
UM_INLINE bool um_space_uneasy(void) {
    return atomic_load_explicit(&um_space_dirty, memory_order_relaxed) > UM_SPACE_UNEASY; /* hint */
}

/* Bytes in use and kept for reuse beyond the soft limit; 0: no limit, or not reached. A hint. */
UM_HIDDEN size_t um_space_excess(void);
/* Purges as much as that, though the kernel refused a moment ago, and of what is kept for its huge page too.
 */
UM_HIDDEN void um_space_relieve(void);

/* The node whose space an address of the window belongs to; its record tells only where a span starts. */
UM_HIDDEN unsigned um_space_node_of(const void *p);
/* Calls f for each span, under the space's lock. */
UM_HIDDEN void um_space_each(unsigned node, void (*f)(const um_span *s, void *ctx), void *ctx);
/* The span in which the slot of this record lies, as far as can be told with nothing locked: for last words.
   NULL: none that is shorter than 64 GiB. */
UM_HIDDEN const um_span *um_space_around(const um_span *s);
/* Between the two no span is taken or given back: whose kind is SLAB stays mapped. */
UM_HIDDEN void um_space_pause(void);
UM_HIDDEN void um_space_resume(void);
UM_HIDDEN void um_space_stat(unsigned node, um_space_stats *out);
/* Under all locks of the layer, for fork. */
UM_HIDDEN void um_space_lock_all(void);
UM_HIDDEN void um_space_unlock_all(void);
UM_HIDDEN void um_space_reset_locks(void);
/* Walks every structure; aborts on the first broken invariant. For tests. */
UM_HIDDEN void um_space_check(void);

#endif
