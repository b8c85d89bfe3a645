/* The numa family of the -lumalloc API, judged by where the kernel says the pages are and by what libnuma
 * says of the machine. */
#include "check.h"
#include "places.h"

#include <umalloc/arena.h>
#include <umalloc/buddy.h>
#include <umalloc/heap.h>
#include <umalloc/numa.h>
#include <umalloc/pool.h>
#include <umalloc/stack.h>

#include <sys/wait.h>

#define BLOCK_BYTES (8 * MIB)
#define LEAN_BYTES  (128 * MIB) /* a node with less is lean */
#define SMALL       20000

static uint64_t allowed, with_cpus;
static int a, b, lean = -1; /* the highest node, the lowest, and one with very little memory */

static bool is_lean(int node) {
    return numa_node_size64(node, NULL) < (long long)LEAN_BYTES;
}

static void look_at_world(void) {
    find_places();
    allowed = allowed_nodes();
    for (int n = 0; n < NODES_MAX; n++)
        if (allowed & bit(n) && is_lean(n))
            lean = n;
    a = 63 - __builtin_clzll(lean < 0 ? allowed : allowed & ~bit(lean));
    b = __builtin_ctzll(allowed);
    for (size_t i = 0; i < place_count; i++)
        with_cpus |= bit(places[i].node) & allowed;
}

static um_numa_policy *policy(const char *form, int first, int second) {
    char text[64];
    um_numa_policy *p;
    snprintf(text, sizeof text, form, first, second);
    p = um_numa_policy_new(text);
    CHECK(p, "policy %s: error %d", text, errno);
    return p;
}

/* Pages of a block on some nodes, in percent. */
static double percent_on(void *p, size_t bytes, uint64_t nodes) {
    static census *c;
    uint64_t *seen;
    if (!c)
        c = census_new();
    seen = c->seen;
    census_count(c, (block){p, bytes});
    double good = (double)census_on(c, nodes), all = (double)census_all(c);
    for (uintptr_t page = (uintptr_t)p / PAGE_BYTES; page <= ((uintptr_t)p + bytes - 1) / PAGE_BYTES; page++)
        seen[page / 64] &= ~((uint64_t)1 << page % 64);
    memset(c->on, 0, sizeof c->on);
    return 100 * good / all;
}

static void expect(void *p, size_t bytes, uint64_t nodes, double least, const char *what) {
    double got = percent_on(p, bytes, nodes);
    CHECK(got >= least, "%s: %.1f%% on nodes %#llx", what, got, (unsigned long long)nodes);
}

static char *take_touched(um_numa_policy *p, size_t bytes) {
    char *at = um_numa_alloc(p, bytes);
    CHECK(at, "a block: error %d", errno);
    memset(at, 1, bytes);
    return at;
}

static void topology(void) {
    unsigned nodes[NODES_MAX], cpus[1024];
    size_t n = um_numa_nodes(nodes, NODES_MAX);
    uint64_t seen = 0, total, unused;
    for (size_t i = 0; i < n; i++) {
        size_t count = um_numa_cpus(nodes[i], cpus, 1024);
        seen |= bit((int)nodes[i]);
        for (size_t c = 0; c < count; c++)
            CHECK(numa_node_of_cpu((int)cpus[c]) == (int)nodes[i], "cpu %u is of node %u", cpus[c], nodes[i]);
        CHECK(um_numa_is_memory_only(nodes[i]) == (count == 0), "node %u has %zu cpus", nodes[i], count);
        for (size_t k = 0; k < n; k++)
            CHECK((int)um_numa_distance(nodes[i], nodes[k]) == numa_distance((int)nodes[i], (int)nodes[k]),
                  "from %u to %u", nodes[i], nodes[k]);
        CHECK(um_numa_memory(nodes[i], &total, &unused) == 0 && unused <= total &&
                  (long long)total == numa_node_size64((int)nodes[i], NULL),
              "memory of node %u", nodes[i]);
    }
    CHECK(seen == allowed, "nodes %#llx", (unsigned long long)seen);
    for (size_t i = 0; i < place_count; i++) {
        go_to(&places[i]);
        CHECK((int)um_numa_here() == places[i].node, "here is node %u", um_numa_here());
    }
}

/* On each node, from each node. */
static void one_node_policies(void) {
    static const char *const forms[] = {"bind:%d", "prefer:%d"};
    for (size_t i = 0; i < place_count; i++) {
        go_to(&places[i]);
        for (int strict = 0; strict < 2; strict++) {
            um_numa_policy *local = policy(strict ? "local-strict" : "local", 0, 0);
            char *p = take_touched(local, BLOCK_BYTES / 4);
            expect(p, BLOCK_BYTES / 4, places[i].wanted, strict ? 100 : 99, "local");
            CHECK(um_numa_actual(p) >= 0 && places[i].wanted & bit(um_numa_actual(p)), "one of its nodes");
            um_numa_free(p);
            um_numa_policy_delete(local);
        }
        for (int n = 0; n < NODES_MAX; n++)
            for (size_t f = 0; allowed & bit(n) && n != lean && f < 2; f++) {
                um_numa_policy *one = policy(forms[f], n, 0);
                char *p = take_touched(one, BLOCK_BYTES / 4);
                expect(p, BLOCK_BYTES / 4, bit(n), f ? 99 : 100, forms[f]);
                CHECK(um_numa_intended(p) == n && um_numa_actual(p) == n, "node %d", n);
                um_numa_free(p);
                um_numa_policy_delete(one);
            }
    }
}

static void expect_spread(const char *form, uint64_t nodes) {
    um_numa_policy *spread = policy(form, a, b);
    char *p = take_touched(spread, BLOCK_BYTES);
    double due = 100.0 / __builtin_popcountll(nodes);
    for (int n = 0; n < NODES_MAX; n++) {
        double got = percent_on(p, BLOCK_BYTES, bit(n));
        CHECK(nodes & bit(n) ? got >= due * 0.9 && got <= due * 1.1 : got == 0, "%s: %.1f%% on node %d", form,
              got, n);
    }
    um_numa_free(p);
    /* The space's memory is laid out as before. */
    p = take_touched(NULL, BLOCK_BYTES);
    expect(p, BLOCK_BYTES, places[place_count - 1].wanted, 99, "after a block that was spread");
    um_numa_free(p);
    um_numa_policy_delete(spread);
}

static void expect_turns(const char *form, const unsigned *weight, unsigned sum) {
    um_numa_policy *turns = policy(form, a, b);
    unsigned on[NODES_MAX] = {0};
    char *p[48];
    CHECK(48 % sum == 0, "whole rounds");
    for (size_t i = 0; i < 48; i++) {
        p[i] = take_touched(turns, 200000);
        int n = um_numa_intended(p[i]);
        CHECK(n >= 0, "a node");
        expect(p[i], 200000, bit(n), 99, form);
        on[n]++;
    }
    for (int n = 0; n < NODES_MAX; n++)
        CHECK(on[n] == 48 / sum * weight[n], "%s: node %d has %u blocks", form, n, on[n]);
    for (size_t i = 0; i < 48; i++)
        um_numa_free(p[i]);
    um_numa_policy_delete(turns);
}

static void spread_policies(void) {
    unsigned each[NODES_MAX] = {0}, weights[NODES_MAX] = {0};
    size_t vmas;
    if (lean >= 0)
        return;
    go_to(&places[place_count - 1]);
    expect_spread("interleave", with_cpus);
    vmas = check_vmas();
    for (unsigned i = 0; i < 50; i++)
        expect_spread(i % 2 ? "interleave" : "interleave:%d,%d", i % 2 ? with_cpus : bit(a) | bit(b));
    CHECK(check_vmas() <= vmas + 8, "%zu mappings, then %zu", vmas, check_vmas());
    expect_spread("weighted", with_cpus);
    for (int n = 0; n < NODES_MAX; n++)
        each[n] = (with_cpus & bit(n)) != 0;
    expect_turns("round-robin", each, (unsigned)__builtin_popcountll(with_cpus));
    weights[a] = 1;
    weights[b] = 3;
    if (a != b)
        expect_turns("weighted:%d=1,%d=3", weights, 4);
}

/* A node that is full: NULL, not the end of the process. */
static void full(void) {
    um_numa_policy *bound;
    size_t blocks = 0;
    if (lean < 0)
        return;
    bound = policy("bind:%d", lean, 0);
    while (blocks < 1000) {
        errno = 0;
        char *p = um_numa_alloc(bound, BLOCK_BYTES / 4);
        if (!p)
            break;
        expect(p, BLOCK_BYTES / 4, bit(lean), 100, "bind");
        blocks++;
    }
    CHECK(errno == ENOMEM && blocks >= 4 && blocks < 100, "%zu blocks, error %d", blocks, errno);
    char *p = malloc(32 * MIB);
    size_t there = 0;
    memset(p, 7, 32 * MIB);
    CHECK(um_numa_migrate(p, (unsigned)lean, &there) == -1 && (errno == ENOMEM || errno == EBUSY),
          "a full node: error %d", errno);
    CHECK(there < 32 * MIB && p[0] == 7 && p[32 * MIB - 1] == 7, "%zu bytes moved", there);
    free(p);
}

/* Blocks of malloc: small, medium, large, with their contents; freed and taken again they are at home. */
static void *blocks_move(void *unused) {
    static const size_t sizes[] = {24, 800, 20000, 300000, 5 * MIB};
    (void)unused;
    go_to(&places[0]);
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        size_t there = 0;
        char *p = malloc(sizes[i]);
        check_fill(p, sizes[i], i);
        expect(p, sizes[i], places[0].wanted, 100, "before it is sent away");
        CHECK(um_numa_migrate(p, (unsigned)a, &there) == 0, "%zu bytes go to node %d: error %d", sizes[i], a,
              errno);
        CHECK(there >= sizes[i] / PAGE_BYTES * PAGE_BYTES && there > 0, "%zu of %zu", there, sizes[i]);
        expect(p, sizes[i], bit(a), 100, "after");
        CHECK(check_pattern(p, sizes[i], sizes[i], i) == sizes[i], "its contents");
        free(p);
        if (sizes[i] < 100000) /* its slab has other blocks */
            continue;
        p = malloc(sizes[i]);
        memset(p, 1, sizes[i]);
        expect(p, sizes[i], places[0].wanted, 99, "what follows it");
        free(p);
    }
    return NULL;
}

static void *heap_moves(void *unused) {
    static char *blocks[2 * SMALL];
    const place *to = &places[place_count - 1];
    int node = __builtin_ctzll(to->wanted);
    size_t there = 0;
    (void)unused;
    go_to(&places[0]);
    for (size_t i = 0; i < SMALL; i++)
        memset(blocks[i] = malloc(16 + i % 1000), 3, 16 + i % 1000);
    go_to(to);
    CHECK(um_numa_migrate_heap((unsigned)node, &there) == 0, "the heap goes to node %d: error %d", node,
          errno);
    CHECK(there > SMALL * 400, "%zu bytes", there);
    for (size_t i = SMALL; i < 2 * SMALL; i++)
        memset(blocks[i] = malloc(16 + i % 1000), 3, 16 + i % 1000);
    census *c = census_new();
    for (size_t i = 0; i < 2 * SMALL; i++)
        census_count(c, (block){blocks[i], 16 + i % 1000});
    CHECK(100 * census_on(c, bit(node)) >= 99 * census_all(c), "%zu of %zu pages", census_on(c, bit(node)),
          census_all(c));
    for (size_t i = 0; i < 2 * SMALL; i++)
        free(blocks[i]);
    return NULL;
}

static void expect_there(void *p, size_t bytes, int node, const char *what) {
    CHECK(p, "%s: error %d", what, errno);
    memset(p, 1, bytes);
    expect(p, bytes, bit(node), 99, what);
    CHECK(um_node_intended(p) == node && um_node_intended((char *)p + bytes - 1) == node,
          "%s is meant for %d", what, um_node_intended(p));
}

/* Memory of each family, asked for on a node from another one. */
static void families(void) {
    go_to(&places[0]);
    for (int n = 0; n < NODES_MAX; n++) {
        um_flags there = UM_NODE(n);
        if (!(allowed & bit(n)) || n == lean)
            continue;
        um_arena *arena = um_arena_new(&(um_arena_options){.place = there});
        um_pool *pool = um_pool_new(&(um_pool_options){.bytes = 10000, .place = there});
        um_buddy *region = um_buddy_new(&(um_buddy_options){.bytes = 4 * MIB, .place = there});
        um_heap *heap = um_heap_create(UM_HEAP_ONE_THREAD, there);
        um_stack *stack = um_stack_take_at(1 * MIB, there);
        CHECK(arena && pool && region && heap && stack, "node %d: error %d", n, errno);
        for (size_t i = 0; i < 30; i++) {
            expect_there(um_arena_alloc(arena, 100000), 100000, n, "a block of an arena");
            expect_there(um_pool_alloc(pool), 10000, n, "an object of a pool");
            expect_there(um_buddy_alloc(region, 100000), 100000, n, "a block of a region");
            expect_there(um_heap_malloc(heap, 20000), 20000, n, "a block of a heap");
        }
        expect_there(um_stack_base(stack), um_stack_bytes(stack), n, "a stack");
        um_stack_give(stack);
        um_heap_destroy(heap);
        um_buddy_delete(region);
        um_pool_delete(pool);
        um_arena_delete(arena);
    }
}

static void measure(void) {
    um_numa_usage rows[NODES_MAX];
    um_numa_policy *to_a = policy("prefer:%d", a, 0);
    uint64_t before = 0;
    int n = um_numa_measure(rows, NODES_MAX);
    CHECK(n >= 1, "rows: error %d", errno);
    for (int i = 0; i < n; i++)
        before += rows[i].node == (unsigned)a ? rows[i].actual_bytes : 0;
    char *p = take_touched(to_a, 2 * BLOCK_BYTES);
    n = um_numa_measure(rows, NODES_MAX);
    for (int i = 0; i < n; i++)
        if (rows[i].node == (unsigned)a)
            CHECK(rows[i].actual_bytes >= before + BLOCK_BYTES && rows[i].home_bytes >= BLOCK_BYTES,
                  "node %d has %llu bytes", a, (unsigned long long)rows[i].actual_bytes);
    CHECK(um_numa_locality() >= 90, "%.1f%%", um_numa_locality());
    um_numa_free(p);
    um_numa_policy_delete(to_a);
}

int main(void) {
    pthread_t thread;
    check_library();
    look_at_world();
    topology();
    one_node_policies();
    spread_policies();
    /* A thread that was elsewhere before would have a heap there. */
    CHECK(pthread_create(&thread, NULL, blocks_move, NULL) == 0, "a thread");
    pthread_join(thread, NULL);
    CHECK(pthread_create(&thread, NULL, heap_moves, NULL) == 0, "a thread");
    pthread_join(thread, NULL);
    families();
    measure();
    full();
    say("ok: the API\n");
    return 0;
}
