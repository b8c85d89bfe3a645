/* Maps of files and of shared memory, and what truncation does to them. */
#include "conf/counters.h"
#include "dies.h"
#include "os/os.h"
#include "refuse.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <umalloc/map.h>
#include <unistd.h>

static char path[64];

/* A file of n bytes, of which each tells its place. */
static const char *file_of(size_t n) {
    int fd;
    strcpy(path, "/tmp/umalloc-map-XXXXXX");
    fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    for (size_t i = 0; i < n; i++) {
        char c = (char)(i * 7);
        cr_assert_eq(write(fd, &c, 1), 1);
    }
    close(fd);
    return path;
}

static void gone(void) {
    if (path[0])
        unlink(path);
}

TestSuite(map, .fini = gone);

static um_map *needed(um_map *m) {
    cr_assert_not_null(m, "%s", strerror(errno));
    return m;
}

static size_t file_bytes(void) {
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    return (size_t)st.st_size;
}

static char *base(const um_map *m) {
    return um_map_base(m);
}

static void write_to(void *at) {
    *(volatile char *)at = 1;
    _exit(0);
}

static bool lives(void (*f)(void *), void *at) {
    char said[4096];
    int status = dies_status(f, at, said, sizeof said);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void expect_errno(const void *result, int wanted) {
    cr_expect_null(result);
    cr_expect_eq(errno, wanted, "%s", strerror(errno));
    errno = 0;
}

Test(map, a_file_is_read) {
    um_map *m = needed(um_map_file(file_of(10000), UM_MAP_READ));
    cr_expect_eq(um_map_bytes(m), 10000);
    for (size_t i = 0; i < 10000; i++)
        cr_assert_eq(base(m)[i], (char)(i * 7));
    cr_expect_not(lives(write_to, base(m)));
    cr_expect_eq(um_map_recheck(m), 10000);
    um_map_close(m);
    um_map_close(NULL);
}

Test(map, a_file_is_written) {
    um_map *m = needed(um_map_file(file_of(10000), UM_MAP_WRITE | UM_MAP_PREFAULT)), *other;
    char c;
    int fd;
    base(m)[5000] = 99;
    cr_expect(um_map_flush(m, 5000, 1));
    other = needed(um_map_file(path, UM_MAP_READ));
    cr_expect_eq(base(other)[5000], 99);
    um_map_close(m);
    um_map_close(other);
    fd = open(path, O_RDONLY);
    cr_expect_eq(pread(fd, &c, 1, 5000), 1);
    cr_expect_eq(c, 99);
    close(fd);
}

Test(map, a_copy_goes_nowhere) {
    um_map *m = needed(um_map_file(file_of(5000), UM_MAP_COPY)),
           *other = needed(um_map_file(path, UM_MAP_READ));
    char c = 0;
    base(m)[10] = 99;
    cr_expect_eq(base(other)[10], 70);
    cr_expect_eq(um_map_read(m, 10, &c, 1), 1);
    cr_expect_eq(c, 99, "the map's own");
    cr_expect(um_map_resize(m, 4097));
    cr_expect_eq(base(m)[10], 99);
    um_map_close(m);
    um_map_close(other);
}

Test(map, an_empty_file_is_made_and_grows) {
    um_map *m;
    strcpy(path, "/tmp/umalloc-map-made");
    unlink(path);
    expect_errno(um_map_file(path, UM_MAP_WRITE), ENOENT);
    m = needed(um_map_file(path, UM_MAP_WRITE | UM_MAP_CREATE));
    cr_expect_eq(um_map_bytes(m), 0);
    cr_expect_null(um_map_base(m));
    cr_assert(um_map_resize(m, 3000));
    memset(base(m), 5, 3000);
    cr_assert(um_map_resize(m, 300000));
    cr_expect_eq(file_bytes(), 300000);
    cr_expect_eq(base(m)[2999], 5);
    cr_expect_eq(base(m)[299999], 0);
    cr_assert(um_map_resize(m, 100));
    cr_expect_eq(file_bytes(), 100);
    cr_expect_eq(base(m)[99], 5);
    cr_assert(um_map_resize(m, 0));
    cr_expect_eq(file_bytes(), 0);
    um_map_close(m);
}

Test(map, wrong_arguments_are_refused) {
    um_map *m = needed(um_map_file(file_of(5000), UM_MAP_READ));
    expect_errno(um_map_file("/", UM_MAP_READ), EISDIR);
    expect_errno(um_map_file("/dev/null", UM_MAP_READ), ENODEV);
    expect_errno(um_map_file(path, UM_MAP_READ | UM_MAP_CREATE), EINVAL);
    expect_errno(um_map_file(path, UM_MAP_WRITE | UM_MAP_COPY), EINVAL);
    expect_errno(um_map_file(path, UM_MAP_HUGE_2M), EINVAL);
    expect_errno(um_map_file(NULL, UM_MAP_READ), EINVAL);
    expect_errno(um_map_fd_open(um_map_fd(m), 1, 0, UM_MAP_READ), EINVAL);
    expect_errno(um_map_fd_open(um_map_fd(m), 0, 5001, UM_MAP_READ), EOVERFLOW);
    expect_errno(um_map_fd_open(um_map_fd(m), 0, 0, UM_MAP_WRITE), EACCES);
    expect_errno(um_map_fd_open(-1, 0, 0, UM_MAP_READ), EBADF);
    expect_errno(um_map_view(m, 0, 100, UM_MAP_WRITE), EACCES);
    expect_errno(um_map_view(m, 100, 100, UM_MAP_READ), EINVAL);
    expect_errno(um_map_view(m, 4096, 5000, UM_MAP_READ), EINVAL);
    expect_errno(um_map_named("name", 1, UM_MAP_WRITE | UM_MAP_CREATE), EINVAL);
    expect_errno(um_map_named("/a/b", 1, UM_MAP_WRITE | UM_MAP_CREATE), EINVAL);
    expect_errno(um_map_shared(SIZE_MAX, 0), ENOMEM);
    cr_expect_not(um_map_resize(m, 5001));
    cr_expect_eq(errno, EOVERFLOW);
    cr_expect_not(um_map_advise(m, 0, 5001, UM_MAP_NORMAL));
    cr_expect_eq(errno, EINVAL);
    um_map_close(m);
    cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_map].bytes), 0);
}

Test(map, advice_and_locks_are_taken) {
    um_os_init();
    size_t page = um_os_page_bytes, all = 5 * page - 100;
    um_map *m = needed(um_map_file(file_of(all), UM_MAP_WRITE));
    for (int a = UM_MAP_NORMAL; a <= UM_MAP_DONTNEED; a++)
        cr_expect(um_map_advise(m, page, 2 * page, (um_map_advice)a), "%d: %s", a, strerror(errno));
    cr_expect(um_map_prefault(m, 0, all));
    cr_expect(um_map_lock(m, 0, page, true) || errno == EPERM || errno == ENOMEM);
    cr_expect(um_map_lock(m, 0, page, false));
    cr_expect_eq(base(m)[page], (char)(page * 7));
    um_map_close(m);
}

/* The kernel has made several mappings of it. */
Test(map, grows_where_parts_were_advised) {
    um_os_init();
    size_t page = um_os_page_bytes, all = 4 * page;
    um_map *m = needed(um_map_file(file_of(all), UM_MAP_WRITE));
    cr_assert(um_map_advise(m, page, page, UM_MAP_RANDOM));
    base(m)[5] = 99;
    cr_assert(um_map_resize(m, 100 * page), "%s", strerror(errno));
    cr_expect_eq(um_map_bytes(m), 100 * page);
    cr_expect_eq(base(m)[5], 99);
    cr_expect_eq(base(m)[all - 1], (char)((all - 1) * 7));
    base(m)[100 * page - 1] = 1;
    um_map_close(m);
    cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_map].bytes), 0);
}

/* --- truncation --- */

static void read_at(void *at) {
    _exit(*(volatile char *)at ? 0 : 0);
}

static void check_truncation(void) {
    um_map *m = needed(um_map_file(file_of(20000), UM_MAP_WRITE));
    char got[20000];
    cr_assert_eq(truncate(path, 5000), 0);
    cr_expect_eq(um_map_recheck(m), 5000);
    errno = 0;
    cr_expect_eq(um_map_read(m, 0, got, 20000), 5000);
    cr_expect_eq(errno, EFAULT);
    cr_expect_eq(got[4999], (char)(4999 * 7));
    errno = 0;
    cr_expect_eq(um_map_read(m, 12000, got, 100), 0);
    cr_expect_eq(errno, EFAULT);
    cr_expect_eq(um_map_write(m, 4000, got, 4000), 1000);
    cr_expect_eq(um_map_write(m, 12000, got, 1), 0);
    cr_expect_eq(file_bytes(), 5000, "nothing is made longer by a write");
    cr_expect_not(um_map_prefault(m, 0, 20000));
    cr_expect_eq(errno, EFAULT);
    cr_expect_not(lives(read_at, base(m) + 12000), "an access is SIGBUS still");
    cr_assert(um_map_resize(m, 20000));
    cr_expect_eq(um_map_read(m, 0, got, 20000), 20000, "whole again");
    um_map_close(m);
    gone();
}

Test(map, truncation_is_an_error_not_a_signal) {
    check_truncation();
}

Test(map, reads_end_where_the_map_does) {
    um_map *m = needed(um_map_file(file_of(5000), UM_MAP_READ));
    char got[100];
    errno = 0;
    cr_expect_eq(um_map_read(m, 4990, got, 100), 10);
    cr_expect_eq(um_map_read(m, 5000, got, 100), 0);
    cr_expect_eq(um_map_read(m, SIZE_MAX, got, 100), 0);
    cr_expect_eq(errno, 0);
    cr_expect_eq(um_map_write(m, 0, got, 1), 0);
    cr_expect_eq(errno, EACCES);
    um_map_close(m);
}

/* The race that a look beforehand cannot win: the file shrinks and grows while it is read. */
static _Atomic(bool) enough;

static void *shrink_and_grow(void *unused) {
    while (!atomic_load(&enough)) {
        cr_assert_eq(truncate(path, 1), 0);
        cr_assert_eq(truncate(path, 1 << 20), 0);
    }
    return unused;
}

static void check_races(void) {
    um_map *m = needed(um_map_file(file_of(1), UM_MAP_WRITE));
    static char got[1 << 20];
    pthread_t t;
    cr_assert(um_map_resize(m, sizeof got));
    cr_assert_eq(pthread_create(&t, NULL, shrink_and_grow, NULL), 0);
    for (int i = 0; i < 200; i++) {
        cr_assert_leq(um_map_read(m, 0, got, sizeof got), sizeof got);
        cr_assert_leq(um_map_write(m, 4096, got, 4096), 4096);
    }
    atomic_store(&enough, true);
    pthread_join(t, NULL);
    atomic_store(&enough, false);
    um_map_close(m);
    gone();
}

Test(map, truncation_in_the_middle_of_a_read_is_no_signal) {
    check_races();
}

Test(map, copies_though_a_filter_forbids_the_call) {
    cr_assert(refuse(SYS_process_vm_writev, EPERM));
    check_truncation();
    check_races();
}

/* --- shared memory --- */

Test(map, shared_memory_is_shared) {
    um_map *m = needed(um_map_shared(100000, UM_MAP_PREFAULT)), *other;
    pid_t pid;
    int status;
    cr_expect_eq(base(m)[99999], 0);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        base(m)[99999] = 42;
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(base(m)[99999], 42);
    other = needed(um_map_fd_open(um_map_fd(m), 0, 0, UM_MAP_WRITE));
    base(other)[0] = 43;
    cr_expect_eq(base(m)[0], 43);
    cr_assert(um_map_resize(m, 300000));
    base(m)[299999] = 1;
    cr_expect_eq(base(m)[99999], 42);
    um_map_close(m);
    cr_expect_eq(base(other)[99999], 42, "it lives as long as a map of it");
    um_map_close(other);
}

Test(map, sealed_memory_cannot_be_cut) {
    um_map *m = needed(um_map_shared(10000, 0));
    cr_assert(um_map_seal(m, true));
    cr_expect_eq(ftruncate(um_map_fd(m), 5000), -1);
    cr_expect_not(um_map_resize(m, 20000));
    cr_expect_eq(errno, EPERM);
    cr_expect_eq(um_map_bytes(m), 10000);
    base(m)[9999] = 1;
    um_map_close(m);
}

Test(map, views_share_a_range) {
    um_map *m = needed(um_map_shared(200000, 0)), *view, *copy;
    size_t at = 2 * um_os_page_bytes;
    memset(base(m) + at, 3, 100);
    view = needed(um_map_view(m, at, 100, UM_MAP_WRITE));
    copy = needed(um_map_view(m, at, 100, UM_MAP_COPY));
    base(copy)[1] = 9;
    base(view)[0] = 4;
    cr_expect_eq(base(m)[at], 4);
    cr_expect_eq(base(m)[at + 1], 3);
    um_map_close(m);
    cr_expect_eq(base(view)[1], 3);
    cr_assert(um_map_resize(view, 50));
    cr_expect_eq(um_map_recheck(view), 50, "a view does not cut the file");
    um_map_close(view);
    um_map_close(copy);
}

Test(map, names_find_shared_memory) {
    char name[64];
    um_map *a, *b;
    snprintf(name, sizeof name, "/umalloc-test-%d", (int)getpid());
    expect_errno(um_map_named(name, 0, UM_MAP_WRITE), ENOENT);
    a = needed(um_map_named(name, 5000, UM_MAP_WRITE | UM_MAP_CREATE));
    b = needed(um_map_named(name, 0, UM_MAP_READ));
    cr_expect_eq(um_map_bytes(b), 5000);
    base(a)[4999] = 8;
    cr_expect_eq(base(b)[4999], 8);
    cr_expect(um_map_remove(name));
    cr_expect_not(um_map_remove(name));
    cr_expect_eq(errno, ENOENT);
    cr_expect_eq(base(b)[4999], 8);
    um_map_close(a);
    um_map_close(b);
}

/* A pool of huge pages is rare; without one ordinary pages serve. */
Test(map, huge_pages_or_else_ordinary_ones) {
    int modes[] = {UM_MAP_HUGE_2M, UM_MAP_HUGE_1G};
    errno = 0;
    for (size_t i = 0; i < UM_COUNT(modes); i++) {
        um_map *m = needed(um_map_shared(100000, modes[i]));
        cr_expect(um_map_page(m) == um_os_page_bytes || um_map_page(m) == (i ? UM_GIB : 2 * UM_MIB));
        cr_expect_eq((uintptr_t)base(m) % um_map_page(m), 0);
        memset(base(m), 1, 100000);
        cr_expect(um_map_resize(m, 200000));
        cr_expect_eq(base(m)[99999], 1);
        um_map_close(m);
    }
    cr_expect_eq(errno, 0);
}

/* --- misuse --- */

static void close_it(void *m) {
    um_map_close(m);
}

Test(map, misuse_is_told) {
    char other[256] = {0};
    expect_death(close_it, other, "umalloc: um_map_close: %p (not a map)\n", (void *)other);
}
