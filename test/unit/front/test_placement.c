/* What is measured of placement: intended and actual bytes of made-up nodes on whatever machine this is, all
   of whose pages really lie on real ones. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "front/gather.h"
#include "os/os.h"

#include "refuse.h"
#include "two_nodes.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

static um_snapshot stats;

static void start(void) {
    um_os_init();
    two_nodes_known(1);
    two_nodes_placed();
    um_place.refused = ENOSYS;
    cr_assert_eq(um_space_init(), 0);
}

TestSuite(placement, .init = start);

static um_span *touched(unsigned node, size_t slots, size_t touch_bytes) {
    um_span *s = um_space_alloc(node, slots, 1, NULL);
    cr_assert_not_null(s);
    um_span_set_kind(s, UM_SPAN_LARGE);
    memset(um_span_start(s), 1, touch_bytes);
    return s;
}

static const um_node_row *row(unsigned node) {
    static const um_node_row none;
    for (uint32_t i = 0; i < stats.node_count; i++)
        if (stats.nodes[i].node == node)
            return &stats.nodes[i];
    return &none;
}

static void measure(void) {
    um_gather(&stats);
    um_gather_placement(&stats);
}

/* What the kernel says, page by page. */
static uint64_t bytes_on(const um_span *s, int node) {
    static int nodes[65536];
    size_t pages = ((size_t)s->slots << UM_SLOT_SHIFT) / um_os_page_bytes;
    uint64_t sum = 0;
    cr_assert_leq(pages, UM_COUNT(nodes));
    cr_assert_eq(um_os_page_nodes((uintptr_t)um_span_start(s), pages, nodes), 0);
    for (size_t i = 0; i < pages; i++)
        sum += nodes[i] == node ? um_os_page_bytes : 0;
    return sum;
}

static bool kernel_tells(void) {
    uintptr_t at = (uintptr_t)&stats;
    int node;
    return um_os_nodes_of(&at, 1, &node) == 0;
}

Test(placement, each_page_of_a_small_process_is_looked_up) {
    um_span *a = touched(0, 16, 10 * UM_SLOT_BYTES), *b = touched(1, 8, 3 * UM_SLOT_BYTES);
    errno = 123;
    measure();
    cr_expect_eq(errno, 123);
    cr_expect_eq(stats.machine_nodes, 2);
    cr_expect_str_eq(stats.placement, "local");
    cr_expect_eq(stats.first_touch, ENOSYS);
    cr_expect_geq(stats.counters.numa_policy_errors, 2);
    if (!kernel_tells()) {
        cr_expect_neq(stats.measure_error, 0);
        return;
    }
    cr_expect_eq(stats.measure_error, 0);
    cr_expect_eq(stats.measured_pages, 24 * UM_SLOT_BYTES / um_os_page_bytes);
    cr_expect_eq(stats.measured_of, stats.measured_pages);
    cr_expect_eq(row(0)->intended_bytes, 10 * UM_SLOT_BYTES);
    cr_expect_eq(row(1)->intended_bytes, 3 * UM_SLOT_BYTES);
    cr_expect_eq(row(0)->home_bytes, bytes_on(a, 0));
    cr_expect_eq(row(1)->home_bytes, bytes_on(b, 1));
    cr_expect_eq(row(0)->actual_bytes, bytes_on(a, 0) + bytes_on(b, 0));
    um_space_free(a, 0); /* said to hold nothing: clean */
    measure();
    cr_expect_eq(row(0)->intended_bytes, 0);
    cr_expect_eq(row(1)->intended_bytes, 3 * UM_SLOT_BYTES);
}

Test(placement, a_large_process_is_sampled_evenly) {
    size_t slots = 2048; /* 128 MiB, of which three quarters are touched */
    um_span *a = touched(0, slots, slots * UM_SLOT_BYTES / 4 * 3);
    for (unsigned i = 0; i < 100; i++)
        (void)touched(1, 1, UM_SLOT_BYTES);
    if (!kernel_tells())
        return;
    measure();
    uint64_t wanted = bytes_on(a, 0);
    cr_expect_leq(stats.measured_pages, 8192);
    cr_expect_geq(stats.measured_pages, 2048);
    cr_expect_eq(stats.measured_of, (slots + 100) * UM_SLOT_BYTES / um_os_page_bytes);
    cr_expect_leq(row(0)->home_bytes, wanted + wanted / 50, "%lu", (unsigned long)row(0)->home_bytes);
    cr_expect_geq(row(0)->home_bytes, wanted - wanted / 50, "%lu", (unsigned long)row(0)->home_bytes);
    cr_expect_geq(row(1)->intended_bytes, 90 * UM_SLOT_BYTES);
    cr_expect_leq(row(1)->intended_bytes, 110 * UM_SLOT_BYTES);
}

/* What belongs on no node of its own is on one of the policy's, or not. */
Test(placement, memory_of_one_place) {
    um_span *a = touched(0, 16, 16 * UM_SLOT_BYTES);
    if (!kernel_tells())
        return;
    um_place.count = 1;
    um_place.homing = false;
    um_place.policy = UM_PLACING_INTERLEAVE;
    um_node_set_add(&um_place.nodes, 0);
    measure();
    cr_expect_str_eq(stats.placement, "interleave");
    cr_expect_eq(row(UM_STATS_ANY_NODE)->mapped_bytes, stats.nodes[0].mapped_bytes);
    cr_expect_eq(row(UM_STATS_ANY_NODE)->intended_bytes, 16 * UM_SLOT_BYTES);
    cr_expect_eq(row(UM_STATS_ANY_NODE)->home_bytes, bytes_on(a, 0));
    cr_expect_eq(row(UM_STATS_ANY_NODE)->actual_bytes, 0);
    cr_expect_eq(row(0)->actual_bytes, bytes_on(a, 0));
    cr_expect_eq(row(0)->mapped_bytes, 0);
    um_place.policy = UM_PLACING_NONE;
    measure();
    cr_expect_eq(row(UM_STATS_ANY_NODE)->home_bytes, 16 * UM_SLOT_BYTES, "nowhere is wrong");
}

Test(placement, a_refusal_is_told) {
    (void)touched(0, 1, UM_SLOT_BYTES);
    cr_assert(refuse(SYS_move_pages, EPERM));
    measure();
    cr_expect_eq(stats.measure_error, EPERM);
    cr_expect_eq(stats.measured_pages, 0);
    cr_expect_eq(row(0)->intended_bytes, 0);
    cr_expect_gt(row(0)->mapped_bytes, 0);
}

Test(placement, nothing_is_asked_about_one_node) {
    um_node_set one = um_node_set_of(0);
    static union {
        um_topology t;
        char room[UM_TOPOLOGY_BYTES];
    } topology;
    um_topology_read(&topology.t, &one);
    atomic_store(&um_topology_now, &topology.t);
    (void)touched(0, 1, UM_SLOT_BYTES);
    cr_assert(forbid(SYS_move_pages));
    measure();
    cr_expect_eq(stats.machine_nodes, 1);
    cr_expect_eq(stats.measured_pages, 0);
    cr_expect_eq(stats.measure_error, 0);
}
