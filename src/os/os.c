/* Every system call of the library. Calls go to the kernel directly: a second preload may wrap the libc
   functions and allocate inside its wrappers, and none of them may change errno. getauxval and clock_gettime
   are exceptions: libc answers both without the kernel, from memory it has before the first relocation. So is
   sigaction, called once and from our constructor: it knows how a handler returns.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/os.h"
#include "os/kernel.h"
#include "os/numa.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <ucontext.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

size_t um_os_page_bytes;
bool um_os_space_limited;
um_os_call_counts um_os_calls;

/* relaxed: a counter, nobody synchronises on it */
#define UM_OS_COUNT(id) ((void)atomic_fetch_add_explicit(&um_os_calls.id, 1, memory_order_relaxed))

void um_os_init(void) {
    struct rlimit lim = {RLIM_INFINITY, RLIM_INFINITY};
    if (um_os_page_bytes)
        return;
    (void)kernel(SYS_prlimit64, 0, RLIMIT_AS, 0, (long)&lim, 0, 0); /* unreadable: taken as unlimited */
    um_os_space_limited = lim.rlim_cur != RLIM_INFINITY;
    um_os_numa_init();
    um_os_page_bytes = getauxval(AT_PAGESZ);
}

uintptr_t um_os_address_span(void) {
    /* AT_RANDOM points into the main thread's stack, which the kernel puts at the top of the address space.
     */
    uintptr_t top = getauxval(AT_RANDOM);
    return (uintptr_t)2 << um_log2_floor(top | UM_GIB);
}

/* Executables load at 2/3 of the address space or low, libraries and anonymous mappings from the top
   downwards: the third quarter's end is far from all. The low bits of the stack's place carry the kernel's
   randomness over. */
uintptr_t um_os_window_hint(size_t bytes, unsigned attempt) {
    uintptr_t span = um_os_address_span();
    uintptr_t random = (getauxval(AT_RANDOM) >> 4) * 0x9E3779B97F4A7C15ull;
    uintptr_t shift = (random >> 20) % um_max(span / 16, UM_GIB);
    uintptr_t place = attempt == 0 ? span / 4 * 3 : attempt == 1 ? span / 2 : span / 8 * 3;
    (void)bytes;
    return um_round_down(place + shift, UM_GIB);
}

static int map(uintptr_t at, size_t bytes, int prot, int extra, uintptr_t *out) {
    long ret;
    UM_OS_COUNT(mmap_calls);
    ret = kernel(SYS_mmap, (long)at, (long)bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | extra,
                 -1, 0);
    if (failed(ret))
        return error_of(ret);
    *out = (uintptr_t)ret;
    return 0;
}

static int map_at(uintptr_t at, size_t bytes, int prot) {
    uintptr_t got = 0;
    int err = map(at, bytes, prot, MAP_FIXED_NOREPLACE, &got);
    if (err)
        return err;
    if (got == at)
        return 0;
    (void)um_os_unmap(got, bytes); /* kernels before 4.17 take the address as a hint */
    return EEXIST;
}

int um_os_map_at(uintptr_t at, size_t bytes) {
    return map_at(at, bytes, PROT_READ | PROT_WRITE);
}

bool um_os_refuses(size_t bytes) {
    struct sysinfo all;
    long ret;
    if (failed(kernel(SYS_sysinfo, (long)&all, 0, 0, 0, 0, 0)) ||
        (all.totalram + all.totalswap) > bytes / um_max(all.mem_unit, 1))
        return false;
    UM_OS_COUNT(mmap_calls);
    ret = kernel(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!failed(ret))
        (void)um_os_unmap((uintptr_t)ret, bytes);
    return failed(ret);
}

int um_os_map_pool_at(uintptr_t at, size_t bytes, unsigned shift) {
    long ret;
    UM_OS_COUNT(mmap_calls);
    ret = kernel(SYS_mmap, (long)at, (long)bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_HUGETLB |
                     (long)(shift << MAP_HUGE_SHIFT),
                 -1, 0);
    if (!failed(ret) && (uintptr_t)ret != at) { /* see map_at */
        (void)um_os_unmap((uintptr_t)ret, bytes);
        return EEXIST;
    }
    return error_of(ret);
}

bool um_os_is_mapped(uintptr_t at, size_t bytes) {
    return !failed(kernel(SYS_madvise, (long)at, (long)bytes, MADV_NORMAL, 0, 0, 0));
}

bool um_os_seems_free(uintptr_t at, size_t bytes) {
    int err = map_at(at, bytes, PROT_NONE);
    if (!err)
        (void)um_os_unmap(at, bytes);
    return err != EEXIST;
}

int um_os_map(size_t bytes, uintptr_t *out) {
    return map(0, bytes, PROT_READ | PROT_WRITE, 0, out);
}

int um_os_reserve(size_t bytes, uintptr_t *out) {
    return map(0, bytes, PROT_NONE, 0, out);
}

int um_os_remap_zero(uintptr_t at, size_t bytes) {
    uintptr_t got;
    return map(at, bytes, PROT_READ | PROT_WRITE, MAP_FIXED, &got);
}

int um_os_unmap(uintptr_t at, size_t bytes) {
    UM_OS_COUNT(munmap_calls);
    return error_of(kernel(SYS_munmap, (long)at, (long)bytes, 0, 0, 0, 0));
}

int um_os_purge(uintptr_t at, size_t bytes) {
    UM_OS_COUNT(madvise_calls);
    return error_of(kernel(SYS_madvise, (long)at, (long)bytes, MADV_DONTNEED, 0, 0, 0));
}

int um_os_lock(uintptr_t at, size_t bytes) {
    return error_of(kernel(SYS_mlock, (long)at, (long)bytes, 0, 0, 0, 0));
}

int um_os_protect(uintptr_t at, size_t bytes, bool access) {
    int prot = access ? PROT_READ | PROT_WRITE : PROT_NONE;
    return error_of(kernel(SYS_mprotect, (long)at, (long)bytes, prot, 0, 0, 0));
}

int um_os_move(uintptr_t from, size_t bytes, uintptr_t to, size_t room) {
    UM_OS_COUNT(mremap_calls);
    return error_of(
        kernel(SYS_mremap, (long)from, (long)bytes, (long)room, MREMAP_MAYMOVE | MREMAP_FIXED, (long)to, 0));
}

/* Whether what um_os_pull leaves behind can be purged like any mapping. qemu-user passes the flag on, but
   takes it for unmapped, and advice about it does nothing, in silence. One page shows it, once. */
static bool holes_stay(uintptr_t hole) {
    static _Atomic(int) known; /* relaxed: everybody finds the same */
    volatile char *p = (volatile char *)hole;
    int now = atomic_load_explicit(&known, memory_order_relaxed); /* see there */
    if (now)
        return now > 0;
    *p = 1;
    if (um_os_purge(hole, um_os_page_bytes) != 0)
        return false; /* try again next time */
    now = *p ? -1 : 1;
    (void)um_os_purge(hole, um_os_page_bytes); /* it has been read */
    atomic_store_explicit(&known, now, memory_order_relaxed);
    return now > 0;
}

/* Of a mapping that is locked in memory, the kernel would unlock all that stays behind: whether it is, advice
   about one page tells, which changes nothing else. */
int um_os_pull(uintptr_t from, size_t bytes, uintptr_t to) {
    int err;
    UM_OS_COUNT(madvise_calls);
    if (failed(kernel(SYS_madvise, (long)from, (long)um_os_page_bytes, MADV_COLD, 0, 0, 0)))
        return EPERM;
    UM_OS_COUNT(mremap_calls);
    err = error_of(kernel(SYS_mremap, (long)from, (long)bytes, (long)bytes,
                          MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, (long)to, 0));
    if (!err && !holes_stay(from))
        err = um_os_remap_zero(from, bytes);
    return err;
}

void um_os_hugepage(uintptr_t at, size_t bytes, bool want) {
    UM_OS_COUNT(madvise_calls);
    (void)kernel(SYS_madvise, (long)at, (long)bytes, want ? MADV_HUGEPAGE : MADV_NOHUGEPAGE, 0, 0,
                 0); /* advice */
}

int um_os_collapse(uintptr_t at, size_t bytes) {
    UM_OS_COUNT(madvise_calls);
    return error_of(kernel(SYS_madvise, (long)at, (long)bytes, MADV_COLLAPSE, 0, 0, 0));
}

uint64_t um_os_now_ns(void) {
    struct timespec ts = {0, 0};
    if (clock_gettime(CLOCK_MONOTONIC, &ts) != 0)
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t um_os_now_ms(void) {
    struct timespec ts = {0, 0};
    if (clock_gettime(CLOCK_MONOTONIC_COARSE, &ts) != 0)
        return 1;
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u + 1;
}

uint32_t um_os_pid(void) {
    return (uint32_t)kernel(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

uint32_t um_os_tid(void) {
    return (uint32_t)kernel(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

bool um_os_secure(void) {
    return getauxval(AT_SECURE) != 0;
}

uint64_t um_os_random(void) {
    uint64_t bits = 0, *aux = (uint64_t *)getauxval(AT_RANDOM);
    struct timespec ts = {0, 0};
    if (kernel(SYS_getrandom, (long)&bits, sizeof bits, GRND_NONBLOCK, 0, 0, 0) == sizeof bits)
        return bits;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* what it does not say is missing from a mixture */
    bits = (uint64_t)ts.tv_nsec * 0x9E3779B97F4A7C15ull ^ (uint64_t)&bits;
    return aux ? bits ^ aux[0] ^ aux[1] : bits;
}

bool um_os_readable(uintptr_t at) {
    /* The kernel reads the set before it finds that there is no such way to apply it. */
    return kernel(SYS_rt_sigprocmask, -1, (long)at, 0, sizeof(uint64_t), 0, 0) != -EFAULT;
}

static void (*fault_handler)(const um_os_fault *fault); /* const after um_os_catch_faults */
static struct sigaction fault_before;                   /* likewise */

/* By kill or raise: no fault, and no instruction that would run again. Who would have got it gets it. */
static void on_sent(int signal, siginfo_t *info) {
    if (fault_before.sa_handler == SIG_IGN)
        return;
    (void)sigaction(signal, &fault_before, NULL);
    (void)kernel(SYS_rt_tgsigqueueinfo, um_os_pid(), um_os_tid(), signal, (long)info, 0, 0);
}

static void on_fault(int signal, siginfo_t *info, void *context) {
    const mcontext_t *m = &((const ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
    um_os_fault fault = {.pc = (uintptr_t)m->gregs[REG_RIP],
                         .frame = (uintptr_t)m->gregs[REG_RBP],
                         .access = m->gregs[REG_ERR] & 2 ? UM_OS_WRITE : UM_OS_READ};
#else
    um_os_fault fault = {.pc = m->pc, .frame = m->regs[29], .access = UM_OS_ACCESS};
#endif
    if (info->si_code <= 0) {
        on_sent(signal, info);
        return;
    }
    fault.address = (uintptr_t)info->si_addr;
    fault_handler(&fault);
    (void)sigaction(signal, &fault_before, NULL); /* the instruction runs again, and its fault goes there */
}

int um_os_catch_faults(void (*handler)(const um_os_fault *fault)) {
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    fault_handler = handler;
    if (sigaction(SIGSEGV, NULL, &fault_before) != 0)
        return errno;
    return sigaction(SIGSEGV, &ours, NULL) == 0 ? 0 : errno;
}

static int write_all(int fd, const char *bytes, size_t n) {
    while (n) {
        long ret = kernel(SYS_write, fd, (long)bytes, (long)n, 0, 0, 0);
        if (ret == -EINTR)
            continue;
        if (failed(ret))
            return error_of(ret);
        bytes += ret;
        n -= (size_t)ret;
    }
    return 0;
}

#define SIGNAL_BIT(signal) (UINT64_C(1) << ((signal)-1))

static uint64_t mask_signals(int how, uint64_t set) {
    uint64_t before = 0;
    (void)kernel(SYS_rt_sigprocmask, how, (long)&set, (long)&before, sizeof set, 0, 0);
    return before;
}

/* The signal goes to the thread that writes. There it is held back, and taken if it was not pending before.
 */
int um_os_write(int fd, const char *bytes, size_t n) {
    uint64_t pending = 0, ours = SIGNAL_BIT(SIGPIPE) | SIGNAL_BIT(SIGXFSZ);
    uint64_t mask = mask_signals(SIG_BLOCK, ours);
    struct timespec at_once = {0, 0};
    int err;
    (void)kernel(SYS_rt_sigpending, (long)&pending, sizeof pending, 0, 0, 0, 0);
    err = write_all(fd, bytes, n);
    ours = (err == EPIPE ? SIGNAL_BIT(SIGPIPE) : err == EFBIG ? SIGNAL_BIT(SIGXFSZ) : 0) & ~pending;
    if (ours)
        (void)kernel(SYS_rt_sigtimedwait, (long)&ours, 0, (long)&at_once, sizeof ours, 0, 0);
    (void)mask_signals(SIG_SETMASK, mask);
    return err;
}

void um_os_to_stderr(void *ctx, const char *bytes, size_t n) {
    (void)ctx;
    (void)um_os_write(2, bytes, n);
}

void um_os_last_words(void *ctx, const char *bytes, size_t n) {
    (void)ctx;
    (void)write_all(2, bytes, n);
}

int um_os_create(const char *path) {
    return (int)kernel(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY,
                       0644, 0, 0);
}

int um_os_open(const char *path) {
    return (int)kernel(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0, 0, 0);
}

long um_os_read(int fd, char *into, size_t n) {
    long ret;
    do
        ret = kernel(SYS_read, fd, (long)into, (long)n, 0, 0, 0);
    while (ret == -EINTR);
    return ret;
}

int um_os_dup_high(int fd) {
    struct rlimit lim = {1024, 1024};
    long low;
    (void)kernel(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&lim, 0, 0); /* unreadable: the usual 1024 */
    low = (long)um_min(lim.rlim_cur, 1024) - 24;
    return (int)kernel(SYS_fcntl, fd, F_DUPFD_CLOEXEC, low > 3 ? low : 3, 0, 0, 0);
}

void um_os_close(int fd) {
    (void)kernel(SYS_close, fd, 0, 0, 0, 0, 0); /* nothing to be done about an error */
}

int um_os_socket_pair(int fds[2]) {
    return error_of(kernel(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, (long)fds, 0, 0));
}

static int transfer(long call, int fd, uintptr_t at, size_t bytes, int flags) {
    while (bytes) {
        long ret = kernel(call, fd, (long)at, (long)bytes, flags, 0, 0);
        if (ret == -EINTR)
            continue;
        if (ret <= 0)
            return ret ? error_of(ret) : EPIPE;
        at += (size_t)ret;
        bytes -= (size_t)ret;
    }
    return 0;
}

int um_os_send(int fd, const void *from, size_t bytes) {
    return transfer(SYS_sendto, fd, (uintptr_t)from, bytes, MSG_NOSIGNAL);
}

int um_os_receive(int fd, void *into, size_t bytes) {
    return transfer(SYS_recvfrom, fd, (uintptr_t)into, bytes, 0);
}

int um_os_file_id(int fd, uint64_t id[2]) {
    struct stat st = {0};
    long ret = kernel(SYS_fstat, fd, (long)&st, 0, 0, 0, 0);
    if (failed(ret))
        return error_of(ret);
    id[0] = st.st_dev;
    id[1] = st.st_ino;
    return 0;
}

size_t um_os_resident(void) {
    char text[128];
    size_t pages = 0, i = 0;
    int fd = um_os_open("/proc/self/statm");
    long n;
    if (fd < 0)
        return 0;
    n = um_os_read(fd, text, sizeof text - 1);
    um_os_close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    while (text[i] && text[i] != ' ') /* the first figure is the address space */
        i++;
    for (i += text[i] == ' '; text[i] >= '0' && text[i] <= '9'; i++)
        pages = pages * 10 + (size_t)(text[i] - '0');
    return pages * um_os_page_bytes;
}

const char *um_os_program(void) {
    const char *path = (const char *)getauxval(AT_EXECFN);
    const char *name = path ? path : "unknown";
    for (const char *c = name; *c; c++)
        if (*c == '/' && c[1])
            name = c + 1;
    return name;
}

void um_os_wait(_Atomic(uint32_t) *word, uint32_t seen) {
    (void)kernel(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, seen, 0, 0,
                 0); /* any return: the caller looks again */
}

void um_os_wake_one(_Atomic(uint32_t) *word) {
    (void)kernel(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0); /* cannot fail on a mapped word */
}

static void raise_abort(void) {
    uint64_t abrt = 1ull << (SIGABRT - 1);
    (void)kernel(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&abrt, 0, sizeof abrt, 0, 0);
    (void)kernel(SYS_tgkill, um_os_pid(), um_os_tid(), SIGABRT, 0, 0, 0);
}

void um_os_abort(void) {
    raise_abort();
    um_os_kill();
}

void um_os_kill(void) {
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } plain = {SIG_DFL, 0, NULL, 0};
    (void)kernel(SYS_rt_sigaction, SIGABRT, (long)&plain, 0, sizeof plain.mask, 0, 0);
    raise_abort();
    um_os_exit(127);
}

void um_os_exit(int status) {
    for (;;)
        (void)kernel(SYS_exit_group, status, 0, 0, 0, 0, 0);
}
