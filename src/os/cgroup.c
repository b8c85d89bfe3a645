/* The memory limit that the process's control groups set, and what is left of it. A group's limit holds for
   all below it, so the least one on the way up counts. Groups are looked for where distributions and
   container runtimes mount them; a path that leads nowhere there (a container may see its own group as the
   root) still ends at the mount's root. Nothing is allocated, and what cannot be read sets no limit. */
#include "base/text.h"
#include "os/available.h"
#include "os/file.h"
#include "os/os.h"

#define NO_LIMIT_FROM ((uint64_t)1 << 60) /* version 1 says no limit by a huge one */
#define SPARE_PART    64u          /* of a limit: page tables, a 512th of the pages, are charged to it too */
#define SPARE_MIN     (2 * UM_MIB) /* stacks, libraries, other processes of the group */
#define SPARE_MAX     (64 * UM_MIB)

/* What fits of the file, with a zero after it. Returns the bytes read. */
static size_t read_file(const char *path, char *into, size_t room) {
    size_t n = 0;
    long got = 1;
    int fd = um_os_open(path);
    into[0] = 0;
    if (fd < 0)
        return 0;
    while (got > 0 && n < room - 1) {
        got = um_os_read(fd, into + n, room - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    um_os_close(fd);
    into[n] = 0;
    return n;
}

/* The number in the file; UINT64_MAX where it holds none ("max"), or too large a one. */
static uint64_t limit_in(const char *path) {
    char text[32];
    uint64_t v = 0;
    size_t i = 0, n = read_file(path, text, sizeof text);
    for (; i < n && text[i] >= '0' && text[i] <= '9' && v < NO_LIMIT_FROM; i++)
        v = v * 10 + (uint64_t)(text[i] - '0');
    return i == 0 || v >= NO_LIMIT_FROM ? UINT64_MAX : v;
}

/* The names of version 1 and 2. The two of memory.stat stand there in this order. */
typedef struct names {
    const char *mount, *limit, *usage, *inactive_file, *active_file;
} names;

static const names version_1 = {"/sys/fs/cgroup/memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes",
                                "total_inactive_file ", "total_active_file "};
static const names version_2 = {"/sys/fs/cgroup", "/memory.max", "/memory.current", "inactive_file ",
                                "active_file "};

typedef struct group {
    const names *names;
    const char *path; /* from the mount on */
    size_t length;
} group;

/* The path of one of a group's files; NULL: too long. */
static const char *path_of(um_text *t, const group *g, const char *file) {
    um_text_init(t, NULL, NULL);
    um_text_str(t, g->names->mount);
    for (size_t i = 0; i < g->length; i++)
        um_text_char(t, g->path[i]);
    um_text_str(t, file);
    um_text_char(t, 0);
    return t->len < sizeof t->buf ? t->buf : NULL;
}

static uint64_t number_of(const group *g, const char *file) {
    um_text t;
    const char *path = path_of(&t, g, file);
    return path ? limit_in(path) : UINT64_MAX;
}

static uint64_t limit_of(const group *g) {
    return number_of(g, g->names->limit);
}

/* What of the group's memory the kernel would take rather than kill: that of files. */
static uint64_t cached_of(const group *g) {
    um_text t;
    um_file f;
    uint64_t inactive = 0, active = 0;
    const char *path = path_of(&t, g, "/memory.stat");
    if (!path || um_file_open(&f, path) != 0)
        return 0;
    if (um_file_find(&f, '\n', g->names->inactive_file) && um_file_number(&f, 10, &inactive) &&
        um_file_find(&f, '\n', g->names->active_file))
        (void)um_file_number(&f, 10, &active); /* 0 where it is missing */
    um_file_close(&f);
    return um_min(inactive, NO_LIMIT_FROM) + um_min(active, NO_LIMIT_FROM);
}

static uint64_t left_of(const group *g) {
    uint64_t limit = limit_of(g), used;
    if (limit == UINT64_MAX)
        return limit;
    used = number_of(g, g->names->usage);
    if (used == UINT64_MAX) /* not told */
        return limit;
    used -= um_min(cached_of(g), used);
    used += um_min(um_max(limit / SPARE_PART, SPARE_MIN), SPARE_MAX);
    return limit - um_min(limit, used);
}

/* The least figure of a group and all above it. */
static uint64_t least_above(group g, uint64_t (*figure)(const group *g)) {
    uint64_t least = UINT64_MAX;
    for (;;) {
        least = um_min(least, figure(&g));
        if (g.length == 0)
            return least;
        while (g.length && g.path[--g.length] != '/')
            ;
    }
}

/* The end of the field that starts at s. */
static const char *field_end(const char *s, char stop) {
    while (*s && *s != stop && *s != '\n')
        s++;
    return s;
}

static bool has_word(const char *s, const char *end, const char *word) {
    while (s < end) {
        const char *stop = field_end(s, ','), *w = word;
        stop = stop < end ? stop : end;
        while (s < stop && *s == *w)
            s++, w++;
        if (s == stop && !*w)
            return true;
        s = stop + 1;
    }
    return false;
}

/* Of all the process's groups. Lines are "number:controllers:path"; version 2 names no controllers. */
static uint64_t least_of_all(uint64_t (*figure)(const group *g)) {
    char text[4096];
    uint64_t least = UINT64_MAX;
    (void)read_file("/proc/self/cgroup", text, sizeof text);
    for (const char *line = text; *line;) {
        const char *controllers = field_end(line, ':') + 1;
        const char *path, *end;
        if (controllers[-1] != ':')
            break;
        path = field_end(controllers, ':') + 1;
        if (path[-1] != ':')
            break;
        end = field_end(path, 0);
        if (path == controllers + 1)
            least = um_min(least, least_above((group){&version_2, path, (size_t)(end - path)}, figure));
        else if (has_word(controllers, path - 1, "memory"))
            least = um_min(least, least_above((group){&version_1, path, (size_t)(end - path)}, figure));
        line = end + (*end == '\n');
    }
    return least;
}

uint64_t um_os_memory_limit(void) {
    uint64_t least = least_of_all(limit_of);
    return least == UINT64_MAX ? 0 : least;
}

uint64_t um_os_memory_left(void) {
    return least_of_all(left_of);
}
