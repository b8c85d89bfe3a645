/* Where the pages are that umalloc has in memory. What a node is meant to have is known; what it has only the
   kernel knows. So pages are looked up evenly all over the spans: all of them in a small process, every n-th
   in a large one. Addresses are collected under the space's lock, and the kernel is asked after: a page given
   back in between counts as not in memory. */
#include "front/gather.h"
#include "os/os.h"
#include "os/pagemap.h"
#include "os/topology.h"
#include "space/place.h"

#define SAMPLES_MAX    8192u
#define SAMPLES_A_CALL 256u

typedef struct sample {
    uintptr_t at;
    uint32_t place;
} sample;

typedef struct sampler {
    sample *samples;
    size_t count;
    size_t stride; /* pages from one sample to the next */
    size_t skip;   /* pages to leave out first, of the next span */
    size_t pages;  /* of all spans so far */
    uint32_t place;
} sampler;

/* Where all memory comes from one place, no address belongs on one node. */
static bool one_place(void) {
    return !um_place.homing && !um_place.turns;
}

static unsigned node_of_place(unsigned place) {
    return one_place() ? UM_STATS_ANY_NODE : um_place.id[place];
}

static bool is_at_home(unsigned place, unsigned node) {
    if (!one_place())
        return node == um_place.id[place];
    return um_place.policy == UM_PLACING_NONE ||
           (node < UM_NODE_IDS && um_node_set_has(&um_place.nodes, node));
}

static void add_span(const um_span *s, void *ctx) {
    sampler *in = ctx;
    size_t pages = (s->slots << UM_SLOT_SHIFT) / um_os_page_bytes, p;
    if (um_span_kind_of(s) == UM_SPAN_FREE && s->state != UM_DIRTY)
        return;
    in->pages += pages;
    for (p = in->skip; p < pages && in->count < SAMPLES_MAX; p += in->stride)
        in->samples[in->count++] = (sample){(uintptr_t)um_span_start(s) + p * um_os_page_bytes, in->place};
    in->skip = p > pages ? p - pages : 0;
}

/* The row of a node; that of the last one where there are too many. */
static um_node_row *row_of(um_snapshot *out, unsigned node) {
    uint32_t i = 0;
    while (i < out->node_count && out->nodes[i].node != node)
        i++;
    if (i == UM_STATS_NODES_MAX)
        return &out->nodes[i - 1];
    if (i == out->node_count) {
        out->nodes[i] = (um_node_row){.node = node};
        out->node_count++;
    }
    return &out->nodes[i];
}

static int look_up(um_snapshot *out, const sample *samples, size_t count, uint64_t bytes_each) {
    uintptr_t at[SAMPLES_A_CALL];
    int node_of[SAMPLES_A_CALL];
    for (size_t i = 0; i < count; i++)
        at[i] = samples[i].at;
    int err = um_os_nodes_of(at, count, node_of);
    for (size_t i = 0; i < count && !err; i++) {
        if (node_of[i] < 0) /* not in memory */
            continue;
        um_node_row *home = row_of(out, node_of_place(samples[i].place));
        home->intended_bytes += bytes_each;
        if (is_at_home(samples[i].place, (unsigned)node_of[i]))
            home->home_bytes += bytes_each;
        row_of(out, (unsigned)node_of[i])->actual_bytes += bytes_each;
    }
    out->measured_pages += err ? 0 : count;
    return err;
}

static int measure_nodes(um_snapshot *out) {
    uintptr_t memory;
    size_t bytes = um_round_up(SAMPLES_MAX * sizeof(sample), um_os_page_bytes);
    sampler in = {.stride = 1 + (out->active + out->dirty) / um_os_page_bytes / (SAMPLES_MAX / 2)};
    int err = um_os_map(bytes, &memory);
    if (err)
        return err;
    in.stride |= in.stride > 1; /* odd, so that it is not in step with spans */
    in.samples = (sample *)memory;
    for (; in.place < UM_NODES_MAX; in.place++)
        um_space_each(in.place, add_span, &in);
    for (size_t i = 0; i < in.count && !err; i += SAMPLES_A_CALL)
        err =
            look_up(out, in.samples + i, um_min(SAMPLES_A_CALL, in.count - i), in.stride * um_os_page_bytes);
    out->measured_of = in.pages;
    (void)um_os_unmap(memory, bytes);
    return err;
}

void um_gather_placement(um_snapshot *out) {
    size_t opened = atomic_load_explicit(&um_space_window.opened_bytes, memory_order_relaxed); /* grows */
    if (!um_space_window.table) /* nothing was ever allocated */
        return;
    (void)um_os_huge_bytes(um_space_window.base, opened, &out->huge_bytes); /* 0 where nobody tells */
    out->machine_nodes = um_topology_get()->count;
    if (out->machine_nodes == 1)
        return;
    out->placement = um_placing_name(um_place.policy);
    if (atomic_load_explicit(&um_place.first_touch, memory_order_relaxed))                /* a hint of now */
        out->first_touch = atomic_load_explicit(&um_place.refused, memory_order_relaxed); /* a hint */
    if (one_place() && out->node_count) {
        const um_topology *t = um_topology_get();
        out->nodes[0].node = UM_STATS_ANY_NODE;
        for (unsigned i = 0; i < t->count; i++)
            (void)row_of(out, t->id[i]);
    }
    out->measure_error = measure_nodes(out);
}
