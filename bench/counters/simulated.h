/* Between the two halves of the simulation: schedule.c, threads in virtual time, and coherence.c, their
 * accesses. */
#ifndef BENCH_SIMULATED_H
#define BENCH_SIMULATED_H

#include "cores.h"
#include <stdbool.h>
#include <stdint.h>

/* All times are picoseconds of virtual time. */
typedef struct actor {
    uint64_t clock,
        waited;         /* waited: of the clock, what went by in pauses, in joins, and in queues for a line */
    uint64_t transfers; /* of lines to its core, while counting */
    unsigned core;      /* whose cache its accesses use */
    enum { ACTOR_UNUSED, ACTOR_READY, ACTOR_WAITING, ACTOR_GONE } state;
    bool joined;            /* its joiner takes over its turn at its end */
    _Atomic(uint32_t) ends; /* its thread's number, once it is about to end; futex */
    _Atomic(uint32_t) turn; /* futex: 1, its turn has come */
} actor;

/* What costs how long: arguments of the run, see schedule.c. */
typedef struct costs {
    uint64_t access, locked, transfer, call;
} costs;

extern costs sim_cost;
/* The calling thread, or NULL outside of the simulation. Only the thread whose turn it is runs, and so
 * everything here is its alone. */
extern __thread actor *sim_self;
extern bool sim_counting;

/* Lets all go first whose clocks are behind. */
void sim_turn(void);
void sim_reset_counts(void);
void sim_print_counts(void);

#endif
