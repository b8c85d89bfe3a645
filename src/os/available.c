/* How much memory there is before the OOM killer. The kernel tells it of the machine (MemAvailable); of a
   node it tells what is free and what holds files, of which a part cannot be had: page faults stop at a
   watermark of each zone, and a zone keeps a 256th of the higher ones back for those who cannot use these
   (vm.lowmem_reserve_ratio). Watermarks rise for a time when memory is fragmented, step by step
   (vm.watermark_boost_factor), so the highest of now is taken. Of files the kernel takes all but what it
   needs to go on, for which MemAvailable leaves out a half, or a watermark where that is less; so do we.
   (Documentation/filesystems/proc.rst, admin-guide/sysctl/vm.rst and admin-guide/cgroup-v2.rst of Linux.) */
#include "os/available.h"
#include "os/file.h"
#include "os/os.h"
#include "os/topology.h"

#define LOWMEM_PART  256u
#define UNKNOWN_PART 64u          /* of a node, instead of its watermarks */
#define STEPS_BYTES  (4 * UM_MIB) /* of rising watermarks, 2 MiB each */

/* The highest watermarks of all zones of some nodes, in bytes; `otherwise` where nobody tells. */
static uint64_t watermarks(const um_node_set *nodes, uint64_t otherwise) {
    um_file f;
    uint64_t id, pages, sum = 0;
    if (um_file_open(&f, "/proc/zoneinfo") != 0)
        return otherwise;
    for (bool more = um_file_word(&f, "Node "); more; more = um_file_find(&f, '\n', "Node ")) {
        bool wanted = um_file_number(&f, 10, &id) && id < UM_NODE_IDS && um_node_set_has(nodes, (unsigned)id);
        if (!wanted || !um_file_find(&f, ' ', "high "))
            continue;
        um_file_skip_blanks(&f);
        sum += um_file_number(&f, 10, &pages) ? pages * um_os_page_bytes : 0;
    }
    um_file_close(&f);
    return sum ? sum : otherwise;
}

static uint64_t on_nodes(const um_node_set *nodes) {
    um_node_memory one, all = {0, 0, 0};
    uint64_t kept;
    for (um_node_set_each(id, nodes)) {
        if (um_topology_memory(id, &one) != 0)
            return UINT64_MAX;
        all.total_bytes += one.total_bytes;
        all.free_bytes += one.free_bytes;
        all.cached_bytes += one.cached_bytes;
    }
    kept = watermarks(nodes, all.total_bytes / UNKNOWN_PART);
    all.free_bytes += all.cached_bytes - um_min(all.cached_bytes / 2, kept);
    kept += all.total_bytes / LOWMEM_PART + STEPS_BYTES * um_node_set_count(nodes);
    return all.free_bytes - um_min(all.free_bytes, kept);
}

static uint64_t on_machine(void) {
    um_file f;
    uint64_t kib = UINT64_MAX;
    if (um_file_open(&f, "/proc/meminfo") != 0)
        return UINT64_MAX;
    if (um_file_find(&f, '\n', "MemAvailable:")) {
        um_file_skip_blanks(&f);
        (void)um_file_number(&f, 10, &kib); /* else it is not told */
    }
    um_file_close(&f);
    return kib > UINT64_MAX / UM_KIB ? UINT64_MAX : kib * UM_KIB;
}

uint64_t um_os_available_on(unsigned id) {
    um_node_set one = um_node_set_of(id);
    return on_nodes(&one);
}

uint64_t um_os_available(const um_node_set *nodes) {
    return um_min(um_min(on_nodes(nodes), on_machine()), um_os_memory_left());
}
