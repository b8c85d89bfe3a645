/* Memory that is sent to another node on request: the pages of a span, or of all slabs of a heap. The address
   stays in the space it is in, and that space's memory belongs on another node; so what was sent away is not
   kept for reuse. It is marked (um_span.migrated), and its pages are given back when it is freed: the next
   use faults them in where they belong. Blocks in use move while others read and write them: the kernel holds
   those up for the moment.

   A page is moved whole, and so is a transparent huge page: its other blocks come along, unmarked. */
#include "conf/counters.h"
#include "heap/heap.h"
#include "os/os.h"
#include "os/topology.h"

#include <errno.h>

#define ATTEMPTS 4u /* at pages that somebody uses just then */

int um_migrate_range(uintptr_t at, size_t bytes, unsigned node, um_migration *out) {
    um_os_moved moved = {0, 0};
    int err = EINVAL;
    *out = (um_migration){0, 0};
    if (um_topology_dense(um_topology_get(), node) == UM_TOPOLOGY_NODES)
        return err;
    for (unsigned i = 0; i < ATTEMPTS && (i == 0 || (!err && moved.elsewhere)); i++)
        err = um_os_move_pages(at, bytes / um_os_page_bytes, node, &moved);
    out->there_bytes = moved.there * um_os_page_bytes;
    out->elsewhere_bytes = moved.elsewhere * um_os_page_bytes;
    return err ? err : moved.elsewhere ? EBUSY : 0;
}

int um_migrate_span(um_span *s, unsigned node, um_migration *out) {
    bool home = um_place_of(node) == s->node;
    int err = um_migrate_range((uintptr_t)um_span_start(s), (size_t)s->slots << UM_SLOT_SHIFT, node, out);
    if (!home && out->there_bytes && um_topology_get()->count > 1)
        um_span_set_migrated(s, true);
    else if (home && !err)
        um_span_set_migrated(s, false);
    return err;
}

void um_migrate_count(const um_migration *done) {
    UM_COUNT_ADD(numa_requests, 1);
    UM_COUNT_ADD(numa_request_bytes, done->there_bytes);
}

/* Pages that the owner has not touched yet would appear where the slab's address belongs. */
static void add(um_migration *sum, int *first_error, um_span *s, unsigned node) {
    um_migration one;
    int err;
    if (s->carved < s->capacity)
        (void)um_os_populate((uintptr_t)um_span_start(s), UM_SLOT_BYTES); /* else they do appear there */
    err = um_migrate_span(s, node, &one);
    sum->there_bytes += one.there_bytes;
    sum->elsewhere_bytes += one.elsewhere_bytes;
    *first_error = *first_error ? *first_error : err;
}

static void add_queue(um_migration *sum, int *first_error, um_span *queue, unsigned node) {
    um_span *s = queue;
    if (!s)
        return;
    do {
        add(sum, first_error, s, node);
        s = s->next;
    } while (s != queue);
}

int um_theap_migrate(um_theap *h, unsigned node, um_migration *out) {
    unsigned place = um_place_of(node);
    int err = 0;
    *out = (um_migration){0, 0};
    if (um_topology_dense(um_topology_get(), node) == UM_TOPOLOGY_NODES)
        return EINVAL;
    um_theap_flush(h); /* what is free need not travel */
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_bin *bin = &h->bins[c];
        if (bin->current != &um_span_none)
            add(out, &err, bin->current, node);
        add_queue(out, &err, bin->avail, node);
        add_queue(out, &err, bin->full, node);
    }
    if (um_place.homing && place != UM_NODES_MAX && !err) {
        h->node = (uint8_t)place;
        h->astray = 0;
    }
    return err;
}
