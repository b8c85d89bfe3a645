/* What the kernel can still give, read from a tree of files made here. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/available.h"
#include "os/topology.h"

#include "tree.h"

TestSuite(available, .init = tree_begin, .fini = tree_end);

static um_node_set nodes(unsigned bits) {
    return (um_node_set){{bits}};
}

static void put_node(unsigned id, unsigned total_mib, unsigned free_mib, unsigned inactive_mib,
                     unsigned active_mib) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/sys/devices/system/node/node%u/meminfo", id);
    snprintf(
        text, sizeof text,
        "Node %u MemTotal: %u kB\nNode %u MemFree: %u kB\nNode %u Active: 7 kB\nNode %u Active(anon): 8 kB\n"
        "Node %u Active(file): %u kB\nNode %u Inactive(file): %u kB\n",
        id, total_mib * 1024, id, free_mib * 1024, id, id, id, active_mib * 1024, id, inactive_mib * 1024);
    put(path, text);
}

Test(available, where_nobody_tells_there_is_no_bound) {
    um_node_set set = nodes(3);
    cr_expect_eq(um_os_available(&set), UINT64_MAX);
    cr_expect_eq(um_os_available_on(0), UINT64_MAX);
}

/* Of 1 GiB a 256th is kept back, 4 MiB, and as much again; and a 64th, 16 MiB, where watermarks are not told.
 */
Test(available, free_memory_and_files_but_for_what_the_zones_keep) {
    put_node(1, 1024, 100, 0, 0);
    cr_expect_eq(um_os_available_on(1), 76 * UM_MIB);
    put_node(1, 1024, 100, 20, 30);
    cr_expect_eq(um_os_available_on(1), 110 * UM_MIB, "16 MiB of the files too");
    put_node(1, 1024, 100, 3, 3);
    cr_expect_eq(um_os_available_on(1), 79 * UM_MIB, "half of few");
    put_node(1, 1024, 20, 0, 0);
    cr_expect_eq(um_os_available_on(1), 0);
}

/* Those of the node alone; not those of processors' lists. */
Test(available, watermarks) {
    um_os_page_bytes = 4096;
    put("/proc/zoneinfo",
        "Node 0, zone      DMA\n  pages free     5\n        boost    0\n        min      1\n        low      "
        "2\n"
        "        high     256\n  pagesets\n    cpu: 0\n              count:    9\n              high:     "
        "4096\n"
        "Node 0, zone   Normal\n  pages free     5\n        min      1\n        high     1280\n"
        "Node 1, zone   Normal\n  pages free     5\n        min      1\n        high     5120\n");
    put_node(0, 1024, 100, 0, 0);
    put_node(1, 1024, 100, 0, 0);
    put_node(2, 1024, 100, 0, 0);
    cr_expect_eq(um_os_available_on(0), 86 * UM_MIB, "8 MiB, and 6");
    cr_expect_eq(um_os_available_on(1), 72 * UM_MIB);
    cr_expect_eq(um_os_available_on(2), 76 * UM_MIB, "none");
}

Test(available, the_least_of_nodes_machine_and_groups) {
    um_node_set both = nodes(5), one = nodes(4);
    put_node(0, 1024, 100, 0, 0);
    put_node(2, 1024, 204, 0, 0);
    cr_expect_eq(um_os_available(&both), 256 * UM_MIB);
    cr_expect_eq(um_os_available(&one), 180 * UM_MIB);
    put("/proc/meminfo", "MemTotal: 4194304 kB\nMemFree: 1 kB\nMemAvailable: 153600 kB\n");
    cr_expect_eq(um_os_available(&one), 150 * UM_MIB);
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "67108864\n");
    put("/sys/fs/cgroup/memory.current", "33554432\n");
    cr_expect_eq(um_os_available(&both), 30 * UM_MIB);
}
