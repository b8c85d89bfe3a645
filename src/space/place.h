/* place: which space a thread draws from, and what the kernel is told about that space's memory. A place is
   the number of a space. Where umalloc follows the nodes, each node has one; else all memory comes from place
   0. On a machine of one node only the strict policies and prefaulting do anything: they look at how much
   memory there is before they touch any. */
#ifndef UM_PLACE_H
#define UM_PLACE_H

#include "base/text.h"
#include "conf/numa.h"
#include "space/space.h"

typedef struct um_placement {
    unsigned count;    /* places in use */
    um_placing policy; /* in force; NONE where there is one node */
    bool homing;       /* threads draw from their node's place, and move with it */
    bool turns;        /* spans come from the places in turn */
    bool strict;       /* a span's pages are there, and were checked, before it is handed out */
    bool sole;         /* strict, and no other node is allowed: nothing to check but that there is memory */
    bool restricted;   /* strict, to a set of several nodes: one that is full is followed by the next */
    /* The kernel takes no policy: pages go where they are touched first. Relaxed: a late look costs a call.
     */
    _Atomic(bool) first_touch;
    _Atomic(int) refused;      /* errno of the last refusal; relaxed, for the report */
    um_node_set nodes;         /* kernel ids that memory should come from */
    uint16_t id[UM_NODES_MAX]; /* kernel id of each place's node */
} um_placement;

/* const after um_place_init, but first_touch and refused. */
extern UM_HIDDEN um_placement um_place;

/* Decides how memory is placed; once, before the second thread. `chosen`: the policy was asked for, so it
   goes before one that the process inherited. What cannot be had is a line in `complaints`; returns how many.
 */
UM_HIDDEN unsigned um_place_init(const um_placing_spec *asked, bool chosen, um_text *complaints);
/* Whether the kernel takes the policy: 0 or an errno value. For those who would rather stop. */
UM_HIDDEN int um_place_try(void);

/* The place of the processor that the calling thread is on. */
UM_HIDDEN unsigned um_place_look(void);
UM_INLINE unsigned um_place_here(void) {
    return um_place.homing ? um_place_look() : 0;
}
/* The place whose memory belongs on the node with kernel id `id` (any value), and nowhere else; UM_NODES_MAX:
   no such. */
UM_HIDDEN unsigned um_place_of(unsigned id);
/* The place that has the least in use for its weight; of equals that whose turn it is. *turn is the caller's
 * own. */
UM_HIDDEN unsigned um_place_next(uint32_t *turn);
/* The k-th choice for who wants `place`, or UM_NODES_MAX: there is none. The first is the place itself. */
UM_HIDDEN unsigned um_place_choice(unsigned place, unsigned k);

/* Tells the kernel where the pages of fresh memory of the place belong. */
UM_HIDDEN void um_place_bind(unsigned place, uintptr_t at, size_t bytes);
/* The same of memory from a pool of huge pages, which fails at its first touch where those nodes have none of
   the pool left. */
UM_HIDDEN void um_place_bind_pool(unsigned place, uintptr_t at, size_t bytes);
/* What can be touched without the kernel having to kill: on whatever nodes we may use and within our control
   groups, beside what others are about to touch. Reads some files. */
UM_HIDDEN uint64_t um_place_room(void);
/* Of `bytes` the part that belongs to the place, where the places take turns; else all. */
UM_HIDDEN size_t um_place_share(unsigned place, size_t bytes);
/* Touches all pages, whose contents stay, and looks where they are if the policy is strict. False: not all
   are where it wants them, or the kernel would have to kill for them. Then none is kept, and what they held
   is lost; or, where they may be there already and are to be kept, they stay as far as they came. */
UM_HIDDEN bool um_place_fill(unsigned place, uintptr_t at, size_t bytes, bool keep);
/* The same, for pages that are to be on some of these nodes (kernel ids; NULL: on any), whatever the kernel
   was told. */
UM_HIDDEN bool um_place_fill_on(const um_node_set *want, uintptr_t at, size_t bytes, bool keep);

#endif
