/* Buddy regions: blocks against an oracle that marks each smallest block, merging, odd sizes, and misuse. */
#include "umalloc/buddy.h"
#include "conf/counters.h"
#include "space/space.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 64

static um_buddy_stats stats_of(const um_buddy *b) {
    um_buddy_stats s;
    um_buddy_read_stats(b, &s);
    return s;
}

/* Blocks that are out are apart, inside and aligned; what is refused does not fit anywhere. The region is
   addresses only: nothing may touch it. */
static void against_an_oracle(size_t leaves, uint64_t random) {
    char *region = (char *)((uintptr_t)1 << 40);
    um_buddy *b = um_buddy_new(
        &(um_buddy_options){.region = region, .bytes = leaves * BLOCK + 5, .block_bytes = BLOCK});
    static struct {
        char *at;
        size_t units;
    } out[200];
    static bool taken[4096];
    memset(taken, 0, sizeof taken);
    memset(out, 0, sizeof out);
    cr_assert_not_null(b);
    cr_assert_eq(stats_of(b).bytes, leaves * BLOCK);
    for (int i = 0; i < 3000; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        size_t slot = random % 200, bytes = (random >> 20) % ((size_t)1 << (random >> 50) % 14), units = 1;
        if (out[slot].at) {
            size_t first = (size_t)(out[slot].at - region) / BLOCK;
            cr_assert_eq(um_buddy_block_bytes(b, out[slot].at), out[slot].units * BLOCK);
            um_buddy_free(b, out[slot].at);
            memset(taken + first, 0, out[slot].units);
            out[slot].at = NULL;
            continue;
        }
        while (units * BLOCK < bytes)
            units *= 2;
        char *p = um_buddy_alloc(b, bytes);
        if (p) {
            size_t first = (size_t)(p - region) / BLOCK;
            cr_assert(first % units == 0 && first + units <= leaves);
            for (size_t k = 0; k < units; k++) {
                cr_assert_not(taken[first + k]);
                taken[first + k] = true;
            }
            out[slot].at = p;
            out[slot].units = units;
        } else {
            for (size_t at = 0; at + units <= leaves; at += units) {
                size_t k = 0;
                while (k < units && !taken[at + k])
                    k++;
                cr_assert_lt(k, units, "%zu units were free at %zu", units, at);
            }
        }
    }
    for (size_t slot = 0; slot < 200; slot++)
        um_buddy_free(b, out[slot].at);
    cr_assert_eq(stats_of(b).used_bytes, 0);
    cr_assert_eq(stats_of(b).blocks, 0);
    cr_expect_eq(stats_of(b).splits, stats_of(b).merges, "all are one again");
    um_buddy_delete(b);
}

Test(buddy, blocks_agree_with_an_oracle) {
    static const size_t sizes[] = {1, 2, 3, 7, 8, 100, 1000, 1024, 1025, 4095, 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        against_an_oracle(sizes[i], 88172645463325252u + i);
    cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_buddy].bytes), 0);
}

Test(buddy, all_of_it_can_be_had_in_any_size) {
    um_buddy *b = um_buddy_new(&(um_buddy_options){.bytes = 1 << 20});
    cr_assert_not_null(b);
    for (size_t bytes = 64; bytes <= 1 << 20; bytes *= 2) {
        for (size_t n = 0; n < (1 << 20) / bytes; n++) {
            char *p = um_buddy_alloc(b, bytes);
            cr_assert(p && (uintptr_t)p % bytes == 0);
            p[0] = p[bytes - 1] = 1; /* the region is memory */
        }
        errno = 0;
        cr_expect_null(um_buddy_alloc(b, 0));
        cr_expect_eq(errno, ENOMEM);
        cr_expect_eq(stats_of(b).used_bytes, 1 << 20);
        cr_expect_eq(stats_of(b).largest_free_bytes, 0);
        um_buddy_reset(b);
        cr_expect_eq(stats_of(b).largest_free_bytes, 1 << 20);
    }
    cr_expect_null(um_buddy_alloc(b, (1 << 20) + 1));
    cr_expect_null(um_buddy_alloc(b, SIZE_MAX));
    cr_expect_eq(stats_of(b).peak_bytes, 1 << 20);
    um_buddy_delete(b);
    um_buddy_delete(NULL);
    um_space_check();
}

/* So many blocks that the bits of one order have summaries of summaries; each is had once, and whatever the
   order in which they come back, they are one block in the end. */
Test(buddy, many_blocks_become_one_again) {
    enum { BLOCKS = 1 << 18, STEP = 7919 };
    static void *out[BLOCKS];
    static bool seen[BLOCKS];
    char *region = (char *)((uintptr_t)1 << 40);
    um_buddy *b = um_buddy_new(&(um_buddy_options){.region = region, .bytes = (size_t)BLOCKS * BLOCK});
    cr_assert_not_null(b);
    for (int round = 0; round < 2; round++) {
        memset(seen, 0, sizeof seen);
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t at;
            out[i] = um_buddy_alloc(b, BLOCK);
            at = (size_t)((char *)out[i] - region) / BLOCK;
            cr_assert(out[i] && at < BLOCKS && !seen[at]);
            seen[at] = true;
        }
        cr_expect_null(um_buddy_alloc(b, 1));
        for (size_t i = 0; i < BLOCKS; i++)
            um_buddy_free(b, out[i * STEP % BLOCKS]);
        cr_expect_eq(stats_of(b).largest_free_bytes, (size_t)BLOCKS * BLOCK);
        cr_expect_eq(stats_of(b).blocks, 0);
    }
    um_buddy_delete(b);
}

Test(buddy, small_requests_leave_large_blocks_alone) {
    um_buddy *b = um_buddy_new(&(um_buddy_options){.bytes = 64 << 10});
    void *small = um_buddy_alloc(b, 64), *half = um_buddy_alloc(b, 32 << 10);
    cr_assert(small && half);
    for (int i = 0; i < 15; i++)
        cr_assert_not_null(um_buddy_alloc(b, 64));
    cr_expect_eq(stats_of(b).largest_free_bytes, 16 << 10);
    um_buddy_free(b, half);
    cr_expect_eq(stats_of(b).largest_free_bytes, 32 << 10);
    um_buddy_delete(b);
}

static bool refused(um_buddy_options o, int error) {
    errno = 0;
    return !um_buddy_new(&o) && errno == error;
}

Test(buddy, what_makes_no_sense_is_refused) {
    cr_expect_null(um_buddy_new(NULL));
    cr_expect(refused((um_buddy_options){.bytes = 63}, EINVAL));
    cr_expect(refused((um_buddy_options){.bytes = 1000, .block_bytes = 48}, EINVAL));
    cr_expect(refused((um_buddy_options){.bytes = 1000, .block_bytes = 8}, EINVAL));
    cr_expect(refused((um_buddy_options){.bytes = SIZE_MAX}, EINVAL));
    cr_expect(refused((um_buddy_options){.region = (void *)(UINTPTR_MAX - 65535), .bytes = 1 << 20}, EINVAL));
    cr_expect(refused((um_buddy_options){.bytes = (size_t)1 << 50, .block_bytes = (size_t)1 << 40}, ENOMEM));
    cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_buddy].bytes), 0);
}

static um_buddy *small_region(void) {
    um_buddy *b = um_buddy_new(&(um_buddy_options){.bytes = 4096});
    cr_assert_not_null(b);
    return b;
}

Test(buddy, a_double_free_is_fatal, .signal = SIGABRT) {
    um_buddy *b = small_region();
    void *p = um_buddy_alloc(b, 100), *q = um_buddy_alloc(b, 100);
    um_buddy_free(b, p);
    um_buddy_free(b, q);
    um_buddy_free(b, p);
}

Test(buddy, the_middle_of_a_block_is_fatal, .signal = SIGABRT) {
    um_buddy *b = small_region();
    um_buddy_free(b, (char *)um_buddy_alloc(b, 1000) + 64);
}

Test(buddy, an_odd_address_is_fatal, .signal = SIGABRT) {
    um_buddy *b = small_region();
    um_buddy_free(b, (char *)um_buddy_alloc(b, 10) + 1);
}

Test(buddy, an_address_outside_is_fatal, .signal = SIGABRT) {
    um_buddy *b = small_region();
    um_buddy_free(b, (char *)um_buddy_alloc(b, 4096) + 4096);
}

Test(buddy, free_knows_it, .signal = SIGABRT) {
    free(um_buddy_alloc(small_region(), 10));
}

/* What malloc left in it is not zero because nobody wrote there this time. */
Test(buddy, a_region_that_was_not_used_is_not_zero_after) {
    enum { BYTES = 1 << 20, TIMES = 8 };
    for (int i = 0; i < TIMES; i++) {
        char *p = malloc(BYTES);
        um_buddy *b;
        cr_assert_not_null(p);
        memset(p, 0xff, BYTES);
        free(p);
        um_thread_flush();
        b = um_buddy_new(&(um_buddy_options){.bytes = BYTES});
        cr_assert_not_null(b);
        um_buddy_delete(b);
        p = calloc(1, BYTES);
        cr_assert_not_null(p);
        for (size_t k = 0; k < BYTES; k++)
            cr_assert_eq(p[k], 0);
        free(p);
    }
}

Test(buddy, a_second_delete_is_found, .signal = SIGABRT) {
    um_buddy *b = um_buddy_new(&(um_buddy_options){.bytes = 1 << 20});
    cr_assert_not_null(b);
    um_buddy_delete(b);
    um_buddy_delete(b);
}
