/* What read sections (epoch.c) and hazard pointers (hazard.c) have in common: a record for each thread, and
   bags of retired objects.

   Records are cut from spans, linked in a list that only grows, and used again by later threads: so a walk
   over all of them takes no lock and never reads what is gone. A new record is shown before its thread reads
   anything in a section; a walk that misses it began before (it is the reader's first store that counts).

   A thread fills a bag of 62 objects, closes it with a stamp, and at every fourth closed one looks
   how many of them are old. Where a look finds a reader in the way, the next one comes after a quarter more
   bags: so looks cost a bounded share even when nothing goes. Old bags are emptied in the order in which they
   were closed. While a thread does that it is busy: the functions it calls may retire more, which is only put
   down. free of a bag by one thread sends the blocks to their owners in chains, as any run of remote frees
   does.

   What a thread leaves at its end goes to one shared pile, under the lock, from where the next thread that
   looks takes it; so goes what a thread without a record retires. Bags are shared through a free list and
   never given back: there are as many as the most that waited at once.

   In a child of fork only the forking thread's record goes on. Records of others are emptied, but not their
   piles: they were caught in the middle of anything. Their objects stay for ever.

   If a filter refuses membarrier after it was allowed at first, nothing gets old any more: sections that run
   without a fence cannot be told to begin using one. Then nobody waits, for it would be for ever. */
#include "ext/reclaim.h"
#include "ext/room.h"
#include "os/fatal.h"
#include "os/fence.h"
#include "os/lock.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>

#define BAGS_A_LOOK   4
#define WAIT_SPINS    200
#define WAIT_US_FIRST 20
#define WAIT_US_MOST  1000

typedef struct chunk {
    struct chunk *_Atomic next; /* V1, V2 */
    _Atomic(uint32_t) used;     /* records that were ever out; V1, V2 */
    char pad[sizeof(um_reader) - 2 * sizeof(void *)];
    um_reader records[UM_SLOT_BYTES / sizeof(um_reader) - 1];
} chunk;

_Static_assert(sizeof(chunk) == UM_SLOT_BYTES, "a chunk is a slot");

bool um_reclaim_fences;

static um_lock lock;           /* rank: the modules' own; guards what follows, up to `shared` */
static chunk *_Atomic chunks;  /* changed under the lock; V1, V2 */
static um_reader *free_reader; /* list */
static um_bag *free_bag;       /* list */
static um_pile shared[UM_PILES];
static _Atomic(bool) started;      /* V3, V4 */
static _Atomic(bool) refused;      /* membarrier, after it was allowed; relaxed: who misses it asks again */
static _Atomic(bool) shared_waits; /* something is in `shared`; relaxed: a hint that spares the lock */
static _Atomic(uint64_t) looks;    /* counter */
static _Atomic(uint64_t) stalls;   /* counter */
static _Atomic(uint64_t) late;     /* counter: retired without a record */
static size_t bound;               /* bags; const once other threads retire */
static void (*bound_stalled)(uint32_t thread, size_t waiting); /* likewise */

static void add(_Atomic(uint64_t) *counter, uint64_t n) {
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed); /* a counter */
}

/* A counter that only its thread writes. */
static void add_own(_Atomic(uint64_t) *counter, uint64_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static void start_locked(void) {
    if (atomic_load_explicit(&started, memory_order_relaxed)) /* under the lock */
        return;
    um_reclaim_fences = um_os_fence_join() != 0;
    atomic_store_explicit(&started, true, memory_order_release); /* V3: um_reclaim_fences; pairs with V4 */
}

bool um_reclaim_order(void) {
    if (um_unlikely(!atomic_load_explicit(&started, memory_order_acquire))) { /* V4 */
        um_lock_take(&lock);
        start_locked();
        um_lock_drop(&lock);
    }
    add(&looks, 1);
    if (!um_reclaim_fences) {
        int err = um_os_fence_all();
        if (err && err != ENOMEM)
            atomic_store_explicit(&refused, true, memory_order_relaxed); /* see there */
        return err == 0;
    }
    atomic_thread_fence(memory_order_seq_cst); /* pairs with those of readers: epoch.c, hazard.c */
    return true;
}

bool um_reclaim_refused(void) {
    return atomic_load_explicit(&refused, memory_order_relaxed); /* see there */
}

void um_reclaim_wait(unsigned *turn) {
    uint32_t us = WAIT_US_FIRST;
    if (++*turn == 1) {
        for (unsigned i = 0; i < WAIT_SPINS; i++)
            um_cpu_relax();
        return;
    }
    us <<= um_min(*turn - 2, 8);
    um_os_nap((uint32_t)um_min(us, WAIT_US_MOST));
}

/* --- records --- */

static um_reader *cut_locked(void) {
    chunk *c = atomic_load_explicit(&chunks, memory_order_relaxed); /* under the lock */
    uint32_t used = c ? atomic_load_explicit(&c->used, memory_order_relaxed) : 0;
    if (!c || used == UM_COUNT(c->records)) {
        bool zeroed;
        chunk *fresh = um_room_take(UM_MODULE_reclaim, um_room_here(), sizeof *c, 1, &zeroed);
        if (!fresh)
            return NULL;
        if (!zeroed)
            __builtin_memset(fresh, 0, sizeof *fresh);
        atomic_store_explicit(&fresh->next, c, memory_order_relaxed); /* V1 shows it */
        atomic_store_explicit(&chunks, fresh, memory_order_release);  /* V1: pairs with V2 */
        c = fresh;
        used = 0;
    }
    atomic_store_explicit(&c->used, used + 1,
                          memory_order_release); /* V1: the record is zero; pairs with V2 */
    return &c->records[used];
}

void um_readers_each(void (*f)(um_reader *r, void *ctx), void *ctx) {
    /* V2: acquire pairs with V1 */
    for (chunk *c = atomic_load_explicit(&chunks, memory_order_acquire); c;
         c = atomic_load_explicit(&c->next, memory_order_acquire)) {
        uint32_t used = atomic_load_explicit(&c->used, memory_order_acquire);
        for (uint32_t i = 0; i < used; i++)
            f(&c->records[i], ctx);
    }
}

static void put_away_locked(um_reader *r) {
    r->next_free = free_reader;
    free_reader = r;
}

static void clear_hazards(um_reader *r) {
    r->taken = 0;
    for (unsigned i = 0; i < UM_HAZARDS_A_THREAD; i++)
        um_hazard_set(&r->hazards[i], NULL);
}

/* --- piles --- */

void um_pile_append(um_pile *p, um_bag *b) {
    b->next = NULL;
    if (p->last)
        p->last->next = b;
    else
        p->first = b;
    p->last = b;
    p->closed++;
}

static um_bag *pop(um_pile *p) {
    um_bag *b = p->first;
    p->first = b->next;
    if (!p->first)
        p->last = NULL;
    p->closed--;
    return b;
}

/* Closes the bag that fills, if there is one with anything in it. */
static void close_bag(um_pile *p) {
    if (!p->filling || !p->filling->count)
        return;
    p->filling->stamp = um_epoch_stamp();
    um_pile_append(p, p->filling);
    p->filling = NULL;
}

/* Closed bags only. */
static void move_all(um_pile *to, um_pile *from) {
    while (from->first)
        um_pile_append(to, pop(from));
}

static um_bag *take_bag_locked(void) {
    um_bag *b = free_bag;
    if (b) {
        free_bag = b->next;
        b->count = 0;
        return b;
    }
    b = um_room_take(UM_MODULE_reclaim, um_room_here(), UM_SLOT_BYTES, 1, NULL);
    if (!b)
        return NULL;
    for (size_t i = 1; i < UM_SLOT_BYTES / sizeof *b; i++) {
        b[i].next = free_bag;
        free_bag = &b[i];
    }
    b->count = 0;
    return b;
}

static um_bag *take_bag(void) {
    um_bag *b;
    um_lock_take(&lock);
    b = take_bag_locked();
    um_lock_drop(&lock);
    return b;
}

void um_bag_give(um_bag *b) {
    um_lock_take(&lock);
    b->next = free_bag;
    free_bag = b;
    um_lock_drop(&lock);
}

void um_bag_empty(um_reader *own, um_bag *b) {
    uint64_t kept = 0, count = b->count;
    for (uint64_t i = 0; i < count; i++) {
        um_retired one = b->of[i];
        if (b->held >> i & 1)
            b->of[kept++] = one;
        else
            one.reclaim(one.object);
    }
    b->count = kept;
    b->held = 0;
    add_own(&own->reclaimed, count - kept);
    UM_COUNT_ADD(reclaimed_objects, count - kept);
}

/* --- reclaiming --- */

static void empty_old(um_reader *own, uint64_t old) {
    um_pile *p = &own->piles[UM_PILE_EPOCH];
    while (p->first && p->first->stamp < old) {
        um_bag *b = pop(p);
        b->held = 0;
        um_bag_empty(own, b);
        um_bag_give(b);
    }
}

/* What others left joins the calling thread's piles: in front, for it may be older than what is there, and
   the pile is emptied in order. */
static void adopt(um_reader *own) {
    if (!atomic_load_explicit(&shared_waits, memory_order_relaxed)) /* hint */
        return;
    um_lock_take(&lock);
    atomic_store_explicit(&shared_waits, false, memory_order_relaxed);
    for (unsigned kind = 0; kind < UM_PILES; kind++) {
        um_pile *from = &shared[kind];
        close_bag(from);
        move_all(from, &own->piles[kind]);
        move_all(&own->piles[kind], from);
    }
    um_lock_drop(&lock);
}

static void look_for_old(um_reader *own) {
    um_pile *p = &own->piles[UM_PILE_EPOCH];
    size_t before;
    adopt(own);
    before = p->closed;
    empty_old(own, um_epoch_look());
    if (p->closed && p->closed >= before) {
        add(&stalls, 1);
        UM_COUNT_ADD(reclaim_stalls, 1);
    }
    p->due = p->closed + um_max(BAGS_A_LOOK, p->closed / 4);
}

static void look_for_held(um_reader *own) {
    adopt(own);
    um_hazard_sift(own, &own->piles[UM_PILE_HAZARD]);
}

/* A thread has more waiting than it may: tells, and waits unless the reader may be itself. */
static UM_COLD void over_bound(um_reader *own) {
    um_pile *p = &own->piles[UM_PILE_EPOCH];
    uint64_t stamps;
    empty_old(own, um_epoch_look());
    if (p->closed <= bound)
        return;
    if (bound_stalled)
        bound_stalled(um_epoch_oldest(&stamps), p->closed * UM_BAG_OBJECTS);
    while (!own->nest && p->closed > bound && um_epoch_wait(p->first->stamp))
        empty_old(own, um_epoch_old());
}

/* Brings the report up to date. */
static void tell(um_reader *own) {
    uint64_t retired = atomic_load_explicit(&own->retired, memory_order_relaxed); /* our own counter */
    UM_COUNT_ADD(retired_objects, retired - own->told);
    own->told = retired;
}

/* A bag was closed. */
static void turn_over(um_reader *own, um_pile_kind kind) {
    um_pile *p = &own->piles[kind];
    if (own->busy)
        return;
    own->busy = true;
    tell(own);
    if (kind == UM_PILE_EPOCH)
        empty_old(own, um_epoch_old());
    if (p->closed >= um_max(p->due, BAGS_A_LOOK))
        (kind == UM_PILE_EPOCH ? look_for_old : look_for_held)(own);
    if (kind == UM_PILE_EPOCH && bound && p->closed > bound)
        over_bound(own);
    own->busy = false;
}

static void put_down(um_bag *b, void *object, void (*reclaim)(void *object)) {
    b->of[b->count++] = (um_retired){object, reclaim ? reclaim : free};
}

/* For threads without a record: nobody looks until another thread does. */
static UM_COLD bool put_shared(um_pile *p, void *object, void (*reclaim)(void *object)) {
    bool done;
    um_lock_take(&lock);
    if (p->filling && p->filling->count == UM_BAG_OBJECTS)
        close_bag(p);
    if (!p->filling)
        p->filling = take_bag_locked();
    if (p->filling) {
        put_down(p->filling, object, reclaim);
        atomic_store_explicit(&shared_waits, true, memory_order_relaxed); /* hint; under the lock */
    }
    done = p->filling != NULL;
    um_lock_drop(&lock);
    return done;
}

static bool no_memory(void) {
    errno = ENOMEM;
    return false;
}

bool um_reclaim_put(um_pile_kind kind, void *object, void (*reclaim)(void *object)) {
    um_reader *own = um_reader_own();
    um_pile *p;
    if (!object)
        return true;
    if (um_unlikely(!own)) {
        if (!put_shared(&shared[kind], object, reclaim))
            return no_memory();
        add(&late, 1);
        UM_COUNT_ADD(retired_objects, 1);
        return true;
    }
    p = &own->piles[kind];
    if (p->filling && p->filling->count == UM_BAG_OBJECTS) { /* left so by hazard.c */
        close_bag(p);
        turn_over(own, kind);
    }
    if (!p->filling && !(p->filling = take_bag()))
        return no_memory();
    put_down(p->filling, object, reclaim);
    add_own(&own->retired, 1);
    if (p->filling->count == UM_BAG_OBJECTS) {
        close_bag(p);
        turn_over(own, kind);
    }
    return true;
}

bool um_retire(void *object, void (*reclaim)(void *object)) {
    return um_reclaim_put(UM_PILE_EPOCH, object, reclaim);
}

void um_reclaim_flush(void) {
    um_reader *own = um_reader_own();
    if (own && (own->nest || own->busy))
        um_fatal("um_reclaim_flush", __builtin_return_address(0), 0,
                 own->nest ? "in a read section" : "in a function that reclaims");
    if (!own) {
        (void)um_epoch_wait(um_epoch_stamp());
        return;
    }
    own->busy = true;
    tell(own);
    adopt(own);
    for (unsigned kind = 0; kind < UM_PILES; kind++)
        close_bag(&own->piles[kind]);
    (void)um_epoch_wait(um_epoch_stamp());
    empty_old(own, um_epoch_old());
    um_hazard_sift(own, &own->piles[UM_PILE_HAZARD]);
    own->busy = false;
}

void um_reclaim_bound(size_t objects, void (*stalled)(uint32_t thread, size_t waiting)) {
    bound = objects / UM_BAG_OBJECTS + (objects % UM_BAG_OBJECTS != 0);
    bound_stalled = stalled;
}

/* --- a thread's life, and fork --- */

static void thread_ends(void *own_record) {
    um_reader *own = own_record;
    own->nest = 0;
    atomic_store_explicit(&own->active, 0, memory_order_release); /* G3: it cannot read any more */
    clear_hazards(own);
    own->busy = true;
    tell(own);
    for (unsigned kind = 0; kind < UM_PILES; kind++)
        close_bag(&own->piles[kind]);
    if (own->piles[UM_PILE_EPOCH].first)
        empty_old(own, um_epoch_look());
    um_hazard_sift(own, &own->piles[UM_PILE_HAZARD]);
    um_lock_take(&lock);
    for (unsigned kind = 0; kind < UM_PILES; kind++) {
        um_pile *p = &own->piles[kind];
        close_bag(p);
        if (p->first)
            atomic_store_explicit(&shared_waits, true, memory_order_relaxed); /* hint; under the lock */
        move_all(&shared[kind], p);
        if (p->filling) { /* empty: hazard.c leaves one */
            p->filling->next = free_bag;
            free_bag = p->filling;
        }
        *p = (um_pile){0};
    }
    own->busy = false;
    put_away_locked(own);
    um_lock_drop(&lock);
}

static void before_fork(void) {
    um_lock_take(&lock);
}

static void in_parent(void) {
    um_lock_drop(&lock);
}

static void forget_other(um_reader *r, void *ctx) {
    if (r == ctx)
        return;
    atomic_store_explicit(&r->active, 0, memory_order_relaxed); /* single thread, all of it */
    r->nest = 0;
    r->busy = false;
    clear_hazards(r);
    for (unsigned kind = 0; kind < UM_PILES; kind++)
        r->piles[kind] = (um_pile){0};
    put_away_locked(r);
}

static void in_child(void) {
    um_reader *own = um_local[UM_MODULE_reclaim];
    um_lock_reset(&lock);
    if (um_os_fence_join() != 0)
        um_reclaim_fences = true;
    atomic_store_explicit(&refused, false, memory_order_relaxed); /* single thread */
    free_reader = NULL;
    um_readers_each(forget_other, own);
    um_epoch_in_child(own != NULL);
    if (own)
        atomic_store_explicit(&own->thread, um_os_tid(), memory_order_relaxed); /* for people */
}

static const um_local_hooks hooks = {thread_ends, before_fork, in_parent, in_child};

um_reader *um_reader_join(void) {
    um_reader *own;
    if (um_local_use(UM_MODULE_reclaim, &hooks) != 0)
        return NULL;
    um_lock_take(&lock);
    start_locked();
    own = free_reader;
    if (own)
        free_reader = own->next_free;
    else
        own = cut_locked();
    um_lock_drop(&lock);
    if (!own)
        return NULL;
    if (um_local_set(UM_MODULE_reclaim, own) != 0) {
        um_lock_take(&lock);
        put_away_locked(own);
        um_lock_drop(&lock);
        return NULL;
    }
    atomic_store_explicit(&own->thread, um_os_tid(), memory_order_relaxed); /* for people */
    return own;
}

/* --- what is told --- */

static void sum(um_reader *r, void *ctx) {
    um_reclaim_stats *s = ctx;
    s->reclaimed += atomic_load_explicit(&r->reclaimed, memory_order_relaxed); /* counters */
    s->retired += atomic_load_explicit(&r->retired, memory_order_relaxed);
}

void um_reclaim_stat(um_reclaim_stats *out, size_t bytes) {
    um_reclaim_stats s = {0};
    uint64_t stamps;
    um_readers_each(sum, &s);
    s.retired += atomic_load_explicit(&late, memory_order_relaxed); /* counters, these three */
    s.looks = atomic_load_explicit(&looks, memory_order_relaxed);
    s.stalls = atomic_load_explicit(&stalls, memory_order_relaxed);
    s.waiting = s.retired > s.reclaimed ? s.retired - s.reclaimed : 0;
    s.oldest_thread = um_epoch_oldest(&stamps);
    s.oldest_bags = (uint32_t)um_min(stamps, UINT32_MAX);
    um_lock_take(&lock);
    start_locked();
    s.sections_fence = um_reclaim_fences;
    s.refused = um_reclaim_refused();
    um_lock_drop(&lock);
    __builtin_memcpy(out, &s, um_min(bytes, sizeof s));
}
