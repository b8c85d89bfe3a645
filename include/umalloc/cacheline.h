/* cacheline: sizes of the caches of this machine, prefetches, and orders of memory by name.

       struct counter { _Atomic(uint64_t) n; } UM_CACHE_ALIGNED;      a line of its own
       for (i = 0; i < n; i++) { um_prefetch_read(&table[key[i + 8]]); use(&table[key[i]]); }

   UM_CACHE_LINE is the size that code is laid out by, known to the compiler; um_cache_line_bytes is what the
   machine says. The inline functions are one instruction or none, and may be used in signal handlers, as all
   of this may: sizes are read once, by system calls. */
#ifndef UMALLOC_CACHELINE_H
#define UMALLOC_CACHELINE_H

#include <umalloc/common.h>

UM_BEGIN

/* Bytes that processors hand to each other at once, on the machines that this library is for. */
#define UM_CACHE_LINE 64

/* Bytes that should lie between what two threads write: two lines, for processors fetch them in pairs. */
#define UM_CACHE_APART 128

/* Of a type or a variable: begins on a line of its own. */
#define UM_CACHE_ALIGNED __attribute__((aligned(UM_CACHE_LINE)))

/* Of a type or a variable: begins where no neighbour's line is fetched with it. */
#define UM_CACHE_ALONE __attribute__((aligned(UM_CACHE_APART)))

/* Bytes of a cache line of this machine; UM_CACHE_LINE if it does not say. */
UM_API size_t um_cache_line_bytes(void) UM_NOTHROW;

/* A data cache, or one for data and code, as the first processor sees it. */
typedef struct um_cache {
    size_t bytes;      /* of the whole cache */
    size_t line_bytes; /* of a line */
    unsigned ways;     /* places that a line can be in; 0: not known */
    unsigned sharers;  /* processors that share it; 0: not known */
} um_cache;

/* Fills *out with the cache of the level, 1 being the nearest. False: there is none, or the machine does not
   say (errno ENOENT); out is zero then. */
UM_API bool um_cache_get(unsigned level, um_cache *out) UM_NOTHROW;

/* Begins to fetch the line of p, to be read soon and again. p may be any address. */
static inline void um_prefetch_read(const volatile void *p) {
    __builtin_prefetch((const void *)(uintptr_t)p, 0, 3);
}

/* The same, to be written soon. */
static inline void um_prefetch_write(const volatile void *p) {
    __builtin_prefetch((const void *)(uintptr_t)p, 1, 3);
}

/* The same, to be read once: it should push little out of the caches. */
static inline void um_prefetch_once(const volatile void *p) {
    __builtin_prefetch((const void *)(uintptr_t)p, 0, 0);
}

/* The compiler moves no access to memory across; the processor may. */
static inline void um_barrier_compiler(void) {
    __asm__ volatile("" ::: "memory");
}

/* Reads before it are done before reads and writes after it. */
static inline void um_barrier_acquire(void) {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
}

/* Reads and writes before it are done before writes after it. */
static inline void um_barrier_release(void) {
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

/* All before it is done before all after it, in one order for all threads. */
static inline void um_barrier_full(void) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* In a loop that waits for another thread: leaves the core to its other thread for a moment. */
static inline void um_cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

UM_END

#endif
