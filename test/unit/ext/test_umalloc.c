/* Explicit allocation: what the flags ask for is there, blocks are malloc's, batches give each block once,
   and what cannot be had is NULL and says why. Nodes are made up: the kernel is not told of them. */
#include "umalloc/umalloc.h"
#include "front/front.h"
#include "front/gather.h"
#include "space/space.h"
#include "two_nodes.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define MANY 1000u

static bool is_zero(const unsigned char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (p[i])
            return false;
    return true;
}

/* Leaves memory behind that does not read as zero. */
static void litter(size_t bytes) {
    void *blocks[64];
    for (unsigned i = 0; i < 64; i++) {
        blocks[i] = um_malloc(bytes, 0);
        cr_assert_not_null(blocks[i]);
        memset(blocks[i], 0xee, bytes);
    }
    um_free_batch(blocks, 64);
}

Test(umalloc, every_alignment_of_every_size) {
    for (unsigned log2 = 0; log2 <= 22; log2++)
        for (size_t bytes = 0; bytes <= 100000; bytes = bytes * 3 + 1)
            for (um_flags zero = 0; zero <= UM_ZERO; zero += UM_ZERO) {
                unsigned char *p;
                if (zero && log2 < 17)
                    litter(bytes);
                p = um_malloc(bytes, UM_ALIGN_LOG2(log2) | zero);
                cr_assert_not_null(p);
                cr_assert_eq((uintptr_t)p % ((size_t)1 << log2), 0, "%u %zu", log2, bytes);
                cr_assert_geq(um_usable_size(p), bytes);
                cr_assert_geq(um_usable_size(p), um_good_size(bytes, UM_ALIGN_LOG2(log2)));
                if (zero)
                    cr_assert(is_zero(p, bytes), "%u %zu", log2, bytes);
                memset(p, 0xdd, bytes);
                um_free_sized(p, bytes, UM_ALIGN_LOG2(log2) | zero);
            }
    um_space_check();
}

Test(umalloc, blocks_are_those_of_malloc) {
    char *p = um_malloc(100, 0);
    cr_assert_not_null(p);
    strcpy(p, "kept");
    p = realloc(p, 3000);
    cr_assert_str_eq(p, "kept");
    p = um_realloc(p, 40, 0);
    cr_assert_str_eq(p, "kept");
    free(p);
    um_free(malloc(77));
    um_free(NULL);
    um_free_sized(NULL, 10, 0);
    um_free_sized(malloc(2000), 2000, 0);
    free(um_calloc(3, 100, UM_ALIGN(256)));
}

Test(umalloc, bad_flags_are_refused) {
    static const um_flags bad[] = {UM_ALIGN_LOG2(37), UM_CLASS(UM_CLASSES), (um_flags)3 << 16, UM_NODE(1023)};
    void *p;
    for (unsigned i = 0; i < UM_COUNT(bad); i++) {
        errno = 0;
        cr_expect_null(um_malloc(10, bad[i]));
        cr_expect_eq(errno, EINVAL);
        cr_expect_eq(um_malloc_batch(10, bad[i], &p, 1), 0);
        cr_expect_eq(um_good_size(10, bad[i]), 0);
    }
}

Test(umalloc, what_cannot_be_had_is_enomem) {
    static const um_flags all[] = {0, UM_ZERO, UM_ALIGN(4096), UM_HUGE, UM_ZERO | UM_ALIGN(64)};
    void *p = um_malloc(50, 0);
    cr_assert_not_null(p);
    for (unsigned i = 0; i < UM_COUNT(all); i++)
        for (unsigned back = 0; back < 2; back++) {
            errno = 0;
            cr_expect_null(um_malloc(SIZE_MAX - back * 4096, all[i]));
            cr_expect_eq(errno, ENOMEM);
            errno = 0;
            cr_expect_null(um_realloc(p, PTRDIFF_MAX - back, all[i]));
            cr_expect_eq(errno, ENOMEM);
        }
    errno = 0;
    cr_expect_null(um_calloc(SIZE_MAX / 2, 3, 0));
    cr_expect_eq(errno, ENOMEM);
    cr_expect_eq(um_good_size(SIZE_MAX, 0), 0);
    um_free(p);
}

Test(umalloc, a_class_hint_makes_room) {
    int c = um_size_class(700);
    char *p = um_malloc(10, UM_CLASS(c));
    cr_assert_eq(um_usable_size(p), um_size_class_bytes(c));
    cr_expect_geq(um_size_class_bytes(c), 700);
    cr_expect_eq(um_realloc(p, 700, 0), p);
    um_free(p);
    p = um_malloc(1000, UM_CLASS(c));
    cr_expect_geq(um_usable_size(p), 1000);
    um_free_sized(p, 1000, UM_CLASS(c));
    cr_expect_eq(um_size_class(UM_MEDIUM_MAX + 1), -1);
    cr_expect_eq(um_size_class_bytes(-1), 0);
    cr_expect_eq(um_size_class_bytes(UM_CLASSES), 0);
}

Test(umalloc, a_good_size_costs_nothing) {
    for (size_t bytes = 1; bytes < 1 << 20; bytes += bytes / 3 + 1) {
        size_t good = um_good_size(bytes, 0);
        void *p = um_malloc(bytes, 0), *q = um_malloc(good, 0);
        cr_expect_eq(um_usable_size(p), good, "%zu", bytes);
        cr_expect_eq(um_usable_size(q), good, "%zu", bytes);
        um_free(p);
        um_free(q);
    }
}

Test(umalloc, realloc_keeps_contents_and_alignment) {
    unsigned char *p = um_malloc(10, UM_ALIGN(64));
    size_t bytes = 10;
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)i;
    for (size_t next = 30; next < 200000; next = next * 2 + 7) {
        size_t old = um_usable_size(p);
        p = um_realloc(p, next, UM_ALIGN(64) | UM_ZERO);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < 10; i++)
            cr_assert_eq(p[i], i);
        if (next > old)
            cr_assert(is_zero(p + old, next - old));
        memset(p + 10, 0xcc, um_usable_size(p) - 10);
    }
    p = um_realloc(p, 0, UM_ALIGN(64));
    cr_assert_not_null(p);
    um_free(p);
    cr_expect_not_null(p = um_realloc(NULL, 20, UM_ZERO));
    um_free(p);
}

Test(umalloc, huge_pages_of_its_own) {
    char *p = um_malloc(3 * UM_MIB, UM_HUGE | UM_ZERO);
    cr_assert_not_null(p);
    cr_expect_eq((uintptr_t)p % (2 * UM_MIB), 0);
    cr_expect_geq(um_usable_size(p), 4 * UM_MIB);
    cr_expect(is_zero((unsigned char *)p, 3 * UM_MIB));
    um_free_sized(p, 3 * UM_MIB, UM_HUGE | UM_ZERO);
    um_space_check();
}

static int by_address(const void *a, const void *b) {
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return x < y ? -1 : x > y;
}

static void each_once(void **blocks, size_t n, size_t bytes) {
    void **sorted = um_calloc(n, sizeof *sorted, 0);
    memcpy(sorted, blocks, n * sizeof *blocks);
    qsort(sorted, n, sizeof *sorted, by_address);
    for (size_t i = 0; i + 1 < n; i++)
        cr_assert_geq((uintptr_t)sorted[i + 1] - (uintptr_t)sorted[i], bytes);
    um_free(sorted);
}

Test(umalloc, batches_give_each_block_once) {
    static const size_t sizes[] = {0, 1, 48, 1024, 1025, 20000, 100000};
    static const um_flags flags[] = {0, UM_ZERO, UM_ALIGN(128), UM_LOCAL};
    static void *blocks[MANY];
    for (unsigned s = 0; s < UM_COUNT(sizes); s++)
        for (unsigned f = 0; f < UM_COUNT(flags); f++)
            for (size_t n = 0; n <= MANY; n = n * 4 + 1) {
                if (n * sizes[s] > 20 * UM_MIB)
                    break;
                cr_assert_eq(um_malloc_batch(sizes[s], flags[f], blocks, n), n);
                each_once(blocks, n, sizes[s]);
                for (size_t i = 0; i < n; i++) {
                    if (flags[f] & UM_ZERO)
                        cr_assert(is_zero(blocks[i], sizes[s]));
                    memset(blocks[i], 0xaa, sizes[s]);
                }
                um_free_batch(blocks, n);
            }
    um_space_check();
}

/* In an order that hops between slabs, with NULL among them and blocks of all kinds. */
Test(umalloc, batches_of_frees_take_anything) {
    static void *blocks[MANY];
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < MANY; i++)
            blocks[i * 7 % MANY] = i % 11 ? um_malloc((i * 37 + round) % 3000, 0) : NULL;
        blocks[5] = blocks[5] ? (um_free(blocks[5]), um_malloc(200000, 0)) : um_malloc(200000, 0);
        um_free_batch(blocks, MANY);
    }
    um_theap_check_lists(um_tls.heap, 1u << 20);
    um_space_check();
}

static void *free_theirs(void *blocks) {
    um_free_batch(blocks, MANY);
    um_thread_flush();
    return NULL;
}

static size_t live_of(size_t bytes) {
    static um_snapshot s;
    um_gather(&s);
    return s.classes[um_class_of(bytes)].live;
}

Test(umalloc, another_thread_frees_a_batch) {
    static void *blocks[MANY];
    size_t before = live_of(208);
    pthread_t t;
    cr_assert_eq(um_malloc_batch(208, 0, blocks, MANY), MANY);
    cr_expect_eq(live_of(208), before + MANY);
    cr_assert_eq(pthread_create(&t, NULL, free_theirs, blocks), 0);
    cr_assert_eq(pthread_join(t, NULL), 0);
    um_thread_flush();
    cr_expect_eq(live_of(208), before);
}

/* Nothing that the heap still needs is given away. */
Test(umalloc, an_idle_thread_goes_on) {
    static void *blocks[MANY];
    for (unsigned round = 0; round < 20; round++) {
        cr_assert_eq(um_malloc_batch(64, 0, blocks, MANY), MANY);
        for (unsigned i = 0; i < MANY; i++)
            memset(blocks[i], 1, 64);
        um_free_batch(blocks, MANY / 2);
        um_thread_idle();
        um_free_batch(blocks + MANY / 2, MANY / 2);
    }
    cr_expect_eq(um_tls.heap->bins[um_class_of(64)].full, NULL);
    (void)um_trim(0);
    um_space_check();
}

Test(umalloc, a_limit_ends_a_batch) {
    static void *blocks[MANY];
    size_t n;
    um_space_setting.limit_bytes = atomic_load(&um_space_footprint) + 4 * UM_MIB;
    errno = 0;
    n = um_malloc_batch(20000, 0, blocks, MANY);
    cr_expect_lt(n, MANY);
    cr_expect_gt(n, 50);
    cr_expect_eq(errno, ENOMEM);
    um_space_setting.limit_bytes = 0;
    um_free_batch(blocks, n);
    um_space_check();
}

/* --- places --- */

static void two_nodes(void) {
    um_front_free(um_front_malloc(1)); /* the window is there, and place 0 in use */
    two_nodes_placed();
}

static unsigned place_of(const void *p) {
    return um_span_of(p)->node;
}

Test(umalloc, blocks_come_from_their_node, .init = two_nodes) {
    static const size_t sizes[] = {0, 16, 700, 5000, 40000, 300000};
    static const um_flags more[] = {0, UM_ZERO, UM_ALIGN(256)};
    for (unsigned i = 0; i < UM_COUNT(sizes); i++)
        for (unsigned f = 0; f < UM_COUNT(more); f++)
            for (unsigned node = 0; node < 2; node++) {
                char *p = um_malloc(sizes[i], UM_NODE(node) | more[f]);
                cr_assert_not_null(p);
                cr_expect_eq(place_of(p), node, "%zu", sizes[i]);
                if (more[f] == UM_ZERO)
                    cr_expect(is_zero((unsigned char *)p, sizes[i]));
                memset(p, 0xbb, sizes[i]);
                free(p);
            }
    cr_expect_eq(place_of(um_malloc(10, UM_LOCAL)), um_place_look());
    um_space_check();
}

Test(umalloc, blocks_are_spread, .init = two_nodes) {
    void *blocks[100];
    unsigned far = 0;
    cr_assert_eq(um_malloc_batch(100, UM_SPREAD, blocks, 100), 100);
    for (unsigned i = 0; i < 100; i++)
        far += place_of(blocks[i]) == 1;
    cr_expect_eq(far, 50);
    um_free_batch(blocks, 100);
}

/* Their owner is nobody, so all frees are those of others: the memory is used again. */
Test(umalloc, far_blocks_come_back, .init = two_nodes) {
    static void *blocks[MANY];
    um_space_stats before, after;
    for (unsigned round = 0; round < 30; round++) {
        cr_assert_eq(um_malloc_batch(500, UM_NODE(1), blocks, MANY), MANY);
        for (unsigned i = 0; i < MANY; i++)
            memset(blocks[i], 1, 500);
        um_free_batch(blocks, MANY);
        if (round == 4)
            um_space_stat(1, &before);
    }
    um_space_stat(1, &after);
    cr_expect_leq(after.active, before.active + 4 * UM_SLOT_BYTES);
}

static void *far_and_back(void *seed) {
    void *blocks[64] = {0};
    unsigned r = (unsigned)(uintptr_t)seed;
    for (unsigned i = 0; i < 4000; i++) {
        unsigned k = (r = r * 1103515245u + 12345u) >> 26;
        um_free(blocks[k]);
        blocks[k] = um_malloc(r >> 20 & 1023, r & 64 ? UM_NODE(1) : UM_NODE(0));
        cr_assert_not_null(blocks[k]);
        *(char *)blocks[k] = 1;
    }
    um_free_batch(blocks, 64);
    return NULL;
}

Test(umalloc, many_threads_ask_for_far_blocks, .init = two_nodes) {
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, far_and_back, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(pthread_join(t[i], NULL), 0);
    um_space_check();
}

/* --- misuse --- */

Test(umalloc, a_sized_free_of_too_much, .signal = SIGABRT) {
    um_free_sized(um_malloc(100, 0), 5000, 0);
}

Test(umalloc, usable_size_of_no_block, .signal = SIGABRT) {
    int on_the_stack = 0;
    (void)um_usable_size(&on_the_stack);
}

Test(umalloc, realloc_of_no_block, .signal = SIGABRT) {
    char *p = um_malloc(100, 0);
    (void)um_realloc(p + 16, 200, UM_ALIGN(64));
}

/* --- hardened --- */

static void harden(void) {
    um_theap *h = um_front_heap();
    cr_assert_eq(um_hard_start(UM_HARD_FULL), 0);
    if (h)
        um_theap_exit(h);
}

Test(umalloc, the_hardened_allocator_serves_all, .init = harden) {
    static const um_flags all[] = {0,          UM_ZERO,   UM_ALIGN(64), UM_ALIGN(8192) | UM_ZERO,
                                   UM_NODE(0), UM_SPREAD, UM_HUGE,      UM_CLASS(20)};
    void *blocks[50];
    for (unsigned f = 0; f < UM_COUNT(all); f++)
        for (size_t bytes = 0; bytes < 100000; bytes = bytes * 5 + 9) {
            unsigned char *p = um_malloc(bytes, all[f]);
            cr_assert_not_null(p);
            cr_expect(um_hard_owns(um_span_of(p)));
            cr_expect_geq(um_usable_size(p), bytes);
            memset(p, 0x11, bytes);
            p = um_realloc(p, bytes + 100, all[f]);
            cr_assert_not_null(p);
            cr_expect(bytes == 0 || p[bytes - 1] == 0x11);
            um_free_sized(p, bytes + 100, all[f]);
            cr_assert_eq(um_malloc_batch(bytes, all[f], blocks, 50), 50);
            um_free_batch(blocks, 50);
        }
    cr_expect_gt(um_good_size(0, 0), 0, "0 says that there is no such block");
    um_thread_flush();
    um_thread_idle();
    (void)um_trim(0);
    um_hard_check();
}

Test(umalloc, a_hardened_batch_finds_a_double_free, .init = harden, .signal = SIGABRT) {
    void *p = um_malloc(40, 0), *twice[2] = {p, p};
    um_free_batch(twice, 2);
}
