/* The value of UMALLOC_NUMA, taken apart. */
#ifndef UM_CONF_NUMA_H
#define UM_CONF_NUMA_H

#include "os/numa.h"

typedef enum um_numa_policy {
    UM_NUMA_LOCAL,
    UM_NUMA_LOCAL_STRICT,
    UM_NUMA_BIND,
    UM_NUMA_PREFER,
    UM_NUMA_INTERLEAVE,
    UM_NUMA_WEIGHTED,
    UM_NUMA_ROUND_ROBIN,
    UM_NUMA_NONE,
} um_numa_policy;

#define UM_NUMA_FORMS                                                                                        \
    "local, local-strict, bind:NODES, prefer:NODES, interleave[:NODES], weighted[:NODE=W,...], "             \
    "round-robin[:NODES] or none (NODES such as 0-1,3; W from 1 to 255)"
#define UM_NUMA_TEXT_MAX 255u

typedef struct um_numa_spec {
    um_numa_policy policy;
    um_node_set nodes;           /* kernel ids as named; empty: none were */
    uint8_t weight[UM_NODE_IDS]; /* of the nodes named with weights; else 0 */
} um_numa_spec;

/* local, unless um_numa_parse set it; const after the options were loaded. */
extern UM_HIDDEN um_numa_spec um_numa_asked;

/* False, and no change, if the text is none of UM_NUMA_FORMS. Case does not matter. */
UM_HIDDEN bool um_numa_parse(const char *text, um_numa_spec *out);
/* Its name, as in UMALLOC_NUMA. */
UM_HIDDEN const char *um_numa_name(um_numa_policy policy);

#endif
