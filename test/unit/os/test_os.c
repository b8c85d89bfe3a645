/* The contract of every system call: what it gives, what it refuses and how, that errno stays, that counters
   rise. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/os.h"

#include "dies.h"
#include "refuse.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

static size_t page;

static void start(void) {
    um_os_init();
    page = um_os_page_bytes;
}

TestSuite(os, .init = start);

static bool reads_zero(uintptr_t at, size_t bytes) {
    const char *p = (const char *)at;
    return p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0;
}

/* The kernel reads a byte there for us. */
static bool readable(uintptr_t at) {
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    int err = um_os_write(ends[1], (const char *)at, 1);
    cr_assert(err == 0 || err == EFAULT, "%d", err);
    close(ends[0]);
    close(ends[1]);
    return err == 0;
}

static uintptr_t map(size_t bytes) {
    uintptr_t at = 0;
    cr_assert_eq(um_os_map(bytes, &at), 0);
    return at;
}

Test(os, init_reads_page_size_and_limit) {
    struct rlimit lim;
    cr_assert_eq(getrlimit(RLIMIT_AS, &lim), 0);
    cr_expect_eq(page, (size_t)sysconf(_SC_PAGESIZE));
    cr_expect_eq(um_os_space_limited, lim.rlim_cur != RLIM_INFINITY);
    um_os_page_bytes = 12345; /* what is known is not read again */
    um_os_init();
    cr_expect_eq(um_os_page_bytes, 12345);
}

Test(os, init_sees_a_limit_on_addresses) {
    struct rlimit lim;
    cr_assert_eq(getrlimit(RLIMIT_AS, &lim), 0);
    lim.rlim_cur = lim.rlim_max < (1ull << 46) ? lim.rlim_max : 1ull << 46;
    cr_assert_eq(setrlimit(RLIMIT_AS, &lim), 0);
    um_os_page_bytes = 0;
    um_os_init();
    cr_expect(um_os_space_limited);
}

Test(os, hints_lie_inside_the_address_space_and_apart) {
    uintptr_t span = um_os_address_span(), hint[3];
    int on_stack;
    cr_expect(um_is_pow2(span));
    cr_expect_lt((uintptr_t)&on_stack, span);
    cr_expect_geq((uintptr_t)&on_stack, span / 2);
    for (unsigned i = 0; i < 3; i++) {
        hint[i] = um_os_window_hint(span / 8, i);
        cr_expect_eq(hint[i] % UM_GIB, 0);
        cr_expect_lt(hint[i], span - span / 8);
        cr_expect_eq(um_os_window_hint(span / 8, i), hint[i]);
    }
    for (unsigned i = 0; i < 3; i++)
        cr_expect_geq(um_max(hint[i], hint[(i + 1) % 3]) - um_min(hint[i], hint[(i + 1) % 3]), span / 8);
}

Test(os, map_gives_zeroed_writable_pages) {
    uintptr_t at = map(4 * page);
    cr_expect_eq(at % page, 0);
    cr_expect(reads_zero(at, 4 * page));
    memset((void *)at, 0x5a, 4 * page);
    cr_expect_eq(um_os_unmap(at, 4 * page), 0);
    cr_expect_not(readable(at));
    cr_expect_eq(um_os_unmap(at + 1, page), EINVAL);
    cr_expect_eq(um_os_map((size_t)1 << 60, &at), ENOMEM);
}

Test(os, map_at_takes_no_foreign_place) {
    uintptr_t at = map(4 * page);
    memset((void *)at, 0x5a, 4 * page);
    cr_assert_eq(um_os_unmap(at + page, page), 0);
    cr_expect_eq(um_os_map_at(at + page, 2 * page), EEXIST);
    cr_expect_not(readable(at + page), "a refused call leaves nothing behind");
    cr_expect_eq(*(char *)(at + 2 * page), 0x5a);
    cr_expect_eq(um_os_map_at(at + page, page), 0);
    cr_expect(reads_zero(at + page, page));
    *(char *)(at + page) = 1;
}

Test(os, a_range_with_anything_in_it_does_not_seem_free) {
    uintptr_t at = map(4 * page);
    cr_assert_eq(um_os_unmap(at, 2 * page), 0);
    cr_expect(um_os_seems_free(at, 2 * page));
    cr_expect(um_os_seems_free(at, 2 * page), "the first answer left nothing behind");
    cr_expect_not(um_os_seems_free(at, 3 * page));
    cr_expect(reads_zero(at + 2 * page, 2 * page));
    cr_expect(um_os_seems_free(UM_GIB, (size_t)1 << 60), "longer than any answer");
}

Test(os, reserve_costs_addresses_only_until_remapped) {
    uintptr_t at;
    cr_assert_eq(um_os_reserve(4 * page, &at), 0);
    cr_expect_not(readable(at));
    cr_expect_eq(um_os_remap_zero(at, 2 * page), 0);
    cr_expect(reads_zero(at, 2 * page));
    memset((void *)at, 0x5a, 2 * page);
    cr_expect_not(readable(at + 2 * page));
    cr_expect_eq(um_os_remap_zero(at, page), 0);
    cr_expect(reads_zero(at, page));
    cr_expect_eq(*(char *)(at + page), 0x5a);
}

Test(os, purged_pages_read_as_zero) {
    uintptr_t at = map(3 * page);
    memset((void *)at, 0x5a, 3 * page);
    cr_expect_eq(um_os_purge(at + page, page), 0);
    cr_expect(reads_zero(at + page, page));
    cr_expect_eq(*(char *)at, 0x5a);
    cr_expect_eq(*(char *)(at + 2 * page), 0x5a);
}

Test(os, locked_pages_are_not_purged) {
    uintptr_t at = map(page);
    memset((void *)at, 0x5a, page);
    cr_assert_eq(syscall(SYS_mlock, at, page), 0); /* a sanitizer makes the libc function do nothing */
    cr_expect_eq(um_os_purge(at, page), EINVAL);
    cr_expect_eq(*(char *)(at + page - 1), 0x5a);
}

Test(os, move_carries_contents_and_leaves_a_hole) {
    uintptr_t from = map(2 * page), to = map(4 * page);
    memset((void *)from, 0x5a, 2 * page);
    memset((void *)to, 0x77, 4 * page);
    cr_expect_eq(um_os_move(from, 2 * page, to + page, 2 * page), 0);
    cr_expect_not(readable(from));
    cr_expect_eq(*(char *)to, 0x77);
    cr_expect_eq(*(char *)(to + page), 0x5a);
    cr_expect_eq(*(char *)(to + 3 * page - 1), 0x5a);
    cr_expect_eq(*(char *)(to + 3 * page), 0x77);
    cr_expect_eq(um_os_move(from, page, to, page), EFAULT);
}

Test(os, move_into_more_room_gives_one_mapping) {
    uintptr_t from = map(page), to = map(4 * page), again = map(4 * page);
    memset((void *)from, 0x5a, page);
    memset((void *)to, 0x77, 4 * page);
    cr_expect_eq(um_os_move(from, page, to, 3 * page), 0);
    cr_expect_eq(*(char *)(to + page - 1), 0x5a);
    cr_expect_eq(*(char *)(to + page), 0);
    cr_expect_eq(*(char *)(to + 3 * page - 1), 0);
    cr_expect_eq(*(char *)(to + 3 * page), 0x77);
    *(char *)(to + 2 * page) = 0x33;
    cr_expect_eq(um_os_move(to, 3 * page, again, 4 * page), 0, "which can be moved on");
    cr_expect_eq(*(char *)(again + 2 * page), 0x33);
}

/* Whole pages and what comes before missing ones, from and to odd addresses; no signal. */
static void check_copies(void) {
    size_t done;
    uintptr_t from = map(4 * page), to = map(5 * page), odd = to + 77;
    for (size_t i = 0; i < 4 * page; i++)
        ((char *)from)[i] = (char)(i * 7 + i / page);
    cr_expect_eq(um_os_copy(odd, from + 5, 4 * page - 5, &done), 0);
    cr_expect_eq(done, 4 * page - 5);
    cr_expect_eq(memcmp((void *)odd, (void *)(from + 5), done), 0);
    cr_expect_eq(um_os_copy(to, from, 0, &done), 0);
    cr_assert_eq(um_os_protect(from + 2 * page, page, false), 0);
    memset((void *)to, 0, 5 * page);
    cr_expect_eq(um_os_copy(odd, from + 5, 4 * page - 5, &done), EFAULT);
    cr_expect_eq(done, 2 * page - 5);
    cr_expect_eq(memcmp((void *)odd, (void *)(from + 5), done), 0);
    cr_expect_eq(um_os_copy(from + page, odd, 2 * page, &done), EFAULT);
    cr_expect_eq(done, page);
    cr_expect_eq(um_os_copy(to, 1, 1, &done), EFAULT);
    cr_expect_eq(um_os_copy(1, to, 1, &done), EFAULT);
    cr_expect_eq(done, 0);
}

static int next_descriptor(void) {
    int fd = dup(0);
    close(fd);
    return fd;
}

Test(os, copies_end_where_memory_is_missing) {
    check_copies();
}

Test(os, copies_though_a_filter_forbids_the_call) {
    int fd = next_descriptor();
    cr_assert(refuse(SYS_process_vm_writev, EPERM));
    check_copies();
    cr_expect_eq(next_descriptor(), fd);
}

Test(os, without_any_way_to_copy_there_is_an_error) {
    char a = 1, b = 2;
    size_t done;
    cr_assert(refuse(SYS_process_vm_writev, ENOSYS) && refuse(SYS_pipe2, EMFILE));
    cr_expect_eq(um_os_copy((uintptr_t)&a, (uintptr_t)&b, 1, &done), EMFILE);
    cr_expect_eq(done, 0);
    cr_expect_eq(a, 1);
}

Test(os, errno_stays_and_calls_are_counted) {
    uintptr_t at, nowhere = map(page);
    um_os_call_counts *c = &um_os_calls;
    uint64_t mmaps = c->mmap_calls, munmaps = c->munmap_calls, mremaps = c->mremap_calls,
             advice = c->madvise_calls;
    cr_assert_eq(um_os_unmap(nowhere, page), 0);
    errno = 123;
    cr_expect_neq(um_os_map((size_t)1 << 60, &at), 0);
    cr_expect_eq(um_os_map(page, &at), 0);
    cr_expect_neq(um_os_unmap(at + 1, page), 0);
    cr_expect_neq(um_os_move(nowhere, page, at, page), 0);
    cr_expect_neq(um_os_purge(at + 1, page), 0);
    um_os_hugepage(at + 1, page, true);
    cr_expect_neq(um_os_write(-1, "x", 1), 0);
    cr_expect_lt(um_os_create("/nonexistent/file"), 0);
    cr_expect_lt(um_os_dup_high(-1), 0);
    um_os_close(-1);
    cr_expect_eq(errno, 123);
    cr_expect_eq(c->mmap_calls - mmaps, 2);
    cr_expect_eq(c->munmap_calls - munmaps, 2);
    cr_expect_eq(c->mremap_calls - mremaps, 1);
    cr_expect_eq(c->madvise_calls - advice, 2);
}

Test(os, clock_is_the_coarse_monotonic_one) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &a);
    uint64_t now = um_os_now_ms();
    clock_gettime(CLOCK_MONOTONIC_COARSE, &b);
    cr_expect_gt(now, 0);
    cr_expect_geq(now, (uint64_t)a.tv_sec * 1000 + (uint64_t)a.tv_nsec / 1000000);
    cr_expect_leq(now, (uint64_t)b.tv_sec * 1000 + (uint64_t)b.tv_nsec / 1000000 + 1);
}

Test(os, process) {
    const char *path = (const char *)getauxval(AT_EXECFN), *slash = strrchr(path, '/');
    cr_expect_eq(um_os_pid(), (uint32_t)getpid());
    cr_expect_eq(um_os_secure(), getauxval(AT_SECURE) != 0);
    cr_expect_str_eq(um_os_program(), slash ? slash + 1 : path);
}

static _Atomic(int) signals;

static void on_signal(int number) {
    (void)number;
    signals++;
}

struct reader {
    pid_t writer; /* pthread_kill takes the number from before the fork where qemu-user has large pages */
    int fd;
    size_t bytes, wrong;
};

/* Interrupts the writer while the pipe is full, then reads all. */
static void *read_all(void *arg) {
    struct reader *r = arg;
    static char buffer[65536];
    for (int i = 0; i < 20; i++) {
        int before = signals;
        (void)syscall(SYS_tgkill, getpid(), r->writer, SIGUSR1);
        while (signals == before &&
               !UM_TSAN) /* that one keeps handlers back during calls that it does not know */
            sched_yield();
    }
    for (ssize_t n; (n = read(r->fd, buffer, sizeof buffer)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            r->wrong += buffer[i] != (char)(r->bytes++ % 251);
    return NULL;
}

Test(os, write_is_whole_despite_signals) {
    enum { BYTES = 1 << 20 };
    static char data[BYTES];
    struct sigaction act = {.sa_handler = on_signal}; /* no SA_RESTART */
    struct reader r = {.writer = (pid_t)um_os_tid()};
    int ends[2];
    pthread_t t;
    for (int i = 0; i < BYTES; i++)
        data[i] = (char)(i % 251);
    sigaction(SIGUSR1, &act, NULL);
    cr_assert_eq(pipe(ends), 0);
    r.fd = ends[0];
    cr_assert_eq(pthread_create(&t, NULL, read_all, &r), 0);
    cr_expect_eq(um_os_write(ends[1], data, BYTES), 0);
    close(ends[1]);
    pthread_join(t, NULL);
    cr_expect_eq(r.bytes, BYTES);
    cr_expect_eq(r.wrong, 0);
    cr_expect_eq(um_os_write(-1, "x", 1), EBADF);
    cr_expect_eq(um_os_write(-1, "x", 0), 0);
}

static bool has_signal(int (*ask)(sigset_t *), int number) {
    sigset_t set;
    cr_assert_eq(ask(&set), 0);
    return sigismember(&set, number) == 1;
}

static int ask_mask(sigset_t *set) {
    return pthread_sigmask(SIG_BLOCK, NULL, set);
}

/* One that was pending, for the program to take, stays. */
static void expect_no_signal(int fd, int err, int number) {
    sigset_t one;
    (void)signal(number, SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, number);
    cr_assert_eq(pthread_sigmask(SIG_UNBLOCK, &one, NULL), 0);
    cr_expect_eq(um_os_write(fd, "x", 1), err);
    cr_expect_not(has_signal(ask_mask, number));
    cr_assert_eq(pthread_sigmask(SIG_BLOCK, &one, NULL), 0);
    cr_expect_eq(um_os_write(fd, "x", 1), err);
    cr_expect_not(has_signal(sigpending, number));
    cr_expect(has_signal(ask_mask, number));
    cr_assert_eq(raise(number), 0);
    cr_expect_eq(um_os_write(fd, "x", 1), err);
    cr_expect(has_signal(sigpending, number));
}

Test(os, no_signal_comes_of_writing) {
    char name[] = "/tmp/umalloc-os-XXXXXX";
    struct rlimit none = {0, RLIM_INFINITY}, before;
    int ends[2], fd = mkstemp(name);
    cr_assert_geq(fd, 0);
    unlink(name);
    cr_assert_eq(pipe(ends), 0);
    close(ends[0]);
    expect_no_signal(ends[1], EPIPE, SIGPIPE);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    none.rlim_max = before.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    expect_no_signal(fd, EFBIG, SIGXFSZ);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    close(ends[1]);
    close(fd);
}

Test(os, files) {
    char path[] = "/tmp/umalloc-test-XXXXXX";
    uint64_t a[2], b[2];
    struct stat st;
    int made = mkstemp(path), fd, high;
    cr_assert_geq(made, 0);
    cr_assert_eq(write(made, "old contents", 12), 12);
    fd = um_os_create(path);
    cr_assert_geq(fd, 0);
    cr_expect_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    cr_assert_eq(fstat(fd, &st), 0);
    cr_expect_eq(st.st_size, 0, "truncated");
    high = um_os_dup_high(fd);
    cr_expect_geq(high, 3);
    cr_expect_gt(high, fd);
    cr_expect_eq(fcntl(high, F_GETFD), FD_CLOEXEC);
    cr_expect_eq(um_os_file_id(fd, a), 0);
    cr_expect_eq(um_os_file_id(high, b), 0);
    cr_expect(a[0] == b[0] && a[1] == b[1]);
    cr_expect_eq(a[1], st.st_ino);
    um_os_close(high);
    cr_expect_eq(um_os_file_id(high, b), EBADF);
    cr_assert_eq(unlink(path), 0);
    umask(0);
    um_os_close(fd);
    fd = um_os_create(path);
    cr_assert_eq(fstat(fd, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0644);
    unlink(path);
    cr_expect_eq(um_os_create("/nonexistent/file"), -ENOENT);
    cr_expect_eq(um_os_dup_high(-1), -EBADF);
}

Test(os, resident_follows_what_is_touched) {
    size_t bytes = 32 * UM_MIB, before = um_os_resident(), after;
    uintptr_t at = map(bytes);
    memset((void *)at, 1, bytes);
    after = um_os_resident();
    cr_expect_gt(before, 0);
    cr_expect_geq(after, before + bytes / 2);
    cr_expect_eq(um_os_purge(at, bytes), 0);
    cr_expect_leq(um_os_resident(), after - bytes / 2);
}

static _Atomic(uint32_t) futex;
static _Atomic(bool) woken;

static void *wait_for_change(void *arg) {
    (void)arg;
    while (futex == 0)
        um_os_wait(&futex, 0);
    woken = true;
    return NULL;
}

Test(os, wait_returns_when_woken_or_at_once) {
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, wait_for_change, NULL), 0);
    cr_expect_not(woken);
    futex = 1;
    while (!woken) {
        um_os_wake_one(&futex);
        sched_yield();
    }
    pthread_join(t, NULL);
    um_os_wait(&futex, 0); /* another value: no sleep */
}

static void abort_ignored(void *arg) {
    sigset_t set;
    (void)arg;
    signal(SIGABRT, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGABRT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    um_os_abort();
}

static void say_handled(int number) {
    (void)number;
    (void)um_os_write(2, "handled", 7);
}

static void abort_handled(void *arg) {
    (void)arg;
    signal(SIGABRT, say_handled);
    um_os_abort();
}

Test(os, abort_cannot_be_escaped) {
    expect_death(abort_ignored, NULL, "%s", "");
    expect_death(abort_handled, NULL, "handled");
}

static void say_exit(void) {
    (void)um_os_write(2, "handler ran", 11);
}

static void exit_now(void *arg) {
    (void)arg;
    atexit(say_exit);
    um_os_exit(42);
}

Test(os, exit_runs_no_handlers) {
    char text[64];
    int status = dies_status(exit_now, NULL, text, sizeof text);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    cr_expect_str_eq(text, "");
}
