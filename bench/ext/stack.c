/* Stacks of 64 KiB for fibers.

   churn     takes a stack, touches its upper 256 bytes, gives it back.
   batch     takes 1000, touches each, gives all back.

   Beside it: malloc, which has no guard pages and keeps what was touched as it likes, and mmap with mprotect
   for each stack, as programs do that guard them. */
#include "ext.h"

#ifndef BENCH_PLAIN
#include <umalloc/stack.h>
#endif

#define STACK_BYTES ((size_t)64 << 10)
#define TOUCHED     256
#define BATCH       1000

static void *stacks[BATCH];

static void touch(void *lowest) {
    memset((char *)lowest + STACK_BYTES - TOUCHED, 1, TOUCHED);
}

#define WAYS(name, TAKE, TOUCH, GIVE)                                                                        \
    static void name##_churn(uint64_t ops) {                                                                 \
        for (uint64_t i = 0; i < ops; i++) {                                                                 \
            void *s = TAKE();                                                                                \
            TOUCH(s);                                                                                        \
            GIVE(s);                                                                                         \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_batch(uint64_t ops) {                                                                 \
        for (uint64_t done = 0; done < ops; done += BATCH) {                                                 \
            for (int i = 0; i < BATCH; i++) {                                                                \
                stacks[i] = TAKE();                                                                          \
                TOUCH(stacks[i]);                                                                            \
            }                                                                                                \
            for (int i = 0; i < BATCH; i++)                                                                  \
                GIVE(stacks[i]);                                                                             \
        }                                                                                                    \
    }

static void *needed(void *p) {
    if (!p)
        stop(STATUS_NO_MEMORY, "no stack");
    return p;
}

static void *plain_take(void) {
    return needed(malloc(STACK_BYTES));
}

WAYS(plain, plain_take, touch, free)

#ifndef BENCH_PLAIN
static void *our_take(void) {
    return needed(um_stack_take(STACK_BYTES));
}

static void our_touch(void *s) {
    touch(um_stack_base(s));
}

WAYS(our, our_take, our_touch, um_stack_give)

static void *mapped_take(void) {
    size_t guards = 2 * PAGE_BYTES;
    char *p = mmap(NULL, STACK_BYTES + guards, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || mprotect(p + PAGE_BYTES, STACK_BYTES, PROT_READ | PROT_WRITE))
        stop(STATUS_NO_MEMORY, "no mapping");
    return p + PAGE_BYTES;
}

static void mapped_give(void *p) {
    munmap((char *)p - PAGE_BYTES, STACK_BYTES + 2 * PAGE_BYTES);
}

WAYS(mapped, mapped_take, touch, mapped_give)
#endif

static const ext_case cases[] = {
    {"churn", "malloc", plain_churn}, {"batch", "malloc", plain_batch},
#ifndef BENCH_PLAIN
    {"churn", "umalloc", our_churn},  {"batch", "umalloc", our_batch},
    {"churn", "mmap", mapped_churn},  {"batch", "mmap", mapped_batch},
#endif
};

EXT_MAIN(cases)
