/* The value of UMALLOC_NUMA, taken apart. */
#ifndef UM_CONF_NUMA_H
#define UM_CONF_NUMA_H

#include "os/numa.h"

typedef enum um_placing {
    UM_PLACING_LOCAL,
    UM_PLACING_LOCAL_STRICT,
    UM_PLACING_BIND,
    UM_PLACING_PREFER,
    UM_PLACING_INTERLEAVE,
    UM_PLACING_WEIGHTED,
    UM_PLACING_ROUND_ROBIN,
    UM_PLACING_NONE,
} um_placing;

#define UM_PLACING_FORMS                                                                                     \
    "local, local-strict, bind:NODES, prefer:NODES, interleave[:NODES], weighted[:NODE=W,...], "             \
    "round-robin[:NODES] or none (NODES such as 0-1,3; W from 1 to 255)"
#define UM_PLACING_TEXT_MAX 255u

typedef struct um_placing_spec {
    um_placing policy;
    um_node_set nodes;           /* kernel ids as named; empty: none were */
    uint8_t weight[UM_NODE_IDS]; /* of the nodes named with weights; else 0 */
} um_placing_spec;

/* local, unless um_placing_parse set it; const after the options were loaded. */
extern UM_HIDDEN um_placing_spec um_placing_asked;

/* False, and no change, if the text is none of UM_PLACING_FORMS. Case does not matter. */
UM_HIDDEN bool um_placing_parse(const char *text, um_placing_spec *out);
/* Where the k-th of those who take turns finds itself in a round of `turns`: each place once a round, those
   of a long round far from the ones before, and rounds begin at places without a pattern. So a program that
   takes large and small pieces in a pattern of its own does not keep step. */
typedef struct um_placing_round {
    uint32_t turns, stride;
} um_placing_round;
UM_HIDDEN um_placing_round um_placing_round_of(uint32_t turns);
UM_HIDDEN uint32_t um_placing_turn(const um_placing_round *r, uint32_t k);
/* Its name, as in UMALLOC_NUMA. */
UM_HIDDEN const char *um_placing_name(um_placing policy);

#endif
