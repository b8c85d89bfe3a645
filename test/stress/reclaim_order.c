/* Two threads, many short rounds: in each, one begins to read an object just when the other takes it away and
   reclaims it. Which comes first is open; the reader must find either the new object, or the old one alive
   until it is done. What this looks for is a store that a processor still keeps to itself while it reads on:
   without the fence that the writer makes the reader pass, a few rounds in a hundred thousand fail where the
   two run on processors of their own. On one processor it shows nothing.

     reclaim_order [ROUNDS]

   On a loaded machine, where the two seldom run at once, it stops after two seconds. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "../lib/check.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <umalloc/reclaim.h>

#define SECONDS 2

typedef struct object {
    _Atomic(unsigned) dead; /* relaxed: what is tested is who comes when */
    char pad[60];
} object;

static object objects[2];
static _Atomic(object *) word __attribute__((aligned(64)));
static _Atomic(unsigned) started __attribute__((aligned(64)));
static _Atomic(uint64_t) moment; /* relaxed: behind `started` */
static _Atomic(unsigned) ready __attribute__((aligned(64)));
static _Atomic(unsigned) ended __attribute__((aligned(64)));
static unsigned rounds = 40000, old_ones, new_ones;

static void wait_for(_Atomic(unsigned) *what, unsigned value) {
    for (unsigned spins = 0; atomic_load_explicit(what, memory_order_acquire) < value; spins++)
        if (spins > 2000)
            sched_yield();
}

/* On the nth processor that the process may use, if there are so many. */
static void stay_on(int nth) {
    cpu_set_t may, one;
    if (sched_getaffinity(0, sizeof may, &may) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &may) && nth-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            (void)sched_setaffinity(0, sizeof one, &one); /* the rounds are just less telling */
        }
}

static uint64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Both meet at a moment that one of them names, give or take some nanoseconds that differ from round to
 * round. */
static void meet(uint64_t give_or_take) {
    uint64_t at = atomic_load_explicit(&moment, memory_order_relaxed) + give_or_take;
    while (now_ns() < at)
        continue;
}

static void look_at(const object *o, unsigned round) {
    if (o == &objects[0])
        old_ones++;
    else
        new_ones++;
    for (int i = 0; i < 20; i++)
        CHECK(!atomic_load_explicit(&o->dead, memory_order_relaxed), "round %u: read a reclaimed object",
              round);
}

static void *read_all(void *unused) {
    um_hazard *h = um_hazard_take();
    stay_on(1);
    CHECK(h, "a hazard pointer");
    for (unsigned round = 1; round <= rounds; round++) {
        atomic_store_explicit(&ready, round, memory_order_release);
        wait_for(&started, round);
        if (atomic_load_explicit(&started, memory_order_acquire) > rounds)
            break;
        meet(round * 7 % 300);
        if (round % 2) {
            um_epoch_enter();
            look_at(atomic_load_explicit(&word, memory_order_acquire), round);
            um_epoch_leave();
        } else {
            look_at(um_hazard_protect(h, &word), round);
            um_hazard_set(h, NULL);
        }
        atomic_store_explicit(&ended, round, memory_order_release);
    }
    return unused;
}

static void reclaim(void *p) {
    object *o = p;
    atomic_store_explicit(&o->dead, 1, memory_order_relaxed);
}

int main(int argc, char **argv) {
    pthread_t t;
    if (argc > 1)
        rounds = (unsigned)strtoul(argv[1], NULL, 10);
    CHECK(pthread_create(&t, NULL, read_all, NULL) == 0, "a thread");
    uint64_t until = now_ns() + SECONDS * 1000000000;
    unsigned round;
    stay_on(0);
    for (round = 1; round <= rounds && now_ns() < until; round++) {
        atomic_store_explicit(&objects[0].dead, 0, memory_order_relaxed);
        atomic_store_explicit(&word, &objects[0], memory_order_relaxed);
        wait_for(&ready, round);
        atomic_store_explicit(&moment, now_ns() + 2000, memory_order_relaxed);
        atomic_store_explicit(&started, round, memory_order_release);
        meet(round / 300 * 13 % 300);
        atomic_store_explicit(&word, &objects[1], memory_order_release);
        if (round % 2) {
            um_epoch_synchronize();
            reclaim(&objects[0]);
        } else {
            /* those that a hazard pointer names wait until it goes */
            CHECK(um_hazard_retire(&objects[0], reclaim), "memory");
            um_reclaim_flush();
        }
        wait_for(&ended, round);
        um_reclaim_flush();
        CHECK(objects[0].dead, "round %u: not reclaimed", round);
    }
    atomic_store_explicit(&started, rounds + 1, memory_order_release);
    CHECK(pthread_join(t, NULL) == 0, "its end");
    printf("%u rounds: the old object %u times, the new one %u times\n", round - 1, old_ones, new_ones);
    return 0;
}
