/* Classes that a thread uses less than it did: its slabs of them become orphans, so that any thread may fill
   them up. Else a program whose threads were busy once and wait now has the peak of each in memory, for a
   thread that waits cannot be asked.

   It is looked at where frees take the slow path anyway, once more than a few threads have heaps: a class of
   which half is free, and SPARE_BYTES at least, is left. What the thread frees of it later goes the way of
   remote frees, and its next malloc adopts a slab again, with what is on it. So a thread that comes and goes
   between much and little pays for each round: that is a mistake, of which a heap makes no more than
   UM_SPARE_ERRORS in the decay time. So are the blocks that it looks at.

   Bounds: a look visits at most LOOK_BLOCKS blocks, and classes that have more are not left: it would take
   too long. */
#include "heap/heap.h"
#include "space/space.h"

#define SPARE_BYTES 16384u
#define LOOK_BLOCKS 1024u

_Atomic(uint32_t) um_spare_threads;

void um_spare_renew(um_theap *h, uint64_t now) {
    if (now - h->spent_since_ms < UM_SPACE_SETTING(decay_ms))
        return;
    h->spent_since_ms = now;
    h->spent = 0;
}

typedef struct tally {
    unsigned cut, free;
} tally;

/* Slabs of a queue; those in use elsewhere count as such until they come in. */
static void count_queue(tally *t, const um_span *first) {
    const um_span *s = first;
    while (s && t->cut <= LOOK_BLOCKS) {
        t->cut += s->carved;
        if (s->place == UM_PLACE_AVAIL)
            t->free += s->carved - (unsigned)um_min(s->countdown, s->carved);
        else if (s->place == UM_PLACE_EMPTY)
            t->free += s->carved;
        s = s->next == first ? NULL : s->next;
    }
}

static bool half_is_free(um_theap *h, const um_bin *bin) {
    const um_span *s = bin->current;
    tally t = {.cut = s->carved};
    um_block *tail;
    count_queue(&t, bin->avail);
    count_queue(&t, bin->full);
    h->spent += t.cut; /* what is too many was counted too */
    if (t.cut > LOOK_BLOCKS || t.cut * um_class_bytes(bin->class_id) < SPARE_BYTES)
        return false;
    if (s != &um_span_none)
        t.free += um_slab_walk(s, &tail);
    if (um_bin_cached(bin))
        t.free += um_cache_walk(bin->cache);
    return t.free < t.cut && 2 * t.free >= t.cut && t.free * um_class_bytes(bin->class_id) >= SPARE_BYTES;
}

void um_spare_look(um_theap *h, unsigned class_id) {
    um_bin *bin = &h->bins[class_id];
    if (h->spent >= UM_SPARE_SPEND || h != um_tls.heap || !half_is_free(h, bin))
        return;
    um_theap_leave_class(h, bin);
    bin->left = true;
}
