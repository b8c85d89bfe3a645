/* Pools, after Bonwick's magazines (Magazines and Vmem, USENIX 2001). A pool cuts objects from slabs,
   constructs each once, and never takes one back to raw memory before its end, so a free object is left
   untouched: lists lie in magazines, arrays of pointers, not in objects.

   A thread has a table of its magazines, two for each pool it uses: `loaded`, which serves, and `previous`,
   which is full or empty as a rule. A free into a full one or an allocation from an empty one swaps them, or
   exchanges one with the depot (depot.c); so a thread that goes to and fro at an edge exchanges nothing. What
   the fast paths look at, `fast`, is the loaded magazine, or one that is empty and full at once (`none`): for
   pools not used yet, for checked and for measured ones.

   There are always enough magazines that a free needs no memory: for all objects, and three more for each
   thread that uses the pool, of which it holds two and has one in hand (ensure_magazines, before objects are
   made and before a thread has its first).

   The lock is for what is not said above: numbers of pools, the list of tables, a thread's end, figures. The
   table of a thread is its own, but for um_pool_delete, when by contract nobody uses the pool.

   In a child of fork the tables of other threads are forgotten: they were caught in the middle of anything.
   Their objects and magazines stay lost; the three magazines a thread are counted for them still. */
#include "umalloc/pool.h"
#include "ext/depot.h"
#include "ext/local.h"
#include "ext/place.h"
#include "ext/room.h"
#include "os/fatal.h"
#include "os/lock.h"
#include "os/os.h"

#include <errno.h>

#define POOLS_MAX     1024u
#define OBJECT_MAX    (256 * UM_MIB)
#define ALIGN_MAX     UM_SLOT_BYTES
#define MAGAZINE_MAX  256u
#define MAGAZINE_SOME 64u /* objects, where the program does not say */
#define SLAB_OBJECTS  4u  /* a slab has room for so many at least */
#define FLAGS_ALL     (UM_POOL_CHECKED | UM_POOL_CACHE_LINE)
#define BUFFER_SIZES  7u /* 64 bytes to 4 KiB */

typedef struct slab {
    const um_pool *pool;
    struct slab *older;
    char *first;
    uint32_t count;           /* objects that fit */
    _Atomic(uint32_t) cut;    /* of them, handed to make_objects; relaxed: claims */
    _Atomic(uint64_t) live[]; /* UM_POOL_CHECKED: a bit for each object, set while it is allocated */
} slab;

struct um_pool_buffers {
    um_pool *pools[BUFFER_SIZES];
};

/* const after um_pool_new, to `depot`. The figures are relaxed: nobody synchronises on them. */
struct um_pool {
    size_t id; /* first: the fast paths read it */
    unsigned flags;
    um_flags place; /* of its slabs */
    bool closed;    /* threads do not see their magazines on the fast paths */
    unsigned sample_every, ready_threads;
    size_t stride, align, max_objects, slab_bytes;
    void (*construct)(void *object, void *context);
    void (*destroy)(void *object, void *context);
    void *context;
    um_pool_buffers buffers; /* of the smallest pool of a set */
    um_depot depot;
    _Alignas(
        UM_CACHE_LINE_BYTES) slab *_Atomic slab; /* the one that is cut, leads to the older ones; P1, P2 */
    _Atomic(size_t) made;                        /* objects; never above the bound */
    _Atomic(size_t) attached;                    /* threads that have magazines */
    _Atomic(size_t) stored, peak;                /* objects in the depot; most that were not */
    _Atomic(uint64_t) fetched, reused, failures, samples, sampled_ns, sampled_max_ns;
};

typedef um_magazine *_Atomic magazine_ref; /* relaxed: its thread's own, and figures */

typedef struct locals {
    magazine_ref fast[POOLS_MAX]; /* first; by number of the pool; never NULL */
    struct place {
        magazine_ref loaded, previous; /* both NULL until the thread uses the pool */
    } of[POOLS_MAX];
    struct locals *next, **link; /* the lock */
    unsigned tick;
} locals;

static um_magazine none; /* never written: count and limit are 0 */

static um_lock lock; /* rank: the modules' own; guards what follows */
static um_pool *pools[POOLS_MAX];
static locals *all;

#define LOAD(a)     atomic_load_explicit(&(a), memory_order_relaxed)
#define STORE(a, v) atomic_store_explicit(&(a), v, memory_order_relaxed)
#define ADD(a, n)   ((void)atomic_fetch_add_explicit(&(a), n, memory_order_relaxed))
#define SUB(a, n)   ((void)atomic_fetch_sub_explicit(&(a), n, memory_order_relaxed))

/* Raises a figure. */
#define RAISE(a, v, type)                                                                                    \
    for (type now_ = (v), was_ = LOAD(a);                                                                    \
         now_ > was_ && !atomic_compare_exchange_weak_explicit(&(a), &was_, now_, memory_order_relaxed,      \
                                                               memory_order_relaxed);)

/* Slabs and objects */

static bool is_checked(const um_pool *p) {
    return p->flags & UM_POOL_CHECKED;
}

/* The slab that the object lies in, or NULL: it lies in none of the pool's. Their spans' records say whose
   they are, so what is none is not touched. */
static slab *slab_of(const um_pool *p, const void *object) {
    slab *s = (slab *)um_round_down((uintptr_t)object, p->slab_bytes);
    const um_span *span = um_span_of(s);
    bool own = span && um_span_kind_of(span) == UM_SPAN_EXT && span->holder == p;
    return um_likely(own) ? s : NULL;
}

/* Its place among the slab's objects; what is none ends the process. */
static uint32_t number_of(const um_pool *p, const slab *s, const void *object) {
    size_t offset = s ? (size_t)((const char *)object - s->first) : 1;
    if (!s || offset % p->stride || offset / p->stride >= LOAD(s->cut))
        um_fatal("free of what is no object of this pool", object, 0, NULL);
    return (uint32_t)(offset / p->stride);
}

static void mark_live(const um_pool *p, const void *object) {
    slab *s = slab_of(p, object);
    uint32_t n = number_of(p, s, object);
    uint64_t bit = (uint64_t)1 << n % 64;
    /* Relaxed: the object itself orders its allocation and its free. */
    if (atomic_fetch_or_explicit(&s->live[n / 64], bit, memory_order_relaxed) & bit)
        um_fatal("object of a pool handed out twice", object, p->stride, NULL);
}

static void mark_free(const um_pool *p, const void *object) {
    slab *s = slab_of(p, object);
    uint32_t n = number_of(p, s, object);
    uint64_t bit = (uint64_t)1 << n % 64;
    if (!(atomic_fetch_and_explicit(&s->live[n / 64], ~bit, memory_order_relaxed) & bit))
        um_fatal("double free of an object of a pool", object, p->stride, NULL);
}

static size_t live_words(const um_pool *p) {
    return is_checked(p) ? p->slab_bytes / p->stride / 64 + 1 : 0;
}

/* Puts a new slab before `seen`, or finds that another thread did. False: no memory. */
static bool grow(um_pool *p, slab *seen) {
    size_t words = live_words(p), head = sizeof(slab) + words * sizeof(uint64_t);
    slab *s = um_room_take(UM_MODULE_pool, um_ext_place_now(p->place), p->slab_bytes, p->slab_bytes, NULL);
    if (!s)
        return false;
    um_span_of(s)->holder = p;
    s->pool = p;
    s->older = seen;
    s->first = (char *)s + um_round_up(head, p->align);
    s->count = (uint32_t)(((char *)s + p->slab_bytes - s->first) / p->stride);
    STORE(s->cut, 0);
    for (size_t i = 0; i < words; i++)
        STORE(s->live[i], 0);
    /* P1: release publishes the slab's record; pairs with P2. A slab never leaves before the pool ends, so
       the same pointer is the same slab (no ABA). */
    if (!atomic_compare_exchange_strong_explicit(&p->slab, &seen, s, memory_order_release,
                                                 memory_order_relaxed))
        um_room_give(s, head);
    return true;
}

static uint32_t cut_objects(um_pool *p, void **into, uint32_t wanted) {
    uint32_t got = 0;
    while (got < wanted) {
        slab *s = atomic_load_explicit(&p->slab, memory_order_acquire); /* P2: pairs with P1 */
        uint32_t cut = s ? LOAD(s->cut) : 0, n = s ? s->count - cut : 0;
        if (n == 0) {
            if (!grow(p, s))
                break;
            continue;
        }
        n = n < wanted - got ? n : wanted - got;
        /* Relaxed: it orders nothing; who wins has the objects to itself. */
        if (!atomic_compare_exchange_weak_explicit(&s->cut, &cut, cut + n, memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        for (; n > 0; n--)
            into[got++] = s->first + p->stride * cut++;
    }
    return got;
}

static bool ensure_magazines(um_pool *p, size_t objects) {
    size_t threads = LOAD(p->attached) + p->ready_threads + 1;
    return um_depot_ensure(&p->depot, objects / p->depot.limit + 1 + 3 * threads);
}

/* So many new objects, or as many as bound and memory allow. */
static uint32_t make_objects(um_pool *p, void **into, uint32_t wanted) {
    size_t made = LOAD(p->made);
    uint32_t n, got = 0;
    do {
        n = wanted;
        if (p->max_objects && p->max_objects - made < n)
            n = (uint32_t)(p->max_objects - made);
        if (n == 0)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&p->made, &made, made + n, memory_order_relaxed,
                                                    memory_order_relaxed)); /* a number */
    if (ensure_magazines(p, made + n))
        got = cut_objects(p, into, n);
    if (got < n)
        SUB(p->made, n - got);
    for (uint32_t i = 0; p->construct && i < got; i++)
        p->construct(into[i], p->context);
    ADD(p->fetched, got);
    return got;
}

/* Magazines */

static um_magazine *pop_full(um_pool *p) {
    um_magazine *m = um_depot_pop(&p->depot, &p->depot.full);
    if (m)
        SUB(p->stored, LOAD(m->count));
    return m;
}

/* To where it belongs. */
static void push(um_pool *p, um_magazine *m) {
    size_t count = LOAD(m->count);
    if (count)
        ADD(p->stored, count);
    um_depot_push(count ? &p->depot.full : &p->depot.empty, m);
}

/* One with room. Without memory for more, a magazine of the depot that is not full: the theory says that
   there is one, unless it is in another thread's hand for a moment. */
static um_magazine *with_room(um_pool *p) {
    for (;; um_cpu_relax()) {
        um_magazine *m = um_depot_pop(&p->depot, &p->depot.empty), *full = NULL, *next;
        if (m)
            return m;
        if (um_depot_ensure(&p->depot, (size_t)LOAD(p->depot.made) + 1))
            continue;
        while ((m = pop_full(p)) != NULL && LOAD(m->count) == m->limit) {
            m->objects[m->limit] = full;
            full = m;
        }
        for (; full; full = next) {
            next = full->objects[full->limit];
            push(p, full);
        }
        if (m)
            return m;
    }
}

static void *take(um_magazine *m) {
    size_t n = LOAD(m->count) - 1;
    STORE(m->count, n);
    return m->objects[n];
}

static void put(um_magazine *m, void *object) {
    size_t n = LOAD(m->count);
    m->objects[n] = object;
    STORE(m->count, n + 1);
}

/* What is cheap to see of misuse, before the magazine's objects are everybody's. */
static void check_magazine(const um_pool *p, const um_magazine *m) {
    uintptr_t seen = UINTPTR_MAX; /* a slab of the pool; in none at first */
    const void *last = m;
    for (size_t i = 0, n = LOAD(m->count); i < n; i++) {
        const void *object = m->objects[i];
        if (um_unlikely(object == last))
            um_fatal("double free of an object of a pool", object, p->stride, NULL);
        last = object;
        if (((uintptr_t)object ^ seen) < p->slab_bytes)
            continue;
        seen = um_round_down((uintptr_t)object, p->slab_bytes);
        if (um_unlikely(!slab_of(p, object)))
            um_fatal("free of what is no object of this pool", object, 0, NULL);
    }
}

/* Threads */

static void detach(um_pool *p, struct place *at) {
    um_magazine *a = LOAD(at->loaded), *b = LOAD(at->previous), *top = pop_full(p);
    STORE(at->loaded, NULL);
    STORE(at->previous, NULL);
    /* So that threads that end do not leave many that are neither full nor empty. */
    while (LOAD(b->count) && LOAD(a->count) < a->limit)
        put(a, take(b));
    while (top && LOAD(a->count) && LOAD(top->count) < top->limit)
        put(top, take(a));
    check_magazine(p, a);
    push(p, b);
    push(p, a);
    if (top)
        push(p, top);
    SUB(p->attached, 1);
}

static void thread_ends(void *own) {
    locals *l = own;
    um_lock_take(&lock);
    for (unsigned i = 0; i < POOLS_MAX; i++)
        if (LOAD(l->of[i].loaded))
            detach(pools[i], &l->of[i]);
    *l->link = l->next;
    if (l->next)
        l->next->link = l->link;
    um_lock_drop(&lock);
    um_room_give(l, sizeof *l);
}

static void before_fork(void) {
    um_lock_take(&lock);
}

static void in_parent(void) {
    um_lock_drop(&lock);
}

static void in_child(void) {
    um_lock_reset(&lock);
    all = um_local[UM_MODULE_pool];
    if (all) {
        all->next = NULL;
        all->link = &all;
    }
}

static const um_local_hooks hooks = {thread_ends, before_fork, in_parent, in_child};

/* The calling thread's table; NULL: no memory, or the thread is past its end. */
static locals *table(void) {
    locals *l = um_local[UM_MODULE_pool];
    if (um_likely(l != NULL))
        return l;
    if (um_local_use(UM_MODULE_pool, &hooks))
        return NULL;
    l = um_room_take(UM_MODULE_pool, um_room_here(), sizeof *l, 1, NULL);
    if (!l)
        return NULL;
    l->tick = 0;
    for (unsigned i = 0; i < POOLS_MAX; i++) {
        STORE(l->fast[i], &none);
        STORE(l->of[i].loaded, NULL);
        STORE(l->of[i].previous, NULL);
    }
    if (um_local_set(UM_MODULE_pool, l)) {
        um_room_give(l, sizeof *l);
        return NULL;
    }
    um_lock_take(&lock);
    l->next = all;
    l->link = &all;
    if (all)
        all->link = &l->next;
    all = l;
    um_lock_drop(&lock);
    return l;
}

/* Gives the thread its two magazines. */
static bool attach(um_pool *p, struct place *at) {
    if (LOAD(at->loaded))
        return true;
    ADD(p->attached, 1);
    if (!ensure_magazines(p, LOAD(p->made))) {
        SUB(p->attached, 1);
        return false;
    }
    STORE(at->previous, with_room(p));
    STORE(at->loaded, with_room(p));
    return true;
}

static void show(const um_pool *p, locals *own) {
    STORE(own->fast[p->id], p->closed ? &none : LOAD(own->of[p->id].loaded));
}

/* Allocation */

/* Objects into an empty loaded magazine; false: there are none to be had. */
static bool refill(um_pool *p, struct place *at) {
    um_magazine *m = LOAD(at->loaded), *before = LOAD(at->previous), *full;
    if (LOAD(before->count)) {
        STORE(at->loaded, before);
        STORE(at->previous, m);
        return true;
    }
    full = pop_full(p);
    if (full) {
        ADD(p->fetched, LOAD(full->count));
        ADD(p->reused, LOAD(full->count));
        STORE(at->loaded, full);
        STORE(at->previous, m);
        push(p, before);
    } else {
        STORE(m->count, make_objects(p, m->objects, p->depot.limit));
    }
    RAISE(p->peak, LOAD(p->made) - LOAD(p->stored), size_t)
    continue;
    return full || LOAD(m->count);
}

/* For who has no magazines. */
static void *alloc_alone(um_pool *p) {
    um_magazine *m = pop_full(p);
    void *object;
    if (!m)
        return make_objects(p, &object, 1) ? object : NULL;
    object = take(m);
    push(p, m);
    return object;
}

static void *alloc_here(um_pool *p, locals *own) {
    struct place *at = &own->of[p->id];
    if (!attach(p, at))
        return alloc_alone(p);
    if (!LOAD(LOAD(at->loaded)->count) && !refill(p, at))
        return NULL;
    show(p, own);
    return take(LOAD(at->loaded));
}

static UM_NOINLINE void *alloc_slow(um_pool *p) {
    locals *own = table();
    bool timed = p->sample_every && own && own->tick++ % p->sample_every == 0;
    uint64_t ns = timed ? um_os_now_ns() : 0;
    void *object = own ? alloc_here(p, own) : alloc_alone(p);
    if (timed) {
        ns = um_os_now_ns() - ns;
        ADD(p->samples, 1);
        ADD(p->sampled_ns, ns);
        RAISE(p->sampled_max_ns, ns, uint64_t)
        continue;
    }
    if (!object) {
        ADD(p->failures, 1);
        errno = ENOMEM;
    } else if (is_checked(p)) {
        mark_live(p, object);
    }
    return object;
}

void *um_pool_alloc(um_pool *p) {
    locals *own = um_local[UM_MODULE_pool];
    if (um_likely(own != NULL)) {
        um_magazine *m = LOAD(own->fast[p->id]);
        size_t n;
        if (um_likely(!__builtin_sub_overflow(LOAD(m->count), (size_t)1, &n))) {
            STORE(m->count, n);
            return m->objects[n];
        }
    }
    return alloc_slow(p);
}

/* Free */

/* A loaded magazine with room. */
static void exchange_full(um_pool *p, struct place *at) {
    um_magazine *m = LOAD(at->loaded), *before = LOAD(at->previous);
    if (LOAD(before->count) < before->limit) {
        STORE(at->loaded, before);
        STORE(at->previous, m);
        return;
    }
    check_magazine(p, before);
    STORE(at->previous, m);
    push(p, before);
    STORE(at->loaded, with_room(p));
}

static UM_NOINLINE void free_slow(um_pool *p, void *object) {
    locals *own = table();
    um_magazine *m;
    if (is_checked(p))
        mark_free(p, object);
    if (own && attach(p, &own->of[p->id])) {
        struct place *at = &own->of[p->id];
        if (LOAD(LOAD(at->loaded)->count) == p->depot.limit)
            exchange_full(p, at);
        show(p, own);
        put(LOAD(at->loaded), object);
        return;
    }
    m = with_room(p);
    put(m, object);
    check_magazine(p, m);
    push(p, m);
}

void um_pool_free(um_pool *p, void *object) {
    locals *own = um_local[UM_MODULE_pool];
    if (um_likely(own != NULL)) {
        um_magazine *m = LOAD(own->fast[p->id]);
        size_t n = LOAD(m->count);
        if (um_likely(n < m->limit)) {
            m->objects[n] = object;
            STORE(m->count, n + 1);
            return;
        }
    }
    free_slow(p, object);
}

int um_pool_warm(um_pool *p) {
    locals *own = table();
    struct place *at = own ? &own->of[p->id] : NULL;
    if (!own || !attach(p, at))
        return ENOMEM;
    if (!LOAD(LOAD(at->loaded)->count) && !refill(p, at))
        return ENOMEM;
    show(p, own);
    return 0;
}

void um_pool_flush(um_pool *p) {
    locals *own = um_local[UM_MODULE_pool];
    struct place *at = own ? &own->of[p->id] : NULL;
    if (!own || !LOAD(at->loaded))
        return;
    STORE(own->fast[p->id], &none);
    detach(p, at);
}

/* Begin and end */

static bool reads_wrong(const um_pool_options *o) {
    return !o || o->bytes < 1 || o->bytes > OBJECT_MAX || (o->align && !um_is_pow2(o->align)) ||
           o->align > ALIGN_MAX || o->magazine > MAGAZINE_MAX || o->flags & ~(unsigned)FLAGS_ALL ||
           (o->max_objects && o->ready_objects > o->max_objects) || um_ext_check_place(o->place) != 0;
}

static uint32_t magazine_limit(const um_pool_options *o, size_t stride) {
    size_t some = um_min(MAGAZINE_SOME, um_max(2, 64 * UM_KIB / stride));
    if (o->max_objects) /* so that few are out of other threads' reach */
        some = um_min(some, um_max(1, o->max_objects / 32));
    return o->magazine ? o->magazine : (uint32_t)some;
}

static size_t slab_bytes_of(const um_pool *p) {
    size_t least = um_round_up(sizeof(slab) + 64, p->align) + SLAB_OBJECTS * p->stride;
    return um_max(UM_SLOT_BYTES, (size_t)1 << (um_log2_floor(least - 1) + 1));
}

static void set_up(um_pool *p, const um_pool_options *o, uint32_t limit, size_t stride) {
    *p = (um_pool){
        .flags = o->flags,
        .place = o->place,
        .closed = o->flags & UM_POOL_CHECKED || o->sample_every,
        .sample_every = o->sample_every,
        .ready_threads = o->ready_threads,
        .stride = stride,
        .align = um_max(o->flags & UM_POOL_CACHE_LINE ? UM_CACHE_LINE_BYTES : 16, o->align),
        .max_objects = o->max_objects,
        .construct = o->construct,
        .destroy = o->destroy,
        .context = o->context,
    };
    p->slab_bytes = slab_bytes_of(p);
    um_depot_init(&p->depot, limit, (char *)p + um_round_up(sizeof *p, UM_CACHE_LINE_BYTES));
}

/* Objects into the depot, their pages in memory. */
static bool make_ready(um_pool *p, size_t objects) {
    if (!ensure_magazines(p, objects))
        return false;
    for (size_t page = um_os_page_bytes, n; objects > 0; objects -= n) {
        um_magazine *m = with_room(p);
        n = make_objects(p, m->objects, (uint32_t)um_min(objects, m->limit));
        STORE(m->count, (uint32_t)n);
        for (size_t i = 0; i < n; i++)
            for (size_t at = 0; at < p->stride; at += page) {
                volatile char *byte = (char *)m->objects[i] + at;
                char same = *byte;
                *byte = same; /* a write that changes nothing */
            }
        push(p, m);
        if (n == 0)
            return false;
    }
    return true;
}

static bool number(um_pool *p) {
    bool found = false;
    um_lock_take(&lock);
    for (size_t i = 0; i < POOLS_MAX && !found; i++)
        if (!pools[i]) {
            pools[i] = p;
            p->id = i;
            found = true;
        }
    um_lock_drop(&lock);
    return found;
}

um_pool *um_pool_new(const um_pool_options *o) {
    size_t align, stride;
    uint32_t limit;
    um_pool *p;
    if (reads_wrong(o)) {
        errno = EINVAL;
        return NULL;
    }
    align = um_max(o->flags & UM_POOL_CACHE_LINE ? UM_CACHE_LINE_BYTES : 16, o->align);
    stride = um_round_up(o->bytes, align);
    limit = magazine_limit(o, stride);
    p = um_room_take(UM_MODULE_pool, um_room_here(),
                     sizeof *p + UM_CACHE_LINE_BYTES + um_depot_first_bytes(limit), 1, NULL);
    if (!p)
        return NULL;
    set_up(p, o, limit, stride);
    if (!number(p)) {
        um_room_give(p, sizeof *p);
        errno = EAGAIN;
        return NULL;
    }
    if (o->ready_objects && !make_ready(p, o->ready_objects)) {
        um_pool_delete(p);
        errno = ENOMEM;
        return NULL;
    }
    return p;
}

void um_pool_delete(um_pool *p) {
    slab *s, *older;
    if (!p)
        return;
    um_room_must_be(UM_MODULE_pool, p, "invalid um_pool_delete");
    um_lock_take(&lock);
    for (locals *l = all; l; l = l->next) {
        STORE(l->fast[p->id], &none);
        STORE(l->of[p->id].loaded, NULL);
        STORE(l->of[p->id].previous, NULL);
    }
    pools[p->id] = NULL;
    um_lock_drop(&lock);
    for (s = LOAD(p->slab); s; s = older) { /* nobody else has the pool now: relaxed is enough */
        uint32_t cut = LOAD(s->cut);
        older = s->older;
        for (uint32_t i = 0; p->destroy && i < cut; i++)
            p->destroy(s->first + i * p->stride, p->context);
        um_room_give(s, (size_t)(s->first + cut * p->stride - (char *)s));
    }
    um_depot_end(&p->depot);
    um_room_give(p, um_room_bytes(p));
}

/* Figures */

static size_t held_bytes(um_pool *p) {
    size_t sum = um_room_bytes(p);
    for (slab *s = atomic_load_explicit(&p->slab, memory_order_acquire); s; s = s->older) /* P2 */
        sum += p->slab_bytes;
    return sum + um_depot_bytes(&p->depot);
}

void um_pool_read_stats(um_pool *p, um_pool_stats *out) {
    size_t cached = 0, stored;
    um_lock_take(&lock);
    for (locals *l = all; l; l = l->next) {
        const um_magazine *a = LOAD(l->of[p->id].loaded), *b = LOAD(l->of[p->id].previous);
        cached += (a ? LOAD(a->count) : 0) + (b ? LOAD(b->count) : 0);
    }
    um_lock_drop(&lock);
    stored = LOAD(p->stored);
    *out = (um_pool_stats){
        .object_bytes = p->stride,
        .made = LOAD(p->made),
        .cached = cached,
        .peak = LOAD(p->peak),
        .held_bytes = held_bytes(p),
        .fetched = LOAD(p->fetched),
        .reused = LOAD(p->reused),
        .failures = LOAD(p->failures),
        .samples = LOAD(p->samples),
        .sampled_ns = LOAD(p->sampled_ns),
        .sampled_max_ns = LOAD(p->sampled_max_ns),
    };
    out->in_use = out->made - um_min(out->made, stored + cached);
}

/* Buffers */

static unsigned size_of(size_t bytes) {
    return bytes <= 64 ? 0 : um_log2_floor(bytes - 1) - 5;
}

um_pool_buffers *um_pool_buffers_new(const um_pool_options *options) {
    um_pool_options o = options ? *options : (um_pool_options){0};
    um_pool *made[BUFFER_SIZES];
    for (unsigned i = 0; i < BUFFER_SIZES; i++) {
        o.bytes = (size_t)64 << i;
        o.align = 64;
        made[i] = um_pool_new(&o);
        if (!made[i]) {
            int why = errno;
            while (i-- > 0)
                um_pool_delete(made[i]);
            errno = why;
            return NULL;
        }
    }
    for (unsigned i = 0; i < BUFFER_SIZES; i++)
        made[0]->buffers.pools[i] = made[i];
    return &made[0]->buffers;
}

void um_pool_buffers_delete(um_pool_buffers *b) {
    for (unsigned i = BUFFER_SIZES; b && i > 0; i--) /* the first last: b lies in it */
        um_pool_delete(b->pools[i - 1]);
}

um_pool *um_pool_buffers_pool(um_pool_buffers *b, size_t bytes) {
    return bytes <= 4096 ? b->pools[size_of(bytes)] : NULL;
}

void *um_pool_buffers_get(um_pool_buffers *b, size_t bytes) {
    if (um_unlikely(bytes > 4096)) {
        errno = EINVAL;
        return NULL;
    }
    return um_pool_alloc(b->pools[size_of(bytes)]);
}

void um_pool_buffers_put(um_pool_buffers *b, void *p) {
    const slab *s = (const slab *)um_round_down((uintptr_t)p, UM_SLOT_BYTES);
    unsigned i;
    if (um_room_is(UM_MODULE_pool, s))
        for (i = 0; i < BUFFER_SIZES; i++)
            if (b->pools[i] == s->pool) {
                um_pool_free(b->pools[i], p);
                return;
            }
    um_fatal("put of what is no buffer of these", p, 0, NULL);
}
