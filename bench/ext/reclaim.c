/* Reading what others may take away, and giving away what others may read. A word leads to an object.

   read      one thread, a read section around one load: what a reader pays.
   hazard    one thread, one hazard pointer around one load. The peers have none; they do a section.
   renew     one thread puts a fresh object there and retires the one before.
   mixed     one thread reads while another renews; an operation is a read.

   Beside it: malloc, with a reader-writer lock around each access and free at once, as programs do that have
   no reclamation; and liburcu, its flavour with membarrier, call_rcu for what is retired. */
#include "ext.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#ifndef BENCH_PLAIN
#include <umalloc/reclaim.h>
#endif
#ifdef BENCH_HAVE_LIBURCU
#define _LGPL_SOURCE 1 /* the inlined readers */
#include <urcu/urcu-memb.h>
#endif

typedef struct object {
#ifdef BENCH_HAVE_LIBURCU
    struct rcu_head head;
#endif
    uint64_t value;
    char rest[40];
} object;

static _Atomic(object *) word;
static _Atomic(bool) stop_renewing;
static uint64_t sum;

static object *make(void) {
    object *o = malloc(sizeof *o);
    if (!o)
        stop(STATUS_NO_MEMORY, "no memory");
    o->value = 1;
    return o;
}

static void *(*renewer)(void *);

/* Reads `ops` times, in the way of `f`, while another thread renews. */
static void mixed(uint64_t ops, void (*f)(uint64_t ops)) {
    pthread_t t;
    atomic_store(&stop_renewing, false);
    if (pthread_create(&t, NULL, renewer, NULL))
        stop(STATUS_NO_MEMORY, "no thread");
    f(ops);
    atomic_store(&stop_renewing, true);
    pthread_join(t, NULL);
}

static void pace(void) {
    for (int i = 0; i < 64; i++)
        __asm__ volatile("");
}

#define RENEWER(name, one)                                                                                   \
    static void *name(void *unused) {                                                                        \
        while (!atomic_load_explicit(&stop_renewing, memory_order_relaxed)) {                                \
            one;                                                                                             \
            pace();                                                                                          \
        }                                                                                                    \
        return unused;                                                                                       \
    }

/* --- a lock, and free at once --- */

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

static void lock_read(uint64_t ops) {
    if (!atomic_load(&word))
        atomic_store(&word, make());
    for (uint64_t i = 0; i < ops; i++) {
        pthread_rwlock_rdlock(&lock);
        sum += atomic_load_explicit(&word, memory_order_relaxed)->value;
        pthread_rwlock_unlock(&lock);
    }
}

static void lock_renew_one(void) {
    object *fresh = make(), *before;
    pthread_rwlock_wrlock(&lock);
    before = atomic_exchange(&word, fresh);
    pthread_rwlock_unlock(&lock);
    free(before);
}

static void lock_renew(uint64_t ops) {
    for (uint64_t i = 0; i < ops; i++)
        lock_renew_one();
}

RENEWER(lock_renewer, lock_renew_one())

static void lock_mixed(uint64_t ops) {
    renewer = lock_renewer;
    mixed(ops, lock_read);
}

/* --- umalloc --- */

#ifndef BENCH_PLAIN
static void epoch_read(uint64_t ops) {
    if (!atomic_load(&word))
        atomic_store(&word, make());
    for (uint64_t i = 0; i < ops; i++) {
        um_epoch_enter();
        sum += atomic_load_explicit(&word, memory_order_acquire)->value;
        um_epoch_leave();
    }
}

static void hazard_read(uint64_t ops) {
    um_hazard *h = um_hazard_take();
    if (!h)
        stop(STATUS_NO_MEMORY, "no hazard pointer");
    if (!atomic_load(&word))
        atomic_store(&word, make());
    for (uint64_t i = 0; i < ops; i++) {
        sum += ((object *)um_hazard_protect(h, &word))->value;
        um_hazard_set(h, NULL);
    }
    um_hazard_give(h);
}

static void epoch_renew_one(void) {
    if (!um_retire(atomic_exchange(&word, make()), NULL))
        stop(STATUS_NO_MEMORY, "no memory");
}

static void epoch_renew(uint64_t ops) {
    for (uint64_t i = 0; i < ops; i++)
        epoch_renew_one();
    um_reclaim_flush();
}

RENEWER(epoch_renewer, epoch_renew_one())

static void epoch_mixed(uint64_t ops) {
    renewer = epoch_renewer;
    mixed(ops, epoch_read);
}
#endif

/* --- liburcu --- */

#ifdef BENCH_HAVE_LIBURCU
static void urcu_read(uint64_t ops) {
    urcu_memb_register_thread();
    if (!atomic_load(&word))
        atomic_store(&word, make());
    for (uint64_t i = 0; i < ops; i++) {
        urcu_memb_read_lock();
        sum += atomic_load_explicit(&word, memory_order_acquire)->value;
        urcu_memb_read_unlock();
    }
    urcu_memb_unregister_thread();
}

static void urcu_free(struct rcu_head *head) {
    free(head); /* the first member */
}

static void urcu_renew_one(void) {
    object *before = atomic_exchange(&word, make());
    if (before)
        urcu_memb_call_rcu(&before->head, urcu_free);
}

static void urcu_renew(uint64_t ops) {
    urcu_memb_register_thread();
    for (uint64_t i = 0; i < ops; i++)
        urcu_renew_one();
    urcu_memb_barrier();
    urcu_memb_unregister_thread();
}

static void *urcu_renewer(void *unused) {
    urcu_memb_register_thread();
    while (!atomic_load_explicit(&stop_renewing, memory_order_relaxed)) {
        urcu_renew_one();
        pace();
    }
    urcu_memb_unregister_thread();
    return unused;
}

static void urcu_mixed(uint64_t ops) {
    renewer = urcu_renewer;
    mixed(ops, urcu_read);
}
#endif

static const ext_case cases[] = {
    {"read", "malloc", lock_read},     {"hazard", "malloc", lock_read},
    {"renew", "malloc", lock_renew},   {"mixed", "malloc", lock_mixed},
#ifndef BENCH_PLAIN
    {"read", "umalloc", epoch_read},   {"hazard", "umalloc", hazard_read},
    {"renew", "umalloc", epoch_renew}, {"mixed", "umalloc", epoch_mixed},
#endif
#ifdef BENCH_HAVE_LIBURCU
    {"read", "liburcu", urcu_read},    {"hazard", "liburcu", urcu_read},
    {"renew", "liburcu", urcu_renew},  {"mixed", "liburcu", urcu_mixed},
#endif
};

EXT_MAIN(cases)
