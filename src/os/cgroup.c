/* The memory limit that the process's control groups set. A group's limit holds for all below it, so the
   least one on the way up counts. Groups are looked for where distributions and container runtimes mount
   them; a path that leads nowhere there (a container may see its own group as the root) still ends at the
   mount's root. Nothing is allocated, and what cannot be read sets no limit. */
#include "base/text.h"
#include "os/os.h"

#define NO_LIMIT_FROM ((uint64_t)1 << 60) /* version 1 says no limit by a huge one */

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

/* The least limit of a group and all above it. */
static uint64_t tightest(const char *mount, const char *group, size_t length, const char *file) {
    uint64_t least = UINT64_MAX;
    for (;;) {
        um_text path;
        um_text_init(&path, NULL, NULL);
        um_text_str(&path, mount);
        for (size_t i = 0; i < length; i++)
            um_text_char(&path, group[i]);
        um_text_str(&path, file);
        um_text_char(&path, 0);
        if (path.len < sizeof path.buf)
            least = um_min(least, limit_in(path.buf));
        if (length == 0)
            return least;
        while (length && group[--length] != '/')
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

/* Lines are "number:controllers:path"; version 2 names no controllers. */
uint64_t um_os_memory_limit(void) {
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
        if (path == controllers + 1) {
            least = um_min(least, tightest("/sys/fs/cgroup", path, (size_t)(end - path), "/memory.max"));
        } else if (has_word(controllers, path - 1, "memory")) {
            least = um_min(least, tightest("/sys/fs/cgroup/memory", path, (size_t)(end - path),
                                           "/memory.limit_in_bytes"));
        }
        line = end + (*end == '\n');
    }
    return least == UINT64_MAX ? 0 : least;
}
