/* Every policy of UMALLOC_NUMA, judged by where the kernel says the pages are.
 *
 *     policies [CASE...]
 *
 * Each case is a process of its own, started with the policy in its environment. What it writes on stderr and
 * its status must be as expected: nothing and 0, as a rule. Letters in a policy stand for nodes of this
 * machine: $A is the highest node with memory that we may use, $B the lowest, $L the one with very little
 * memory. Cases that need more nodes than there are, or such a lean one, are left out.
 *
 * A case with `refused` runs behind a seccomp filter that lets the calls about policies fail with that errno.
 * The queries that this program makes itself pass it, see census_ask. */
#include "exhaustion.h"
#include "groups.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define SYS_HOME_NODE 450 /* set_mempolicy_home_node, the same number everywhere */
#define TOLERANCE     0.2 /* of a node's share, where pages are spread */
#define UMALLOC_STOP  2   /* status of a process that UMALLOC_NUMA_STRICT keeps from starting */

/* The pages of each thread are on its node. */
static void each_on_its_own(double percent) {
    gather_all();
    for (size_t i = 0; i < w->count; i++) {
        census *c = census_new();
        char who[32];
        snprintf(who, sizeof who, "a thread on node %d", w->places[i].node);
        count_hoard(c, hoards[i]);
        expect_on(c, w->places[i].wanted, percent, who);
    }
}

static void all_on(uint64_t nodes, double percent) {
    census *c = census_new();
    gather_all();
    for (size_t i = 0; i < w->count; i++)
        count_hoard(c, hoards[i]);
    expect_on(c, nodes, percent, "all threads");
}

/* The share of each node is in proportion to its weight. */
static void spread(const unsigned *weights) {
    census *c = census_new();
    unsigned sum = 0;
    gather_all();
    for (size_t i = 0; i < w->count; i++)
        count_hoard(c, hoards[i]);
    for (int n = 0; n < NODES_MAX; n++)
        sum += weights[n];
    for (int n = 0; n < NODES_MAX; n++) {
        double share = (double)census_on(c, bit(n)) / (double)census_all(c), due = (double)weights[n] / sum;
        CHECK(share >= due * (1 - TOLERANCE) && share <= due * (1 + TOLERANCE),
              "share of node %d: %.3f, due: %.3f", n, share, due);
    }
}

static void spread_evenly(uint64_t nodes) {
    unsigned weights[NODES_MAX];
    for (int n = 0; n < NODES_MAX; n++)
        weights[n] = (nodes & bit(n)) != 0;
    spread(weights);
}

/* Where pages go that another thread than their owner touches first. */
static void *touch_there(void *arg) {
    hoard *h = arg;
    go_to(h->where);
    block_touch(h->blocks[0]);
    return NULL;
}

static uint64_t touched_by_another(void) {
    pthread_t thread;
    hoard *h = books(sizeof *h);
    census *c = census_new();
    go_to(&w->places[0]);
    h->where = &w->places[w->count - 1];
    h->blocks[0] = (block){malloc(8 * MIB), 8 * MIB};
    CHECK(pthread_create(&thread, NULL, touch_there, h) == 0, "a thread");
    pthread_join(thread, NULL);
    census_count(c, h->blocks[0]);
    for (int n = 0; n < NODES_MAX; n++)
        if (100 * census_on(c, bit(n)) >= 99 * census_all(c))
            return bit(n);
    CHECK(0, "one node has the block");
    return 0;
}

static void local(void) {
    each_on_its_own(99);
    CHECK(touched_by_another() == w->places[0].wanted, "the node of who allocates, not of who touches first");
}

static void local_strict(void) {
    each_on_its_own(100);
    CHECK(touched_by_another() == w->places[0].wanted, "the node of who allocates, not of who touches first");
}

static void none(void) {
    each_on_its_own(50); /* where a thread finds memory that another touched is nobody's choice */
    CHECK(touched_by_another() == w->places[w->count - 1].wanted, "the node of who touches first");
}

static void on_a(void) {
    all_on(bit(w->a), 99);
}

static void all_on_a(void) {
    all_on(bit(w->a), 100);
}

static void all_on_a_or_b(void) {
    all_on(bit(w->a) | bit(w->b), 100);
}

static void spread_on_all(void) {
    spread_evenly(w->with_cpus);
}

static void spread_on_a_and_b(void) {
    spread_evenly(bit(w->a) | bit(w->b));
}

static void spread_one_to_three(void) {
    unsigned weights[NODES_MAX] = {0};
    weights[w->a] = 1;
    weights[w->b] = 3;
    spread(weights);
}

/* Even, and a block lies on one node if no span of its is shared. */
static void blocks_in_turn(void) {
    times = 3; /* whole huge pages on a node: few would be unevenly many */
    spread_evenly(w->with_cpus);
    for (size_t i = 0; i < w->count; i++) {
        block b = hoards[i]->blocks[hoards[i]->count - 1];
        census *c = census_new();
        size_t best = 0;
        census_count(c, b);
        for (int n = 0; n < NODES_MAX; n++)
            best = census_on(c, bit(n)) > best ? census_on(c, bit(n)) : best;
        CHECK(100 * best >= 99 * census_all(c), "a block of %zu MiB is on one node", b.bytes / MIB);
    }
}

/* A child of a threaded process that runs on another node. */
static void fork_to(uint64_t wanted, double percent) {
    int status;
    pid_t child;
    gather_all();
    go_to(&w->places[0]);
    free(malloc(100));
    child = fork();
    if (child == 0) {
        census *c = census_new();
        hoard *h = books(sizeof *h);
        h->where = &w->places[w->count - 1];
        gather(h);
        count_hoard(c, h);
        expect_on(c, wanted, percent, "the child");
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0, "status %d of the child", status);
}

static void fork_migrates(void) {
    fork_to(w->places[w->count - 1].wanted, 95);
}

static void fork_stays(void) {
    fork_to(bit(w->b), 99);
}

static void fork_serves(void) {
    fork_to(w->allowed, 100);
}

/* Blocks of all sizes come and go, freed by whom it befalls, while the threads change nodes. */
#define CHURN_SLOTS 256u
#define CHURN_STEPS 10000u
#define CHURN_STAY  500u /* steps on one node */

static _Atomic(void *) churned[CHURN_SLOTS];

static void *churn(void *arg) {
    uint64_t random = (uintptr_t)arg;
    for (size_t i = 0; i < CHURN_STEPS; i++) {
        size_t kind = random_below(&random, 64), most = kind ? kind < 8 ? 65536 : 1024 : 3 * MIB;
        block *b = NULL, *old;
        if (i % CHURN_STAY == 0)
            go_to(&w->places[random_below(&random, w->count)]);
        if (random_below(&random, 4)) {
            block made = take(sizeof(block) + 16 + random_below(&random, most));
            b = made.at; /* its first bytes say what it is; the tag went there, so it is set anew */
            *b = made;
        }
        old = atomic_exchange(&churned[random_below(&random, CHURN_SLOTS)], b);
        if (old) {
            block gone = *old;
            CHECK(gone.at == old && malloc_usable_size(old) >= gone.bytes, "a block is as it was");
            free(old);
        }
    }
    return NULL;
}

static void wander(void) {
    pthread_t threads[8];
    for (size_t i = 0; i < LENGTH(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0, "a thread");
    for (size_t i = 0; i < LENGTH(threads); i++)
        pthread_join(threads[i], NULL);
    CHECK(check_vmas() < VMAS_MAX, "%zu mappings", check_vmas());
}

static void take_on(const place *where, uint64_t nodes, double percent, const char *when) {
    pthread_t thread;
    hoard *h = books(sizeof *h);
    census *c = census_new();
    h->where = where;
    CHECK(pthread_create(&thread, NULL, gather, h) == 0, "a thread");
    pthread_join(thread, NULL);
    count_hoard(c, h);
    expect_on(c, nodes, percent, when);
}

/* The nodes are taken away while the process runs, and come back. */
static void cpuset_changes(void) {
    const place *last = &w->places[w->count - 1];
    own_group();
    take_on(last, last->wanted, 95, "the begin");
    put(GROUPS "/own/cpuset.mems", "0-1");
    take_on(last, bit(0) | bit(1), 95, "the time with fewer nodes");
    put(GROUPS "/own/cpuset.mems", "0-3");
    /* The rest of huge pages that came meanwhile is used too. */
    take_on(last, last->wanted, 75, "the end");
}

/* The only node that we may use, by our own wish, is taken away. */
static void cpuset_leaves_none(void) {
    void *p;
    own_group();
    put(GROUPS "/own/cpuset.mems", "0-1");
    for (size_t i = 0; i < 100; i++) {
        errno = 0;
        p = malloc(100000);
        CHECK(p || errno == ENOMEM, "errno is %d", errno);
        if (p)
            memset(p, 1, 100000);
    }
    put(GROUPS "/own/cpuset.mems", "0-3");
    all_on_a();
}

/* The program has a policy of its own, and other ones for blocks: where pages are looked at, neither matters
 * for memory that comes to it later. */
static void own_policies(void) {
    unsigned long b = bit(w->b);
    hoard *h = books(sizeof *h);
    go_to(&w->places[w->count - 1]); /* not b */
    for (size_t i = 0; i < 8; i++) {
        char *p = malloc(8 * MIB);
        uintptr_t from = ((uintptr_t)p + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
        CHECK(p && mbind((void *)from, 4 * MIB, MPOL_BIND, &b, sizeof b * 8 + 1, MPOL_MF_MOVE) == 0, "mbind");
        h->blocks[h->count++] = block_touch((block){p, 8 * MIB});
    }
    CHECK(set_mempolicy(MPOL_BIND, &b, sizeof b * 8 + 1) == 0, "set_mempolicy");
    give_all(h);
}

static void own_policies_local(void) {
    own_policies();
    gather_all(); /* what had been bound is bound for good: the kernel puts pages there that are touched anew
                   */
}

static void own_policies_strict(void) {
    own_policies();
    each_on_its_own(95); /* a few may serve again without a look */
}

static void own_policies_bind(void) {
    own_policies();
    all_on(bit(w->a), 95);
}

/* Advice of the program about its blocks: they can be freed, and calloc gives zeros. */
static void own_advice(void) {
    static const int advice[] = {MADV_DONTNEED,   MADV_FREE,   MADV_COLD,      MADV_PAGEOUT, MADV_HUGEPAGE,
                                 MADV_NOHUGEPAGE, MADV_RANDOM, MADV_MERGEABLE, MADV_DONTDUMP};
    for (size_t round = 0; round < 4; round++)
        for (size_t i = 0; i < LENGTH(advice); i++)
            for (size_t bytes = 100000; bytes <= 4 * MIB; bytes *= 3) {
                char *p = malloc(bytes);
                uintptr_t from = ((uintptr_t)p + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
                CHECK(p, "a block");
                memset(p, 1, bytes);
                (void)madvise((void *)from, (bytes - PAGE_BYTES) & ~(size_t)(PAGE_BYTES - 1), advice[i]);
                free(p);
                p = calloc(1, bytes);
                CHECK(p && check_zero(p, bytes) == bytes, "zeros after advice %d", advice[i]);
                free(p);
            }
    gather_all();
}

/* Nodes come and go while threads that change nodes allocate and free. */
static void cpuset_swings(void) {
    static const char *const nodes[] = {"0-1", "2-3", "3", "0-3", "0,2"};
    pthread_t threads[4];
    own_group();
    for (size_t i = 0; i < LENGTH(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0, "a thread");
    for (size_t i = 0; i < 20; i++)
        put(GROUPS "/own/cpuset.mems", nodes[i % LENGTH(nodes)]);
    for (size_t i = 0; i < LENGTH(threads); i++)
        pthread_join(threads[i], NULL);
    put(GROUPS "/own/cpuset.mems", "0-3");
    for (size_t i = 0; i < 64; i++)
        give(take(1 * MIB));
}

/* What is spread over spaces that have no nodes is anywhere. */
static void somewhere(void) {
    gather_all();
}

/* Without a policy the memory is the kernel's to place: by the thread's inherited policy, or by its first
 * touch. */
static void first_touch(void) {
    each_on_its_own(50);
}

/* What the filter stops: all calls, or all but the query where pages are, as some containers do. */
enum { NOTHING, ALL, ALL_BUT_QUERY };

typedef struct test_case {
    const char *name, *policy; /* NULL: not set */
    void (*body)(void);
    size_t nodes;           /* that it needs at least */
    bool lean;              /* or the lean one */
    bool strict;            /* UMALLOC_NUMA_STRICT */
    bool tight;             /* little memory is left on each node */
    bool confined, bounded; /* to a group with node A alone; or with GROUP_BYTES */
    int refused, error;     /* which calls, and with what errno */
    int inherited;          /* policy of the process, for node A */
    const char *complaint;  /* what stderr must have */
    int status;
} test_case;

static const test_case cases[] = {
    {"default", NULL, local, .nodes = 2},
    {"local", "local", local, .nodes = 2},
    {"local-strict", "local-strict", local_strict, .nodes = 2},
    {"bind", "bind:$A", all_on_a, .nodes = 2},
    {"bind to two", "bind:$A,$B", all_on_a_or_b, .nodes = 2},
    {"prefer", "prefer:$A", on_a, .nodes = 2},
    {"interleave", "interleave", spread_on_all, .nodes = 2},
    {"interleave two", "interleave:$B,$A", spread_on_a_and_b, .nodes = 2},
    {"weighted", "weighted:$A=1,$B=3", spread_one_to_three, .nodes = 2},
    {"weighted by the kernel", "weighted", spread_on_all, .nodes = 2},
    {"round-robin", "round-robin", blocks_in_turn, .nodes = 2},
    {"none", "none", none, .nodes = 2},
    {"fork migrates", "local", fork_migrates, .nodes = 2},
    {"fork, bind", "bind:$B", fork_stays, .nodes = 2},
    {"fork, prefer", "prefer:$B", fork_stays, .nodes = 2},
    {"fork, local-strict", "local-strict", fork_migrates, .nodes = 2},
    {"fork, interleave", "interleave", fork_serves, .nodes = 2},
    {"fork, round-robin", "round-robin", fork_serves, .nodes = 2},
    {"own policies, local", "local", own_policies_local, .nodes = 4},
    {"own policies, local-strict", "local-strict", own_policies_strict, .nodes = 4},
    {"own policies, bind", "bind:$A", own_policies_bind, .nodes = 4},
    {"own advice", "local", own_advice, .nodes = 4},
    {"own advice, local-strict", "local-strict", own_advice, .nodes = 4},
    {"cpuset swings", "local", cpuset_swings, .nodes = 4},
    {"cpuset swings, interleave", "interleave", cpuset_swings, .nodes = 4},
    {"threads wander", "local", wander, .nodes = 4},
    {"threads wander, bind", "bind:$B", wander, .nodes = 4},
    {"threads wander, round-robin", "round-robin", wander, .nodes = 4},
    {"cpuset changes", "local", cpuset_changes, .nodes = 4},
    {"cpuset leaves none", "bind:$A", cpuset_leaves_none, .nodes = 4},
    {"full machine, bind to all", "bind:0-3", full_machine, .nodes = 4, .tight = true},
    {"full machine, local-strict", "local-strict", full_machine_by_threads, .nodes = 4, .tight = true},
    {"full node of a cpuset, bind", "bind:$A", full_node, .nodes = 4, .tight = true, .confined = true},
    {"full node of a cpuset, local-strict", "local-strict", full_node, .nodes = 4, .tight = true,
     .confined = true},
    {"full group, bind", "bind:$A", full_group, .nodes = 4, .bounded = true},
    {"full group, local-strict", "local-strict", full_group, .nodes = 4, .bounded = true},
    {"reclaimable memory, bind", "bind:$A", reclaimable, .nodes = 4, .tight = true},
    {"inherited bind", NULL, all_on_a, .nodes = 2, .inherited = MPOL_BIND},
    {"unknown node", "bind:63", local, .nodes = 2, .complaint = "UMALLOC_NUMA=\"bind:63\""},
    {"unknown node, strict", "bind:63", local, .nodes = 2, .strict = true, .complaint = "bind:63",
     .status = UMALLOC_STOP},
    {"strict", "bind:$A", all_on_a, .nodes = 2, .strict = true},
    {"EPERM", NULL, first_touch, .nodes = 4, .refused = ALL, .error = EPERM},
    {"EPERM, local-strict", "local-strict", first_touch, .nodes = 4, .refused = ALL, .error = EPERM},
    {"EPERM, bind", "bind:$A", first_touch, .nodes = 4, .refused = ALL, .error = EPERM},
    {"EPERM, interleave", "interleave", first_touch, .nodes = 4, .refused = ALL, .error = EPERM},
    {"EPERM, round-robin", "round-robin", somewhere, .nodes = 4, .refused = ALL, .error = EPERM},
    {"EPERM, strict", "bind:$A", local, .nodes = 4, .strict = true, .refused = ALL, .error = EPERM,
     .complaint = "UMALLOC_NUMA", .status = UMALLOC_STOP},
    {"EPERM but for queries", NULL, first_touch, .nodes = 4, .refused = ALL_BUT_QUERY, .error = EPERM},
    {"EPERM but for queries, local-strict", "local-strict", first_touch, .nodes = 4, .refused = ALL_BUT_QUERY,
     .error = EPERM},
    {"EPERM but for queries, bind", "bind:$A", first_touch, .nodes = 4, .refused = ALL_BUT_QUERY,
     .error = EPERM},
    {"ENOSYS", NULL, first_touch, .nodes = 4, .refused = ALL, .error = ENOSYS},
    {"ENOSYS, bind", "bind:$A", first_touch, .nodes = 4, .refused = ALL, .error = ENOSYS},
    {"ENOSYS, weighted", "weighted", first_touch, .nodes = 4, .refused = ALL, .error = ENOSYS},
    {"full, bind", "bind:$L", full, .lean = true},
    {"full, bind, threads", "bind:$L", full_for_threads, .lean = true},
    {"full, local-strict", "local-strict", full, .lean = true},
    {"full, local", "local", falls_back, .lean = true},
    {"full, prefer", "prefer:$L", falls_back, .lean = true},
    {"full, none", "none", falls_back, .lean = true},
    {"full, bind to two", "bind:$L,$B", two_serve, .lean = true},
    {"full, interleave", "interleave", all_serve, .lean = true},
    {"full, weighted", "weighted:$L=3,$B=1", all_serve, .lean = true},
    {"full, round-robin", "round-robin", all_serve, .lean = true},
};

static void refuse(int error, int what) {
    static const long calls[] = {SYS_mbind, SYS_get_mempolicy, SYS_set_mempolicy, SYS_migrate_pages,
                                 SYS_HOME_NODE};
    struct sock_filter rules[32] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    struct sock_fprog program = {.len = 1, .filter = rules};
    for (size_t i = 0; i < LENGTH(calls); i++) {
        rules[program.len++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        rules[program.len++] =
            (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error);
    }
    if (what == ALL) {
        const struct sock_filter others[] = {
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_move_pages, 0, 3),
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        };
        memcpy(rules + program.len, others, sizeof others);
        program.len = (unsigned short)(program.len + LENGTH(others));
    }
    rules[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
              prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0,
          "the kernel takes a filter");
}

/* The policy with the nodes of this machine. */
static void set_policy(const char *policy) {
    char text[128];
    size_t n = 0;
    for (const char *at = policy; *at; at++) {
        int node = at[0] != '$' ? -1 : at[1] == 'A' ? w->a : at[1] == 'B' ? w->b : w->lean;
        if (node < 0)
            text[n++] = *at;
        else
            n += (size_t)snprintf(text + n, sizeof text - n, "%d", node);
        at += node >= 0;
    }
    text[n] = 0;
    setenv("UMALLOC_NUMA", text, 1);
}

static void start(const test_case *t, int world_fd, int err_fd) {
    char number[2][16];
    unsigned long node = bit(w->a);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    CHECK(fd >= 0 && write(fd, "1000", 4) == 4, "oom_score_adj");
    close(fd);
    if (t->confined || t->bounded)
        own_group();
    if (t->confined) {
        snprintf(number[0], sizeof number[0], "%d", w->a);
        put(GROUPS "/own/cpuset.mems", number[0]);
    }
    if (t->bounded) {
        snprintf(number[0], sizeof number[0], "%zu", GROUP_BYTES);
        put(GROUPS "/own/memory.max", number[0]);
    }
    if (t->policy)
        set_policy(t->policy);
    if (t->strict)
        setenv("UMALLOC_NUMA_STRICT", "1", 1);
    if (t->inherited)
        CHECK(set_mempolicy(t->inherited, &node, sizeof node * 8 + 1) == 0, "a policy to inherit");
    if (t->refused)
        refuse(t->error, t->refused);
    snprintf(number[0], sizeof number[0], "%zu", (size_t)(t - cases));
    snprintf(number[1], sizeof number[1], "%d", world_fd);
    dup2(err_fd, STDERR_FILENO);
    execl("/proc/self/exe", "policies", "--run", number[0], number[1], (char *)NULL);
    _exit(STATUS_NO_MEMORY);
}

/* What the case wrote on stderr; empty if it wrote nothing. */
static const char *written(int fd) {
    static char text[1024];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    return text;
}

/* The kernel's own pools of huge pages take memory away faster than anybody can touch it. It keeps little for
 * itself then: what of the rest is to be had is what is looked at. */
#define TIGHT_BYTES (96 * MIB)

static void leave_little(bool little) {
    static char usual[16];
    int fd = open("/proc/sys/vm/min_free_kbytes", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && (*usual || read(fd, usual, sizeof usual - 1) > 0), "min_free_kbytes");
    close(fd);
    for (int n = 0; n < NODES_MAX; n++) {
        char file[128], text[32];
        size_t unused = w->allowed & bit(n) ? free_bytes(bit(n)) : 0;
        size_t pages = little && unused > TIGHT_BYTES ? (unused - TIGHT_BYTES) / (2 * MIB) : 0;
        if (!unused)
            continue;
        snprintf(file, sizeof file, "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages",
                 n);
        snprintf(text, sizeof text, "%zu", pages);
        put(file, text);
    }
    put("/proc/sys/vm/min_free_kbytes", little ? "4096" : usual);
}

/* Whether it went as it should. */
static bool run(const test_case *t, int world_fd) {
    int err_fd = memfd_create("stderr", 0), status = 0;
    if (t->tight)
        leave_little(true);
    pid_t child = fork();
    if (child == 0)
        start(t, world_fd, err_fd);
    CHECK(child > 0 && waitpid(child, &status, 0) == child, "a process");
    if (t->tight)
        leave_little(false);
    const char *text = written(err_fd);
    close(err_fd);
    if (status == t->status << 8 && (t->complaint ? strstr(text, t->complaint) != NULL : !*text)) {
        say("ok: %s\n", t->name);
        return true;
    }
    say("FAILED: %s: %s %d\n", t->name, WIFSIGNALED(status) ? "killed by signal" : "status",
        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    (void)!write(STDOUT_FILENO, text, strlen(text));
    return false;
}

static void look_at_world(void) {
    find_places();
    w->count = place_count;
    memcpy(w->places, places, sizeof places);
    w->allowed = allowed_nodes();
    w->a = 63 - __builtin_clzll(w->allowed);
    w->b = __builtin_ctzll(w->allowed);
    w->lean = -1;
    for (size_t i = 0; i < place_count; i++)
        w->with_cpus |= bit(places[i].node) & w->allowed;
    for (int n = 0; n < NODES_MAX; n++)
        if (w->allowed & bit(n) && numa_node_size64(n, NULL) < (long long)LEAN_BYTES)
            w->lean = n;
    if (w->lean >= 0)
        w->nearest_to_lean = nearest_nodes(w->lean, w->allowed & ~bit(w->lean));
}

/* What no kernel does differently runs on the newer one. */
static bool is_elsewhere(const test_case *t) {
    struct utsname u;
    return (t->refused || t->body == wander || t->body == own_advice || t->body == cpuset_swings) &&
           uname(&u) == 0 && !strncmp(u.release, "6.1.", 4);
}

static bool chosen(const test_case *t, char **names) {
    if (is_elsewhere(t))
        return false;
    if (t->lean != (w->lean >= 0) || (size_t)__builtin_popcountll(w->allowed) < t->nodes)
        return false;
    for (char **name = names; *name; name++)
        if (strcmp(*name, t->name) == 0)
            return true;
    return !*names;
}

int main(int argc, char **argv) {
    bool child = argc == 4 && strcmp(argv[1], "--run") == 0;
    int failed = 0, world_fd = child ? atoi(argv[3]) : memfd_create("world", 0);
    CHECK(child || ftruncate(world_fd, sizeof(world)) == 0, "room");
    w = mmap(NULL, sizeof(world), PROT_READ | PROT_WRITE, MAP_SHARED, world_fd, 0);
    CHECK(w != MAP_FAILED, "mmap");
    if (child) {
        check_library();
        cases[atoi(argv[2])].body();
        return 0;
    }
    look_at_world();
    for (size_t i = 0; i < LENGTH(cases); i++)
        if (chosen(&cases[i], argv + 1))
            failed += !run(&cases[i], world_fd);
    return failed ? 1 : 0;
}
