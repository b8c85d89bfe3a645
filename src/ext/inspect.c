/* Questions to the allocator, and its options, at run time. All of it copies what lower layers tell: a
   snapshot (front/gather.h), the place of an address, a row of the table of options. */
#include "conf/options.h"
#include "front/aside.h"
#include "front/front.h"
#include "front/gather.h"
#include "os/os.h"
#include "os/topology.h"
#include "space/place.h"
#include "umalloc/umalloc.h"

#include <errno.h>
#include <string.h>

static bool serves(void) {
    if (um_likely(um_front_heap() || !um_aside()))
        return true;
    errno = ENOTSUP;
    return false;
}

static int fail(int err) {
    errno = err;
    return -1;
}

/* --- nodes --- */

int um_node_intended(const void *p) {
    const um_topology *t;
    const um_span *s = um_span_of(p);
    if (!serves())
        return -1;
    if (!s)
        return fail(EINVAL);
    if (um_place.homing || um_place.turns)
        return um_place.id[um_space_node_of(p)];
    t = um_topology_get();
    return t->count == 1 ? t->id[0] : fail(ENODATA);
}

int um_node_actual(const void *p) {
    uintptr_t page;
    int node, err;
    um_os_init();
    page = um_round_down((uintptr_t)p, um_os_page_bytes);
    err = um_os_nodes_of(&page, 1, &node);
    return err ? fail(err) : node < 0 ? fail(-node) : node;
}

/* --- statistics --- */

_Static_assert(sizeof(um_stats) == 8 + 23 * sizeof(uint64_t),
               "a field that is added comes last, in a new version");

static void fill(um_stats *out, const um_snapshot *s) {
    *out = (um_stats){.version = UM_STATS_VERSION,
                      .allocated = s->allocated,
                      .active = s->active,
                      .dirty = s->dirty,
                      .metadata = s->metadata,
                      .resident = s->resident,
                      .mapped = s->mapped,
                      .retained = s->retained,
                      .peak = s->peak,
                      .kernel_resident = s->kernel_resident,
                      .large_blocks = s->large_live_count,
                      .large_bytes = s->large_live_bytes,
                      .threads = s->threads,
                      .purges = s->counters.purges,
                      .purged_bytes = s->counters.purged_bytes,
                      .remote_frees = s->counters.remote_frees,
                      .remote_batches = s->counters.remote_batches,
                      .failed_allocs = s->counters.failed_allocs,
                      .soft_limit_hits = s->counters.soft_limit_hits,
                      .heap_moves = s->counters.numa_migrations,
                      .mmap_calls = s->mmap_calls,
                      .munmap_calls = s->munmap_calls,
                      .mremap_calls = s->mremap_calls,
                      .madvise_calls = s->madvise_calls};
}

int um_stats_get(um_stats *out) {
    um_snapshot s;
    um_stats all;
    uint32_t size = out->size;
    if (size < offsetof(um_stats, allocated))
        return fail(EINVAL);
    if (!serves())
        return -1;
    um_gather(&s);
    fill(&all, &s);
    all.size = size < sizeof all ? size : (uint32_t)sizeof all;
    memcpy(out, &all, all.size);
    return 0;
}

size_t um_stats_classes(um_class_usage *rows, size_t n) {
    um_snapshot s;
    if (!serves())
        return 0;
    um_gather(&s);
    for (size_t i = 0; i < n && i < UM_CLASSES; i++) {
        const um_class_row *r = &s.classes[i];
        rows[i] = (um_class_usage){
            um_class_bytes((unsigned)i), r->live, r->allocs, r->frees, r->slabs, r->slab_bytes};
    }
    return UM_CLASSES;
}

size_t um_stats_nodes(um_node_usage *rows, size_t n) {
    um_snapshot s;
    if (!serves())
        return 0;
    um_gather(&s);
    for (size_t i = 0; i < n && i < s.node_count; i++) {
        const um_node_row *r = &s.nodes[i];
        rows[i] = (um_node_usage){r->node, r->mapped_bytes, r->active_bytes, r->dirty_bytes};
    }
    return s.node_count;
}

/* --- options --- */

static int copy_text(const um_text *t, char *text, size_t room) {
    size_t n = room ? um_min(t->len, room - 1) : 0;
    if (room) {
        memcpy(text, t->buf, n);
        text[n] = 0;
    }
    return (int)t->len;
}

static unsigned option_of(const char *name) {
    return name ? um_option_find(name) : UM_OPTION_NONE;
}

static int tell(const char *name, void (*say)(unsigned option, um_text *t), char *text, size_t room) {
    um_text t;
    unsigned option = option_of(name);
    if (option == UM_OPTION_NONE)
        return fail(ENOENT);
    um_text_init(&t, NULL, NULL);
    say(option, &t);
    return copy_text(&t, text, room);
}

int um_option_get(const char *name, char *text, size_t room) {
    return tell(name, um_option_say, text, room);
}

int um_option_forms(const char *name, char *text, size_t room) {
    return tell(name, um_option_say_accepted, text, room);
}

int um_option_set(const char *name, const char *value) {
    unsigned option = option_of(name);
    if (option == UM_OPTION_NONE)
        return fail(ENOENT);
    if (!um_option_is_live(option))
        return fail(EPERM);
    if (!serves())
        return -1;
    if (!value || !um_option_assign(option, value))
        return fail(EINVAL);
    um_front_apply_live();
    um_front_exit_init();
    return 0;
}
