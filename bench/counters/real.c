/* The machine's own cores, in real time: prints `ns` (wall time between the two meetings / operations of all
 * threads) and `operations`. Threads are pinned, one to a core, where there are as many cores as threads. */
#include "program.h"

#include "cores.h"
#include <sched.h>
#include <stdatomic.h>

static pthread_barrier_t meeting;
static uint64_t met_ns[2];
static _Atomic(size_t) operations; /* relaxed: read after the join */
static void (*run_body)(size_t index);
static size_t run_threads;

static void pin(size_t index) {
    cpu_set_t allowed, one;
    size_t seen = 0;
    if (sched_getaffinity(0, sizeof allowed, &allowed) || run_threads > (size_t)CPU_COUNT(&allowed))
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && seen++ == index) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            (void)sched_setaffinity(0, sizeof one, &one); /* unpinned is slower, not wrong */
        }
}

static void *run(void *index) {
    pin((size_t)index);
    run_body((size_t)index);
    return NULL;
}

static void spawn(pthread_t *thread, void *(*body)(void *), void *arg) {
    if (pthread_create(thread, NULL, body, arg))
        stop(STATUS_NO_MEMORY, "no thread");
}

void cores_run(size_t threads, void (*body)(size_t index)) {
    pthread_t ids[CORES_MAX];
    run_body = body;
    run_threads = threads;
    pthread_barrier_init(&meeting, NULL, (unsigned)threads);
    for (size_t i = 0; i < threads; i++)
        spawn(&ids[i], run, (void *)i);
    for (size_t i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

typedef struct short_job {
    void (*body)(void *arg);
    void *arg;
} short_job;

static void *run_short(void *job) {
    ((short_job *)job)->body(((short_job *)job)->arg);
    return NULL;
}

void cores_short_thread(void (*body)(void *arg), void *arg) {
    pthread_t thread;
    short_job job = {body, arg};
    spawn(&thread, run_short, &job);
    pthread_join(thread, NULL);
}

void cores_meet(void) {
    static size_t meetings; /* written by one thread between two barriers */
    if (pthread_barrier_wait(&meeting) == PTHREAD_BARRIER_SERIAL_THREAD)
        met_ns[meetings++] = now_ns();
    pthread_barrier_wait(&meeting);
}

void cores_pause(void) {
    sched_yield();
}

void cores_done(size_t done) {
    atomic_fetch_add_explicit(&operations, done, memory_order_relaxed);
}

void cores_report(void) {
    size_t done = atomic_load_explicit(&operations, memory_order_relaxed);
    figure("ns", (double)(met_ns[1] - met_ns[0]) / (double)done);
    figure("operations", (double)done);
}
