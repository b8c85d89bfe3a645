/* What the machine says of its caches, beside what libc knows of them; and the inline helpers. */
#include <umalloc/cacheline.h>

#include <criterion/criterion.h>
#include <errno.h>
#include <unistd.h>

struct counter {
    long n;
} UM_CACHE_ALIGNED;

struct lonely {
    long n;
} UM_CACHE_ALONE;

Test(cacheline, lays_out_by_lines) {
    cr_expect_eq(sizeof(struct counter), UM_CACHE_LINE);
    cr_expect_eq(sizeof(struct lonely), UM_CACHE_APART);
    cr_expect_eq(UM_CACHE_APART % um_cache_line_bytes(), 0);
}

/* libc asks the processor; the two may say nothing, but not different things. */
Test(cacheline, sizes_are_those_of_libc) {
    long level1 = sysconf(_SC_LEVEL1_DCACHE_SIZE), line = sysconf(_SC_LEVEL1_DCACHE_LINESIZE);
    um_cache c;
    if (um_cache_get(1, &c)) {
        cr_expect(level1 <= 0 || c.bytes == (size_t)level1, "%zu and %ld", c.bytes, level1);
        cr_expect(line <= 0 || c.line_bytes == (size_t)line, "%zu and %ld", c.line_bytes, line);
        cr_expect_geq(c.sharers, 1);
    } else {
        cr_expect_eq(errno, ENOENT);
    }
    cr_expect(line <= 0 || um_cache_line_bytes() == (size_t)line);
}

Test(cacheline, what_is_not_there_is_zero) {
    um_cache c = {1, 1, 1, 1};
    errno = 0;
    cr_expect_not(um_cache_get(99, &c));
    cr_expect_eq(errno, ENOENT);
    cr_expect_eq(c.bytes + c.line_bytes + c.ways + c.sharers, 0);
    cr_expect_not(um_cache_get(0, &c));
}

Test(cacheline, farther_caches_are_larger) {
    um_cache near, far;
    for (unsigned level = 1; um_cache_get(level, &near) && um_cache_get(level + 1, &far); level++)
        cr_expect_geq(far.bytes, near.bytes);
}

Test(cacheline, helpers_do_no_harm) {
    um_prefetch_read(NULL); /* any address */
    um_prefetch_write((void *)1);
    um_prefetch_once(&errno);
    um_barrier_compiler();
    um_barrier_acquire();
    um_barrier_release();
    um_barrier_full();
    um_cpu_pause();
}
