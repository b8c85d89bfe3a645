/* What UMALLOC_NUMA may say. */
#include "conf/numa.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static um_placing_spec spec;

static void expect(const char *text, um_placing policy, const char *nodes) {
    char shown[256] = "";
    spec = (um_placing_spec){.policy = UM_PLACING_NONE};
    cr_assert(um_placing_parse(text, &spec), "%s", text);
    cr_expect_eq(spec.policy, policy, "%s", text);
    for (um_node_set_each(n, &spec.nodes))
        snprintf(shown + strlen(shown), sizeof shown - strlen(shown), "%u=%u ", n, spec.weight[n]);
    cr_expect_str_eq(shown, nodes, "%s", text);
}

Test(numa, policies_with_and_without_nodes) {
    expect("local", UM_PLACING_LOCAL, "");
    expect("LOCAL-Strict", UM_PLACING_LOCAL_STRICT, "");
    expect("none", UM_PLACING_NONE, "");
    expect("bind:0", UM_PLACING_BIND, "0=0 ");
    expect("bind:0-2,7", UM_PLACING_BIND, "0=0 1=0 2=0 7=0 ");
    expect("prefer:3,1", UM_PLACING_PREFER, "1=0 3=0 ");
    expect("interleave", UM_PLACING_INTERLEAVE, "");
    expect("interleave:1023", UM_PLACING_INTERLEAVE, "1023=0 ");
    expect("round-robin", UM_PLACING_ROUND_ROBIN, "");
    expect("round-robin:0,2", UM_PLACING_ROUND_ROBIN, "0=0 2=0 ");
    expect("weighted", UM_PLACING_WEIGHTED, "");
    expect("weighted:0=3,2=255", UM_PLACING_WEIGHTED, "0=3 2=255 ");
}

Test(numa, anything_else_changes_nothing) {
    static const char *const bad[] = {"",
                                      "loca",
                                      "locally",
                                      "local:",
                                      "local:0",
                                      "none:1",
                                      "bind",
                                      "bind:",
                                      "bind:,",
                                      "bind:0,",
                                      "bind:,0",
                                      "bind:a",
                                      "bind:0-",
                                      "bind:2-1",
                                      "bind:1024",
                                      "bind:0-1024",
                                      "bind:99999999999999999999",
                                      "bind:0 ",
                                      " bind:0",
                                      "bind:0=1",
                                      "bind:-1",
                                      "prefer",
                                      "weighted:",
                                      "weighted:0",
                                      "weighted:0=",
                                      "weighted:0=0",
                                      "weighted:0=256",
                                      "weighted:0-1=2",
                                      "weighted:0=1,",
                                      "interleave:",
                                      "round-robin:",
                                      "roundrobin"};
    for (size_t i = 0; i < UM_COUNT(bad); i++) {
        spec = (um_placing_spec){.policy = UM_PLACING_PREFER, .weight = {[9] = 9}};
        cr_expect(!um_placing_parse(bad[i], &spec), "%s", bad[i]);
        cr_expect(spec.policy == UM_PLACING_PREFER && spec.weight[9] == 9, "%s", bad[i]);
    }
}

Test(numa, each_place_of_a_round_comes_once) {
    static const uint32_t sizes[] = {1, 2, 3, 4, 5, 8, 300, 64 * 255};
    for (size_t i = 0; i < UM_COUNT(sizes); i++) {
        um_placing_round r = um_placing_round_of(sizes[i]);
        static uint8_t seen[64 * 255];
        for (uint32_t k = 0; k < 3 * sizes[i]; k++) {
            uint32_t at = um_placing_turn(&r, k);
            cr_assert_lt(at, sizes[i]);
            cr_assert_eq(seen[at]++, k / sizes[i], "turn %u of %u", k, sizes[i]);
        }
        memset(seen, 0, sizeof seen);
    }
}

/* Every n-th piece is a large one, say: its shares are right too. */
Test(numa, no_pattern_keeps_step) {
    enum { LARGE = 4000 };
    for (uint32_t turns = 2; turns <= 8; turns++)
        for (uint32_t every = 1; every <= 64; every++) {
            um_placing_round r = um_placing_round_of(turns);
            unsigned got[8] = {0};
            for (uint32_t i = 0; i < LARGE; i++)
                got[um_placing_turn(&r, i * every)]++;
            for (uint32_t at = 0; at < turns; at++)
                cr_expect(got[at] * turns > LARGE * 3 / 4 && got[at] * turns < LARGE * 5 / 4,
                          "every %u, %u of %u: %u of %u", every, at, turns, got[at], LARGE);
        }
}

/* Of a long round the first few turns are spread as the weights are: 50 of 300 places, 100 at the front. */
Test(numa, a_long_round_begins_as_it_goes_on) {
    um_placing_round r = um_placing_round_of(300);
    unsigned front = 0;
    for (uint32_t k = 0; k < 50; k++)
        front += um_placing_turn(&r, k) < 100;
    cr_expect(front >= 14 && front <= 20, "%u", front);
}
