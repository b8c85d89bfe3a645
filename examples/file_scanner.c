/* A scanner of a file that streams: a window of the file is mapped at a time, the next one is read ahead, and
   the one that was scanned goes. So a file of any size is scanned in the memory of two windows, and nothing
   is copied. It counts lines and words, and finds the longest line. Without an argument it makes a file of
   its own. */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <umalloc/map.h>
#include <unistd.h>

#define WINDOW ((size_t)4 << 20)
#define LINES  400000

typedef struct counts {
    uint64_t bytes, lines, words, longest, length;
    bool in_word;
} counts;

static void scan(counts *c, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool space = isspace((unsigned char)p[i]) != 0;
        c->words += !space && !c->in_word;
        c->in_word = !space;
        c->length++;
        if (p[i] == '\n') {
            c->longest = c->length > c->longest ? c->length : c->longest;
            c->length = 0;
            c->lines++;
        }
    }
    c->bytes += n;
}

/* The window of the whole map's file from `at` on; NULL at its end. */
static um_map *window(const um_map *file, size_t at) {
    size_t all = um_map_bytes(file), n = all - at < WINDOW ? all - at : WINDOW;
    um_map *w = n ? um_map_view(file, at, n, UM_MAP_READ) : NULL;
    if (w)
        (void)um_map_advise(w, 0, n, UM_MAP_WILLNEED); /* advice */
    return w;
}

static bool scan_file(const char *path, counts *c) {
    um_map *file = um_map_file(path, UM_MAP_READ), *now, *next;
    size_t at = 0;
    bool whole;
    if (!file)
        return false;
    for (now = window(file, 0); now; now = next) {
        at += um_map_bytes(now);
        next = window(file, at);
        if (um_map_recheck(now) < um_map_bytes(now)) {
            errno = EFAULT; /* somebody has cut it: to go on would be SIGBUS */
            return false;
        }
        scan(c, um_map_base(now), um_map_bytes(now));
        um_map_close(now);
    }
    whole = c->bytes == um_map_bytes(file); /* or a window could not be had */
    um_map_close(file);
    return whole;
}

/* LINES lines of some words, written through a map. */
static const char *make_file(char *path) {
    int fd = mkstemp(path);
    um_map *m = fd < 0 ? NULL : um_map_fd_open(fd, 0, 0, UM_MAP_WRITE);
    size_t n = 0;
    if (!m || !um_map_resize(m, (size_t)LINES * 64))
        return NULL;
    for (unsigned i = 0; i < LINES; i++)
        n += (size_t)sprintf((char *)um_map_base(m) + n, "line %u of the file, with %u words\n", i, 8u);
    um_map_close(m);
    if (ftruncate(fd, (off_t)n))
        return NULL;
    close(fd);
    return path;
}

int main(int argc, char **argv) {
    char made[] = "/tmp/file_scanner-XXXXXX";
    const char *path = argc > 1 ? argv[1] : make_file(made);
    struct rusage usage;
    counts c = {0};
    bool good = path && scan_file(path, &c);
    if (path == made)
        unlink(made);
    if (!good) {
        perror(path ? path : made);
        return 1;
    }
    getrusage(RUSAGE_SELF, &usage);
    printf("%llu bytes in windows of %zu MiB: %llu lines, %llu words, the longest line has %llu bytes\n",
           (unsigned long long)c.bytes, WINDOW >> 20, (unsigned long long)c.lines,
           (unsigned long long)c.words, (unsigned long long)c.longest);
    printf("%ld page faults of the disk's, %ld others\n", usage.ru_majflt, usage.ru_minflt);
    return 0;
}
