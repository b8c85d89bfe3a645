/* From here on the kernel answers one system call with an errno value, as the seccomp filter of a container
   does, or kills who makes it. For the rest of the process, which in a test is its own. */
#ifndef UM_TEST_REFUSE_H
#define UM_TEST_REFUSE_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>

static inline bool filter(unsigned call, unsigned action) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static inline bool refuse(unsigned call, unsigned err) {
    return filter(call, SECCOMP_RET_ERRNO | err);
}

static inline bool forbid(unsigned call) {
    return filter(call, SECCOMP_RET_KILL_PROCESS);
}

#endif
