/* A wish for a node is a number in a request's flags; what the layers below know are places (space/place.h).
   On a machine of one node, and where all memory is spread, there is one place: then every wish that names a
   node of ours is fulfilled, or cannot be. */
#include "ext/place.h"
#include "os/topology.h"
#include "space/place.h"

#include <errno.h>

enum { WISH_NONE, WISH_LOCAL, WISH_SPREAD, WISH_NODE = 16 };

static _Atomic(uint32_t) turn; /* relaxed: whose turn it is exactly does not matter */

static int place_of_node(unsigned id, unsigned *place) {
    unsigned at = um_place_of(id);
    if (at != UM_NODES_MAX) {
        *place = at;
        return 0;
    }
    return um_topology_dense(um_topology_get(), id) == UM_TOPOLOGY_NODES ? EINVAL : 0;
}

int um_ext_place(uint32_t wish, unsigned *place) {
    *place = UM_PLACE_ANY;
    if (wish >= WISH_NODE)
        return place_of_node(wish - WISH_NODE, place);
    if (wish > WISH_SPREAD)
        return EINVAL;
    if (um_place.count == 1)
        return 0;
    if (wish == WISH_LOCAL)
        *place = um_place_look();
    else if (wish == WISH_SPREAD)
        *place = atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed) % um_place.count;
    return 0;
}

int um_ext_check_place(uint32_t flags) {
    unsigned place;
    uint32_t wish = flags >> UM_FLAGS_PLACE_SHIFT;
    if (flags & (((uint32_t)1 << UM_FLAGS_PLACE_SHIFT) - 1))
        return EINVAL;
    return wish == WISH_SPREAD ? 0 : um_ext_place(wish, &place); /* it is nobody's turn yet */
}

unsigned um_ext_place_now(uint32_t flags) {
    unsigned place;
    if (um_ext_place(flags >> UM_FLAGS_PLACE_SHIFT, &place) != 0 || place == UM_PLACE_ANY)
        return um_place_here();
    return place;
}
