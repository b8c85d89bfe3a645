/* Placement on machines that this one is not: the kernel's answers are made up here. Real kernels are asked
   in test/numa. */
#include "space/internal.h"
#include "space/place.h"
#include "conf/options.h"
#include "os/numa.h"
#include "os/os.h"
#include "os/topology.h"

#include "ageless.h"
#include "memory_text.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static um_node_set allowed;
static int allowed_error, policy_error, inherited, last_mode, wrong_node = -1;
static unsigned node_now, policy_calls, last_home = UM_NODE_IDS, first_of_last, count_of_last;
static size_t wrong_page = SIZE_MAX; /* of those asked for, from the first on */

int __wrap_um_os_nodes_allowed(um_node_set *out);
int __wrap_um_os_nodes_allowed(um_node_set *out) {
    *out = allowed;
    return allowed_error;
}

unsigned __wrap_um_os_node_asked(void);
unsigned __wrap_um_os_node_asked(void) {
    return node_now;
}

int __wrap_um_os_task_policy(int *mode);
int __wrap_um_os_task_policy(int *mode) {
    *mode = inherited;
    return 0;
}

int __wrap_um_os_policy(uintptr_t at, size_t bytes, int mode, const um_node_set *nodes, unsigned flags);
int __wrap_um_os_policy(uintptr_t at, size_t bytes, int mode, const um_node_set *nodes, unsigned flags) {
    (void)at, (void)bytes, (void)flags;
    policy_calls++;
    if (policy_error == EINVAL && mode < UM_POLICY_PREFERRED_MANY)
        policy_error = 0; /* an old kernel: it knows the old modes */
    if (policy_error)
        return policy_error;
    last_mode = mode;
    first_of_last = um_node_set_first(nodes);
    count_of_last = um_node_set_count(nodes);
    return 0;
}

int __wrap_um_os_home_node(uintptr_t at, size_t bytes, unsigned node);
int __wrap_um_os_home_node(uintptr_t at, size_t bytes, unsigned node) {
    (void)at, (void)bytes;
    last_home = node;
    return 0;
}

int __wrap_um_os_page_nodes(uintptr_t at, size_t pages, int *node_of);
int __wrap_um_os_page_nodes(uintptr_t at, size_t pages, int *node_of) {
    (void)at;
    for (size_t i = 0; i < pages; i++)
        node_of[i] = wrong_page-- == 0 ? wrong_node : (int)node_now;
    return 0;
}

static uint64_t available = UINT64_MAX, available_there = UINT64_MAX;
static unsigned looks, sent_to = UM_NODE_IDS;

uint64_t __wrap_um_os_available(const um_node_set *nodes);
uint64_t __wrap_um_os_available(const um_node_set *nodes) {
    cr_expect_eq(um_node_set_count(nodes), um_node_set_count(&allowed), "wherever the kernel might look");
    looks++;
    return available;
}

uint64_t __wrap_um_os_available_on(unsigned id);
uint64_t __wrap_um_os_available_on(unsigned id) {
    (void)id;
    return available_there;
}

int __wrap_um_os_move_pages(uintptr_t at, size_t pages, unsigned node, um_os_moved *moved);
int __wrap_um_os_move_pages(uintptr_t at, size_t pages, unsigned node, um_os_moved *moved) {
    (void)at;
    *moved = (um_os_moved){pages, 0};
    sent_to = node;
    return 0;
}

static memory_text out;

/* Nodes 0, 2, 5 and 7, of which 7 has no cpu, or what the test says. */
static unsigned init(const char *text, bool chosen) {
    um_placing_spec asked;
    unsigned bad;
    cr_assert(um_placing_parse(text, &asked));
    um_option.numa = text;
    um_os_rseq_at = 0;
    bad = um_place_init(&asked, chosen, memory_text_start(&out));
    memory_text_end(&out);
    return bad;
}

static void start(void) {
    um_os_init();
    for (unsigned n = 0; n < 8; n++)
        if (0xA5 >> n & 1)
            um_node_set_add(&allowed, n);
}

TestSuite(place, .init = start);

Test(place, one_node_costs_nothing) {
    allowed = um_node_set_of(0);
    cr_expect_eq(init("local", true), 0);
    cr_expect_eq(um_place.policy, UM_PLACING_NONE);
    cr_expect_eq(um_place.count, 1);
    um_place_bind(0, 0, 4096);
    cr_expect_eq(policy_calls, 0);
    cr_expect_eq(um_place_here(), 0);
}

Test(place, local_follows_the_processor) {
    cr_expect_eq(init("local", false), 0);
    cr_expect_eq(um_place.count, 4);
    node_now = 5;
    cr_expect_eq(um_place_here(), 2);
    node_now = 0;
    cr_expect_eq(um_place_here(), 0);
    um_place_bind(3, 0, 4096);
    cr_expect_eq(last_mode, UM_POLICY_PREFERRED);
    cr_expect_eq(first_of_last, 7);
    cr_expect_eq(um_place_choice(1, 0), 1);
    cr_expect_eq(um_place_choice(1, 1), UM_NODES_MAX, "the kernel falls back, not we");
}

Test(place, a_node_without_memory_is_served_by_another) {
    (void)init("local", false);
    node_now = 3;
    cr_expect_lt(um_place_here(), 4);
}

Test(place, numactl_goes_before_the_default_not_before_a_choice) {
    inherited = UM_POLICY_INTERLEAVE;
    (void)init("local", false);
    cr_expect_eq(um_place.policy, UM_PLACING_NONE);
    (void)init("local", true);
    cr_expect_eq(um_place.policy, UM_PLACING_LOCAL);
}

Test(place, named_nodes_only) {
    cr_expect_eq(init("prefer:2,5", true), 0);
    cr_expect_eq(um_place.count, 2);
    node_now = 5;
    cr_expect_eq(um_place_here(), 1);
    um_place_bind(1, 0, 4096);
    cr_expect_eq(last_mode, UM_POLICY_PREFERRED_MANY);
    cr_expect_eq(count_of_last, 2);
    cr_expect_eq(last_home, 5);
}

Test(place, an_old_kernel_prefers_one) {
    (void)init("prefer:2,5", true);
    policy_error = EINVAL;
    um_place_bind(1, 0, 4096);
    cr_expect_eq(last_mode, UM_POLICY_PREFERRED);
    cr_expect_eq(first_of_last, 5);
    cr_expect_eq(um_place.refused, 0);
}

Test(place, a_missing_node_is_said_and_local_used) {
    cr_expect_eq(init("bind:2,3", true), 1);
    cr_expect_str_eq(out.all,
                     "umalloc: UMALLOC_NUMA=\"bind:2,3\" names a node that has no memory for this process "
                     "(it has 0,2,5,7); using the default local\n");
    cr_expect_eq(um_place.policy, UM_PLACING_LOCAL);
    cr_expect_eq(um_place.count, 4);
}

Test(place, refusal_is_asked_for_once) {
    (void)init("local", true);
    policy_error = EPERM;
    um_place_bind(0, 0, 4096);
    um_place_bind(0, 0, 4096);
    cr_expect_eq(policy_calls, 1);
    cr_expect_eq(um_place.refused, EPERM);
    cr_expect_eq(um_place_try(), EPERM);
}

Test(place, bind_goes_on_with_the_others) {
    bool seen[4] = {false};
    (void)init("bind:0,2,5,7", true);
    for (unsigned k = 0; k < 4; k++) {
        unsigned at = um_place_choice(2, k);
        cr_assert_lt(at, 4);
        cr_expect(!seen[at]);
        seen[at] = true;
    }
    cr_expect_eq(um_place_choice(2, 0), 2);
    cr_expect_eq(um_place_choice(2, 4), UM_NODES_MAX);
}

Test(place, turns_by_weight) {
    unsigned got[4] = {0};
    uint32_t turn = 12;
    (void)init("weighted:0=3,5=1", true);
    cr_expect(um_place.turns && !um_place.homing);
    for (unsigned i = 0; i < 40; i++)
        got[um_place_next(&turn)]++;
    cr_expect_eq(got[0], 30);
    cr_expect_eq(got[1], 10);
}

/* Large and small pieces alternate, and the small ones go soon: in use is what the weights say. */
Test(place, shares_are_of_what_is_in_use) {
    enum { LARGE = 16, KEPT = 200 };
    uint32_t turn = 12;
    cr_assert_eq(um_space_init(), 0);
    (void)init("weighted:0=3,5=1", true);
    for (unsigned i = 0; i < KEPT; i++) {
        um_span *small = um_space_alloc(um_place_next(&turn), LARGE / 4, 1, NULL);
        cr_assert_not_null(small);
        cr_assert_not_null(um_space_alloc(um_place_next(&turn), LARGE, 1, NULL));
        um_space_free(small, UM_SLOT_BYTES);
    }
    cr_expect(um_spaces[0].active_slots >= (KEPT * 3 / 4 - 1) * LARGE &&
                  um_spaces[0].active_slots <= (KEPT * 3 / 4 + 1) * LARGE,
              "%zu slots", um_spaces[0].active_slots);
    um_space_check();
}

Test(place, interleaving_is_the_kernels) {
    (void)init("interleave:2,7", true);
    cr_expect_eq(um_place.count, 1);
    um_place_bind(0, 0, 4096);
    cr_expect_eq(last_mode, UM_POLICY_INTERLEAVE);
    cr_expect_eq(count_of_last, 2);
}

/* The nodes as they are made up, of which 7 has no processor. */
static void without_processors_on_7(void) {
    static union {
        um_topology t;
        char room[UM_TOPOLOGY_BYTES];
    } four;
    um_topology_sysfs = "/nonexistent";
    um_topology_read(&four.t, &allowed);
    four.t.cpus = (um_node_set){{1 << 0 | 1 << 2 | 1 << 5}};
    atomic_store(&um_topology_now, &four.t);
}

Test(place, weights_of_the_system_where_the_kernel_has_them) {
    without_processors_on_7();
    (void)init("weighted", true);
    um_place_bind(0, 0, 4096);
    cr_expect_eq(last_mode, UM_POLICY_WEIGHTED_INTERLEAVE);
    cr_expect_eq(count_of_last, 3, "node 7 is memory alone");
    policy_error = EINVAL;
    um_place_bind(0, 0, 4096);
    cr_expect_eq(last_mode, UM_POLICY_INTERLEAVE);
}

/* A page in the wrong place: the span is refused, and its pages go. */
Test(place, strict_looks_at_every_page) {
    int pages = (int)(32 * UM_SLOT_BYTES / um_os_page_bytes);
    um_span *s;
    bool zeroed;
    cr_assert_eq(um_space_init(), 0);
    (void)init("local-strict", true);
    node_now = 5;
    cr_assert_not_null(s = um_space_alloc(2, 32, 1, &zeroed));
    cr_expect(zeroed);
    um_space_free(s, 32 * UM_SLOT_BYTES);
    cr_expect_not_null(s = um_space_alloc(2, 32, 1, &zeroed));
    cr_expect(!zeroed, "it was looked at before");
    wrong_node = 0;
    wrong_page = pages - 1;
    cr_expect_null(um_space_alloc(2, 32, 1, &zeroed));
    wrong_page = pages;
    cr_expect_not_null(um_space_alloc(2, 32, 1, &zeroed), "the page after the last");
    um_space_check();
}

/* Containers refuse mbind, and some of them not move_pages. */
Test(place, strict_gives_up_where_nothing_can_be_told) {
    cr_assert_eq(um_space_init(), 0);
    (void)init("bind:2,5", true);
    policy_error = EPERM;
    node_now = 0;
    cr_expect_not_null(um_space_alloc(1, 1, 1, NULL));
}

Test(place, bind_takes_from_the_next_node) {
    um_span *s;
    cr_assert_eq(um_space_init(), 0);
    (void)init("bind:0,5", true);
    node_now = 5;
    wrong_node = 7;
    wrong_page = (int)(UM_SLOT_BYTES / um_os_page_bytes) - 1;
    cr_assert_not_null(s = um_space_alloc(1, 1, 1, NULL));
    cr_expect_eq(s->node, 0);
    um_space_check();
}

/* Nothing is asked about nodes where there is one, and still nobody is killed. */
Test(place, strict_on_one_node_is_a_look_at_what_there_is) {
    bool zeroed;
    um_span *s;
    allowed = um_node_set_of(0);
    cr_assert_eq(um_space_init(), 0);
    cr_expect_eq(init("bind:0", true), 0);
    cr_expect(um_place.strict && um_place.policy == UM_PLACING_NONE);
    wrong_node = 7;
    wrong_page = 0;
    available = 8 * UM_MIB;
    cr_assert_not_null(s = um_space_alloc(0, 16, 1, &zeroed));
    cr_expect_eq(policy_calls, 0);
    cr_expect_eq(wrong_page, 0, "nobody asked where a page is");
    cr_expect(zeroed);
    cr_expect_null(um_space_alloc(0, 9 * 16, 1, &zeroed), "9 MiB");
    cr_expect_not_null(um_space_alloc(0, 4 * 16, 1, &zeroed));
    um_space_check();
}

Test(place, local_on_one_node_is_not_strict) {
    allowed = um_node_set_of(0);
    (void)init("local", true);
    cr_expect_not(um_place.strict);
}

/* A look is good for an eighth of what it found, 64 MiB at most. */
Test(place, looks_are_few_while_there_is_much) {
    cr_assert_eq(um_space_init(), 0);
    (void)init("local-strict", true);
    node_now = 5;
    available = UM_GIB;
    for (unsigned i = 0; i < 1000; i++) /* 62.5 MiB */
        cr_assert_not_null(um_space_alloc(2, 1, 1, NULL));
    cr_expect_eq(looks, 1);
    available = 0;
    for (unsigned i = 0; i < 100; i++)
        if (!um_space_alloc(2, 1, 1, NULL)) {
            cr_expect_geq(i, 20);
            cr_expect_eq(looks, 2);
            return;
        }
    cr_assert(false, "it looked no more");
}

/* The kernel takes a page from elsewhere rather than one that it would have to reclaim. */
Test(place, strict_sends_home_what_has_room_there) {
    bool zeroed;
    cr_assert_eq(um_space_init(), 0);
    (void)init("local-strict", true);
    node_now = 5;
    wrong_node = 0;
    wrong_page = (int)(UM_SLOT_BYTES / um_os_page_bytes) - 1;
    available_there = UM_SLOT_BYTES;
    cr_expect_not_null(um_space_alloc(2, 1, 1, &zeroed), "the next look finds all there");
    cr_expect_eq(sent_to, 5);
    sent_to = UM_NODE_IDS;
    wrong_page = (int)(UM_SLOT_BYTES / um_os_page_bytes) - 1;
    available_there = UM_SLOT_BYTES - 1;
    cr_expect_null(um_space_alloc(2, 1, 1, &zeroed));
    cr_expect_eq(sent_to, UM_NODE_IDS, "what would reclaim in vain is not tried");
}

/* A node's part of a pool, or none of it. */
Test(place, pools_are_bound) {
    (void)init("local", true);
    um_place_bind_pool(2, 0, 4096);
    cr_expect_eq(last_mode, UM_POLICY_BIND);
    cr_expect(first_of_last == 5 && count_of_last == 1);
}

Test(place, pools_of_several_nodes) {
    (void)init("prefer:2,5", true);
    um_place_bind_pool(1, 0, 4096);
    cr_expect_eq(last_mode, UM_POLICY_BIND);
    cr_expect_eq(count_of_last, 2);
    cr_expect_eq(last_home, 5);
}

Test(place, pools_are_spread_as_all_is) {
    (void)init("interleave:2,7", true);
    um_place_bind_pool(0, 0, 4096);
    cr_expect_eq(last_mode, UM_POLICY_INTERLEAVE);
}

Test(place, shares_of_those_who_take_turns) {
    (void)init("weighted:0=3,5=1", true);
    cr_expect_eq(um_place_share(0, 64 * UM_MIB), 48 * UM_MIB);
    cr_expect_eq(um_place_share(1, 64 * UM_MIB), 16 * UM_MIB);
}

/* Of a pool: it must not go in parts, and is not touched anew. */
Test(place, what_is_kept_stays_where_it_is) {
    um_node_set want = um_node_set_of(5);
    size_t bytes = 4 * um_os_page_bytes;
    uintptr_t at;
    (void)init("local-strict", true);
    cr_assert_eq(um_os_map(bytes, &at), 0);
    memset((void *)at, 7, bytes);
    node_now = 5;
    available = 0;
    cr_expect(um_place_fill_on(&want, at, bytes, true), "all are there");
    node_now = 2;
    available = UM_GIB;
    cr_expect_not(um_place_fill_on(&want, at, bytes, true));
    cr_expect_eq(((char *)at)[bytes - 1], 7);
    cr_expect_not(um_place_fill_on(&want, at, bytes, false));
    cr_expect_eq(((char *)at)[bytes - 1], 0);
}
