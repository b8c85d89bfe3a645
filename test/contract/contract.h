/* What the Criterion programs of the malloc contract share. Each program runs linked with the library and
   under LD_PRELOAD; the first test of each proves that the library serves. */
#ifndef UM_TEST_CONTRACT_H
#define UM_TEST_CONTRACT_H

#include "../lib/check.h"

#include <criterion/criterion.h>
#include <malloc.h>

Test(library, serves_malloc) {
    cr_assert(!check_is_foreign(dlsym(RTLD_DEFAULT, "malloc")), "malloc is not the one of %s",
              getenv("UMALLOC_LIB"));
}

/* A function that older glibc does not have: missing is a failure of the library, a skip of any other
 * allocator. */
static inline void *contract_symbol(const char *name) {
    void *fn = dlsym(RTLD_DEFAULT, name);
    if (check_names_library())
        cr_assert(!check_is_foreign(fn), "%s is not exported by the library", name);
    else if (!fn)
        cr_skip_test("no %s here", name);
    return fn;
}

static inline int contract_aligned(const void *p, size_t alignment) {
    return ((uintptr_t)p & (alignment - 1)) == 0;
}

/* Sizes around every border that an allocator may have: granules, pages, small to large, large to mremap. */
static const size_t contract_sizes[] = {
    1,
    7,
    8,
    15,
    16,
    17,
    24,
    31,
    32,
    33,
    48,
    63,
    64,
    65,
    100,
    127,
    128,
    129,
    255,
    256,
    257,
    1000,
    1023,
    1024,
    1025,
    2048,
    4080,
    4095,
    4096,
    4097,
    8192,
    10000,
    16384,
    20000,
    32767,
    32768,
    32769,
    40000,
    65535,
    65536,
    65537,
    100000,
    131072,
    200000,
    262144,
    262145,
    524288,
    1000000,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    3 << 20,
    4 << 20,
    (4 << 20) + 1,
    9 << 20,
};
#define CONTRACT_SIZES (sizeof contract_sizes / sizeof contract_sizes[0])

#endif
