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
