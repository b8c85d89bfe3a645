/* The depot's stacks are Treiber's (Systems Programming: Coping with Parallelism, IBM RJ 5118, 1986). The
   head is one word: 24 bits name the magazine on top (0: none), 40 bits count the pushes.

   Why it works. A pop reads the head, then the top's `next`, then compares and swaps. Between the two reads
   others may take the top and even use it, so `next` may be of any time; magazines are never given back while
   the pool lives, so it can be read. The swap succeeds only if the head is the same still, and then `next`
   was right: the count of pushes changes at each push, and between two pushes the stack only shrinks, so an
   index is on top once at most for each count. A magazine that went and came back (ABA) came by a push. The
   count returns to a value after 2^40 pushes: for that a thread would have to stand still between two
   instructions for a day, at ten million pushes a second, and wake at the one push that fits.

   test/model/depot.pml has the same steps; without the count it finds a magazine with two holders.

   Magazines are numbered from 1 and lie in chunks that double, so a number leads to an address by a shift and
   a look at a table of 17. */
#include "ext/depot.h"
#include "conf/counters.h"
#include "ext/room.h"

#define INDEX_MASK (((uint64_t)1 << UM_DEPOT_INDEX_BITS) - 1)
#define PUSHED     ((uint64_t)1 << UM_DEPOT_INDEX_BITS)
#define MADE_MAX   (UM_DEPOT_FIRST * ((1u << UM_DEPOT_CHUNKS) - 1))

_Static_assert(MADE_MAX <= INDEX_MASK, "each magazine has a number");

static uint32_t stride_of(uint32_t limit) {
    return (uint32_t)um_round_up(sizeof(um_magazine) + (limit + 1) * sizeof(void *), UM_CACHE_LINE_BYTES);
}

size_t um_depot_first_bytes(uint32_t limit) {
    return (size_t)UM_DEPOT_FIRST * stride_of(limit);
}

void um_depot_init(um_depot *d, uint32_t limit, char *first) {
    *d = (um_depot){.limit = limit, .stride = stride_of(limit), .chunks = {first}};
}

size_t um_depot_bytes(um_depot *d) {
    size_t sum = 0;
    for (unsigned k = 1; k < UM_DEPOT_CHUNKS; k++) {
        char *chunk = atomic_load_explicit(&d->chunks[k], memory_order_acquire); /* D6 */
        sum += chunk ? um_room_bytes(chunk) : 0;
    }
    return sum;
}

void um_depot_end(um_depot *d) {
    for (unsigned k = 1; k < UM_DEPOT_CHUNKS; k++) {
        char *chunk = atomic_load_explicit(&d->chunks[k], memory_order_relaxed); /* no other thread is left */
        if (chunk)
            um_room_give(chunk, um_room_bytes(chunk));
    }
}

static unsigned chunk_of(uint32_t index) {
    return um_log2_floor((index - 1) / UM_DEPOT_FIRST + 1);
}

static um_magazine *magazine(um_depot *d, uint32_t index) {
    unsigned k = chunk_of(index);
    size_t within = index - 1 - UM_DEPOT_FIRST * ((1u << k) - 1);
    /* D6: acquire pairs with the release in open_chunk; who has the index got it later. */
    char *chunk = atomic_load_explicit(&d->chunks[k], memory_order_acquire);
    return (um_magazine *)(void *)(chunk + within * d->stride);
}

static bool open_chunk(um_depot *d, unsigned k) {
    char *none = NULL, *fresh;
    if (atomic_load_explicit(&d->chunks[k], memory_order_relaxed)) /* which it is does not matter here */
        return true;
    fresh = um_room_take(UM_MODULE_pool, um_room_here(), um_depot_first_bytes(d->limit) << k, 1, NULL);
    if (!fresh)
        return false;
    /* D6: release: the room's record. The loser's room goes back untouched. */
    if (!atomic_compare_exchange_strong_explicit(&d->chunks[k], &none, fresh, memory_order_release,
                                                 memory_order_relaxed))
        um_room_give(fresh, 1);
    return true;
}

bool um_depot_ensure(um_depot *d, size_t magazines) {
    uint32_t made = atomic_load_explicit(&d->made, memory_order_relaxed); /* the swap decides */
    um_magazine *m;
    if (magazines > MADE_MAX)
        return false;
    while (made < magazines) {
        if (!open_chunk(d, chunk_of(made + 1)))
            return false;
        /* Relaxed: it orders nothing; who wins has the number to itself. */
        if (!atomic_compare_exchange_weak_explicit(&d->made, &made, made + 1, memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        m = magazine(d, ++made);
        m->limit = d->limit;
        m->index = made;
        atomic_store_explicit(&m->count, 0, memory_order_relaxed); /* D1 publishes it */
        um_depot_push(&d->empty, m);
    }
    return true;
}

void um_depot_push(_Atomic(uint64_t) *stack, um_magazine *m) {
    uint64_t head = atomic_load_explicit(stack, memory_order_relaxed), top; /* the swap decides */
    do {
        /* D3: relaxed; D1 publishes it, and a pop that reads it too early or too late fails at its swap. */
        atomic_store_explicit(&m->next, (uint32_t)(head & INDEX_MASK), memory_order_relaxed);
        top = ((head & ~INDEX_MASK) + PUSHED) | m->index;
        /* D1: release publishes the magazine's objects and `next`; pairs with D2. */
    } while (!atomic_compare_exchange_weak_explicit(stack, &head, top, memory_order_release,
                                                    memory_order_relaxed));
}

um_magazine *um_depot_pop(um_depot *d, _Atomic(uint64_t) *stack) {
    /* D2: acquire, here and where the swap succeeds or fails, pairs with D1. A head that a pop left behind is
       of the release sequence of the push that put that magazine there. */
    uint64_t head = atomic_load_explicit(stack, memory_order_acquire), below;
    um_magazine *m;
    do {
        if (!(head & INDEX_MASK))
            return NULL;
        m = magazine(d, (uint32_t)(head & INDEX_MASK));
        below = (head & ~INDEX_MASK) | atomic_load_explicit(&m->next, memory_order_relaxed); /* D3 */
    } while (!atomic_compare_exchange_weak_explicit(stack, &head, below, memory_order_acquire,
                                                    memory_order_acquire));
    return m;
}
