/* A short workout of the allocator with contents checked, for programs whose subject is when and where malloc
   is called. Needs no set-up, runs in any thread and at any time of a process's life. */
#ifndef UM_TEST_EXERCISE_H
#define UM_TEST_EXERCISE_H

#include "../lib/check.h"

#include <malloc.h>

/* One block of each of some sizes, small to large, filled with a pattern. */
enum { EXERCISE_BLOCKS = 40 };

struct exercise {
    void *p[EXERCISE_BLOCKS];
};

CHECK_UNUSED static size_t exercise_size(size_t i) {
    static const size_t large[4] = {5000, 20000, 40000, 300000};
    return i % 10 == 9 ? large[i / 10] : 1 + i * i * 7 % 3000;
}

CHECK_UNUSED static void exercise_take(struct exercise *e) {
    for (size_t i = 0; i < EXERCISE_BLOCKS; i++) {
        size_t n = exercise_size(i);
        switch (i % 4) {
        case 0:
            e->p[i] = calloc(1, n);
            CHECK(e->p[i] && check_zero(e->p[i], n) == n, "calloc(1, %zu) is not zero", n);
            break;
        case 1:
            e->p[i] = memalign(64, n);
            CHECK(((uintptr_t)e->p[i] & 63) == 0, "memalign(64, %zu)", n);
            break;
        case 2:
            e->p[i] = realloc(NULL, n);
            break;
        default:
            e->p[i] = malloc(n);
        }
        CHECK(e->p[i], "NULL for %zu bytes", n);
        check_fill(e->p[i], n, i);
    }
}

CHECK_UNUSED static void exercise_verify(const struct exercise *e) {
    for (size_t i = 0; i < EXERCISE_BLOCKS; i++) {
        size_t n = exercise_size(i);
        CHECK(check_pattern(e->p[i], n, n, i) == n, "a block of %zu bytes changed", n);
        CHECK(malloc_usable_size(e->p[i]) >= n, "size %zu", n);
    }
}

CHECK_UNUSED static void exercise_drop(struct exercise *e) {
    exercise_verify(e);
    for (size_t i = 0; i < EXERCISE_BLOCKS; i++) {
        size_t n = exercise_size(i);
        if (i % 5 == 0) {
            e->p[i] = realloc(e->p[i], n * 2);
            CHECK(e->p[i] && check_pattern(e->p[i], n, n, i) == n, "realloc lost a block of %zu bytes", n);
        }
        free(e->p[i]);
        e->p[i] = NULL;
    }
}

CHECK_UNUSED static void exercise(void) {
    struct exercise e;
    exercise_take(&e);
    exercise_drop(&e);
}

/* A numeric argument, or what to take without it. */
CHECK_UNUSED static size_t exercise_number(int argc, char **argv, int at, size_t otherwise) {
    return argc > at ? strtoul(argv[at], NULL, 10) : otherwise;
}

#endif
