/* base: freestanding helpers that every layer may use. Nothing here allocates, locks or enters the kernel. */
#ifndef UM_BASE_H
#define UM_BASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define um_likely(x)   __builtin_expect(!!(x), 1)
#define um_unlikely(x) __builtin_expect(!!(x), 0)
#define UM_HIDDEN      __attribute__((visibility("hidden")))
#define UM_EXPORT      __attribute__((visibility("default")))
#define UM_NOINLINE    __attribute__((noinline))
#define UM_COLD        __attribute__((noinline, cold))
#define UM_INLINE      static inline __attribute__((always_inline))
#define UM_COUNT(a)    (sizeof(a) / sizeof((a)[0]))

#define UM_CACHE_LINE_BYTES 64u
#define UM_KIB              ((size_t)1 << 10)
#define UM_MIB              ((size_t)1 << 20)
#define UM_GIB              ((size_t)1 << 30)

/* Both roundings need a power of two; the caller has excluded overflow. */
UM_INLINE size_t um_round_up(size_t n, size_t pow2) {
    return (n + pow2 - 1) & ~(pow2 - 1);
}

UM_INLINE size_t um_round_down(size_t n, size_t pow2) {
    return n & ~(pow2 - 1);
}

UM_INLINE bool um_is_pow2(size_t n) {
    return n && !(n & (n - 1));
}

/* Index of the highest set bit; n is not 0. */
UM_INLINE unsigned um_log2_floor(size_t n) {
    return 63u - (unsigned)__builtin_clzll(n);
}

UM_INLINE size_t um_min(size_t a, size_t b) {
    return a < b ? a : b;
}

UM_INLINE size_t um_max(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Of whole words. */
UM_INLINE bool um_is_zero(uintptr_t at, size_t bytes) {
    const uint64_t *word = (const uint64_t *)at;
    for (size_t i = 0; i < bytes / sizeof *word; i++)
        if (word[i])
            return false;
    return true;
}

UM_INLINE void um_cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#if defined(__SANITIZE_THREAD__)
#define UM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UM_TSAN 1
#endif
#endif
#ifndef UM_TSAN
#define UM_TSAN 0
#endif

/* A relaxed load of a word-sized atomic on a fast path. Compilers do not fold an atomic load into the compare
   that uses it, so it is a plain read here: of an aligned word, whose every value ever stored is a right
   answer for the caller. */
#if UM_TSAN
#define UM_PEEK(type, a) atomic_load_explicit(&(a), memory_order_relaxed)
#else
#define UM_PEEK(type, a) (*(const type *)(uintptr_t) & (a))
#endif

/* Identity of the calling thread: its thread pointer. Unique among live threads, reused after a thread ended,
   kept by the forking thread in the child. Never 0. */
UM_INLINE uintptr_t um_thread_id(void) {
    uintptr_t id;
#if defined(__x86_64__)
    __asm__("mov %%fs:0, %0" : "=r"(id));
#elif defined(__aarch64__)
    __asm__("mrs %0, tpidr_el0" : "=r"(id));
#else
    id = (uintptr_t)__builtin_thread_pointer();
#endif
    return id;
}

#endif
