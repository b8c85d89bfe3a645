/* Questions and options at run time: answers agree with what was done just before. */
#include "umalloc/umalloc.h"
#include "conf/options.h"
#include "front/front.h"
#include "os/topology.h"
#include "space/place.h"
#include "space/window.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

Test(inspect, statistics_follow_what_is_done) {
    um_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    void *p;
    cr_assert_eq(um_stats_get(&before), 0);
    cr_expect_eq(before.size, sizeof before);
    cr_expect_eq(before.version, UM_STATS_VERSION);
    p = um_malloc(1000000, 0);
    cr_assert_eq(um_stats_get(&after), 0);
    cr_expect_eq(after.allocated, before.allocated + um_usable_size(p));
    cr_expect_eq(after.large_blocks, before.large_blocks + 1);
    cr_expect_geq(after.active, after.allocated);
    cr_expect_eq(after.resident, after.active + after.dirty + after.metadata);
    cr_expect_gt(after.mmap_calls, 0);
    cr_expect_geq(after.threads, 1);
    um_free(p);
}

Test(inspect, an_older_program_gets_what_it_knows) {
    struct {
        um_stats s;
        char behind[64];
    } room;
    (void)um_malloc(1, 0);
    memset(&room, 0x5a, sizeof room);
    room.s.size = offsetof(um_stats, dirty);
    cr_assert_eq(um_stats_get(&room.s), 0);
    cr_expect_eq(room.s.size, offsetof(um_stats, dirty));
    cr_expect_gt(room.s.active, 0);
    cr_expect_eq(room.s.dirty, 0x5a5a5a5a5a5a5a5aull, "beyond its end");
    room.s.size = sizeof room; /* a newer one */
    cr_assert_eq(um_stats_get(&room.s), 0);
    cr_expect_eq(room.s.size, sizeof room.s);
    cr_expect_eq(room.behind[0], 0x5a);
    room.s.size = 4;
    errno = 0;
    cr_expect_eq(um_stats_get(&room.s), -1);
    cr_expect_eq(errno, EINVAL);
}

Test(inspect, rows_of_classes_and_nodes) {
    static um_class_usage rows[256], few[1];
    static um_node_usage nodes[64];
    int c = um_size_class(300);
    void *p[5];
    size_t n = um_stats_classes(rows, 256);
    cr_assert_gt(n, (size_t)c);
    cr_expect_eq(um_stats_classes(few, 1), n);
    cr_expect_eq(um_stats_classes(NULL, 0), n);
    uint64_t before = rows[c].live_blocks;
    cr_assert_eq(um_malloc_batch(300, 0, p, 5), 5);
    (void)um_stats_classes(rows, 256);
    cr_expect_eq(rows[c].live_blocks, before + 5);
    cr_expect_eq(rows[c].block_bytes, um_size_class_bytes(c));
    um_free_batch(p, 5);
    cr_assert_geq(um_stats_nodes(nodes, 64), 1);
    cr_expect_gt(nodes[0].active_bytes, 0);
}

static void *make_hundred(void *blocks) {
    (void)um_malloc_batch(600, 0, blocks, 100);
    return NULL;
}

Test(inspect, what_is_on_its_way_to_another_thread_is_not_live) {
    static um_class_usage before[256], after[256];
    static void *p[100];
    um_stats held = {.size = sizeof held}, now = {.size = sizeof now};
    int c = um_size_class(600);
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, make_hundred, p), 0);
    cr_assert_eq(pthread_join(t, NULL), 0);
    (void)um_stats_classes(before, 256);
    cr_assert_eq(um_stats_get(&held), 0);
    for (unsigned i = 0; i < 90; i++)
        um_free(p[i]);
    (void)um_stats_classes(after, 256);
    cr_assert_eq(um_stats_get(&now), 0);
    cr_expect_eq(after[c].live_blocks, before[c].live_blocks - 90);
    cr_expect_eq(after[c].frees, before[c].frees + 90);
    cr_expect_eq(after[c].allocs, before[c].allocs);
    cr_expect_eq(now.allocated, held.allocated - 90 * um_size_class_bytes(c));
    um_thread_flush();
    (void)um_stats_classes(after, 256);
    cr_expect_eq(after[c].live_blocks, before[c].live_blocks - 90);
    cr_expect_eq(after[c].frees, before[c].frees + 90);
}

Test(inspect, nodes_of_an_address) {
    int on_the_stack = 1;
    char *p = um_malloc(1 << 20, UM_ZERO);
    int node;
    errno = 0;
    cr_expect_eq(um_node_intended(&on_the_stack), -1);
    cr_expect_eq(errno, EINVAL);
    node = um_node_intended(p);
    cr_expect(node >= 0 || errno == ENODATA);
    errno = 0;
    if (um_node_actual(&on_the_stack) < 0) /* a kernel that will not tell */
        cr_expect(errno == EPERM || errno == ENOSYS, "%d", errno);
    *(volatile char *)p = 1;
    if (um_node_actual(p) >= 0 && node >= 0 && um_topology_get()->count == 1)
        cr_expect_eq(um_node_actual(p), node);
    errno = 0;
    cr_expect_eq(um_node_actual(NULL), -1);
    cr_expect_neq(errno, 0);
    um_free(p);
}

Test(inspect, made_up_nodes_are_the_intended_ones) {
    char *p;
    size_t bytes = UM_REGION_SLOTS << UM_SLOT_SHIFT; /* so the block reaches into a second region */
    um_free(um_malloc(1, 0));
    um_place.count = 2;
    um_place.policy = UM_PLACING_LOCAL;
    um_place.id[1] = 7;
    um_place.homing = true;
    atomic_store(&um_place.first_touch, true);
    cr_expect_eq(um_node_intended(um_malloc(100, UM_NODE(7))), 7);
    cr_expect_eq(um_node_intended(um_malloc(100, UM_NODE(0))), 0);
    p = um_malloc(bytes, UM_NODE(7));
    cr_assert_not_null(p);
    for (size_t at = 0; at < bytes; at += bytes / 7)
        cr_expect_eq(um_node_intended(p + at), 7, "%zu bytes within the block", at);
    um_free(p);
    um_place.homing = false; /* pages are spread */
    um_place.count = 1;
}

static const char *value(const char *name) {
    static char text[300];
    int n = um_option_get(name, text, sizeof text);
    cr_assert_geq(n, 0);
    cr_assert_eq((size_t)n, strlen(text));
    return text;
}

Test(inspect, options_change) {
    cr_expect_str_eq(value("limit"), "0");
    cr_assert_eq(um_option_set("UMALLOC_LIMIT", "64M"), 0);
    cr_expect_str_eq(value("Limit"), "64M");
    errno = 0;
    cr_expect_null(um_malloc(80 << 20, 0));
    cr_expect_eq(errno, ENOMEM);
    cr_assert_eq(um_option_set("limit", "0"), 0);
    um_free(um_malloc(80 << 20, 0));
    cr_assert_eq(um_option_set("decay_ms", "7"), 0);
    cr_assert_eq(um_option_set("thread_cache", "2M"), 0);
    cr_assert_eq(um_option_set("soft_limit", "auto"), 0);
    cr_expect_str_eq(value("soft_limit"), "auto");
    cr_expect_eq(UM_SPACE_SETTING(decay_ms), 7);
    cr_expect_eq(um_theap_cache_most(), 2 * UM_MIB);
}

Test(inspect, options_are_refused) {
    char text[200];
    errno = 0;
    cr_expect_eq(um_option_set("limits", "1"), -1);
    cr_expect_eq(errno, ENOENT);
    errno = 0;
    cr_expect_eq(um_option_set("", "1"), -1);
    cr_expect_eq(errno, ENOENT);
    cr_expect_eq(um_option_set("numa", "none"), -1);
    cr_expect_eq(errno, EPERM);
    cr_expect_eq(um_option_set("decay_ms", "soon"), -1);
    cr_expect_eq(errno, EINVAL);
    cr_expect_str_eq(value("decay_ms"), "1000");
    cr_assert_gt(um_option_forms("decay_ms", text, sizeof text), 0);
    cr_expect_str_eq(text, "a number from 0 to 86400000");
    cr_expect_eq(um_option_forms("harden", text, 6), (int)strlen("one of off|on|full"));
    cr_expect_str_eq(text, "one o");
    cr_expect_gt(um_option_forms("harden", NULL, 0), 0);
    cr_expect_str_eq(value("numa"), "local");
}

Test(inspect, every_live_option_takes_its_own_value) {
#define X(id) #id,
    static const char *const live[] = {UM_OPTIONS_LIVE(X)};
#undef X
    for (size_t i = 0; i < UM_COUNT(live); i++)
        cr_expect_eq(um_option_set(live[i], value(live[i])), 0, "%s", live[i]);
}
