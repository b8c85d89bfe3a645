/* System calls denied by a seccomp filter. Modes:
     steady      after a warm-up no system call at all: a million blocks come and go, any call kills the
   process; resident    the same with large blocks and a second thread, and no page fault either (waiting for
   a lock is a call); eperm all calls but mmap, munmap, mprotect, madvise and those of threads fail with EPERM
   (mremap too); enosys the same with ENOSYS; kill        a process that makes any other call than these and
   mremap is killed; purge MODE madvise (MODE advise), munmap (MODE unmap) or both (MODE all) fail with
   ENOMEM: errno stays, zeros are zeros, nothing is lost. */
#include "exercise.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define MOST_RULES 64
static struct sock_filter rules[MOST_RULES];
static unsigned short rule_count;

static void add_rule(struct sock_filter rule) {
    CHECK(rule_count < MOST_RULES, "room for a rule");
    rules[rule_count++] = rule;
}

static void begin_rules(void) {
    add_rule((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
}

static void on_call(long number, unsigned action) {
    add_rule((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1));
    add_rule((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

/* From here on; what no rule names gets `otherwise`. */
static void install(unsigned otherwise) {
    add_rule((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise));
    struct sock_fprog program = {.len = rule_count, .filter = rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        check_skip("the kernel takes no seccomp filter");
}

/* Through no libc function: they may do more than this. */
static void leave(int status) {
    syscall(SYS_exit_group, status);
}

enum { KEPT = 500 };
static void *kept[KEPT];

/* The same sequence each time it is called with the same arguments. */
static void churn(size_t operations) {
    uint64_t state = 1;
    for (size_t i = 0; i < operations; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t slot = (state >> 33) % KEPT, kind = state >> 58;
        size_t n = kind ? 1 + (state >> 40) % 1000 : 1 + (state >> 40) % 30000;
        free(kept[slot]);
        kept[slot] = i % 8 ? malloc(n) : calloc(1, n);
        if (kept[slot])
            *(char *)kept[slot] = 1;
        else
            leave(3);
        if (i % 16 == 0) { /* a large block, last in first out */
            void *p = malloc(100000);
            *(char *)p = 1;
            free(p);
        }
    }
}

static void steady(void) {
    for (size_t i = 0; i < 3; i++)
        churn(1000000);
    begin_rules();
    on_call(SYS_exit_group, SECCOMP_RET_ALLOW);
    install(SECCOMP_RET_KILL_PROCESS);
    churn(1000000);
    leave(0);
}

/* As churn, with what may want the system most: large blocks, zeroed and grown ones. */
static void churn_large(size_t operations) {
    uint64_t state = 1;
    for (size_t i = 0; i < operations; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t slot = (state >> 33) % KEPT, n = 1 + (state >> 40) % 200000;
        free(kept[slot]);
        kept[slot] = i % 50 ? malloc(n) : realloc(malloc(n), 2 * n);
        if (!kept[slot])
            leave(3);
        memset(kept[slot], 1, i % 50 ? n : 2 * n);
        if (i % 1000 == 0) {
            char *p = malloc(3 * CHECK_MIB);
            memset(p, 1, 3 * CHECK_MIB);
            p = realloc(p, 5 * CHECK_MIB);
            memset(p, 2, 5 * CHECK_MIB);
            free(p);
            p = calloc(1, 9 * CHECK_MIB);
            if (p[0] || p[9 * CHECK_MIB - 1])
                leave(4);
            memset(p, 3, 9 * CHECK_MIB);
            free(p);
        }
    }
}

static long minor_faults(void) {
    static struct rusage usage;
    syscall(SYS_getrusage, RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

static volatile int stage;

/* A thread with memory of its own; it waits without a system call. */
static void *churn_beside(void *unused) {
    for (size_t i = 0; i < 200000; i++)
        free(malloc(1 + i % 30000));
    stage = 1;
    while (stage != 2)
        ;
    for (size_t i = 0; i < 200000; i++)
        free(malloc(1 + i % 30000));
    stage = 3;
    for (;;)
        ;
    return unused;
}

static void resident(void) {
    pthread_t beside;
    CHECK(pthread_create(&beside, NULL, churn_beside, NULL) == 0, "pthread_create");
    churn(1000000);
    churn_large(20000);
    while (stage != 1)
        ;
    begin_rules();
    on_call(SYS_exit_group, SECCOMP_RET_ALLOW);
    on_call(SYS_getrusage, SECCOMP_RET_ALLOW);
    on_call(SYS_futex, SECCOMP_RET_ALLOW); /* the threads may want a lock at the same time */
    install(SECCOMP_RET_KILL_PROCESS);
    long before = minor_faults();
    stage = 2;
    churn(1000000);
    churn_large(20000);
    while (stage != 3)
        ;
    leave(minor_faults() == before ? 0 : 5);
}

static void allow_threads_and_memory(void) {
    static const long allowed[] = {
        SYS_mmap,  SYS_munmap,     SYS_mprotect,       SYS_madvise,      SYS_write,
        SYS_exit,  SYS_exit_group, SYS_rt_sigprocmask, SYS_futex,        SYS_set_robust_list,
        SYS_clone, SYS_clone3,     SYS_rt_sigreturn,   SYS_rt_sigaction, SYS_alarm,
#ifdef SYS_rseq
        SYS_rseq,
#endif
    };
    begin_rules();
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        on_call(allowed[i], SECCOMP_RET_ALLOW);
}

static void *work(void *unused) {
    (void)unused;
    for (size_t i = 0; i < 100; i++)
        exercise();
    return NULL;
}

/* Growth, large blocks moved, and shrunk. */
static void resize_large_blocks(void) {
    unsigned char *p = NULL;
    for (size_t mib = 1; mib <= 40; mib++) {
        p = realloc(p, mib * CHECK_MIB);
        CHECK(p, "%zu MiB", mib);
        memset(p + (mib - 1) * CHECK_MIB, (int)mib, CHECK_MIB);
    }
    for (size_t mib = 1; mib <= 40; mib++)
        CHECK(p[mib * CHECK_MIB - 1] == mib && p[(mib - 1) * CHECK_MIB] == mib, "MiB %zu was lost", mib);
    p = realloc(p, 3 * CHECK_MIB);
    CHECK(p && p[3 * CHECK_MIB - 1] == 3, "shrunk");
    free(p);
}

/* Free memory in pieces, each too short for the block that comes next: it gets their pages. */
static void gather_pieces(void) {
    enum { PIECES = 32 };
    static char *piece[PIECES], *wall[PIECES];
    char *whole;
    for (size_t i = 0; i < PIECES; i++) {
        piece[i] = malloc(512 * CHECK_KIB);
        wall[i] = malloc(64 * CHECK_KIB);
        CHECK(piece[i] && wall[i], "pieces");
        memset(piece[i], 1, 512 * CHECK_KIB);
    }
    for (size_t i = 0; i < PIECES; i++)
        free(piece[i]);
    whole = malloc(PIECES / 2 * 512 * CHECK_KIB);
    CHECK(whole, "the whole");
    memset(whole, 2, PIECES / 2 * 512 * CHECK_KIB);
    free(whole);
    for (size_t i = 0; i < PIECES; i++)
        free(wall[i]);
}

/* Everything that may want the system: trims and threads that come and go too. */
static void work_of_all_kinds(void) {
    pthread_t t[8];
    gather_pieces();
    resize_large_blocks();
    for (size_t round = 0; round < 4; round++) {
        for (size_t i = 0; i < 8; i++)
            CHECK(pthread_create(&t[i], NULL, work, NULL) == 0, "pthread_create");
        work(NULL);
        for (size_t i = 0; i < 8; i++)
            pthread_join(t[i], NULL);
        malloc_trim(0);
    }
}

static void denied(unsigned action) {
    allow_threads_and_memory();
    install(action);
    work_of_all_kinds();
    leave(0);
}

static void killed(void) {
    allow_threads_and_memory();
    on_call(SYS_mremap, SECCOMP_RET_ALLOW);
    install(SECCOMP_RET_KILL_PROCESS);
    work_of_all_kinds();
    leave(0);
}

static void purge_fails(const char *mode) {
    static void *p[300];
    begin_rules();
    if (strcmp(mode, "unmap") != 0)
        on_call(SYS_madvise, SECCOMP_RET_ERRNO | ENOMEM);
    if (strcmp(mode, "advise") != 0)
        on_call(SYS_munmap, SECCOMP_RET_ERRNO | ENOMEM);
    install(SECCOMP_RET_ALLOW);
    for (size_t round = 0; round < 30; round++) {
        for (size_t i = 0; i < 300; i++) {
            size_t n = 1000 + i * i * 7;
            p[i] = i % 2 ? calloc(1, n) : malloc(n);
            CHECK(p[i], "NULL for %zu", n);
            CHECK(i % 2 == 0 || check_zero(p[i], n) == n, "round %zu: calloc(1, %zu) is not zero", round, n);
            memset(p[i], 0xff, n);
        }
        for (size_t i = 0; i < 300; i++) {
            errno = 4711;
            free(p[i]);
            CHECK(errno == 4711, "free set errno to %d", errno);
        }
        if (round % 5 == 0)
            malloc_trim(0);
    }
    resize_large_blocks();
    work(NULL); /* no threads: libc itself aborts where it cannot unmap a stack */
}

int main(int argc, char **argv) {
    check_library();
    check_watchdog(200);
    CHECK(argc >= 2, "usage: sandbox steady|resident|eperm|enosys|kill|purge MODE");
    if (strcmp(argv[1], "steady") == 0)
        steady();
    else if (strcmp(argv[1], "resident") == 0)
        resident();
    else if (strcmp(argv[1], "eperm") == 0)
        denied(SECCOMP_RET_ERRNO | EPERM);
    else if (strcmp(argv[1], "enosys") == 0)
        denied(SECCOMP_RET_ERRNO | ENOSYS);
    else if (strcmp(argv[1], "kill") == 0)
        killed();
    else if (argc == 3 && strcmp(argv[1], "purge") == 0)
        purge_fails(argv[2]);
    else
        CHECK(0, "no mode %s", argv[1]);
    return 0;
}
