/* A snapshot of everything. Nothing is counted on the fast paths: blocks in use are read off the slabs, and
   blocks handed out are those in use plus those that came back. Slabs of running threads are read while they
   change, so their figures are of some recent moment; each is clamped to what is possible. */
#include "front/gather.h"
#include "conf/stats.h"
#include "front/front.h"
#include "hard/hard.h"
#include "os/os.h"
#include "slab/remote.h"
#include "space/place.h"

#define CACHED_MAX (UM_CACHE_LIMITS * UM_CACHE_LIMIT_MAX) /* a list of a cache holds no more */

_Static_assert(UM_CLASSES <= UM_STATS_CLASSES_MAX, "a row for each class");

__attribute__((no_sanitize("thread", "address"))) unsigned
um_gather_list(const um_span *s, const um_block *b, unsigned most, void (*f)(const um_block *b, void *ctx),
               void *ctx) {
    unsigned n = 0;
    while (n < most && ((uintptr_t)b ^ (uintptr_t)um_span_start(s)) < UM_SLOT_BYTES &&
           ((uintptr_t)b & (sizeof *b - 1)) == 0 && b->self == (uintptr_t)b) {
        if (f)
            f(b, ctx);
        n++;
        b = b->next;
    }
    return n;
}

static __attribute__((no_sanitize("thread"))) unsigned blocks_in_use(const um_span *s) {
    uint64_t w = atomic_load_explicit(&s->remote, memory_order_relaxed); /* racy */
    unsigned gone = 0, remote = um_remote_count(w);
    if (w & (UM_REMOTE_BUSY | UM_REMOTE_PURGED))
        return 0;
    switch (s->place) {
    case UM_PLACE_CURRENT:
        gone = um_gather_list(s, s->list, s->carved, NULL, NULL);
        break;
    case UM_PLACE_AVAIL:
        gone = s->carved - (unsigned)um_min(s->countdown, s->carved);
        break;
    case UM_PLACE_FULL:
        gone = s->wake - (unsigned)um_min(s->countdown, s->wake);
        break;
    case UM_PLACE_ORPHAN:
        break;
    default:
        return 0;
    }
    return s->carved - (unsigned)um_min(s->carved, gone + remote);
}

static __attribute__((no_sanitize("thread"))) void add_span(const um_span *s, void *ctx) {
    um_snapshot *out = ctx;
    um_span_kind kind = um_span_kind_of(s);
    if (kind == UM_SPAN_LARGE) {
        out->large_live_count++;
        out->large_live_bytes += s->bytes;
        out->allocated += s->bytes;
    } else if (kind == UM_SPAN_SLAB && s->class_id < UM_CLASSES) {
        um_class_row *row = &out->classes[s->class_id];
        unsigned back = s->place == UM_PLACE_NONE ? 0 : s->mark - s->countdown;
        unsigned live = blocks_in_use(s);
        row->slabs++;
        row->slab_bytes += um_slab_touched(s);
        /* An orphan's word also holds what was free when it became one, of which mark is the number. */
        if (s->place == UM_PLACE_ORPHAN)
            back = 0 - s->mark;
        back += um_remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed)); /* racy */
        if (back <= UM_COUNTDOWN_NEVER)
            row->frees += back;
        row->live += live;
        out->allocated += (uint64_t)live * um_class_bytes(s->class_id);
    }
}

/* Blocks in a cache, which its owner may be changing: a link may be what the program wrote into a block that
   was handed out meanwhile. It is followed only into slabs of the class, which stay mapped: the spaces are
   paused. */
__attribute__((no_sanitize("thread", "address"))) unsigned
um_gather_cached(const um_class_cache *k, const um_block *b, void (*f)(const um_block *b, void *ctx),
                 void *ctx) {
    unsigned n = 0;
    for (; n < CACHED_MAX; n++, b = b->next) {
        const um_span *s = um_span_of(b);
        if (!s || um_span_kind_of(s) != UM_SPAN_SLAB || s->class_id != k->class_id ||
            ((uintptr_t)b & (sizeof *b - 1)) != 0 || b->self != (uintptr_t)b)
            break;
        if (f)
            f(b, ctx);
    }
    return n;
}

/* They were counted as in use with their slabs. */
static __attribute__((no_sanitize("thread"))) void add_cache(const um_class_cache *k, um_class_row *row,
                                                             um_snapshot *out) {
    unsigned n;
    um_space_pause();
    n = um_gather_cached(k, k->home.list, NULL, NULL) + um_gather_cached(k, k->rest, NULL, NULL);
    um_space_resume();
    n = (unsigned)um_min(n, row->live);
    row->live -= n;
    row->frees += k->home.mark - k->home.countdown;
    out->allocated -= (uint64_t)n * um_class_bytes(k->class_id);
}

/* Likewise. */
static __attribute__((no_sanitize("thread"))) void add_chain(const um_out *o, um_snapshot *out) {
    um_class_row *row = &out->classes[o->class_id];
    unsigned most = o->most, n = most - (unsigned)um_min(o->room, most);
    if (!o->slot)
        return;
    n = (unsigned)um_min(n, row->live);
    row->live -= n;
    row->frees += n;
    out->allocated -= (uint64_t)n * row->block_bytes;
}

static __attribute__((no_sanitize("thread"))) void add_heap(um_theap *h, void *ctx) {
    um_snapshot *out = ctx;
    if (!h->live)
        return;
    out->threads += h->fork_gen == um_theap_fork_gen && h->owner > UM_ID_SHARED;
    out->counters.remote_frees += h->remote_frees;
    out->counters.remote_batches += h->remote_batches;
    out->counters.large_allocs += h->large_allocs;
    out->counters.large_frees += h->large_frees;
    out->counters.large_cache_hits += h->large_hits;
    for (unsigned i = 0; i < UM_OUT_SLOTS; i++)
        add_chain(&h->out[i], out);
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        out->classes[c].frees += h->bins[c].frees;
        out->classes[c].refills += h->bins[c].refills;
        out->classes[c].flushes += h->bins[c].flushes;
        if (um_bin_cached(&h->bins[c]))
            add_cache(h->bins[c].cache, &out->classes[c], out);
    }
}

static void add_past(um_snapshot *out) {
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        out->classes[c].block_bytes = um_class_bytes(c);
        out->classes[c].frees = um_theap_past.classes[c].frees + um_orphan_frees[c];
        out->classes[c].refills = um_theap_past.classes[c].refills;
        out->classes[c].flushes = um_theap_past.classes[c].flushes;
    }
}

static void add_node(um_snapshot *out, unsigned node) {
    um_space_stats sp;
    um_node_row *row = &out->nodes[out->node_count];
    um_space_stat(node, &sp);
    out->metadata += sp.metadata;
    if (!sp.mapped)
        return;
    row->node = um_place.id[node];
    row->mapped_bytes = sp.mapped;
    row->active_bytes = sp.active;
    row->dirty_bytes = sp.dirty;
    out->node_count++;
    out->mapped += sp.mapped;
    out->active += sp.active;
    out->dirty += sp.dirty;
    out->retained += sp.mapped - sp.active - um_min(sp.dirty, sp.mapped - sp.active);
    out->peak += sp.peak;
}

static void add_modules(um_snapshot *out) {
    for (unsigned m = 0; m < UM_MODULES; m++) {
        const um_module_count *c = &um_module_counts[m];
        out->modules[m].bytes =
            atomic_load_explicit(&c->bytes, memory_order_relaxed); /* counters, all three */
        out->modules[m].peak_bytes = atomic_load_explicit(&c->peak_bytes, memory_order_relaxed);
        out->modules[m].takes = atomic_load_explicit(&c->takes, memory_order_relaxed);
    }
}

void um_gather(um_snapshot *out) {
    *out = (um_snapshot){.class_count = UM_CLASSES};
    if (!um_space_window.table) /* nothing was ever allocated */
        return;
    add_past(out);
#define X(id, help)                                                                                          \
    out->counters.id = atomic_load_explicit(&um_count.id, memory_order_relaxed); /* counter                  \
                                                                                  */
    UM_COUNTER_TABLE(X)
#undef X
    out->policy.calls = atomic_load_explicit(&um_os_policies.calls, memory_order_relaxed);
    out->policy.refused_other = atomic_load_explicit(&um_os_policies.refused_other, memory_order_relaxed);
#define X(name)                                                                                              \
    out->policy.refused_##name = atomic_load_explicit(&um_os_policies.refused_##name, memory_order_relaxed);
    UM_POLICY_ERRNOS(X)
#undef X
    out->mmap_calls =
        atomic_load_explicit(&um_os_calls.mmap_calls, memory_order_relaxed); /* counters, all four */
    out->munmap_calls = atomic_load_explicit(&um_os_calls.munmap_calls, memory_order_relaxed);
    out->mremap_calls = atomic_load_explicit(&um_os_calls.mremap_calls, memory_order_relaxed);
    out->madvise_calls = atomic_load_explicit(&um_os_calls.madvise_calls, memory_order_relaxed);
    for (unsigned node = 0; node < UM_NODES_MAX; node++) {
        um_space_each(node, add_span, out);
        add_node(out, node);
    }
    um_theap_each(add_heap, out); /* after the slabs: takes what is cached off what seems in use */
    if (um_hard_level)
        um_hard_add_stats(out);
    add_modules(out);
    for (unsigned c = 0; c < UM_CLASSES; c++) /* what is in use was handed out, and so was what came back */
        out->classes[c].allocs = out->classes[c].live + out->classes[c].frees;
    out->mapped += out->metadata;
    out->resident = out->active + out->dirty + out->metadata;
    out->kernel_resident = um_os_resident();
}
