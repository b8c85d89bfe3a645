/* A preload that makes the kernel refuse system calls from here on, as a container's seccomp filter does:
   after the allocator has started, in children from their first instruction. FAULT_CALLS names the calls,
   FAULT_ERRNO is the answer's number. Three are refused only as the allocator makes them: `mmap` without a
   reserve, for the loader must still map files; `mprotect_none` and `mprotect_access`, which take access away
   and give it back, for the loader makes pages read-only. */
#include "../lib/check.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const struct {
    const char *name;
    long number;
    int argument; /* that tells, or -1 */
    unsigned mask, value;
} calls[] = {
    {"mmap", SYS_mmap, 3, MAP_NORESERVE, MAP_NORESERVE},
    {"mprotect_none", SYS_mprotect, 2, ~0u, PROT_NONE},
    {"mprotect_access", SYS_mprotect, 2, ~0u, PROT_READ | PROT_WRITE},
    {"munmap", SYS_munmap, -1, 0, 0},
    {"mremap", SYS_mremap, -1, 0, 0},
    {"madvise", SYS_madvise, -1, 0, 0},
    {"mbind", SYS_mbind, -1, 0, 0},
    {"get_mempolicy", SYS_get_mempolicy, -1, 0, 0},
    {"move_pages", SYS_move_pages, -1, 0, 0},
    {"membarrier", SYS_membarrier, -1, 0, 0},
    {"mincore", SYS_mincore, -1, 0, 0},
    {"mlock", SYS_mlock, -1, 0, 0},
    {"process_vm_writev", SYS_process_vm_writev, -1, 0, 0},
};
enum { CALLS = sizeof calls / sizeof *calls };

static struct sock_filter code[6 * CALLS + 1];
static unsigned short length;

static void add(struct sock_filter step) {
    code[length++] = step;
}

static void refuse(size_t i, unsigned error) {
    bool by_argument = calls[i].argument >= 0;
    unsigned at = (unsigned)(offsetof(struct seccomp_data, args) + 8 * (size_t)calls[i].argument);
    add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0,
                                     by_argument ? 4 : 1));
    if (by_argument) {
        add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at));
        add((struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, calls[i].mask));
        add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].value, 0, 1));
    }
    add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
}

static bool named(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *at = list; (at = strstr(at, name)) != NULL; at++)
        if ((at == list || at[-1] == ',') && (at[n] == 0 || at[n] == ','))
            return true;
    return false;
}

/* The filter must bite, or the test says nothing. */
static void prove(size_t i, int error) {
    long arguments[4] = {0, 0, 0, 0};
    if (calls[i].argument >= 0)
        arguments[calls[i].argument] = (long)calls[i].value;
    errno = 0;
    CHECK(syscall(calls[i].number, arguments[0], arguments[1], arguments[2], arguments[3], -1, 0) == -1 &&
              errno == error,
          "%s to be refused", calls[i].name);
}

__attribute__((constructor)) static void install(void) {
    const char *list = getenv("FAULT_CALLS"), *error = getenv("FAULT_ERRNO");
    struct sock_fprog program = {0, code};
    if (!list || !error)
        return;
    for (size_t i = 0; i < CALLS; i++)
        if (named(list, calls[i].name))
            refuse(i, (unsigned)atoi(error));
    add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    program.len = length;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        check_skip("the kernel takes no seccomp filter");
    for (size_t i = 0; i < CALLS; i++)
        if (named(list, calls[i].name))
            prove(i, atoi(error));
    errno = 0;
}
