/* As many cores as wanted, in virtual time, on whatever machine this is.
 *
 * Each thread of the program is a thread of the system, but one of them runs at a time: the one whose virtual
 * clock is furthest behind. Clocks advance by what a thread does: accesses (coherence.c), system calls of the
 * library, pauses. A thread that is about to touch what others may touch lets all go first that are behind it
 * (sim_turn), so such accesses happen in the order of their clocks, as they would on cores that run side by
 * side. The result depends on the program alone, not on load, cores or scheduler of the machine.
 *
 * What the library waits for goes through here too (the linker's --wrap): its futex, its clock (so that decay
 * follows virtual time), and its system calls, which cost `call` each.
 *
 * Environment, all in ps: SIM_ACCESS (a load or store that hits), SIM_LOCKED (more for an atomic
 * read-modify-write), SIM_TRANSFER (more for a line that another core has), SIM_CALL (a system call). */
#include "program.h"

#include "simulated.h"
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#define ACTORS_MAX  (2 * CORES_MAX + 1) /* the main thread, and a short-lived one beside each other */
#define PAUSE_PS    500000u             /* of the program: about a sched_yield */
#define SPIN_PS     45000u              /* of the library: a pause instruction since Skylake, 140 cycles */
#define START_CALLS 10u                 /* a thread's start costs about as much as so many system calls */
#define PS_PER_MS   1000000000u
#define START_MS    1000u
#define LAST_ROUND  4u /* of destructors */

typedef struct start {
    actor *as;
    void (*body)(void *arg);
    void *arg;
} start;

costs sim_cost;
__thread actor *sim_self;
bool sim_counting;

static actor actors[ACTORS_MAX];
static pthread_key_t last_key;
static void (*run_body)(size_t index);

/* Not static: to the compiler, a futex call cannot change what is (glibc declares it a leaf), but at its
 * return others have had their turns. */
struct schedule {
    uint64_t horizon; /* the least clock of those that are ready, but of the running one */
    bool libc_taken;
    size_t running, arrived, meetings; /* threads of cores_run; those at the meeting; meetings so far */
    uint64_t began, ended, operations, calls;
    uint64_t busiest, busiest_transfers; /* of the core that worked most */
} sim;

static void futex(_Atomic(uint32_t) *word, int op, uint32_t value) {
    (void)syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static actor *furthest_behind(const actor *but) {
    actor *best = NULL;
    for (size_t i = 0; i < ACTORS_MAX; i++)
        if (actors[i].state == ACTOR_READY && &actors[i] != but && (!best || actors[i].clock < best->clock))
            best = &actors[i];
    return best;
}

static void look_ahead(const actor *a) {
    const actor *next = furthest_behind(a);
    sim.horizon = next ? next->clock : UINT64_MAX;
}

/* Gives the turn to who is furthest behind, which may be the caller: then true. */
static bool pass_on(void) {
    actor *next = furthest_behind(NULL);
    if (!next)
        stop(STATUS_BROKEN, "everybody waits");
    look_ahead(next);
    if (next == sim_self)
        return true;
    atomic_store_explicit(&next->turn, 1, memory_order_release);
    futex(&next->turn, FUTEX_WAKE, 1);
    return false;
}

static void await_turn(void) {
    while (!atomic_load_explicit(&sim_self->turn, memory_order_acquire))
        futex(&sim_self->turn, FUTEX_WAIT, 0);
    atomic_store_explicit(&sim_self->turn, 0, memory_order_relaxed);
}

static void switch_over(void) {
    if (!pass_on())
        await_turn();
}

void sim_turn(void) {
    if (sim_self->clock > sim.horizon)
        switch_over();
}

static void wait_for(uint64_t ps) {
    sim_self->clock += ps;
    sim_self->waited += ps;
    sim_turn();
}

static void ready(actor *a, uint64_t clock) {
    a->clock = later(a->clock, clock);
    a->state = ACTOR_READY;
}

/* --- threads --- */

/* libc holds locks of its own while it starts and ends threads, and allocates under them: who waited for one
 * with the turn in hand would wait for ever. So one thread at a time is started or ends. */
static void take_libc(void) {
    while (sim.libc_taken)
        wait_for(PAUSE_PS);
    sim.libc_taken = true;
}

/* The last destructor of a short-lived thread, after the library's own. Then libc ends the thread, in its
 * turn, which is its joiner's after. */
static void last_destructor(void *round) {
    uintptr_t n = (uintptr_t)round;
    if (n < LAST_ROUND && pthread_setspecific(last_key, (void *)(n + 1)) == 0)
        return;
    take_libc();
    atomic_store_explicit(&sim_self->ends, (uint32_t)gettid(), memory_order_release);
    futex(&sim_self->ends, FUTEX_WAKE, 1);
}

static void *run(void *arg) {
    start s = *(start *)arg; /* the starter keeps it until the thread's end */
    sim_self = s.as;
    await_turn();
    if (sim_self->joined)
        pthread_setspecific(last_key, (void *)1);
    s.body(s.arg);
    return NULL;
}

static void spawn(pthread_t *thread, start *s) {
    take_libc();
    if (pthread_create(thread, NULL, run, s))
        stop(STATUS_NO_MEMORY, "no thread");
    sim.libc_taken = false;
    ready(s->as, sim_self->clock + START_CALLS * sim_cost.call);
    look_ahead(sim_self);
}

/* pthread_join frees what the thread had, so the turn is taken over before it: when the thread is no more. */
static void join(pthread_t thread, actor *a) {
    sim_self->state = ACTOR_WAITING;
    (void)pass_on();
    while (!atomic_load_explicit(&a->ends, memory_order_acquire))
        futex(&a->ends, FUTEX_WAIT, 0);
    while (syscall(SYS_tgkill, getpid(), atomic_load_explicit(&a->ends, memory_order_relaxed), 0) == 0)
        sched_yield();
    a->state = ACTOR_GONE;
    ready(sim_self, a->clock);
    look_ahead(sim_self);
    pthread_join(thread, NULL);
    sim.libc_taken = false;
    sim_turn();
}

static void run_indexed(void *index) {
    run_body((size_t)index);
}

static uint64_t cost(const char *name) {
    const char *text = getenv(name);
    if (!text)
        stop(STATUS_USAGE, "SIM_ACCESS, SIM_LOCKED, SIM_TRANSFER and SIM_CALL say what costs how many ps");
    return strtoul(text, NULL, 10);
}

void cores_run(size_t threads, void (*body)(size_t index)) {
    static pthread_t ids[CORES_MAX];
    static start starts[CORES_MAX];
    sim_cost = (costs){cost("SIM_ACCESS"), cost("SIM_LOCKED"), cost("SIM_TRANSFER"), cost("SIM_CALL")};
    pthread_key_create(&last_key, last_destructor);
    run_body = body;
    sim.running = threads;
    sim_self = &actors[0];
    ready(sim_self, 0);
    for (size_t i = 0; i < threads; i++) {
        starts[i] = (start){&actors[1 + i], run_indexed, (void *)i};
        actors[1 + i].core = (unsigned)i;
        spawn(&ids[i], &starts[i]);
    }
    sim_self->state = ACTOR_WAITING;
    switch_over(); /* until the counting has ended */
    sim_self = NULL;
}

void cores_short_thread(void (*body)(void *arg), void *arg) {
    pthread_t thread;
    uint64_t waited = sim_self->waited;
    start s = {&actors[1 + CORES_MAX + sim_self->core], body, arg};
    *s.as = (actor){.core = sim_self->core, .joined = true};
    spawn(&thread, &s);
    join(thread, s.as);
    sim_self->waited = waited + s.as->waited; /* its work was this core's */
    sim_self->transfers += s.as->transfers;
}

/* All clocks go on from that of the last to arrive; or, at the second meeting, the main thread alone goes on.
 */
static void all_arrived(void) {
    uint64_t last = 0;
    for (size_t i = 1; i <= sim.running; i++)
        last = later(last, actors[i].clock);
    for (size_t i = 1; i <= sim.running; i++) {
        actor *a = &actors[i];
        if (sim.meetings == 1 && a->clock - sim.began - a->waited > sim.busiest) {
            sim.busiest = a->clock - sim.began - a->waited;
            sim.busiest_transfers = a->transfers;
        }
        a->waited = a->transfers = 0;
        if (sim.meetings == 0)
            ready(a, last);
    }
    sim.arrived = 0;
    sim_counting = ++sim.meetings == 1;
    if (sim_counting) {
        sim.began = last;
        sim_reset_counts();
    } else {
        sim.ended = last;
        ready(&actors[0], last); /* the others have had their last turn: the program ends under them */
    }
}

void cores_meet(void) {
    sim_self->state = ACTOR_WAITING;
    if (++sim.arrived == sim.running)
        all_arrived();
    switch_over();
}

void cores_pause(void) {
    wait_for(PAUSE_PS);
}

void cores_done(size_t done) {
    if (sim.meetings == 1)
        sim.operations += done;
}

void cores_report(void) {
    figure("operations", (double)sim.operations);
    figure("ns", (double)(sim.ended - sim.began) / 1e3 / (double)sim.operations);
    figure("busiest_ns", (double)sim.busiest / 1e3 / (double)sim.operations);
    figure("busiest_transfers", (double)sim.busiest_transfers / (double)sim.operations);
    figure("calls", (double)sim.calls / (double)sim.operations);
    sim_print_counts();
}

/* --- what the library asks of the system --- */

/* In place of the pause instruction: see scaling.py. */
void sim_spin(void) {
    if (sim_self)
        wait_for(SPIN_PS);
}

static void charge_call(void) {
    if (sim_self) {
        sim_self->clock += sim_cost.call;
        sim.calls += sim_counting;
    }
}

/* A sleeper wakes after a while and looks again, as the library expects of a futex; a real one is woken
 * sooner by at most that. */
void __wrap_um_os_wait(_Atomic(uint32_t) *word, uint32_t seen) {
    if (sim_self)
        wait_for(sim_cost.call);
    else
        futex(word, FUTEX_WAIT, seen); /* a thread that has left */
}

void __wrap_um_os_wake_one(_Atomic(uint32_t) *word) {
    futex(word, FUTEX_WAKE, 1);
    charge_call();
}

uint64_t __wrap_um_os_now_ms(void) {
    return START_MS + (sim_self ? sim_self->clock / PS_PER_MS : 0);
}

#define CHARGED(type, name, parameters, ...)                                                                 \
    type __real_##name parameters;                                                                           \
    type __wrap_##name parameters {                                                                          \
        charge_call();                                                                                       \
        return __real_##name(__VA_ARGS__);                                                                   \
    }

CHARGED(int, um_os_map_at, (uintptr_t at, size_t bytes), at, bytes)
CHARGED(int, um_os_remap_zero, (uintptr_t at, size_t bytes), at, bytes)
CHARGED(int, um_os_unmap, (uintptr_t at, size_t bytes), at, bytes)
CHARGED(int, um_os_purge, (uintptr_t at, size_t bytes), at, bytes)
CHARGED(int, um_os_move, (uintptr_t from, size_t bytes, uintptr_t to), from, bytes, to)
CHARGED(void, um_os_hugepage, (uintptr_t at, size_t bytes, bool want), at, bytes, want)
