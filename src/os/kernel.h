/* The system call instruction, for the .c files of os alone. Nothing of libc is between: errno stays, and no
   other preload is called. */
#ifndef UM_KERNEL_H
#define UM_KERNEL_H

#include "base/base.h"

#include <sys/syscall.h>

/* Result as the kernel gives it: -4095..-1 are negated errno values. */
static inline long kernel(long nr, long a, long b, long c, long d, long e, long f) {
    long ret;
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    ret = x0;
#else
#error "umalloc knows the system call convention of x86-64 and arm64 only"
#endif
    return ret;
}

static inline bool failed(long ret) {
    return (unsigned long)ret >= (unsigned long)-4095;
}

static inline int error_of(long ret) {
    return failed(ret) ? (int)-ret : 0;
}

#endif
