/* The numa family, on whatever machine this is and on one of two made-up nodes: whose memory a block is, what
   the kernel is told of it, and what becomes of it where the kernel refuses. Real nodes are asked in
   test/numa. */
#include <umalloc/numa.h>

#include "conf/counters.h"
#include "ext/room.h"
#include "heap/heap.h"
#include "os/os.h"
#include "space/internal.h"
#include "two_nodes.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the kernel was told last, and how it answers where it is made up. */
static struct {
    bool made_up;
    unsigned tells, moves;
    int mode, policy_error, lies_on; /* lies_on: the node of all pages; -1: the right one */
    um_node_set nodes;
    unsigned home, here; /* here: where threads run */
} kernel = {.lies_on = -1};

int __real_um_os_nodes_allowed(um_node_set *out);
int __wrap_um_os_nodes_allowed(um_node_set *out);
int __wrap_um_os_nodes_allowed(um_node_set *out) {
    if (!kernel.made_up)
        return __real_um_os_nodes_allowed(out);
    *out = um_topology_get()->memory;
    return 0;
}

unsigned __real_um_os_node_asked(void);
unsigned __wrap_um_os_node_asked(void);
unsigned __wrap_um_os_node_asked(void) {
    return kernel.made_up ? kernel.here : __real_um_os_node_asked();
}

int __real_um_os_policy(uintptr_t at, size_t bytes, int mode, const um_node_set *nodes, unsigned flags);
int __wrap_um_os_policy(uintptr_t at, size_t bytes, int mode, const um_node_set *nodes, unsigned flags);
int __wrap_um_os_policy(uintptr_t at, size_t bytes, int mode, const um_node_set *nodes, unsigned flags) {
    if (!kernel.made_up)
        return __real_um_os_policy(at, bytes, mode, nodes, flags);
    if (kernel.policy_error == EINVAL && mode < UM_POLICY_PREFERRED_MANY)
        kernel.policy_error = 0; /* an old kernel: it knows the old modes */
    if (kernel.policy_error)
        return kernel.policy_error;
    kernel.tells++;
    kernel.mode = mode;
    kernel.nodes = *nodes;
    return 0;
}

int __wrap_um_os_home_node(uintptr_t at, size_t bytes, unsigned node);
int __wrap_um_os_home_node(uintptr_t at, size_t bytes, unsigned node) {
    (void)at, (void)bytes;
    kernel.home = node;
    return 0;
}

int __real_um_os_page_nodes(uintptr_t at, size_t pages, int *node_of);
int __wrap_um_os_page_nodes(uintptr_t at, size_t pages, int *node_of);
int __wrap_um_os_page_nodes(uintptr_t at, size_t pages, int *node_of) {
    const um_span *s = um_span_of((void *)at);
    if (!kernel.made_up)
        return __real_um_os_page_nodes(at, pages, node_of);
    for (size_t i = 0; i < pages; i++)
        node_of[i] = kernel.lies_on >= 0 ? kernel.lies_on : um_place.id[s->node];
    return 0;
}

int __real_um_os_move_pages(uintptr_t at, size_t pages, unsigned node, um_os_moved *out);
int __wrap_um_os_move_pages(uintptr_t at, size_t pages, unsigned node, um_os_moved *out);
int __wrap_um_os_move_pages(uintptr_t at, size_t pages, unsigned node, um_os_moved *out) {
    if (!kernel.made_up)
        return __real_um_os_move_pages(at, pages, node, out);
    kernel.moves++;
    *out = (um_os_moved){pages, 0};
    return 0;
}

/* Nodes 0 and 3, as far as umalloc knows; the thread runs on the first. */
static void two_nodes(void) {
    free(malloc(1)); /* the library is up */
    two_nodes_known(3);
    kernel.made_up = true;
    um_os_rseq_at = 0;
}

/* As the process would be placed by default there: a space for each node. */
static void two_places(void) {
    um_placing_spec local;
    um_text unused;
    two_nodes();
    um_text_init(&unused, NULL, NULL);
    cr_assert(um_placing_parse("local", &local));
    cr_assert_eq(um_place_init(&local, true, &unused), 0);
}

static uint64_t held(void) {
    return atomic_load(&um_module_counts[UM_MODULE_numa].bytes);
}

static char *take(const char *text, size_t bytes) {
    um_numa_policy *policy = um_numa_policy_new(text);
    char *p;
    cr_assert_not_null(policy, "%s", text);
    p = um_numa_alloc(policy, bytes);
    um_numa_policy_delete(policy);
    return p;
}

/* --- this machine --- */

Test(ext_numa, topology_is_told) {
    unsigned nodes[64], cpus[1024], here = um_numa_here();
    size_t n = um_numa_nodes(nodes, 64), all = 0;
    uint64_t total = 0, unused = 0;
    cr_assert_geq(n, 1);
    cr_expect_eq(um_numa_nodes(NULL, 0), n);
    for (size_t i = 0; i < n && i < 64; i++) {
        size_t count = um_numa_cpus(nodes[i], cpus, 1024);
        cr_expect_eq(um_numa_distance(nodes[i], nodes[i]), 10);
        cr_expect_eq(um_numa_is_memory_only(nodes[i]), count == 0 && n > 1);
        for (size_t c = 0; c < count; c++)
            all += cpus[c] < 1024;
        if (um_numa_memory(nodes[i], &total, &unused) == 0)
            cr_expect(total > 0 && unused <= total);
    }
    cr_expect_lt(here, 1024);
    if (access("/sys/devices/system/node", F_OK) == 0)
        cr_expect_geq(all, 1);
    cr_expect_eq(um_numa_cpus(1023, cpus, 1024), 0);
    cr_expect_eq(um_numa_cpus(UINT32_MAX, cpus, 1024), 0);
    cr_expect_eq(um_numa_distance(1023, nodes[0]), 0);
    cr_expect_eq(um_numa_distance(nodes[0], UINT32_MAX), 0);
    cr_expect_not(um_numa_is_memory_only(1023));
    errno = 0;
    cr_expect_eq(um_numa_memory(1023, &total, NULL), -1);
    cr_expect_eq(errno, EINVAL);
}

Test(ext_numa, every_policy_serves_on_this_machine) {
    static const char *const texts[] = {"local",      "local-strict", "bind:0",      "prefer:0",
                                        "interleave", "weighted",     "round-robin", "weighted:0=255",
                                        "Prefer:0-0", "interleave:0"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *p = take(texts[i], 200000);
        cr_assert_not_null(p, "%s", texts[i]);
        cr_expect_geq(um_numa_bytes(p), 200000);
        cr_expect_eq((uintptr_t)p % 65536, 0);
        memset(p, 1, um_numa_bytes(p));
        um_numa_free(p);
    }
    cr_expect_eq(held(), 0);
    um_space_check();
}

Test(ext_numa, bad_policies_are_refused) {
    static const char *const texts[] = {"",
                                        "none",
                                        "bind",
                                        "bind:",
                                        "prefer:1023",
                                        "bind:0-1023",
                                        "local:0",
                                        "weighted:0=0",
                                        "round robin",
                                        "interleave:99999999999"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        errno = 0;
        cr_expect_null(um_numa_policy_new(texts[i]), "%s", texts[i]);
        cr_expect_eq(errno, EINVAL);
    }
    cr_expect_null(um_numa_policy_new(NULL));
    um_numa_policy_delete(NULL);
}

Test(ext_numa, absurd_requests_are_refused) {
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 47};
    for (size_t i = 0; i < 3; i++) {
        errno = 0;
        cr_expect_null(um_numa_alloc(NULL, sizes[i]));
        cr_expect_eq(errno, ENOMEM);
    }
    errno = 0;
    cr_expect_null(um_numa_alloc_aligned(NULL, 3, 1));
    cr_expect_eq(errno, EINVAL);
    cr_expect_null(um_numa_alloc_aligned(NULL, 0, 1));
    void *p = um_numa_alloc(NULL, 0), *q = um_numa_alloc_aligned(NULL, (size_t)1 << 21, 1);
    cr_assert(p && q);
    cr_expect_eq((uintptr_t)q % ((size_t)1 << 21), 0);
    um_numa_free(p);
    um_numa_free(q);
    um_numa_free(NULL);
}

Test(ext_numa, the_limit_holds) {
    void *p;
    free(malloc(1));
    um_space_setting.limit_bytes = um_space_footprint + UM_MIB;
    errno = 0;
    cr_expect_null(um_numa_alloc(NULL, 8 * UM_MIB));
    cr_expect_eq(errno, ENOMEM);
    p = um_numa_alloc(NULL, 65536);
    cr_expect_not_null(p);
    um_numa_free(p);
}

Test(ext_numa, measures_what_is_in_memory) {
    um_numa_usage rows[64];
    char *p = um_numa_alloc(NULL, 4 * UM_MIB);
    uint64_t sum = 0;
    cr_assert_not_null(p);
    memset(p, 1, 4 * UM_MIB);
    int n = um_numa_measure(rows, 64);
    cr_assert(n >= 1 || errno == EPERM || errno == ENOSYS, "%d", errno);
    for (int i = 0; i < n && i < 64; i++)
        sum += rows[i].actual_bytes;
    if (n >= 1) {
        cr_expect_geq(sum, 3 * UM_MIB);
        cr_expect_eq(um_numa_measure(NULL, 0), n);
        cr_expect(um_numa_locality() > 0 && um_numa_locality() <= 100);
    }
    int node = um_numa_actual(p);
    cr_expect(node >= 0 || errno == EPERM || errno == ENOSYS);
    um_numa_free(p);
    p = um_numa_alloc(NULL, 64 * UM_MIB);
    errno = 0;
    cr_expect_eq(um_numa_actual(p + 63 * UM_MIB), -1);
    cr_expect(errno == ENOENT || errno == EPERM || errno == ENOSYS, "%d", errno);
    um_numa_free(p);
}

/* --- two nodes --- */

Test(ext_numa, one_node_is_a_place_and_nothing_is_told, .init = two_places) {
    char *far, *near = take("local", 100000), *strict;
    um_numa_free(near);
    far = take("prefer:3", 100000);
    unsigned tells = kernel.tells; /* the space opened its region */
    near = take("local", 100000);
    strict = take("bind:3", 100000);
    cr_assert(near && far && strict);
    cr_expect_eq(kernel.tells, tells);
    cr_expect_eq(um_span_of(near)->node, 0);
    cr_expect_eq(um_span_of(far)->node, 1);
    cr_expect_eq(um_span_of(strict)->node, 1);
    cr_expect_eq(um_numa_intended(near), 0);
    cr_expect_eq(um_numa_intended(far), 3);
    cr_expect_eq(um_numa_intended(&far), -1, "not ours");
    void *small = malloc(10);
    cr_expect_eq(um_numa_intended(small), 0);
    free(small);
    um_numa_free(near);
    um_numa_free(far);
    um_numa_free(strict);
    um_space_check();
}

Test(ext_numa, what_no_space_stands_for_is_told_and_taken_back, .init = two_places) {
    static const struct {
        const char *text;
        int mode;
        unsigned nodes;
    } cases[] = {
        {"interleave", UM_POLICY_INTERLEAVE, 2},
        {"interleave:3", UM_POLICY_INTERLEAVE, 1},
        {"weighted", UM_POLICY_WEIGHTED_INTERLEAVE, 2},
        {"prefer:0,3", UM_POLICY_PREFERRED_MANY, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *p = take("local", 300000), *was = p;
        size_t bytes;
        memset(p, 1, 300000);
        um_numa_free(p); /* stays in memory, for reuse */
        p = take(cases[i].text, 300000);
        cr_expect_eq(p, was);
        cr_assert_not_null(p);
        cr_expect_eq(kernel.mode, cases[i].mode, "%s: %d", cases[i].text, kernel.mode);
        cr_expect_eq(um_node_set_count(&kernel.nodes), cases[i].nodes, "%s", cases[i].text);
        cr_expect_eq(um_numa_intended(p), -1);
        for (size_t b = 0; b < um_numa_bytes(p); b++)
            cr_assert_eq(p[b], 0, "what lay there before lies on no matter which node");
        bytes = um_numa_bytes(p);
        memset(p, 1, bytes);
        um_numa_free(p);
        cr_expect_eq(kernel.mode, UM_POLICY_PREFERRED, "its space's memory again");
        cr_expect_eq(um_node_set_first(&kernel.nodes), 0);
        cr_expect_eq(p[0], 0);
        cr_expect_eq(p[bytes - 1], 0);
        um_space_check();
    }
}

/* Where the process is placed by nobody there are no spaces for nodes. */
Test(ext_numa, without_places_each_block_is_told, .init = two_nodes) {
    char *p = take("prefer:3", 100000);
    cr_assert_not_null(p);
    cr_expect_eq(kernel.tells, 1);
    cr_expect_eq(kernel.mode, UM_POLICY_PREFERRED);
    cr_expect_eq(um_node_set_first(&kernel.nodes), 3);
    cr_expect_eq(um_numa_intended(p), 3);
    memset(p, 1, 100000);
    um_numa_free(p);
    cr_expect_eq(p[0], 0);
    um_space_check();
}

Test(ext_numa, an_old_kernel_is_told_in_old_words, .init = two_places) {
    char *p;
    um_numa_free(take("local", 1));
    kernel.policy_error = EINVAL;
    p = take("weighted", 100000);
    cr_expect_eq(kernel.mode, UM_POLICY_INTERLEAVE);
    um_numa_free(p);
    kernel.policy_error = EINVAL;
    p = take("prefer:0,3", 100000);
    cr_expect_eq(kernel.mode, UM_POLICY_PREFERRED);
    um_numa_free(p);
}

Test(ext_numa, a_refusal_leaves_pages_to_first_touch, .init = two_places) {
    um_numa_free(take("local", 1));
    uint64_t before = atomic_load(&um_count.numa_policy_errors);
    kernel.policy_error = EPERM;
    char *p = take("interleave", 100000);
    cr_assert_not_null(p);
    cr_expect_gt(atomic_load(&um_count.numa_policy_errors), before);
    memset(p, 1, 100000);
    um_numa_free(p);
    um_space_check();
}

Test(ext_numa, the_strict_have_it_right_or_not_at_all, .init = two_places) {
    char *p;
    kernel.lies_on = 3;
    errno = 0;
    cr_expect_null(take("local-strict", 100000));
    cr_expect_eq(errno, ENOMEM);
    cr_expect_null(take("bind:0", 100000));
    p = take("bind:0,3", 100000);
    cr_assert_not_null(p, "the second of its nodes has room");
    cr_expect_eq(um_numa_intended(p), 3);
    um_numa_free(p);
    cr_expect_eq(held(), 0);
    um_space_check();
}

Test(ext_numa, turns_are_in_proportion, .init = two_places) {
    um_numa_policy *policy = um_numa_policy_new("weighted:0=1,3=3");
    unsigned on_3 = 0;
    cr_assert_not_null(policy);
    for (unsigned i = 0; i < 40; i++) {
        void *p = um_numa_alloc(policy, 1);
        cr_assert_not_null(p);
        on_3 += um_numa_intended(p) == 3;
        um_numa_free(p);
    }
    cr_expect_eq(on_3, 30);
    um_numa_policy_delete(policy);
    policy = um_numa_policy_new("round-robin");
    on_3 = 0;
    for (unsigned i = 0; i < 40; i++) {
        void *p = um_numa_alloc(policy, 1);
        on_3 += um_numa_intended(p) == 3;
        um_numa_free(p);
    }
    cr_expect_eq(on_3, 20);
    um_numa_policy_delete(policy);
}

/* Large and small blocks by turns: whose turn it is is not all. */
Test(ext_numa, shares_are_of_bytes, .init = two_places) {
    static const struct {
        const char *text;
        size_t weight_0, weight_3;
    } rows[] = {{"round-robin", 1, 1}, {"weighted:0=1,3=3", 1, 3}};
    for (size_t k = 0; k < 2; k++) {
        um_numa_policy *policy = um_numa_policy_new(rows[k].text);
        size_t on_0 = 0, on_3 = 0;
        for (unsigned i = 0; i < 80; i++) {
            void *p = um_numa_alloc(policy, i % 2 ? UM_SLOT_BYTES : 10 * UM_SLOT_BYTES);
            cr_assert_not_null(p);
            *(um_numa_intended(p) == 3 ? &on_3 : &on_0) += um_numa_bytes(p) / UM_SLOT_BYTES;
            um_numa_free(p);
        }
        cr_expect_leq(on_0 * rows[k].weight_3, (on_3 + 10) * rows[k].weight_0, "%s: %zu and %zu",
                      rows[k].text, on_0, on_3);
        cr_expect_leq(on_3 * rows[k].weight_0, (on_0 + 10) * rows[k].weight_3, "%s: %zu and %zu",
                      rows[k].text, on_0, on_3);
        um_numa_policy_delete(policy);
    }
}

static void *other_default(void *arg) {
    void *p = um_numa_alloc(NULL, 1);
    cr_expect_null(um_numa_used());
    cr_expect_eq(um_numa_intended(p), 0);
    um_numa_free(p);
    cr_expect_eq(um_numa_use(arg), 0);
    return NULL;
}

Test(ext_numa, each_thread_has_its_default, .init = two_places) {
    um_numa_policy *policy = um_numa_policy_new("prefer:3");
    pthread_t t;
    void *p;
    cr_expect_eq(um_numa_use(policy), 0);
    cr_expect_eq(um_numa_used(), policy);
    p = um_numa_alloc(NULL, 1);
    cr_expect_eq(um_numa_intended(p), 3);
    um_numa_free(p);
    cr_assert_eq(pthread_create(&t, NULL, other_default, policy), 0);
    pthread_join(t, NULL);
    cr_expect_eq(um_numa_use(NULL), 0);
    p = um_numa_alloc(NULL, 1);
    cr_expect_eq(um_numa_intended(p), 0);
    um_numa_free(p);
    um_numa_policy_delete(policy);
}

/* It runs where the heap of the thread before has its memory, and takes that over. */
static void *heir(void *unused) {
    (void)unused;
    free(malloc(100));
    cr_expect_eq(atomic_load(&um_count.heaps_reused), 1);
    cr_expect_not(um_theap_get()->placed, "nobody's wish any more");
    return NULL;
}

static void *malloc_goes_along(void *unused) {
    static const size_t sizes[] = {24, 5000, 100000, 3 << 20};
    um_numa_policy *policy = um_numa_policy_new("prefer:3"), *spread = um_numa_policy_new("interleave");
    void *kept[64];
    (void)unused;
    cr_assert(policy && spread);
    for (unsigned way = 0; way < 4; way++) {
        int node = way % 2 ? 3 : 0;
        for (unsigned i = 0; i < 64; i++) {
            kept[i] = malloc(sizes[i % 4]);
            cr_expect_eq(um_numa_intended(kept[i]), node, "%u: %zu bytes", way, sizes[i % 4]);
        }
        for (unsigned i = 0; i < 5000; i++) /* many looks at the node: it stays */
            free(malloc(sizes[i % 4]));
        for (unsigned i = 0; i < 64; i++)
            free(kept[i]);
        cr_expect_eq(um_numa_use(way % 2 == 0 ? policy : way == 1 ? spread : NULL), 0);
    }
    kept[0] = malloc(100000);
    cr_expect_eq(um_numa_use(policy), 0);
    free(kept[0]);
    kept[1] = malloc(100000);
    cr_expect_eq(um_numa_intended(kept[1]), 3, "not what was freed just now");
    free(kept[1]);
    return NULL;
}

Test(ext_numa, malloc_follows_a_preference, .init = two_places) {
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, malloc_goes_along, NULL), 0);
    pthread_join(t, NULL);
    kernel.here = 3;
    cr_assert_eq(pthread_create(&t, NULL, heir, NULL), 0);
    pthread_join(t, NULL);
    um_space_check();
}

Test(ext_numa, blocks_of_all_kinds_move, .init = two_places) {
    size_t there = 0;
    void *all[] = {malloc(10), malloc(UM_MIB), um_numa_alloc(NULL, 100000)};
    for (size_t i = 0; i < 3; i++) {
        cr_expect_eq(um_numa_migrate(all[i], 3, &there), 0);
        cr_expect_geq(there, 65536);
        cr_expect(um_span_migrated(um_span_of(all[i])));
        cr_expect_eq(um_numa_migrate(all[i], 0, NULL), 0);
        errno = 0;
        cr_expect_eq(um_numa_migrate(all[i], 2, &there), -1);
        cr_expect_eq(errno, EINVAL);
    }
    cr_expect_eq(um_numa_migrate(&there, 3, NULL), -1, "not ours");
    cr_expect_eq(um_numa_migrate(NULL, 3, NULL), -1);
    cr_expect_eq(um_numa_migrate_heap(3, &there), 0);
    cr_expect_geq(there, 65536);
    cr_expect_eq(um_numa_migrate_heap(2, &there), -1);
    cr_expect_eq(errno, EINVAL);
    cr_expect_eq(atomic_load(&um_count.numa_requests), 7);
    free(all[0]);
    free(all[1]);
    um_numa_free(all[2]);
}

static void *churn(void *arg) {
    um_numa_policy *policy = arg;
    for (unsigned i = 0; i < 300; i++) {
        size_t bytes = 1 + i % 7 * 50000;
        char *p = um_numa_alloc(policy, bytes);
        cr_assert_not_null(p);
        memset(p, (int)i, bytes);
        cr_assert(p[0] == (char)i && p[bytes - 1] == (char)i);
        um_numa_free(p);
    }
    return NULL;
}

Test(ext_numa, threads_share_a_policy) {
    static const char *const texts[] = {"round-robin", "interleave", "local-strict", "bind:0"};
    for (unsigned k = 0; k < 4; k++) {
        um_numa_policy *policy = um_numa_policy_new(texts[k]);
        pthread_t t[4];
        cr_assert_not_null(policy);
        for (unsigned i = 0; i < 4; i++)
            cr_assert_eq(pthread_create(&t[i], NULL, churn, policy), 0);
        for (unsigned i = 0; i < 4; i++)
            pthread_join(t[i], NULL);
        um_numa_policy_delete(policy);
    }
    cr_expect_eq(held(), 0);
    um_space_check();
}

Test(ext_numa, a_child_of_fork_goes_on) {
    char *p = um_numa_alloc(NULL, 100000);
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        um_numa_free(p);
        p = um_numa_alloc(NULL, 100000);
        _exit(p ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    um_numa_free(p);
}

Test(ext_numa, free_of_what_is_no_block, .signal = SIGABRT) {
    char *p = um_numa_alloc(NULL, 100000);
    um_numa_free(p + 65536);
}

Test(ext_numa, free_twice, .signal = SIGABRT) {
    char *p = um_numa_alloc(NULL, 100000);
    um_numa_free(p);
    um_numa_free(p);
}

Test(ext_numa, free_by_malloc, .signal = SIGABRT) {
    free(um_numa_alloc(NULL, 100000));
}

Test(ext_numa, bytes_of_what_is_no_block, .signal = SIGABRT) {
    um_numa_bytes(malloc(100000));
}

Test(ext_numa, migrate_of_a_freed_block, .signal = SIGABRT) {
    char *p = malloc(2 * UM_MIB);
    free(p);
    um_numa_migrate(p, 0, NULL);
}
