/* Memory under a policy, block by block. A block is a span of its own. Where the process follows its nodes,
   each node has a space whose memory the kernel was told of as a whole, so a block for one node is a span of
   that space and nothing more. What no space stands for (several nodes, page by page) is told to the kernel
   for the block alone: its span is marked as moved, so that it is mapped anew when it is given back, and the
   mappings of the space merge again. There are never more such mappings than blocks.

   The strict policies touch all of a block and look where its pages are before they hand it out
   (um_place_fill_on), for a kernel that is told to bind kills a process when a page is missing. Nothing is
   bound here either.

   A block's word in its record (um_room_word) says which node it is meant for, plus one; 0 is none. */
#include "umalloc/numa.h"
#include "ext/local.h"
#include "ext/room.h"
#include "front/front.h"
#include "front/gather.h"
#include "os/fatal.h"
#include "os/os.h"
#include "os/topology.h"

#include <errno.h>

struct um_numa_policy {
    um_placing kind;
    bool named;
    um_node_set nodes;           /* where memory is to come from */
    _Atomic(uint32_t) turn;      /* relaxed: any two threads may have turns in any order */
    um_placing_round round;      /* turns until it begins anew; 0: no turns */
    uint8_t weight[UM_NODE_IDS]; /* turns of each node in a round */
    /* Slots that it gave on each, by dense index; the last: on one that is none of ours any more. Relaxed: a
       hint, two threads may find the same node to be behind. */
    _Atomic(uint64_t) given[UM_TOPOLOGY_NODES + 1];
};

static const um_local_hooks hooks = {0};

static int fail(int err) {
    if (err)
        errno = err;
    return err ? -1 : 0;
}

static const um_topology *topology(void) {
    um_os_init();
    return um_topology_get();
}

static bool has_memory(unsigned node) {
    const um_topology *t = topology();
    return um_topology_dense(t, node) != UM_TOPOLOGY_NODES;
}

/* --- what there is --- */

static size_t list(const um_node_set *set, unsigned *out, size_t room) {
    size_t n = 0;
    for (um_node_set_each(id, set)) {
        if (n < room)
            out[n] = id;
        n++;
    }
    return n;
}

UM_EXPORT size_t um_numa_nodes(unsigned *nodes, size_t room) {
    return list(&topology()->memory, nodes, room);
}

UM_EXPORT size_t um_numa_cpus(unsigned node, unsigned *cpus, size_t room) {
    um_node_set set;
    return node < UM_NODE_IDS && um_topology_cpus_of(node, &set) == 0 ? list(&set, cpus, room) : 0;
}

UM_EXPORT unsigned um_numa_here(void) {
    um_os_init();
    return um_os_node_now();
}

UM_EXPORT unsigned um_numa_distance(unsigned from, unsigned to) {
    const um_topology *t = topology();
    unsigned dense = um_topology_dense(t, to);
    if (from >= UM_NODE_IDS || !t->place_and_1[from] || dense == UM_TOPOLOGY_NODES)
        return 0;
    return um_topology_distances(t, um_topology_place(t, from))[dense];
}

UM_EXPORT bool um_numa_is_memory_only(unsigned node) {
    const um_topology *t = topology();
    unsigned dense = um_topology_dense(t, node);
    return dense != UM_TOPOLOGY_NODES && um_topology_memory_only(t, dense);
}

UM_EXPORT int um_numa_memory(unsigned node, uint64_t *total, uint64_t *unused) {
    um_node_memory m;
    int err = has_memory(node) ? um_topology_memory(node, &m) : EINVAL;
    if (!err && total)
        *total = m.total_bytes;
    if (!err && unused)
        *unused = m.free_bytes;
    return fail(err);
}

/* --- policies --- */

/* Memory-only nodes serve who names them. */
static void unnamed_nodes(um_numa_policy *p, const um_topology *t) {
    bool spread = p->kind == UM_PLACING_INTERLEAVE || p->kind == UM_PLACING_WEIGHTED ||
                  p->kind == UM_PLACING_ROUND_ROBIN;
    p->nodes = t->memory;
    if (spread)
        um_node_set_keep(&p->nodes, &t->cpus);
    if (um_node_set_count(&p->nodes) == 0)
        p->nodes = t->memory;
}

static void make_turns(um_numa_policy *p, const um_placing_spec *asked) {
    uint32_t sum = 0;
    if (p->kind != UM_PLACING_ROUND_ROBIN && !(p->kind == UM_PLACING_WEIGHTED && p->named))
        return;
    for (um_node_set_each(id, &p->nodes)) {
        p->weight[id] = asked->weight[id] ? asked->weight[id] : 1;
        sum += p->weight[id];
    }
    p->round = um_placing_round_of(sum);
}

/* An errno value where it cannot be had. */
static int read_policy(const char *text, um_numa_policy *out) {
    um_placing_spec asked;
    const um_topology *t = topology();
    if (!text || !um_placing_parse(text, &asked) || asked.policy == UM_PLACING_NONE)
        return EINVAL;
    out->kind = asked.policy;
    out->named = um_node_set_count(&asked.nodes) != 0;
    out->nodes = asked.nodes;
    um_node_set_keep(&out->nodes, &t->memory);
    if (um_node_set_count(&out->nodes) != um_node_set_count(&asked.nodes))
        return EINVAL;
    if (!out->named)
        unnamed_nodes(out, t);
    make_turns(out, &asked);
    return 0;
}

UM_EXPORT um_numa_policy *um_numa_policy_new(const char *text) {
    um_numa_policy *p = um_front_alloc_zeroed(sizeof *p);
    int err = p ? read_policy(text, p) : ENOMEM;
    if (!err)
        return p;
    if (p)
        um_front_free(p);
    errno = err;
    return NULL;
}

UM_EXPORT void um_numa_policy_delete(um_numa_policy *policy) {
    um_front_free(policy);
}

/* A heap draws from one node at a time: that of its thread, or one that the policy names. */
static void lead_malloc(const um_numa_policy *policy) {
    um_theap *h = um_front_heap();
    bool one = policy && policy->kind == UM_PLACING_PREFER && um_node_set_count(&policy->nodes) == 1;
    unsigned place = one ? um_place_of(um_node_set_first(&policy->nodes)) : UM_NODES_MAX;
    if (h && um_place.homing && (place != UM_NODES_MAX || h->placed))
        um_theap_settle(h, place);
}

UM_EXPORT int um_numa_use(um_numa_policy *policy) {
    if (policy == um_local[UM_MODULE_numa])
        return 0;
    if (um_local_use(UM_MODULE_numa, &hooks) != 0 || um_local_set(UM_MODULE_numa, policy) != 0)
        return fail(ENOMEM);
    lead_malloc(policy);
    return 0;
}

UM_EXPORT um_numa_policy *um_numa_used(void) {
    return um_local[UM_MODULE_numa];
}

/* --- blocks --- */

/* A span of that node's space, or of one that has no node. */
static char *take_for(unsigned node, size_t align, size_t bytes, bool *zeroed) {
    unsigned place = um_place_of(node);
    char *p =
        um_room_take(UM_MODULE_numa, place == UM_NODES_MAX ? um_room_here() : place, bytes, align, zeroed);
    if (p)
        *um_room_word(p) = node + 1;
    return p;
}

static int tell(char *p, size_t bytes, int mode, const um_node_set *nodes) {
    int err = um_os_policy((uintptr_t)p, bytes, mode, nodes, 0);
    if (!err && mode == UM_POLICY_PREFERRED_MANY)
        (void)um_os_home_node((uintptr_t)p, bytes, um_node_set_first(nodes));
    if (err != EINVAL || (mode != UM_POLICY_WEIGHTED_INTERLEAVE && mode != UM_POLICY_PREFERRED_MANY))
        return err;
    /* An older kernel. */
    return um_os_policy((uintptr_t)p, bytes,
                        mode == UM_POLICY_PREFERRED_MANY ? UM_POLICY_PREFERRED : UM_POLICY_INTERLEAVE, nodes,
                        0);
}

/* Tells the kernel where the pages of the block belong, and gives back those that lie somewhere already.
   Memory that must stay where it is (UMALLOC_PREFAULT and the like) has its place. */
static void lay_out(char *p, bool zeroed, int mode, const um_node_set *nodes) {
    size_t bytes = um_room_bytes(p);
    if (topology()->count == 1)
        return;
    if (um_space_setting.rigid || (!zeroed && um_space_purge_part(p, bytes) != 0) ||
        tell(p, bytes, mode, nodes) != 0)
        UM_COUNT_ADD(numa_policy_errors, 1);
    else
        um_span_of(p)->moved = 1;
}

static char *take_on(unsigned node, size_t align, size_t bytes) {
    bool zeroed;
    char *p = take_for(node, align, bytes, &zeroed);
    um_node_set one = um_node_set_of(node);
    if (p && um_place_of(node) == UM_NODES_MAX)
        lay_out(p, zeroed, UM_POLICY_PREFERRED, &one);
    return p;
}

static char *take_spread(const um_numa_policy *policy, int mode, size_t align, size_t bytes) {
    bool zeroed;
    char *p = um_room_take(UM_MODULE_numa, um_room_here(), bytes, align, &zeroed);
    if (!p)
        return NULL;
    *um_room_word(p) = 0;
    lay_out(p, zeroed, mode, &policy->nodes);
    return p;
}

/* What the space had kept may lie elsewhere, and goes at the first attempt. */
static char *take_strictly(unsigned node, size_t align, size_t bytes) {
    um_node_set one = um_node_set_of(node);
    char *p = take_on(node, align, bytes);
    const um_node_set *want = topology()->count == 1 ? NULL : &one; /* there is no other */
    bool keep = um_space_setting.rigid;
    if (!p || um_place_fill_on(want, (uintptr_t)p, um_room_bytes(p), keep) ||
        um_place_fill_on(want, (uintptr_t)p, um_room_bytes(p), keep))
        return p;
    um_room_give(p, keep ? um_room_bytes(p) : 0);
    errno = ENOMEM;
    return NULL;
}

/* The k-th of the nodes by their distance from where the thread runs; UM_NODE_IDS: there is none. */
static unsigned nearest(const um_node_set *nodes, unsigned k) {
    const um_topology *t = topology();
    const uint8_t *order = um_topology_order(t, um_topology_place(t, um_os_node_now()));
    for (unsigned i = 0; i < t->count; i++)
        if (um_node_set_has(nodes, t->id[order[i]]) && k-- == 0)
            return t->id[order[i]];
    return UM_NODE_IDS;
}

static _Atomic(uint64_t) *given_on(um_numa_policy *p, unsigned id) {
    return &p->given[um_topology_dense(topology(), id)];
}

/* On node a there is less for its weight than on b. */
static bool is_behind(um_numa_policy *p, unsigned a, unsigned b) {
    uint64_t on_a = atomic_load_explicit(given_on(p, a), memory_order_relaxed);
    uint64_t on_b = atomic_load_explicit(given_on(p, b), memory_order_relaxed);
    return on_a * p->weight[b] < on_b * p->weight[a];
}

/* The node that is most behind its share of the bytes; between equals the turn decides. */
static unsigned whose_turn(um_numa_policy *p) {
    uint32_t turn = um_placing_turn(&p->round, atomic_fetch_add_explicit(&p->turn, 1, memory_order_relaxed));
    unsigned id = um_node_set_first(&p->nodes);
    for (; turn >= p->weight[id]; id = um_node_set_next(&p->nodes, id + 1))
        turn -= p->weight[id];
    for (um_node_set_each(n, &p->nodes))
        if (is_behind(p, n, id))
            id = n;
    return id;
}

static char *take_in_turn(um_numa_policy *p, size_t align, size_t bytes) {
    unsigned node = whose_turn(p);
    char *block = take_on(node, align, bytes);
    if (block)
        atomic_fetch_add_explicit(given_on(p, node), um_room_bytes(block) >> UM_SLOT_SHIFT,
                                  memory_order_relaxed);
    return block;
}

static char *take(um_numa_policy *p, size_t align, size_t bytes) {
    char *block = NULL;
    unsigned node = nearest(&p->nodes, 0), k = 0;
    if (node == UM_NODE_IDS) /* the cpuset has changed, and none of them is ours now */
        node = nearest(&topology()->memory, 0);
    switch (p->kind) {
    case UM_PLACING_LOCAL_STRICT:
        return take_strictly(node, align, bytes);
    case UM_PLACING_BIND:
        while (!block && (node = nearest(&p->nodes, k++)) != UM_NODE_IDS)
            block = take_strictly(node, align, bytes);
        return block;
    case UM_PLACING_PREFER:
        if (um_node_set_count(&p->nodes) == 1)
            return take_on(node, align, bytes);
        return take_spread(p, UM_POLICY_PREFERRED_MANY, align, bytes);
    case UM_PLACING_INTERLEAVE:
        return take_spread(p, UM_POLICY_INTERLEAVE, align, bytes);
    default:
        if (p->round.turns)
            return take_in_turn(p, align, bytes);
        if (p->kind == UM_PLACING_WEIGHTED)
            return take_spread(p, UM_POLICY_WEIGHTED_INTERLEAVE, align, bytes);
        return take_on(node, align, bytes);
    }
}

UM_EXPORT void *um_numa_alloc_aligned(um_numa_policy *policy, size_t align, size_t bytes) {
    um_numa_policy *p = policy ? policy : um_local[UM_MODULE_numa];
    unsigned here;
    if (!um_is_pow2(align)) {
        errno = EINVAL;
        return NULL;
    }
    if (p)
        return take(p, align, bytes);
    here = um_topology_nearest(topology(), um_os_node_now());
    return take_on(topology()->id[here], align, bytes);
}

UM_EXPORT void *um_numa_alloc(um_numa_policy *policy, size_t bytes) {
    return um_numa_alloc_aligned(policy, 1, bytes);
}

static void check(const void *block, const char *what) {
    if (um_unlikely(!um_room_is(UM_MODULE_numa, block)))
        um_fatal(what, block, 0, "not a block of um_numa_alloc");
}

UM_EXPORT void um_numa_free(void *block) {
    if (!block)
        return;
    check(block, "invalid um_numa_free");
    um_room_give(block, um_room_bytes(block));
}

UM_EXPORT size_t um_numa_bytes(const void *block) {
    check(block, "invalid um_numa_bytes");
    return um_room_bytes(block);
}

/* --- where memory is --- */

static bool homes(void) {
    return um_place.homing || um_place.turns;
}

UM_EXPORT int um_numa_intended(const void *block) {
    const um_span *s = um_space_window.table ? um_span_of(block) : NULL;
    if (!s)
        return -1;
    if (um_room_is(UM_MODULE_numa, block))
        return (int)*um_room_word(block) - 1;
    return homes() ? um_place.id[s->node] : -1;
}

UM_EXPORT int um_numa_actual(const void *address) {
    uintptr_t at = (uintptr_t)address;
    int node = -EFAULT, err = um_os_nodes_of(&at, 1, &node);
    if (err || node < 0) {
        errno = err ? err : -node;
        return -1;
    }
    return node;
}

/* Memory for a snapshot, which is too large for small stacks. */
static um_snapshot *measured(int *err) {
    uintptr_t at;
    um_snapshot *out;
    um_os_init();
    *err = um_os_map(um_round_up(sizeof *out, um_os_page_bytes), &at);
    if (*err)
        return NULL;
    out = (um_snapshot *)at;
    um_gather(out);
    um_gather_placement(out);
    *err = out->measure_error;
    return out;
}

static void done_with(um_snapshot *s) {
    if (s)
        (void)um_os_unmap((uintptr_t)s, um_round_up(sizeof *s, um_os_page_bytes));
}

/* Rows of a snapshot that stand for a node. Where there is one node nothing was looked up. */
static size_t rows_of(const um_snapshot *s, um_numa_usage *rows, size_t room) {
    size_t n = 0;
    if (s->machine_nodes <= 1) {
        if (room)
            rows[0] = (um_numa_usage){topology()->id[0], s->resident, s->resident, s->resident};
        return 1;
    }
    for (uint32_t i = 0; i < s->node_count; i++) {
        const um_node_row *r = &s->nodes[i];
        if (r->node == UM_STATS_ANY_NODE)
            continue;
        if (n < room)
            rows[n] = (um_numa_usage){r->node, r->intended_bytes, r->home_bytes, r->actual_bytes};
        n++;
    }
    return n;
}

UM_EXPORT int um_numa_measure(um_numa_usage *rows, size_t room) {
    int err;
    um_snapshot *s = measured(&err);
    int n = err ? fail(err) : (int)rows_of(s, rows, room);
    done_with(s);
    return n;
}

UM_EXPORT double um_numa_locality(void) {
    int err;
    um_snapshot *s = measured(&err);
    double home = 0, intended = 0;
    for (uint32_t i = 0; !err && i < s->node_count; i++) {
        home += (double)s->nodes[i].home_bytes;
        intended += (double)s->nodes[i].intended_bytes;
    }
    done_with(s);
    if (err)
        return fail(err);
    return intended > 0 ? 100 * home / intended : 100;
}

/* --- moving it --- */

static int moved(int err, const um_migration *done, size_t *there) {
    if (!err || done->there_bytes)
        um_migrate_count(done);
    if (there)
        *there = done->there_bytes;
    return fail(err);
}

/* Hardened blocks have no spans of their own in the way others have: their pages are moved. */
static int migrate_pages(const char *p, size_t bytes, unsigned node, um_migration *out) {
    uintptr_t from = um_round_down((uintptr_t)p, um_os_page_bytes);
    uintptr_t to = um_round_up((uintptr_t)p + bytes, um_os_page_bytes);
    return um_migrate_range(from, to - from, node, out);
}

UM_EXPORT int um_numa_migrate(void *block, unsigned node, size_t *there) {
    um_span *s = um_space_window.table ? um_span_of(block) : NULL;
    um_migration done = {0, 0};
    size_t usable;
    if (!s)
        return moved(EINVAL, &done, there);
    if (um_span_kind_of(s) == UM_SPAN_EXT && block == um_span_start(s))
        return moved(um_migrate_span(s, node, &done), &done, there);
    usable = um_front_usable(block, "invalid um_numa_migrate");
    if (um_hard_owns(s))
        return moved(migrate_pages(block, usable, node, &done), &done, there);
    return moved(um_migrate_span(s, node, &done), &done, there);
}

UM_EXPORT int um_numa_migrate_heap(unsigned node, size_t *there) {
    um_theap *h = um_front_heap();
    um_migration done = {0, 0};
    return moved(h ? um_theap_migrate(h, node, &done) : ENOTSUP, &done, there);
}
