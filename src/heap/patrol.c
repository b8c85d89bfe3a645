/* Looks for what misuse left on a thread's own free lists: a block that is there twice, one whose mark or
   link was written over, one that is none. malloc and free have no instruction to spare for it. Slow paths
   look at a few blocks now and then instead, young heaps more often: there the looks cost little, and what
   goes wrong soon after the start is found before it spreads. um_theap_is_free settles a suspicion about one
   block.

   Bounds: a look visits at most LOOK_BLOCKS blocks. Only lists that the caller owns are read. */
#include "heap/heap.h"
#include "space/space.h"

#define LOOK_BLOCKS 64u

static unsigned class_from(const um_theap *h, unsigned i) {
    return (h->patrolled + i) % UM_CLASSES;
}

/* Visits at most so many blocks of the class, in whole lists where `whole` is set; tells how many. */
static unsigned look_at(const um_bin *bin, unsigned blocks, bool whole) {
    const um_span *s = bin->current;
    unsigned n = 0;
    um_block *tail;
    if (um_bin_cached(bin) && (!whole || bin->cache->most < blocks))
        n = whole ? um_cache_walk(bin->cache) : um_cache_look(bin->cache, blocks);
    if (s != &um_span_none && n + s->carved <= blocks)
        n += um_slab_walk(s, &tail);
    return (unsigned)um_min(n, blocks);
}

void um_theap_check_lists(const um_theap *h, unsigned blocks) {
    for (unsigned c = 0; c < UM_CLASSES; c++)
        blocks -= look_at(&h->bins[c], blocks, true);
}

void um_theap_patrol(um_theap *h, unsigned classes) {
    unsigned left = LOOK_BLOCKS, i;
    for (i = 0; i < classes && left; i++)
        left -= look_at(&h->bins[class_from(h, i)], left, false);
    h->patrolled = (uint8_t)class_from(h, i);
}

static bool is_listed(const um_block *list, const um_block *end, size_t most, const um_block *wanted) {
    for (; list != end && most-- && um_window_holds(um_window_offset(list)); list = list->next)
        if (list == wanted)
            return true;
    return false;
}

bool um_theap_is_free(const um_span *s, const um_block *b) {
    const um_theap *h = um_tls.heap;
    const um_class_cache *k;
    /* relaxed: only this thread stores its own id */
    if (!h || atomic_load_explicit(&s->owner, memory_order_relaxed) != h->owner)
        return false;
    if (is_listed(s->list, um_slab_end(s), s->carved, b))
        return true;
    k = h->bins[s->class_id].cache;
    return k && k->limit &&
           (is_listed(k->home.list, &k->end, UM_CACHE_LIMITS * UM_CACHE_LIMIT_MAX, b) ||
            is_listed(k->rest, &k->end, UM_CACHE_LIMITS * UM_CACHE_LIMIT_MAX, b));
}
