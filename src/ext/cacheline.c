/* What the kernel says of the first processor's caches, in /sys/devices/system/cpu/cpu0/cache/indexN. Read at
   each call: who asks lays something out once. */
#include "os/file.h"

#include <errno.h>
#include <umalloc/cacheline.h>

#define FOLDER  "/sys/devices/system/cpu/cpu0/cache/index"
#define INDEXES 10u /* more than any machine has */

static bool open_entry(um_file *f, unsigned index, const char *name) {
    char path[sizeof FOLDER + 40] = FOLDER;
    size_t n = sizeof FOLDER - 1;
    path[n++] = (char)('0' + index);
    path[n++] = '/';
    while (*name && n < sizeof path - 1)
        path[n++] = *name++;
    path[n] = 0;
    return um_file_open(f, path) == 0;
}

/* A number, with K or M behind it; 0: none can be read. */
static uint64_t entry(unsigned index, const char *name) {
    uint64_t n = 0;
    um_file f;
    if (!open_entry(&f, index, name))
        return 0;
    if (um_file_number(&f, 10, &n)) {
        int unit = um_file_peek(&f);
        n *= unit == 'K' ? UM_KIB : unit == 'M' ? UM_MIB : 1;
    }
    um_file_close(&f);
    return n;
}

static bool holds_data(unsigned index) {
    um_file f;
    bool code;
    if (!open_entry(&f, index, "type"))
        return false;
    code = um_file_word(&f, "Instruction");
    um_file_close(&f);
    return !code;
}

/* The processors of a list as 0-3,8. */
static unsigned sharers(unsigned index) {
    uint64_t first, last;
    unsigned n = 0;
    um_file f;
    if (!open_entry(&f, index, "shared_cpu_list"))
        return 0;
    while (um_file_number(&f, 10, &first)) {
        last = first;
        if (um_file_peek(&f) == '-') {
            (void)um_file_next(&f);
            (void)um_file_number(&f, 10, &last); /* else the list is broken, and the count a guess */
        }
        n += (unsigned)(last - first + 1);
        if (um_file_next(&f) != ',')
            break;
    }
    um_file_close(&f);
    return n;
}

bool um_cache_get(unsigned level, um_cache *out) {
    *out = (um_cache){0};
    for (unsigned i = 0; level && i < INDEXES; i++)
        if (entry(i, "level") == level && holds_data(i)) {
            out->bytes = entry(i, "size");
            out->line_bytes = entry(i, "coherency_line_size");
            out->ways = (unsigned)entry(i, "ways_of_associativity");
            out->sharers = sharers(i);
            return true;
        }
    errno = ENOENT;
    return false;
}

size_t um_cache_line_bytes(void) {
    int before = errno;
    um_cache first;
    bool known = um_cache_get(1, &first) && first.line_bytes;
    errno = before;
    return known ? first.line_bytes : UM_CACHE_LINE;
}
