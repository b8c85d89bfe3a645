/* Whose turn it is, where places take turns (round-robin, weighted with a list). What is promised is shares,
   so the place with the least in use for its weight goes first, and the turn decides between equals. */
#include "space/internal.h"

static uint8_t weight[UM_NODES_MAX]; /* const after init, as the next */
static um_placing_round turns;       /* of their sum */

void um_place_make_turns(const um_placing_spec *asked) {
    uint32_t sum = 0;
    um_place.turns = true;
    for (unsigned i = 0; i < um_place.count; i++) {
        uint8_t w = asked->weight[um_place.id[i]];
        weight[i] = w ? w : 1;
        sum += weight[i];
    }
    turns = um_placing_round_of(sum);
}

/* In use of a place, for each turn that it has in a round: a is below b. */
static bool below(unsigned a, unsigned b) {
    uint64_t used_a = atomic_load_explicit(&um_spaces[a].active_seen, memory_order_relaxed); /* hints */
    uint64_t used_b = atomic_load_explicit(&um_spaces[b].active_seen, memory_order_relaxed);
    return used_a * weight[b] < used_b * weight[a];
}

/* Turns alone would give each place its share of spans, not of bytes, nor of those that live on. */
unsigned um_place_next(uint32_t *turn) {
    uint32_t t = um_placing_turn(&turns, (*turn)++);
    unsigned best = 0;
    while (t >= weight[best])
        t -= weight[best++];
    for (unsigned i = 0; i < um_place.count; i++)
        if (below(i, best))
            best = i;
    return best;
}

size_t um_place_share(unsigned place, size_t bytes) {
    return um_place.turns ? (size_t)(bytes / turns.turns * weight[place]) : bytes;
}
