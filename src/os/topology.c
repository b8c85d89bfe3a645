/* The topology, from sysfs, by a reader of a few hundred bytes on the stack. Each version lies in a mapping
   of its own and is linked to those before it. One that equals an older version is dropped for that one, so a
   cpuset that goes back and forth costs no memory. The machine of one node 0, which most are, is a constant.

   Two threads may refresh at once: each reads for itself, and publishes only if nobody published meanwhile;
   else it reads again. So what is published last was read last. */
#include "os/topology.h"
#include "base/text.h"
#include "os/file.h"
#include "os/os.h"

#include <errno.h>
#include <string.h>

#define NODES_FOLDER "/devices/system/node/"
#define ATTEMPTS     4u
#define VERSIONS_MAX 64u /* beyond that the last one stays */

const char *um_topology_sysfs = "/sys";
const char *um_topology_status = "/proc/self/status";
_Atomic(const um_topology *) um_topology_now;
static _Atomic(const um_topology *) versions; /* newest first */

/* Lists */

/* The list up to the end of its line. */
static int read_list(um_file *f, um_node_set *out) {
    uint64_t first, last;
    *out = (um_node_set){{0}};
    um_file_skip_blanks(f);
    if (um_file_peek(f) == '\n') /* no node */
        return 0;
    for (;;) {
        if (!um_file_number(f, 10, &first))
            return EINVAL;
        last = first;
        if (um_file_peek(f) == '-' && (um_file_next(f), !um_file_number(f, 10, &last)))
            return EINVAL;
        if (first > last || last >= UM_NODE_IDS)
            return EINVAL;
        for (uint64_t id = first; id <= last; id++)
            um_node_set_add(out, (unsigned)id);
        int c = um_file_next(f);
        if (c == '\n' || c < 0)
            return 0;
        if (c != ',')
            return EINVAL;
    }
}

int um_topology_list(const char *path, um_node_set *out) {
    um_file f;
    int err = um_file_open(&f, path);
    *out = (um_node_set){{0}};
    if (err)
        return err;
    err = read_list(&f, out);
    um_file_close(&f);
    if (err)
        *out = (um_node_set){{0}};
    return err;
}

/* "SYSFS/devices/system/node/" and what the caller appends; path_end gives the string, NULL if it is too
   long. */
static um_text *path_start(um_text *t) {
    um_text_init(t, NULL, NULL);
    um_text_str(t, um_topology_sysfs);
    um_text_str(t, NODES_FOLDER);
    return t;
}

static const char *path_end(um_text *t) {
    if (t->len >= sizeof t->buf)
        return NULL;
    t->buf[t->len] = 0;
    return t->buf;
}

static int nodes_list(const char *name, um_node_set *out) {
    um_text t;
    um_text_str(path_start(&t), name);
    const char *path = path_end(&t);
    *out = (um_node_set){{0}};
    return path ? um_topology_list(path, out) : ENAMETOOLONG;
}

static const char *node_path(um_text *t, unsigned id, const char *name) {
    um_text_str(path_start(t), "node");
    um_text_u64(t, id);
    um_text_char(t, '/');
    um_text_str(t, name);
    return path_end(t);
}

/* The figure behind `name`, which must come after those asked for before. */
static bool read_kib(um_file *f, const char *name, uint64_t *bytes) {
    *bytes = 0;
    if (!um_file_find(f, ' ', name))
        return false;
    um_file_skip_blanks(f);
    if (!um_file_number(f, 10, bytes) || *bytes > UINT64_MAX / UM_KIB)
        return false;
    *bytes *= UM_KIB;
    return true;
}

int um_topology_memory(unsigned id, um_node_memory *out) {
    um_text t;
    um_file f;
    const char *path = node_path(&t, id, "meminfo");
    int err = path ? um_file_open(&f, path) : ENAMETOOLONG;
    uint64_t total, unused, active = 0, inactive = 0;
    *out = (um_node_memory){0, 0, 0};
    if (err)
        return err;
    if (!read_kib(&f, "MemTotal:", &total) || !read_kib(&f, "MemFree:", &unused) || unused > total)
        err = EINVAL;
    else if (read_kib(&f, "Active(file):", &active)) /* else it has none that we know of */
        (void)read_kib(&f, "Inactive(file):", &inactive);
    um_file_close(&f);
    if (!err)
        *out =
            (um_node_memory){total, unused, um_min(total, um_min(total, active) + um_min(total, inactive))};
    return err;
}

int um_topology_cpus_of(unsigned id, um_node_set *out) {
    um_text t;
    const char *path = node_path(&t, id, "cpulist");
    *out = (um_node_set){{0}};
    return path ? um_topology_list(path, out) : ENAMETOOLONG;
}

/* What there is */

/* Nodes with memory, by the best file there is. */
static int nodes_with_memory(um_node_set *out) {
    static const char names[][20] = {"has_memory", "has_normal_memory", "online"};
    int err = ENOENT;
    for (unsigned i = 0; i < UM_COUNT(names) && err; i++)
        err = nodes_list(names[i], out);
    return err;
}

/* "Mems_allowed_list:" of the status file: the cpuset's nodes, also in a container. */
static int allowed_by_status(um_node_set *out) {
    um_file f;
    int err = um_file_open(&f, um_topology_status);
    if (err)
        return err;
    err = um_file_find(&f, '\n', "Mems_allowed_list:") ? read_list(&f, out) : ENOENT;
    um_file_close(&f);
    return err;
}

void um_topology_visible(um_node_set *out) {
    um_node_set allowed;
    int err = nodes_with_memory(out);
    /* One node is the answer whatever the cpuset says; the status file is the dearer one. */
    if (!err && um_node_set_count(out) == 1)
        return;
    if (allowed_by_status(&allowed) == 0) {
        if (err)
            *out = allowed;
        else
            um_node_set_keep(out, &allowed);
    }
    if (um_node_set_count(out) == 0)
        um_node_set_add(out, 0);
}

static void add_place(um_topology *t, unsigned id) {
    t->id[t->places++] = (uint16_t)id;
    t->place_and_1[id] = (uint8_t)t->places;
}

static uint8_t *row_of(um_topology *t, unsigned place) {
    return t->rows + (size_t)2 * place * t->count;
}

/* The distance file of a node has a figure for each online node, by ascending id. */
static void read_distances(um_topology *t, unsigned place, const um_node_set *online) {
    uint8_t *distance = row_of(t, place);
    um_text text;
    const char *path = node_path(&text, t->id[place], "distance");
    um_file f;
    for (unsigned i = 0; i < t->count; i++)
        distance[i] = i == place ? UM_TOPOLOGY_NEAR : UM_TOPOLOGY_FAR;
    if (!path || um_file_open(&f, path) != 0)
        return;
    for (um_node_set_each(to, online)) {
        uint64_t figure;
        unsigned dense = um_topology_dense(t, to);
        um_file_skip_blanks(&f);
        if (!um_file_number(&f, 10, &figure))
            break;
        if (dense < t->count && figure > 0 && figure <= UINT8_MAX)
            distance[dense] = (uint8_t)figure;
    }
    um_file_close(&f);
}

/* By insertion: itself first, then by distance; of equally far ones the next higher id first, wrapping
   around, so that not all nodes flow over into the same one. */
static void sort_by_distance(um_topology *t, unsigned place) {
    const uint8_t *distance = row_of(t, place);
    uint8_t *order = row_of(t, place) + t->count;
    unsigned start = 0;
    while (start < t->count && t->id[start] < t->id[place])
        start++;
    for (unsigned n = 0; n < t->count; n++) {
        unsigned node = (start + n) % t->count, at = n;
        for (; at > 0 && order[at - 1] != place && distance[order[at - 1]] > distance[node]; at--)
            order[at] = order[at - 1];
        order[at] = (uint8_t)node;
    }
}

/* Without the nodes that are too many. */
static void add_nodes_with_memory(um_topology *t, const um_node_set *memory) {
    for (um_node_set_each(id, memory)) {
        if (t->places == UM_TOPOLOGY_NODES)
            break;
        um_node_set_add(&t->memory, id);
        add_place(t, id);
    }
    t->count = t->places;
}

void um_topology_read(um_topology *t, const um_node_set *allowed) {
    um_node_set online, memory;
    if (nodes_with_memory(&memory) == 0)
        um_node_set_keep(&memory, allowed);
    if (um_node_set_count(&memory) == 0) /* nothing to read, or it contradicts the kernel's word */
        memory = um_node_set_count(allowed) ? *allowed : um_node_set_of(0);
    add_nodes_with_memory(t, &memory);
    if (nodes_list("has_cpu", &t->cpus) != 0)
        t->cpus = t->memory;
    for (um_node_set_each(id, &t->cpus))
        if (!t->place_and_1[id] && t->places < UM_TOPOLOGY_PLACES)
            add_place(t, id);
    if (nodes_list("online", &online) != 0)
        online = t->memory;
    for (unsigned place = 0; place < t->places; place++) {
        read_distances(t, place, &online);
        sort_by_distance(t, place);
    }
}

/* Publication */

static const um_topology node_0 = {.count = 1,
                                   .places = 1,
                                   .memory = {{1}},
                                   .cpus = {{1}},
                                   .place_and_1 = {1},
                                   .rows = {UM_TOPOLOGY_NEAR, 0}};

static bool same(const um_topology *a, const um_topology *b) {
    size_t from = offsetof(um_topology, count);
    return a->count == b->count && a->places == b->places &&
           memcmp((const char *)a + from, (const char *)b + from,
                  sizeof *a - from + (size_t)2 * a->places * a->count) == 0;
}

/* The version that equals t, which goes then; else t, as the newest one. NULL: too many versions. */
static const um_topology *settle(um_topology *t) {
    /* T3: acquire pairs with the release of T4, which publishes the version and those behind it. */
    const um_topology *newest = atomic_load_explicit(&versions, memory_order_acquire);
    do {
        const um_topology *v = newest;
        unsigned count = 0;
        for (; v && !same(v, t); v = v->older)
            count++;
        if (v || count >= VERSIONS_MAX) {
            /* ThreadSanitizer does not see our system calls: whoever is given the same addresses next would
               race with us, as far as it knows. */
            if (!UM_TSAN)
                (void)um_os_unmap((uintptr_t)t, UM_TOPOLOGY_BYTES);
            return v;
        }
        t->older = newest;
        /* T4: release publishes the version; pairs with T3. */
    } while (!atomic_compare_exchange_weak_explicit(&versions, &newest, t, memory_order_acq_rel,
                                                    memory_order_acquire));
    return t;
}

/* What is true now. NULL: no memory to say it in. */
static const um_topology *version_now(void) {
    um_node_set allowed;
    uintptr_t at;
    int err = um_os_nodes_allowed(&allowed);
    if (err || um_node_set_count(&allowed) == 0)
        um_topology_visible(&allowed);
    bool one = um_node_set_count(&allowed) == 1;
    if (one && um_node_set_has(&allowed, 0))
        return &node_0;
    if (um_os_map(UM_TOPOLOGY_BYTES, &at) != 0)
        return NULL;
    um_topology *t = (um_topology *)at;
    if (one) { /* no file is worth it */
        add_nodes_with_memory(t, &allowed);
        t->cpus = allowed;
        t->rows[0] = UM_TOPOLOGY_NEAR;
    } else {
        um_topology_read(t, &allowed);
    }
    return settle(t);
}

bool um_topology_refresh(void) {
    const um_topology *before = atomic_load_explicit(&um_topology_now, memory_order_acquire); /* T1 */
    const um_topology *seen = before, *t;
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        t = version_now();
        if (!t) /* what we had */
            t = seen ? seen : &node_0;
        /* T2: release publishes the topology; pairs with T1. */
        if (atomic_compare_exchange_strong_explicit(&um_topology_now, &seen, t, memory_order_acq_rel,
                                                    memory_order_acquire))
            return t != before;
    }
    return seen != before; /* others publish faster than we read */
}

const um_topology *um_topology_first(void) {
    (void)um_topology_refresh();
    return atomic_load_explicit(&um_topology_now, memory_order_acquire); /* T1 */
}
