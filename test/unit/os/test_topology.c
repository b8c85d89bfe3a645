/* The topology of made-up machines, from trees as sysfs has them, and of this one, with libnuma's opinion.
   What is missing or garbage gives defaults, never a crash; versions come back at their old address. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/topology.h"
#include "os/os.h"

#include "refuse.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <numa.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[64];
static _Alignas(um_topology) char memory[UM_TOPOLOGY_BYTES];

static void start(void) {
    um_os_init();
    strcpy(root, "/tmp/umalloc-topology-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
}

static void stop(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    cr_expect_eq(system(command), 0);
}

TestSuite(topology, .init = start, .fini = stop);

/* Writes a file below the root, with the folders it needs. */
static void put(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = path + strlen(root); (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        cr_assert(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

static void put_list(const char *name, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "devices/system/node/%s", name);
    put(path, text);
}

static void put_node(unsigned id, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "node%u/%s", id, name);
    put_list(path, text);
}

static um_node_set set(unsigned count, ...) {
    um_node_set s = {{0}};
    va_list ids;
    va_start(ids, count);
    while (count--)
        um_node_set_add(&s, va_arg(ids, unsigned));
    va_end(ids);
    return s;
}

static const um_topology *reading(um_node_set allowed) {
    memset(memory, 0, sizeof memory);
    um_topology_sysfs = root;
    um_topology_read((um_topology *)memory, &allowed);
    return (const um_topology *)memory;
}

/* What holds for every topology. */
static void check(const um_topology *t) {
    cr_assert(t->count >= 1 && t->count <= UM_TOPOLOGY_NODES);
    cr_assert(t->places >= t->count && t->places <= UM_TOPOLOGY_PLACES);
    cr_expect_eq(um_node_set_count(&t->memory), t->count);
    for (unsigned p = 0; p < t->places; p++) {
        const uint8_t *order = um_topology_order(t, p), *distance = um_topology_distances(t, p);
        uint64_t seen = 0;
        cr_expect_eq(um_topology_place(t, t->id[p]), p);
        cr_expect_eq(um_topology_dense(t, t->id[p]), p < t->count ? p : UM_TOPOLOGY_NODES);
        cr_expect_eq(um_node_set_has(&t->memory, t->id[p]), p < t->count);
        cr_expect(p >= t->count || order[0] == p, "itself first");
        cr_expect_eq(um_topology_nearest(t, t->id[p]), order[0]);
        for (unsigned i = 0; i < t->count; i++) {
            cr_assert_lt(order[i], t->count);
            cr_expect_gt(distance[i], 0);
            seen |= 1ull << order[i];
            cr_expect(i < 2 || distance[order[i - 1]] <= distance[order[i]], "place %u", p);
        }
        cr_expect_eq(seen, t->count == 64 ? ~0ull : (1ull << t->count) - 1, "each node once");
    }
    cr_expect_eq(um_topology_dense(t, UM_NODE_IDS), UM_TOPOLOGY_NODES);
    cr_expect_eq(um_topology_dense(t, ~0u), UM_TOPOLOGY_NODES);
    cr_expect_eq(um_topology_place(t, ~0u), 0);
}

static void expect_row(const uint8_t *row, unsigned count, ...) {
    va_list wanted;
    va_start(wanted, count);
    for (unsigned i = 0; i < count; i++) {
        unsigned w = va_arg(wanted, unsigned);
        cr_expect_eq(row[i], w, "column %u: %u, not %u", i, row[i], w);
    }
    va_end(wanted);
}

static void put_quad(void) {
    put_list("online", "0-3\n");
    put_list("has_memory", "0-3\n");
    put_list("has_cpu", "0-3\n");
    put_node(0, "distance", "10 20 30 20\n");
    put_node(1, "distance", "20 10 20 30\n");
    put_node(2, "distance", "30 20 10 20\n");
    put_node(3, "distance", "20 30 20 10\n");
}

Test(topology, quad) {
    put_quad();
    const um_topology *t = reading(set(4, 0, 1, 2, 3));
    check(t);
    cr_expect_eq(t->count, 4);
    cr_expect_eq(t->places, 4);
    expect_row(um_topology_distances(t, 1), 4, 20, 10, 20, 30);
    expect_row(um_topology_order(t, 0), 4, 0, 1, 3, 2);
    expect_row(um_topology_order(t, 1), 4, 1, 2, 0, 3); /* of equals the next higher first, around */
    expect_row(um_topology_order(t, 3), 4, 3, 0, 2, 1);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_not(um_topology_memory_only(t, i));
}

Test(topology, uma) {
    put_list("online", "0\n");
    put_list("has_memory", "0\n");
    put_list("has_cpu", "0\n");
    put_node(0, "distance", "10\n");
    const um_topology *t = reading(set(1, 0));
    check(t);
    cr_expect(t->count == 1 && t->places == 1 && t->id[0] == 0);
}

Test(topology, cpuset_leaves_two_of_four) {
    put_quad();
    const um_topology *t = reading(set(2, 1, 3));
    check(t);
    cr_expect_eq(t->count, 2);
    cr_expect_eq(t->places, 4, "threads may run on the others all the same");
    cr_expect(t->id[0] == 1 && t->id[1] == 3 && t->id[2] == 0 && t->id[3] == 2);
    expect_row(um_topology_distances(t, 0), 2, 10, 30);
    expect_row(um_topology_distances(t, 1), 2, 30, 10);
    cr_expect_eq(t->id[um_topology_nearest(t, 0)], 1, "of two equally far ones the next higher");
    cr_expect_eq(t->id[um_topology_nearest(t, 2)], 3);
    expect_row(um_topology_distances(t, 2), 2, 20, 20);
}

Test(topology, memory_only_node) {
    put_list("online", "0-2\n");
    put_list("has_memory", "0-2\n");
    put_list("has_cpu", "0-1\n");
    put_node(0, "distance", "10 21 14\n");
    put_node(1, "distance", "21 10 24\n");
    put_node(2, "distance", "14 24 10\n");
    const um_topology *t = reading(set(3, 0, 1, 2));
    check(t);
    cr_expect(!um_topology_memory_only(t, 0) && !um_topology_memory_only(t, 1));
    cr_expect(um_topology_memory_only(t, 2));
    expect_row(um_topology_order(t, 0), 3, 0, 2, 1);
    expect_row(um_topology_order(t, 2), 3, 2, 0, 1);
}

Test(topology, node_without_memory) {
    put_list("online", "0-2\n");
    put_list("has_memory", "0,2\n");
    put_list("has_cpu", "0-2\n");
    put_node(0, "distance", "10 20 40\n");
    put_node(1, "distance", "30 10 20\n");
    put_node(2, "distance", "40 20 10\n");
    const um_topology *t = reading(set(2, 0, 2));
    check(t);
    cr_expect(t->count == 2 && t->places == 3);
    cr_expect_eq(um_topology_dense(t, 1), UM_TOPOLOGY_NODES);
    expect_row(um_topology_distances(t, um_topology_place(t, 1)), 2, 30, 20);
    cr_expect_eq(t->id[um_topology_nearest(t, 1)], 2);
}

Test(topology, sparse_ids) {
    put_list("online", "0,2,250\n");
    put_list("has_memory", "0,2,250\n");
    put_list("has_cpu", "0,250\n");
    put_node(0, "distance", "10 15 31\n");
    put_node(2, "distance", "15 10 32\n");
    put_node(250, "distance", "31 32 10\n");
    const um_topology *t = reading(set(3, 0, 2, 250));
    check(t);
    cr_expect(t->count == 3 && t->id[0] == 0 && t->id[1] == 2 && t->id[2] == 250);
    cr_expect_eq(um_topology_dense(t, 1), UM_TOPOLOGY_NODES);
    cr_expect_eq(um_topology_dense(t, 250), 2);
    expect_row(um_topology_distances(t, 2), 3, 31, 32, 10);
    cr_expect(um_topology_memory_only(t, 1));
}

/* More nodes than dense indices; lists and rows longer than the reader's buffer. */
Test(topology, long_lists) {
    static char ids[8192], row[8192];
    size_t n = 0, m = 0;
    um_node_set all = {{0}};
    for (unsigned id = 0; id < UM_NODE_IDS; id += 8) {
        n += (size_t)snprintf(ids + n, sizeof ids - n, "%s%u", n ? "," : "", id);
        m += (size_t)snprintf(row + m, sizeof row - m, "%s%u", m ? " " : "", id == 8 ? 10 : 20 + id / 8);
        um_node_set_add(&all, id);
    }
    put_list("online", strcat(ids, "\n"));
    put_list("has_memory", ids);
    put_list("has_cpu", ids);
    put_node(8, "distance", strcat(row, "\n"));
    const um_topology *t = reading(all);
    check(t);
    cr_expect_eq(t->count, UM_TOPOLOGY_NODES);
    cr_expect_eq(t->places, UM_TOPOLOGY_PLACES);
    cr_expect_eq(t->id[63], 63 * 8);
    cr_expect_eq(um_topology_distances(t, 1)[63], 20 + 63);
    cr_expect_eq(um_topology_distances(t, 0)[63], UM_TOPOLOGY_FAR);
    cr_expect_eq(um_topology_dense(t, 64 * 8), UM_TOPOLOGY_NODES);
    cr_expect_geq(um_topology_place(t, 64 * 8), UM_TOPOLOGY_NODES);
}

Test(topology, nothing_to_read_gives_what_is_allowed) {
    const um_topology *t = reading(set(2, 1, 3));
    check(t);
    cr_expect(t->count == 2 && t->id[0] == 1 && t->id[1] == 3);
    expect_row(um_topology_distances(t, 0), 2, 10, 20);
    cr_expect_not(um_topology_memory_only(t, 0), "unknown counts as having cpus");
    t = reading(set(0));
    check(t);
    cr_expect(t->count == 1 && t->id[0] == 0);
    put_list("has_memory", "0-1\n"); /* says the opposite of what is allowed */
    t = reading(set(1, 5));
    check(t);
    cr_expect(t->count == 1 && t->id[0] == 5);
}

Test(topology, older_kernels_lists) {
    put_list("has_normal_memory", "0,1\n");
    const um_topology *t = reading(set(3, 0, 1, 2));
    check(t);
    cr_expect_eq(t->count, 2);
    put_list("has_normal_memory", "?\n");
    put_list("online", "0-2\n");
    cr_expect_eq(reading(set(3, 0, 1, 2))->count, 3);
}

Test(topology, lists) {
    static const struct {
        const char *text;
        int err;
        unsigned count, highest;
    } cases[] = {
        {"0\n", 0, 1, 0},
        {"0", 0, 1, 0},
        {"0-3,8\n", 0, 5, 8},
        {"1023\n", 0, 1, 1023},
        {"0-1023\n", 0, 1024, 1023},
        {"\n", 0, 0, 0},
        {"\t 3-4\n", 0, 2, 4},
        {"", EINVAL, 0, 0},
        {"1024\n", EINVAL, 0, 0},
        {"99999999999999999999999999\n", EINVAL, 0, 0},
        {"0-18446744073709551615\n", EINVAL, 0, 0},
        {"5-2\n", EINVAL, 0, 0},
        {"-1\n", EINVAL, 0, 0},
        {"0,\n", EINVAL, 0, 0},
        {"0-\n", EINVAL, 0, 0},
        {"0;1\n", EINVAL, 0, 0},
        {"0x1\n", EINVAL, 0, 0},
        {"garbage\n", EINVAL, 0, 0},
    };
    char path[128];
    um_node_set s;
    snprintf(path, sizeof path, "%s/list", root);
    for (unsigned i = 0; i < UM_COUNT(cases); i++) {
        put("list", cases[i].text);
        cr_expect_eq(um_topology_list(path, &s), cases[i].err, "%s", cases[i].text);
        cr_expect_eq(um_node_set_count(&s), cases[i].count, "%s", cases[i].text);
        if (cases[i].count)
            cr_expect_eq(um_node_set_next(&s, cases[i].highest), cases[i].highest, "%s", cases[i].text);
    }
    cr_expect_eq(um_topology_list("/nonexistent", &s), ENOENT);
    cr_expect_neq(um_topology_list(root, &s), 0, "a folder");
}

Test(topology, garbage_in_distances_gives_defaults) {
    put_quad();
    put_node(0, "distance", "10 0 999999999999999999999 20\n");
    put_node(1, "distance", "20 x 20 30\n");
    put_node(2, "distance", "");
    put_node(3, "distance", "20 5 20 7 9 9 9 9 9\n");
    const um_topology *t = reading(set(4, 0, 1, 2, 3));
    check(t);
    expect_row(um_topology_distances(t, 0), 4, 10, 20, 20, 20);
    expect_row(um_topology_distances(t, 1), 4, 20, 10, 20, 20);
    expect_row(um_topology_distances(t, 2), 4, 20, 20, 10, 20);
    expect_row(um_topology_distances(t, 3), 4, 20, 5, 20, 7);
    expect_row(um_topology_order(t, 3), 4, 3, 1, 0, 2); /* itself first, whatever the figures */
}

Test(topology, visible_nodes_by_the_files_alone) {
    char status[128];
    um_node_set s;
    snprintf(status, sizeof status, "%s/status", root);
    um_topology_sysfs = root;
    um_topology_status = status;
    um_topology_visible(&s);
    cr_expect(um_node_set_count(&s) == 1 && um_node_set_has(&s, 0), "nothing to read");
    put("status", "Name:\tMems_allowed_list:\t7\nMems_allowed:\t0000000f\nMems_allowed_list:\t1-2\nx:\t1\n");
    um_topology_visible(&s);
    cr_expect(um_node_set_count(&s) == 2 && um_node_set_has(&s, 1), "no sysfs");
    put_quad();
    um_topology_visible(&s);
    cr_expect(um_node_set_count(&s) == 2 && um_node_set_has(&s, 2));
    put("status", "Name:\tsh\n");
    um_topology_visible(&s);
    cr_expect_eq(um_node_set_count(&s), 4);
    put("status", "Name:\tsh\nMems_allowed_list:\t1000\n");
    um_topology_visible(&s);
    cr_expect(um_node_set_count(&s) == 1 && um_node_set_has(&s, 0), "a contradiction");
    put_list("has_memory", "2\n");
    um_topology_visible(&s);
    cr_expect(um_node_set_count(&s) == 1 && um_node_set_has(&s, 2));
}

Test(topology, memory_of_a_node) {
    um_node_memory m;
    um_topology_sysfs = root;
    put_node(2, "meminfo",
             "Node 2 MemTotal:       24684084 kB\nNode 2 MemFree:        21147868 kB\n"
             "Node 2 MemUsed:         3536216 kB\nNode 2 Active:  9 kB\nNode 2 Active(file):  1000 kB\n"
             "Node 2 Inactive(file):  24 kB\n");
    cr_expect_eq(um_topology_memory(2, &m), 0);
    cr_expect_eq(m.cached_bytes, 1024 * 1024);
    cr_expect_eq(m.total_bytes, 24684084ull * 1024);
    cr_expect_eq(m.free_bytes, 21147868ull * 1024);
    cr_expect_eq(um_topology_memory(3, &m), ENOENT);
    cr_expect_eq(m.total_bytes, 0);
    put_node(3, "meminfo", "Node 3 MemTotal: lots\n");
    cr_expect_eq(um_topology_memory(3, &m), EINVAL);
    put_node(3, "meminfo", "Node 3 MemTotal: 99999999999999999999 kB\nNode 3 MemFree: 1 kB\n");
    cr_expect_eq(um_topology_memory(3, &m), EINVAL);
}

/* The kernel's call refused, as in a container, so that the made-up machine is believed. */
Test(topology, versions_come_back) {
    char status[128];
    cr_assert(refuse(SYS_get_mempolicy, EPERM));
    snprintf(status, sizeof status, "%s/status", root);
    um_topology_sysfs = root;
    um_topology_status = status;
    put_quad();
    errno = 123;
    const um_topology *four = um_topology_get();
    check(four);
    cr_expect_eq(four->count, 4);
    cr_expect_not(um_topology_refresh(), "nothing changed");
    cr_expect_eq(um_topology_get(), four);
    cr_expect_eq(errno, 123);
    for (unsigned i = 0; i < 200; i++) { /* more than there may be versions */
        put("status", "Name:\tsh\nMems_allowed_list:\t1,3\n");
        cr_expect(um_topology_refresh());
        const um_topology *two = um_topology_get();
        cr_assert_eq(two->count, 2);
        cr_assert_eq(four->count, 4, "the older one stays as it was");
        put("status", "Name:\tsh\nMems_allowed_list:\t0-3\n");
        cr_expect(um_topology_refresh());
        cr_assert_eq(um_topology_get(), four);
    }
    put("status", "Name:\tsh\nMems_allowed_list:\t3\n");
    cr_expect(um_topology_refresh());
    check(um_topology_get());
    cr_expect(um_topology_get()->count == 1 && um_topology_get()->id[0] == 3);
    put("status", "Name:\tsh\nMems_allowed_list:\t0\n");
    cr_expect(um_topology_refresh());
    check(um_topology_get());
    cr_expect(um_topology_get()->count == 1 && um_topology_get()->id[0] == 0);
}

Test(topology, too_many_versions_leave_the_last_one) {
    char status[128], line[64];
    unsigned changes = 0;
    cr_assert(refuse(SYS_get_mempolicy, EPERM));
    snprintf(status, sizeof status, "%s/status", root);
    um_topology_sysfs = root;
    um_topology_status = status;
    put_list("has_memory", "0-99\n");
    for (unsigned high = 1; high < 100; high++) {
        snprintf(line, sizeof line, "\nMems_allowed_list:\t%u-99\n", high);
        put("status", line);
        changes += um_topology_refresh();
        check(um_topology_get());
    }
    cr_expect_eq(changes, 64, "%u", changes);
}

static void *get_and_refresh(void *arg) {
    for (unsigned i = 0; i < 200; i++) {
        check(um_topology_get());
        if (i % 8 == 0)
            (void)um_topology_refresh();
    }
    return arg;
}

Test(topology, any_thread_at_any_time) {
    char status[128];
    pthread_t t[3];
    cr_assert(refuse(SYS_get_mempolicy, ENOSYS));
    snprintf(status, sizeof status, "%s/status", root);
    um_topology_sysfs = root;
    um_topology_status = status;
    put_quad();
    for (unsigned i = 0; i < UM_COUNT(t); i++)
        cr_assert_eq(pthread_create(&t[i], NULL, get_and_refresh, NULL), 0);
    for (unsigned i = 0; i < 100;
         i++) /* a reader may see the file half written: as good as any other change */
        put("status", i % 2 ? "\nMems_allowed_list:\t0-1\n" : "\nMems_allowed_list:\t1-3\n");
    for (unsigned i = 0; i < UM_COUNT(t); i++)
        pthread_join(t[i], NULL);
    (void)um_topology_refresh();
    cr_expect_eq(um_topology_get()->count, 2);
}

/* Where the kernel says that there is one node, no file is opened. */
Test(topology, one_node_reads_no_file) {
    um_node_set allowed;
    int status;
    if (um_os_nodes_allowed(&allowed) != 0 || um_node_set_count(&allowed) != 1)
        return; /* this machine has more */
    pid_t child = fork();
    if (child == 0) {
        bool ready = forbid(SYS_openat);
        _exit(!ready || um_topology_get()->count != 1 || um_topology_refresh());
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x", status);
    check(um_topology_get());
    cr_expect_eq(um_topology_get()->id[0], um_node_set_first(&allowed));
}

Test(topology, agrees_with_libnuma_about_this_machine) {
    um_node_set allowed;
    um_node_memory m;
    if (numa_available() < 0 || um_os_nodes_allowed(&allowed) != 0)
        return; /* no NUMA in this kernel, or not for us */
    memset(memory, 0, sizeof memory);
    um_topology *read = (um_topology *)memory;
    um_topology_read(read, &allowed); /* also where get would not read */
    check(read);
    const um_topology *both[] = {read, um_topology_get()};
    for (unsigned k = 0; k < 2; k++) {
        const um_topology *t = both[k];
        for (unsigned id = 0; id < UM_NODE_IDS; id++) {
            bool has = numa_bitmask_isbitset(numa_all_nodes_ptr, id) && numa_node_size64((int)id, NULL) > 0;
            cr_expect_eq(um_topology_dense(t, id) < UM_TOPOLOGY_NODES, has, "node %u", id);
        }
        for (unsigned p = 0; p < t->places; p++)
            for (unsigned i = 0; i < t->count; i++)
                cr_expect_eq(um_topology_distances(t, p)[i], numa_distance(t->id[p], t->id[i]));
        for (unsigned i = 0; i < t->count; i++) {
            cr_expect_eq(um_topology_memory(t->id[i], &m), 0);
            cr_expect_eq(m.total_bytes, (uint64_t)numa_node_size64(t->id[i], NULL));
        }
    }
}
