/* A machine of two nodes, as far as umalloc knows: all pages really lie where the kernel puts them, for it
   may not know the second node. The library, or the layers that a test is linked with, have been started. */
#ifndef UM_TEST_TWO_NODES_H
#define UM_TEST_TWO_NODES_H

#include "os/topology.h"
#include "space/place.h"

/* What the kernel is said to have: node 0 and another. */
UM_INLINE void two_nodes_known(unsigned other) {
    static union {
        um_topology t;
        char room[UM_TOPOLOGY_BYTES];
    } two;
    um_node_set nodes = um_node_set_of(0);
    um_node_set_add(&nodes, other);
    um_topology_sysfs = "/nonexistent";
    um_topology_read(&two.t, &nodes);
    atomic_store(&um_topology_now, &two.t);
}

/* Places 0 and 1, by default for nodes 0 and 1; nobody asks the kernel for either. */
UM_INLINE void two_nodes_placed(void) {
    um_place.count = 2;
    um_place.policy = UM_PLACING_LOCAL;
    um_place.id[1] = 1;
    atomic_store(&um_place.first_touch, true);
    um_place.homing = true;
}

#endif
