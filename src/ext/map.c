/* A map is a descriptor and a mapping of it. The descriptor stays open, for views, for a look at the file's
   length, and for growth; the record is a block of malloc's. Each change is made so that a failure leaves
   what was before: a file grows before its map does and shrinks after it.

   Truncation is not prevented, since it is anybody's who may write to the file. It is told: whole functions
   of this family go through system calls, which have an errno value where an access would be a signal, and
   the length of the file is looked at first, for the last page's rest reads as zero without an error.

   Huge pages come from the system's pool by a memfd of their own kind. A pool with too few is known when the
   range is mapped, which reserves them; then ordinary pages serve. */
#include "conf/counters.h"
#include "os/fatal.h"
#include "os/map.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <umalloc/map.h>

#define MARK      0xB7E151628AED2A6Bu
#define SHM       "/dev/shm"
#define NAME_MOST 255u
#define KINDS     3
#define HUGE      (UM_MAP_HUGE_2M | UM_MAP_HUGE_1G)

_Static_assert((int)UM_MAP_NORMAL == (int)UM_OS_NORMAL && (int)UM_MAP_HUGEPAGE == (int)UM_OS_HUGEPAGE &&
                   (int)UM_MAP_WRITE == (int)UM_OS_MAP_WRITE && (int)UM_MAP_COPY == (int)UM_OS_MAP_COPY,
               "advice and kinds are those of the os layer");

struct um_map {
    uint64_t mark; /* MARK ^ its address */
    char *base;
    size_t bytes;
    uint64_t offset; /* in the file */
    size_t page;
    int fd, kind;
    bool whole; /* the file is ours to cut */
};

static void *fails(int err) {
    errno = err;
    return NULL;
}

static bool good(int err) {
    if (err)
        errno = err;
    return !err;
}

static um_map *checked(const um_map *m, const char *call) {
    if (um_unlikely((uintptr_t)m % sizeof(void *) != 0 || !m || m->mark != (MARK ^ (uintptr_t)m)))
        um_fatal(call, m, 0, "not a map");
    return (um_map *)(uintptr_t)m;
}

/* Bytes of the mapping. */
static size_t span(const um_map *m, size_t bytes) {
    return um_round_up(bytes, m->page);
}

static void count(size_t more, size_t less) {
    um_module_count *c = &um_module_counts[UM_MODULE_map];
    uint64_t now =
        atomic_fetch_add_explicit(&c->bytes, more - less, memory_order_relaxed) + more - less; /* counters */
    uint64_t peak = atomic_load_explicit(&c->peak_bytes, memory_order_relaxed);
    while (now > peak && more > less &&
           !atomic_compare_exchange_weak_explicit(&c->peak_bytes, &peak, now, memory_order_relaxed,
                                                  memory_order_relaxed))
        continue;
    atomic_fetch_add_explicit(&c->takes, more > less, memory_order_relaxed);
}

static int map_in(um_map *m, size_t bytes) {
    uintptr_t at = 0;
    int err = bytes ? um_os_file_map_in(m->fd, m->offset, span(m, bytes), (um_os_file_map)m->kind, &at) : 0;
    if (err)
        return err;
    m->base = (char *)at;
    m->bytes = bytes;
    count(span(m, bytes), 0);
    return 0;
}

static void map_out(um_map *m) {
    if (m->base)
        (void)um_os_unmap((uintptr_t)m->base, span(m, m->bytes)); /* a whole mapping: it cannot be refused */
    count(0, span(m, m->bytes));
}

static bool fits(uint64_t offset, size_t bytes, uint64_t all) {
    return offset <= all && bytes <= all - offset;
}

/* A map of the descriptor, which is its own from now on, also where this fails. */
static um_map *make(int fd, uint64_t offset, size_t bytes, int mode, size_t page, bool whole) {
    um_map *m = malloc(sizeof *m);
    int err = m ? 0 : ENOMEM;
    if (m) {
        *m = (um_map){MARK ^ (uintptr_t)m, NULL, 0, offset, page, fd, mode & KINDS, whole};
        err = bytes > SIZE_MAX / 2 ? ENOMEM : map_in(m, bytes);
    }
    if (!err) {
        if (mode & UM_MAP_PREFAULT && bytes)
            (void)um_os_file_prefault((uintptr_t)m->base, span(m, bytes),
                                      m->kind == UM_MAP_WRITE); /* as far as it goes */
        return m;
    }
    um_os_close(fd);
    free(m);
    return fails(err);
}

/* Of a file with so many bytes; 0: all behind the offset. */
static um_map *make_within(int fd, uint64_t offset, size_t bytes, int mode, bool whole) {
    uint64_t all;
    int err = um_os_file_bytes(fd, &all);
    if (!err && !fits(offset, bytes, all))
        err = EOVERFLOW;
    if (err) {
        um_os_close(fd);
        return fails(err);
    }
    return make(fd, offset, bytes ? bytes : all - offset, mode, um_os_page_bytes, whole);
}

static bool is_mode(int mode, int of) {
    return !(mode & ~of) && (mode & KINDS) != KINDS &&
           (!(mode & UM_MAP_CREATE) || (mode & KINDS) == UM_MAP_WRITE);
}

static um_os_file_mode open_mode(int mode) {
    return mode & UM_MAP_CREATE             ? UM_OS_FILE_CREATE
           : (mode & KINDS) == UM_MAP_WRITE ? UM_OS_FILE_WRITE
                                            : UM_OS_FILE_READ;
}

um_map *um_map_file(const char *path, int mode) {
    int fd;
    um_os_init(); /* the size of a page */
    if (!path || !is_mode(mode, KINDS | UM_MAP_CREATE | UM_MAP_PREFAULT))
        return fails(EINVAL);
    fd = um_os_file_open(path, open_mode(mode), false);
    return fd < 0 ? fails(-fd) : make_within(fd, 0, 0, mode, true);
}

um_map *um_map_fd_open(int fd, uint64_t offset, size_t bytes, int mode) {
    int own;
    um_os_init();
    if (offset % um_os_page_bytes || !is_mode(mode, KINDS | UM_MAP_PREFAULT))
        return fails(EINVAL);
    own = um_os_dup_high(fd);
    return own < 0 ? fails(-own) : make_within(own, offset, bytes, mode, false);
}

static um_map *make_shared(size_t bytes, int mode, unsigned shift) {
    size_t page = shift ? (size_t)1 << shift : um_os_page_bytes;
    int fd = um_os_memfd(shift), err;
    if (fd < 0)
        return fails(-fd);
    err = um_os_file_cut(fd, shift ? um_round_up(bytes, page) : bytes);
    if (err) {
        um_os_close(fd);
        return fails(err);
    }
    return make(fd, 0, bytes, (mode & UM_MAP_PREFAULT) | UM_MAP_WRITE, page, true);
}

um_map *um_map_shared(size_t bytes, int mode) {
    int before = errno;
    um_map *m = NULL;
    um_os_init();
    if (mode & ~(KINDS | UM_MAP_PREFAULT | HUGE) || (mode & HUGE) == HUGE || (mode & KINDS) == UM_MAP_COPY ||
        (mode & KINDS) == KINDS)
        return fails(EINVAL);
    if (bytes > SIZE_MAX / 2)
        return fails(ENOMEM);
    if (mode & HUGE)
        m = make_shared(bytes, mode, mode & UM_MAP_HUGE_2M ? 21 : 30);
    if (!m) {
        errno = before;
        m = make_shared(bytes, mode, 0);
    }
    return m;
}

/* "/dev/shm/NAME", or an errno value. */
static int path_of(const char *name, char path[sizeof SHM + NAME_MOST + 1]) {
    size_t n = name ? strlen(name) : 0;
    if (n < 2 || name[0] != '/' || strchr(name + 1, '/') || strcmp(name, "/.") == 0 ||
        strcmp(name, "/..") == 0)
        return EINVAL;
    if (n > NAME_MOST)
        return ENAMETOOLONG;
    memcpy(path, SHM, sizeof SHM - 1);
    memcpy(path + sizeof SHM - 1, name, n + 1);
    return 0;
}

um_map *um_map_named(const char *name, size_t bytes, int mode) {
    char path[sizeof SHM + NAME_MOST + 1];
    uint64_t all = 0;
    int fd, err = path_of(name, path);
    um_os_init();
    if (err || !is_mode(mode, KINDS | UM_MAP_CREATE | UM_MAP_PREFAULT))
        return fails(err ? err : EINVAL);
    fd = um_os_file_open(path, open_mode(mode), true);
    if (fd < 0)
        return fails(-fd);
    if (mode & UM_MAP_CREATE)
        err = um_os_file_bytes(fd, &all);
    if (!err && mode & UM_MAP_CREATE && all < bytes)
        err = um_os_file_cut(fd, bytes);
    if (err) {
        um_os_close(fd);
        return fails(err);
    }
    return make_within(fd, 0, bytes, mode, true);
}

bool um_map_remove(const char *name) {
    char path[sizeof SHM + NAME_MOST + 1];
    int err = path_of(name, path);
    return good(err ? err : um_os_file_remove(path));
}

um_map *um_map_view(const um_map *of, size_t offset, size_t bytes, int mode) {
    const um_map *m = checked(of, "um_map_view");
    int fd;
    if (offset % m->page || !bytes || !fits(offset, bytes, m->bytes) ||
        !is_mode(mode, KINDS | UM_MAP_PREFAULT))
        return fails(EINVAL);
    if ((mode & KINDS) == UM_MAP_WRITE && m->kind != UM_MAP_WRITE)
        return fails(EACCES);
    fd = um_os_dup_high(m->fd);
    return fd < 0 ? fails(-fd) : make(fd, m->offset + offset, bytes, mode, m->page, false);
}

void um_map_close(um_map *given) {
    um_map *m;
    if (!given)
        return;
    m = checked(given, "um_map_close");
    map_out(m);
    um_os_close(m->fd);
    m->mark = 0;
    free(m);
}

void *um_map_base(const um_map *m) {
    return checked(m, "um_map_base")->base;
}

size_t um_map_bytes(const um_map *m) {
    return checked(m, "um_map_bytes")->bytes;
}

int um_map_fd(const um_map *m) {
    return checked(m, "um_map_fd")->fd;
}

size_t um_map_page(const um_map *m) {
    return checked(m, "um_map_page")->page;
}

/* Where the pages of the range begin, and how long they are; false: it is not in the map. */
static bool pages_of(const um_map *m, size_t offset, size_t bytes, uintptr_t *at, size_t *length) {
    size_t from = um_round_down(offset, m->page);
    if (!fits(offset, bytes, m->bytes))
        return good(EINVAL);
    *at = (uintptr_t)m->base + from;
    *length = bytes ? span(m, offset + bytes) - from : 0;
    return true;
}

bool um_map_advise(const um_map *m, size_t offset, size_t bytes, um_map_advice advice) {
    uintptr_t at;
    size_t length;
    checked(m, "um_map_advise");
    if ((unsigned)advice >= UM_OS_ADVICES || offset % m->page)
        return good(EINVAL);
    return pages_of(m, offset, bytes, &at, &length) &&
           good(length ? um_os_advise(at, length, (um_os_advice)advice) : 0);
}

bool um_map_prefault(const um_map *m, size_t offset, size_t bytes) {
    uintptr_t at;
    size_t length;
    checked(m, "um_map_prefault");
    return pages_of(m, offset, bytes, &at, &length) &&
           good(length ? um_os_file_prefault(at, length, m->kind == UM_MAP_WRITE) : 0);
}

bool um_map_lock(const um_map *m, size_t offset, size_t bytes, bool locked) {
    uintptr_t at;
    size_t length;
    checked(m, "um_map_lock");
    if (!pages_of(m, offset, bytes, &at, &length))
        return false;
    return good(!length ? 0 : locked ? um_os_lock(at, length) : um_os_unlock(at, length));
}

bool um_map_flush(const um_map *m, size_t offset, size_t bytes) {
    uintptr_t at;
    size_t length;
    checked(m, "um_map_flush");
    return pages_of(m, offset, bytes, &at, &length) && good(length ? um_os_file_flush(at, length) : 0);
}

static int map_anew(um_map *m, size_t bytes) {
    um_map before = *m;
    int err = map_in(m, bytes);
    if (!err)
        map_out(&before);
    return err;
}

/* The mapping alone; the file has the bytes. */
static int resize_map(um_map *m, size_t bytes) {
    size_t had = span(m, m->bytes), wants = span(m, bytes);
    uintptr_t at = (uintptr_t)m->base;
    int err = 0;
    if (!had || !wants || m->page != um_os_page_bytes) /* huge pages are not moved */
        return map_anew(m, bytes);
    if (had != wants)
        err = um_os_file_map_resize(at, had, wants, &at);
    if (err == EFAULT &&
        m->kind != UM_MAP_COPY) /* it is several by now: of a part that was locked or advised */
        return map_anew(m, bytes);
    if (err)
        return err;
    m->base = (char *)at;
    m->bytes = bytes;
    count(wants, had);
    return 0;
}

bool um_map_resize(um_map *given, size_t bytes) {
    um_map *m = checked(given, "um_map_resize");
    uint64_t all, wanted;
    int err = um_os_file_bytes(m->fd, &all);
    bool grown;
    if (bytes > SIZE_MAX / 2)
        return good(ENOMEM);
    wanted = m->offset + (m->page == um_os_page_bytes ? bytes : span(m, bytes));
    grown = !err && wanted > all && m->kind == UM_MAP_WRITE;
    if (!err && wanted > all)
        err = grown ? um_os_file_cut(m->fd, wanted) : EOVERFLOW;
    if (err)
        return good(err);
    err = resize_map(m, bytes);
    if (err) {
        if (grown)
            (void)um_os_file_cut(m->fd, all); /* as it was; nobody needs it to be */
        return good(err);
    }
    if (m->whole && m->kind == UM_MAP_WRITE && wanted < all)
        (void)um_os_file_cut(m->fd, wanted); /* refused where it is sealed: the file stays as it is */
    return true;
}

size_t um_map_recheck(const um_map *given) {
    const um_map *m = checked(given, "um_map_recheck");
    uint64_t all = 0;
    if (um_os_file_bytes(m->fd, &all) != 0 || all <= m->offset)
        return 0;
    return um_min(m->bytes, all - m->offset);
}

bool um_map_seal(const um_map *m, bool fixed) {
    return good(um_os_file_seal(checked(m, "um_map_seal")->fd, fixed));
}

static size_t copy(const um_map *m, size_t offset, void *plain, size_t bytes, bool into) {
    size_t backed = um_map_recheck(m), in_map = offset < m->bytes ? um_min(bytes, m->bytes - offset) : 0;
    size_t there = offset < backed ? um_min(in_map, backed - offset) : 0, done = 0;
    uintptr_t mapped = (uintptr_t)m->base + offset, other = (uintptr_t)plain;
    int err = um_os_copy(into ? mapped : other, into ? other : mapped, there, &done);
    if (err || done < in_map)
        errno = err ? err : EFAULT;
    return done;
}

size_t um_map_read(const um_map *m, size_t offset, void *to, size_t bytes) {
    return copy(checked(m, "um_map_read"), offset, to, bytes, false);
}

size_t um_map_write(const um_map *given, size_t offset, const void *from, size_t bytes) {
    const um_map *m = checked(given, "um_map_write");
    if (m->kind == UM_MAP_READ) {
        errno = EACCES;
        return 0;
    }
    return copy(m, offset, (void *)(uintptr_t)from, bytes, true);
}
