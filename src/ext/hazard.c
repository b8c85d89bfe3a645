/* Hazard pointers (Michael, Hazard pointers: safe memory reclamation for lock-free objects, 2004). A reader
   stores the address of the object that it is about to read, and looks whether the pointer that led there
   still does. Between the store and that look there is order for the compiler alone: who wants to reclaim
   makes every thread pass a fence before it reads the hazard pointers, as for read sections. Had the reader
   stored before its fence, the address is seen; else its second look comes after, and sees that the object
   was unlinked.

   Objects wait in bags. To judge some, their objects are sorted, and each hazard pointer is looked up
   there, so that no memory is needed for a list of them. What is not held is reclaimed, what is held goes to
   the bag that fills. */
#include "ext/reclaim.h"
#include "os/fatal.h"

#include <errno.h>

um_hazard *um_hazard_take(void) {
    um_reader *own = um_reader_own();
    unsigned i = own ? (unsigned)__builtin_ctz(~own->taken) : 0;
    if (!own || i >= UM_HAZARDS_A_THREAD) {
        errno = own ? ENOSPC : ENOMEM;
        return NULL;
    }
    own->taken |= 1u << i;
    return &own->hazards[i];
}

void um_hazard_give(um_hazard *h) {
    um_reader *own = um_local[UM_MODULE_reclaim];
    size_t i = own ? (size_t)((uintptr_t)h - (uintptr_t)own->hazards) / sizeof *h : UM_HAZARDS_A_THREAD;
    if (i >= UM_HAZARDS_A_THREAD || &own->hazards[i] != h || !(own->taken >> i & 1))
        um_fatal("um_hazard_give", h, 0, "not a hazard pointer of this thread");
    um_hazard_set(h, NULL);
    own->taken &= ~(1u << i);
}

void um_hazard_set(um_hazard *h, const void *object) {
    /* H1: release: what was read of the object that it named before is read by now; pairs with H2. */
    atomic_store_explicit(&h->object, object, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    if (um_unlikely(um_reclaim_fences))
        atomic_thread_fence(memory_order_seq_cst); /* pairs with the one in um_reclaim_order */
}

void *um_hazard_protect(um_hazard *h, const volatile void *source) {
    void *const volatile *word = source;
    void *found = __atomic_load_n(word, __ATOMIC_RELAXED), *seen; /* a guess; the second look decides */
    do {
        seen = found;
        um_hazard_set(h, seen);
        found = __atomic_load_n(word, __ATOMIC_ACQUIRE); /* the program's own release published it */
    } while (found != seen);
    return found;
}

bool um_hazard_retire(void *object, void (*reclaim)(void *object)) {
    return um_reclaim_put(UM_PILE_HAZARD, object, reclaim);
}

/* Shell's sort with gaps of three times and one more (Knuth, The Art of Computer Programming 3, 5.2.1). */
static void sort(um_bag *b) {
    for (size_t gap = 40; gap > 0; gap /= 3)
        for (size_t i = gap; i < b->count; i++) {
            um_retired one = b->of[i];
            size_t at = i;
            for (; at >= gap && (uintptr_t)b->of[at - gap].object > (uintptr_t)one.object; at -= gap)
                b->of[at] = b->of[at - gap];
            b->of[at] = one;
        }
}

/* Objects of one bag must differ: the function that reclaims would be called twice. */
static void check_once(const um_bag *b) {
    for (size_t i = 1; i < b->count; i++)
        if (b->of[i].object == b->of[i - 1].object)
            um_fatal("um_hazard_retire", b->of[i].object, 0, "retired twice");
}

static void hold(um_bag *b, const void *object) {
    size_t low = 0, high = b->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((uintptr_t)b->of[middle].object < (uintptr_t)object)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < b->count && b->of[low].object == object)
        b->held |= (uint64_t)1 << low;
}

typedef struct sift {
    um_bag *bags;
    size_t hazards; /* that name something */
} sift;

static void hold_all(um_reader *r, void *ctx) {
    sift *s = ctx;
    for (unsigned i = 0; i < UM_HAZARDS_A_THREAD; i++) {
        /* H2: acquire pairs with H1: its thread is done with what it named before. */
        const void *object = atomic_load_explicit(&r->hazards[i].object, memory_order_acquire);
        if (!object)
            continue;
        s->hazards++;
        for (um_bag *b = s->bags; b; b = b->next)
            hold(b, object);
    }
}

/* Puts what is left in b with the objects that wait, and b itself where it is wanted. */
static void keep(um_pile *p, um_bag *b) {
    um_bag *to = p->filling;
    if (b->count == UM_BAG_OBJECTS) {
        um_pile_append(p, b);
        return;
    }
    while (to && b->count && to->count < UM_BAG_OBJECTS)
        to->of[to->count++] = b->of[--b->count];
    if (to && !b->count) {
        um_bag_give(b);
        return;
    }
    if (to)
        um_pile_append(p, to);
    p->filling = b;
}

void um_hazard_sift(um_reader *own, um_pile *p) {
    sift s = {p->first, 0};
    if (!s.bags)
        return;
    for (um_bag *b = s.bags; b; b = b->next) {
        b->held = 0;
        sort(b);
        check_once(b);
    }
    if (!um_reclaim_order()) {
        p->due = p->closed + um_max(1, p->closed / 4);
        return;
    }
    um_readers_each(hold_all, &s);
    p->first = p->last = NULL;
    p->closed = 0;
    for (um_bag *b = s.bags, *next; b; b = next) {
        next = b->next;
        um_bag_empty(own, b);
        keep(p, b);
    }
    p->due = p->closed + 1 + 2 * s.hazards / UM_BAG_OBJECTS;
}
