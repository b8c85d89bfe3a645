/* How much memory there is before the OOM killer. The kernel tells it of the machine (MemAvailable); of a
   node it tells what is free and what holds files, of which a part cannot be had: page faults stop at a
   watermark, a share of vm.min_free_kbytes in proportion to the zone's size, and a zone keeps a 256th of the
   higher ones back for those who cannot use these (vm.lowmem_reserve_ratio). Of files the kernel takes all
   but what it needs to go on, for which MemAvailable leaves out a half, or a watermark where that is less; so
   do we. (Documentation/filesystems/proc.rst, admin-guide/sysctl/vm.rst and admin-guide/cgroup-v2.rst of
   Linux.) */
#include "os/available.h"
#include "os/file.h"
#include "os/topology.h"

#define LOWMEM_PART 256u
#define WATERMARKS  4u /* times the least one: the highest is half as much again, and may be boosted by */
#define BOOST_BYTES (4 * UM_MIB) /* 1.5 times itself, and at least by 2 MiB in each zone that is in use */

static bool number_after(um_file *f, char after, const char *name, uint64_t *out) {
    if (!um_file_find(f, after, name))
        return false;
    um_file_skip_blanks(f);
    return um_file_number(f, 10, out);
}

typedef struct machine {
    uint64_t total, available, min_free; /* bytes; UINT64_MAX: not told */
} machine;

static uint64_t kib(uint64_t n) {
    return n > UINT64_MAX / UM_KIB ? UINT64_MAX : n * UM_KIB;
}

static machine look_at_machine(void) {
    uint64_t total = UINT64_MAX, available = UINT64_MAX, min_free = 0;
    um_file f;
    if (um_file_open(&f, "/proc/meminfo") == 0) {
        if (um_file_word(&f, "MemTotal:") && (um_file_skip_blanks(&f), um_file_number(&f, 10, &total)))
            (void)number_after(&f, '\n', "MemAvailable:", &available);
        um_file_close(&f);
    }
    if (um_file_open(&f, "/proc/sys/vm/min_free_kbytes") == 0) {
        (void)um_file_number(&f, 10, &min_free); /* else there is none that we know of */
        um_file_close(&f);
    }
    return (machine){kib(total), kib(available), kib(min_free)};
}

/* What page faults cannot have. */
static uint64_t reserve_of(const machine *m, uint64_t node_total) {
    uint64_t kept = m->min_free / UM_KIB * (node_total / UM_KIB) / um_max(m->total / UM_KIB, 1) * UM_KIB;
    return WATERMARKS * um_min(kept, m->min_free) + node_total / LOWMEM_PART + BOOST_BYTES;
}

static uint64_t on_node(const machine *m, unsigned id) {
    um_node_memory node;
    uint64_t reserve, cached;
    if (um_topology_memory(id, &node) != 0)
        return UINT64_MAX;
    reserve = reserve_of(m, node.total_bytes);
    cached = node.cached_bytes - um_min(node.cached_bytes / 2, reserve);
    return node.free_bytes + cached - um_min(node.free_bytes + cached, reserve);
}

uint64_t um_os_available_on(unsigned id) {
    machine m = look_at_machine();
    return on_node(&m, id);
}

uint64_t um_os_available(const um_node_set *nodes) {
    machine m = look_at_machine();
    uint64_t sum = 0, left = um_os_memory_left();
    for (um_node_set_each(id, nodes)) {
        uint64_t one = on_node(&m, id);
        sum = one > UINT64_MAX - sum ? UINT64_MAX : sum + one;
    }
    return um_min(um_min(sum, m.available), left);
}
