/* A hash map that readers walk without a lock and writers change under them. A bucket is a list in the order
   of its keys (Harris, A pragmatic implementation of non-blocking linked-lists, 2001): a key goes by marking
   its node's link, then unlinking the node, which any thread that passes does. Readers in a section may still
   stand on the node, so it is retired, not freed. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <umalloc/reclaim.h>

#define BUCKETS 1024u
#define KEYS    3000u
#define ROUNDS  10
#define READERS 2
#define MARK    ((uintptr_t)1) /* in a node's link: the node is removed */

typedef struct node {
    _Atomic(uintptr_t) next; /* node *, or with MARK */
    uint64_t key, value;
} node;

static _Atomic(uintptr_t) map[BUCKETS];
static _Atomic(bool) done;

static node *node_of(uintptr_t link) {
    return (node *)(link & ~MARK);
}

/* The link that leads to the first node with at least the key, and that node. Unlinks removed nodes on its
   way. Within a read section. */
static _Atomic(uintptr_t) *find(uint64_t key, node **at) {
again:;
    _Atomic(uintptr_t) *from = &map[key % BUCKETS];
    node *n = node_of(atomic_load_explicit(from, memory_order_acquire));
    while (n) {
        uintptr_t next = atomic_load_explicit(&n->next, memory_order_acquire);
        if (next & MARK) {
            uintptr_t seen = (uintptr_t)n;
            if (!atomic_compare_exchange_strong_explicit(from, &seen, next & ~MARK, memory_order_acq_rel,
                                                         memory_order_relaxed))
                goto again; /* the link changed, or its own node is removed */
            if (!um_retire(n, NULL))
                abort();
            n = node_of(next);
            continue;
        }
        if (n->key >= key)
            break;
        from = &n->next;
        n = node_of(next);
    }
    *at = n;
    return from;
}

static bool insert(uint64_t key, uint64_t value) {
    node *fresh = malloc(sizeof *fresh), *at;
    bool in = false;
    if (!fresh)
        abort();
    fresh->key = key;
    fresh->value = value;
    um_epoch_enter();
    for (;;) {
        _Atomic(uintptr_t) *from = find(key, &at);
        uintptr_t seen = (uintptr_t)at;
        if (at && at->key == key)
            break;
        atomic_store_explicit(&fresh->next, seen, memory_order_relaxed);
        in = atomic_compare_exchange_strong_explicit(from, &seen, (uintptr_t)fresh, memory_order_release,
                                                     memory_order_relaxed);
        if (in)
            break;
    }
    um_epoch_leave();
    if (!in)
        free(fresh); /* nobody has seen it */
    return in;
}

static bool take_out(uint64_t key) {
    bool out = false;
    node *at;
    um_epoch_enter();
    find(key, &at);
    while (at && at->key == key && !out) {
        uintptr_t next = atomic_load_explicit(&at->next, memory_order_acquire);
        if (next & MARK)
            break; /* by another */
        out = atomic_compare_exchange_strong_explicit(&at->next, &next, next | MARK, memory_order_acq_rel,
                                                      memory_order_relaxed);
    }
    if (out)
        find(key, &at); /* unlinks it */
    um_epoch_leave();
    return out;
}

static bool look_up(uint64_t key, uint64_t *value) {
    bool found = false;
    um_epoch_enter();
    const node *n = node_of(atomic_load_explicit(&map[key % BUCKETS], memory_order_acquire));
    while (n && n->key < key)
        n = node_of(atomic_load_explicit(&n->next, memory_order_acquire));
    if (n && n->key == key && !(atomic_load_explicit(&n->next, memory_order_acquire) & MARK)) {
        *value = n->value;
        found = true;
    }
    um_epoch_leave();
    return found;
}

static void *read_on(void *wrong_out) {
    uint64_t lookups = 0, wrong = 0, value;
    do {
        for (uint64_t key = 0; key < KEYS; key++, lookups++)
            if (look_up(key, &value) && value != key * key)
                wrong++;
    } while (!atomic_load(&done));
    *(uint64_t *)wrong_out = wrong;
    return (void *)(uintptr_t)lookups;
}

int main(void) {
    pthread_t t[READERS];
    uint64_t wrong[READERS], lookups = 0, all_wrong = 0, came = 0;
    void *result;
    for (int i = 0; i < READERS; i++)
        if (pthread_create(&t[i], NULL, read_on, &wrong[i]))
            return 1;
    for (int round = 0; round < ROUNDS; round++) {
        for (uint64_t key = 0; key < KEYS; key++)
            came += insert(key, key * key);
        for (uint64_t key = 0; key < KEYS; key++)
            if (!take_out(key))
                return 1;
    }
    atomic_store(&done, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(t[i], &result);
        lookups += (uintptr_t)result;
        all_wrong += wrong[i];
    }
    um_reclaim_flush();
    um_reclaim_stats s;
    um_reclaim_stat(&s, sizeof s);
    printf("%llu lookups by %d readers while %llu keys came and went: %s was wrong; %llu nodes reclaimed\n",
           (unsigned long long)lookups, READERS, (unsigned long long)came, all_wrong ? "one" : "none",
           (unsigned long long)s.reclaimed);
    printf("%llu looks at the readers, %llu of them found one in the way of all; sections %s\n",
           (unsigned long long)s.looks, (unsigned long long)s.stalls,
           s.sections_fence ? "run a fence" : "run no fence");
    return all_wrong || s.waiting;
}
