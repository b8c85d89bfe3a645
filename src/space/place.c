/* Where memory comes from on a machine with several NUMA nodes. Policy belongs to a mapping, so it is set
   once, when a space opens fresh memory, and never for a span: the mappings of a space merge. All policies
   but the interleaving ones say "preferred": a full node makes the kernel take the next by distance, which is
   what `local` and `prefer` want. The strict ones must not end in the OOM killer, as MPOL_BIND does when a
   node is full at the time of a page fault: they take a span only after all its pages are there and were
   looked at (um_place_fill), and give it back otherwise. See fill.c.

   Distances are read only where they matter: a processor whose node has no memory, and `bind` to several
   nodes. */
#include "space/place.h"
#include "conf/counters.h"
#include "conf/options.h"
#include "os/numa.h"
#include "os/os.h"
#include "os/topology.h"
#include "space/internal.h"

#include <errno.h>

#define MODE_SHOWN 80u

um_placement um_place = {.count = 1, .policy = UM_PLACING_NONE};

/* Place of a kernel id plus one; 0: not looked up yet. Relaxed: everybody finds the same. */
static _Atomic(uint8_t) place_of[UM_NODE_IDS];
static int mode; /* const after init */

static void say_nodes(um_text *t, const um_node_set *set) {
    bool any = false;
    for (um_node_set_each(n, set)) {
        if (any)
            um_text_char(t, ',');
        um_text_u64(t, n);
        any = true;
    }
}

static unsigned complain(um_text *t, const char *why, const um_node_set *allowed) {
    um_text_str(t, "umalloc: UMALLOC_NUMA=");
    um_text_quoted(t, um_option.numa, MODE_SHOWN);
    um_text_str(t, why);
    if (allowed) {
        um_text_str(t, " (it has ");
        say_nodes(t, allowed);
        um_text_char(t, ')');
    }
    um_text_str(t, "; using the default local\n");
    return 1;
}

/* The nodes with memory that the process may use. Where the kernel does not say, the files do. */
void um_place_allowed(um_node_set *out) {
    if (um_os_nodes_allowed(out) != 0 || um_node_set_count(out) == 0)
        um_topology_visible(out);
}

static unsigned distance(unsigned from, unsigned to) {
    const um_topology *t = um_topology_get();
    unsigned dense = um_topology_dense(t, to);
    return dense == UM_TOPOLOGY_NODES ? UINT32_MAX
                                      : um_topology_distances(t, um_topology_place(t, from))[dense];
}

/* As numactl gives. */
static bool inherited_policy(void) {
    int inherited;
    return um_os_task_policy(&inherited) == 0 && inherited != UM_POLICY_DEFAULT &&
           inherited != UM_POLICY_LOCAL;
}

/* Memory-only nodes serve who names them; they are left out where nodes take turns and none are named. */
static void with_processors(um_node_set *set) {
    um_node_set cpus = um_topology_get()->cpus;
    um_node_set_keep(&cpus, set);
    if (um_node_set_count(&cpus))
        *set = cpus;
}

static void make_places(const um_node_set *set) {
    um_place.count = 0;
    for (um_node_set_each(n, set)) {
        if (um_place.count == UM_NODES_MAX)
            break;
        um_place.id[um_place.count++] = (uint16_t)n;
        atomic_store_explicit(&place_of[n], (uint8_t)um_place.count, memory_order_relaxed); /* see above */
    }
}

static bool is_strict(um_placing policy) {
    return policy == UM_PLACING_LOCAL_STRICT || policy == UM_PLACING_BIND;
}

/* `set` has two nodes or more. */
static void settle(um_placing policy, const um_placing_spec *asked, um_node_set *set) {
    bool named = um_node_set_count(&asked->nodes) != 0, whole;
    if (!named && (policy == UM_PLACING_INTERLEAVE || policy == UM_PLACING_WEIGHTED ||
                   policy == UM_PLACING_ROUND_ROBIN))
        with_processors(set);
    whole = policy == UM_PLACING_INTERLEAVE || (policy == UM_PLACING_WEIGHTED && !named);
    um_place.policy = policy;
    um_place.nodes = *set;
    um_place.homing = policy <= UM_PLACING_PREFER;
    um_place.strict = is_strict(policy);
    um_place.restricted = policy == UM_PLACING_BIND;
    mode = policy == UM_PLACING_INTERLEAVE                            ? UM_POLICY_INTERLEAVE
           : whole                                                    ? UM_POLICY_WEIGHTED_INTERLEAVE
           : policy == UM_PLACING_PREFER || policy == UM_PLACING_BIND ? UM_POLICY_PREFERRED_MANY
                                                                      : UM_POLICY_PREFERRED;
    if (!whole)
        make_places(set);
    if (policy == UM_PLACING_ROUND_ROBIN || (policy == UM_PLACING_WEIGHTED && named))
        um_place_make_turns(asked);
}

unsigned um_place_init(const um_placing_spec *asked, bool chosen, um_text *complaints) {
    um_placing policy = asked->policy;
    um_node_set allowed, set;
    unsigned bad = 0;
    if (policy == UM_PLACING_NONE)
        return 0;
    um_place_allowed(&allowed);
    set = allowed;
    if (um_node_set_count(&asked->nodes)) {
        set = asked->nodes;
        um_node_set_keep(&set, &allowed);
        if (um_node_set_count(&set) != um_node_set_count(&asked->nodes)) {
            bad = complain(complaints, " names a node that has no memory for this process", &allowed);
            policy = UM_PLACING_LOCAL;
            set = allowed;
        }
    }
    if (um_node_set_count(&allowed) == 1)
        um_place.strict = um_place.sole = is_strict(policy);
    if (um_node_set_count(&allowed) == 1 || (!chosen && inherited_policy()))
        return bad;
    settle(policy, asked, &set);
    return bad;
}

unsigned um_place_look(void) {
    unsigned node = um_os_node_now() % UM_NODE_IDS, place;
    place = atomic_load_explicit(&place_of[node], memory_order_relaxed); /* see above */
    if (um_likely(place))
        return place - 1;
    place = 0;
    for (unsigned i = 1; i < um_place.count; i++)
        if (distance(node, um_place.id[i]) < distance(node, um_place.id[place]))
            place = i;
    atomic_store_explicit(&place_of[node], (uint8_t)(place + 1), memory_order_relaxed); /* see above */
    return place;
}

static bool has_places(void) {
    return um_place.homing || um_place.turns;
}

unsigned um_place_of(unsigned id) {
    for (unsigned i = 0; has_places() && i < um_place.count; i++)
        if (um_place.id[i] == id)
            return i;
    return UM_NODES_MAX;
}

/* Nearer than b from `from`; of equals the one with the lower number. */
static bool nearer(unsigned from, unsigned a, unsigned b) {
    unsigned da = distance(um_place.id[from], um_place.id[a]);
    unsigned db = distance(um_place.id[from], um_place.id[b]);
    return da != db ? da < db : a < b;
}

unsigned um_place_choice(unsigned place, unsigned k) {
    if (k == 0)
        return place;
    if (!um_place.restricted || k >= um_place.count)
        return UM_NODES_MAX;
    for (unsigned i = 0; i < um_place.count; i++) {
        unsigned before = 0;
        for (unsigned j = 0; j < um_place.count; j++)
            before += j != i && j != place && nearer(place, j, i);
        if (i != place && before == k - 1)
            return i;
    }
    return UM_NODES_MAX;
}

/* The kernel finds out at the first touch that it has no page of a pool there, and we look (um_os_populate).
 */
static int tell_pool(unsigned place, uintptr_t at, size_t bytes) {
    um_node_set one = um_node_set_of(um_place.id[place]);
    bool many = mode == UM_POLICY_PREFERRED_MANY;
    int err = um_os_policy(at, bytes, UM_POLICY_BIND, many ? &um_place.nodes : &one, 0);
    if (!err && many)
        (void)um_os_home_node(at, bytes, um_place.id[place]); /* else those that come first */
    return err;
}

static int tell(unsigned place, uintptr_t at, size_t bytes) {
    um_node_set one = um_node_set_of(um_place.id[place]);
    int err = EINVAL;
    if (mode != UM_POLICY_PREFERRED)
        err = um_os_policy(at, bytes, mode, &um_place.nodes, 0);
    if (!err && mode == UM_POLICY_PREFERRED_MANY)
        (void)um_os_home_node(at, bytes,
                              um_place.id[place]); /* else the kernel starts at the toucher's node */
    if (err != EINVAL)
        return err;
    if (mode == UM_POLICY_WEIGHTED_INTERLEAVE) /* before Linux 6.9 */
        return um_os_policy(at, bytes, UM_POLICY_INTERLEAVE, &um_place.nodes, 0);
    /* PREFERRED_MANY came with Linux 5.15. */
    return um_os_policy(at, bytes, UM_POLICY_PREFERRED, &one, 0);
}

static void bind(unsigned place, uintptr_t at, size_t bytes, bool pool) {
    int err;
    if (um_place.policy == UM_PLACING_NONE)
        return;
    if (atomic_load_explicit(&um_place.first_touch, memory_order_relaxed)) { /* a late look costs one call */
        UM_COUNT_ADD(numa_policy_errors, 1);
        return;
    }
    err = pool && has_places() ? tell_pool(place, at, bytes) : tell(place, at, bytes);
    if (!err)
        return;
    UM_COUNT_ADD(numa_policy_errors, 1);
    atomic_store_explicit(&um_place.refused, err, memory_order_relaxed); /* for the report */
    if (err == EPERM || err == ENOSYS)
        atomic_store_explicit(&um_place.first_touch, true, memory_order_relaxed);
    else if (err == EINVAL)
        (void)um_topology_refresh(); /* the cpuset changed; the next fallback sees it */
}

void um_place_bind(unsigned place, uintptr_t at, size_t bytes) {
    bind(place, at, bytes, false);
}

void um_place_bind_pool(unsigned place, uintptr_t at, size_t bytes) {
    bind(place, at, bytes, true);
}

int um_place_try(void) {
    uintptr_t at;
    int node, err;
    if (um_place.policy == UM_PLACING_NONE)
        return 0;
    err = um_os_map(um_os_page_bytes, &at);
    if (err)
        return err;
    err = tell(0, at, um_os_page_bytes);
    if (!err && um_place.strict)
        err = um_os_page_nodes(at, 1, &node);
    (void)um_os_unmap(at, um_os_page_bytes);
    return err;
}
