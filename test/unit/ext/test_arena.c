/* Arenas: blocks that do not overlap, going back in all its forms, chunks, modes, and what is found in
 * misuse. */
#include "umalloc/arena.h"
#include "conf/counters.h"
#include "space/space.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(a) (sizeof(a) / sizeof *(a))

static const unsigned modes[] = {0,
                                 UM_ARENA_CHECKED,
                                 UM_ARENA_REUSE,
                                 UM_ARENA_CHECKED | UM_ARENA_REUSE,
                                 UM_ARENA_GUARD,
                                 UM_ARENA_GUARD | UM_ARENA_CHECKED};

static um_arena *with(unsigned flags) {
    um_arena *a = um_arena_new(&(um_arena_options){.flags = flags});
    cr_assert_not_null(a);
    return a;
}

static um_arena_stats stats_of(const um_arena *a) {
    um_arena_stats s;
    um_arena_read_stats(a, &s);
    return s;
}

static uint64_t held(void) {
    return atomic_load(&um_module_counts[UM_MODULE_arena].bytes);
}

/* Blocks of many sizes and alignments keep what was written to each. */
static void fill(um_arena *a, size_t rounds) {
    static struct {
        unsigned char *at;
        size_t bytes;
    } blocks[4096];
    cr_assert_leq(rounds, LENGTH(blocks));
    for (size_t i = 0; i < rounds; i++) {
        size_t align = (size_t)1 << i % 13, bytes = i * 37 % 300;
        blocks[i].bytes = bytes;
        blocks[i].at = i % 3 ? um_arena_alloc_aligned(a, bytes, align) : um_arena_alloc(a, bytes);
        cr_assert_not_null(blocks[i].at);
        cr_assert_eq((uintptr_t)blocks[i].at % (i % 3 ? align : 16), 0);
        memset(blocks[i].at, (int)i, bytes);
    }
    for (size_t i = 0; i < rounds; i++)
        for (size_t k = 0; k < blocks[i].bytes; k++)
            cr_assert_eq(blocks[i].at[k], (unsigned char)i);
}

Test(arena, blocks_are_aligned_and_apart_in_every_mode) {
    for (size_t m = 0; m < LENGTH(modes); m++) {
        um_arena *a = with(modes[m]);
        uint64_t once;
        fill(a, 4000);
        um_arena_check(a);
        cr_expect_gt(stats_of(a).chunks, 1);
        um_arena_reset(a);
        cr_expect_eq(stats_of(a).used_bytes, 0);
        once = held();
        fill(a, 4000);
        cr_expect_eq(held(), once, "what a reset keeps is enough for the same again");
        um_arena_delete(a);
    }
    cr_expect_eq(held(), 0);
    um_space_check();
}

Test(arena, no_bytes_are_a_block_too) {
    um_arena *a = with(0);
    char *p = um_arena_alloc(a, 0), *q = um_arena_alloc(a, 0), *r = um_arena_alloc_aligned(a, 0, 64);
    cr_expect(p && q && r && p != q && q != r);
    um_arena_delete(a);
    um_arena_delete(NULL);
}

Test(arena, zalloc_reads_as_zero_after_a_reset) {
    um_arena *a = with(0);
    char *p = um_arena_alloc(a, 1000);
    memset(p, 1, 1000);
    um_arena_reset(a);
    p = um_arena_zalloc(a, 100, 10);
    for (size_t i = 0; i < 1000; i++)
        cr_assert_eq(p[i], 0);
    errno = 0;
    cr_expect_null(um_arena_zalloc(a, SIZE_MAX / 2, 3));
    cr_expect_eq(errno, ENOMEM);
    um_arena_delete(a);
}

/* A mark in each of many chunks; they are gone back to in turn. */
Test(arena, marks_nest_across_chunks) {
    for (size_t m = 0; m < LENGTH(modes); m++) {
        um_arena *a = with(modes[m]);
        um_arena_mark marks[60];
        size_t used[60];
        void *first[60];
        for (size_t i = 0; i < 60; i++) {
            marks[i] = um_arena_save(a);
            used[i] = stats_of(a).used_bytes;
            first[i] = um_arena_alloc(a, 24);
            cr_assert_not_null(um_arena_alloc(a, 30000));
        }
        cr_expect_gt(stats_of(a).chunks, 3);
        for (size_t i = 60; i-- > 0;) {
            um_arena_rewind(a, marks[i]);
            cr_assert_eq(stats_of(a).used_bytes, used[i]);
            if (modes[m] == 0)
                cr_assert_eq(um_arena_alloc(a, 24), first[i], "the same place comes again");
            um_arena_rewind(a, marks[i]);
        }
        cr_expect_geq(stats_of(a).peak_bytes, 60 * 30024);
        um_arena_delete(a);
    }
    cr_expect_eq(held(), 0);
}

static int scoped(um_arena *a, int leave_by) {
    for (int i = 0; i < 2; i++) {
        UM_ARENA_SCOPE(a);
        if (!um_arena_alloc(a, 100000))
            return -1;
        if (leave_by == 0)
            return 1;
        if (leave_by == 1)
            break;
    }
    return 0;
}

Test(arena, a_scope_ends_however_it_is_left) {
    um_arena *a = with(0);
    for (int by = 0; by < 3; by++) {
        cr_assert_eq(scoped(a, by), by == 0);
        cr_expect_eq(stats_of(a).used_bytes, 0);
    }
    um_arena_delete(a);
}

Test(arena, reset_gives_back_what_is_not_kept) {
    um_arena *a = um_arena_new(&(um_arena_options){.keep_bytes = 256 << 10});
    for (int i = 0; i < 300; i++)
        cr_assert_not_null(um_arena_alloc(a, 10000));
    cr_expect_gt(held(), 3000000);
    um_arena_reset(a);
    cr_expect_leq(held(), 256 << 10);
    cr_expect_eq(stats_of(a).held_bytes, held());
    fill(a, 2000);
    um_arena_delete(a);
    cr_expect_eq(held(), 0);
    um_space_check();
}

Test(arena, an_end_gives_all_back_in_every_mode) {
    for (unsigned flags = 0; flags <= (UM_ARENA_GUARD | UM_ARENA_CHECKED | UM_ARENA_REUSE); flags++) {
        um_arena *a = with(flags);
        for (int i = 0; i < 100 && um_arena_alloc(a, 5000); i++)
            continue;
        um_arena_delete(a);
        cr_expect_eq(held(), 0, "flags %u", flags);
    }
    um_space_check();
}

Test(arena, large_blocks_have_chunks_of_their_own) {
    um_arena *a = with(0);
    char *p = um_arena_alloc(a, 40 << 20), *q = um_arena_alloc(a, 100);
    cr_assert(p && q);
    p[0] = p[(40 << 20) - 1] = 1;
    um_arena_reset(a);
    cr_expect_not_null(um_arena_alloc(a, 50 << 20));
    um_arena_delete(a);
}

Test(arena, what_is_fixed_or_limited_fills_up) {
    um_arena *fixed = um_arena_new(&(um_arena_options){.first_bytes = 1000, .flags = UM_ARENA_FIXED});
    um_arena *limited = um_arena_new(&(um_arena_options){.limit_bytes = 1 << 20});
    size_t sum = 0;
    cr_assert_not_null(um_arena_alloc(fixed, 1000));
    errno = 0;
    while (um_arena_alloc(fixed, 100))
        continue;
    cr_expect_eq(errno, ENOMEM);
    cr_expect_eq(stats_of(fixed).chunks, 1);
    errno = 0;
    while (um_arena_alloc(limited, 1000))
        sum += 1000;
    cr_expect_eq(errno, ENOMEM);
    cr_expect_gt(sum, 900000, "little of the limit is left over");
    cr_expect_leq(stats_of(limited).held_bytes, 1 << 20);
    um_arena_reset(limited);
    cr_expect_not_null(um_arena_alloc(limited, 1000));
    um_arena_delete(fixed);
    um_arena_delete(limited);
}

Test(arena, a_buffer_of_the_caller_is_first) {
    for (unsigned flags = 0; flags <= UM_ARENA_REUSE; flags += UM_ARENA_REUSE) {
        static char buffer[8000];
        um_arena_options o = {.buffer = buffer + 3, .buffer_bytes = sizeof buffer - 3, .flags = flags};
        um_arena *a = um_arena_new(&o);
        char *p = um_arena_alloc(a, 100);
        cr_assert(p >= buffer && p + 100 <= buffer + sizeof buffer);
        cr_expect_eq(held(), 0);
        fill(a, 1000);
        cr_expect_gt(held(), 0);
        um_arena_delete(a);
        o.flags |= UM_ARENA_FIXED;
        a = um_arena_new(&o);
        while ((p = um_arena_alloc(a, 1)) != NULL)
            cr_assert(p >= buffer && p < buffer + sizeof buffer);
        um_arena_delete(a);
        o.buffer_bytes = 100;
        errno = 0;
        cr_expect_null(um_arena_new(&o));
        cr_expect_eq(errno, EINVAL);
        o.buffer_bytes = flags ? 1536 : 512;
        cr_expect_not_null(um_arena_new(&o), "the header promises that this is enough");
    }
    cr_expect_eq(held(), 0);
}

static bool refused(um_arena_options o, int error) {
    errno = 0;
    return !um_arena_new(&o) && errno == error;
}

Test(arena, any_power_of_two_is_an_alignment) {
    for (unsigned flags = 0; flags <= UM_ARENA_REUSE; flags += UM_ARENA_CHECKED) {
        um_arena *a = with(flags);
        for (size_t align = 1; align <= (size_t)1 << 28; align *= 2) {
            char *p = um_arena_alloc_aligned(a, 100, align);
            cr_assert_not_null(p, "alignment %zu", align);
            cr_expect_eq((uintptr_t)p % align, 0);
            memset(p, 1, 100);
        }
        um_arena_delete(a);
    }
}

Test(arena, what_makes_no_sense_is_refused) {
    um_arena *a = with(0);
    char buffer[4096];
    cr_expect(refused((um_arena_options){.flags = 16}, EINVAL));
    cr_expect(
        refused((um_arena_options){.flags = UM_ARENA_GUARD, .buffer = buffer, .buffer_bytes = 4096}, EINVAL));
    cr_expect(refused((um_arena_options){.first_bytes = SIZE_MAX}, ENOMEM));
    cr_expect(refused((um_arena_options){.limit_bytes = 1000}, ENOMEM));
    cr_expect_null(um_arena_make(NULL, UM_ARENA_FORM + 1));
    for (size_t align = 0; align < 100; align += 3) {
        errno = 0;
        cr_expect_null(um_arena_alloc_aligned(a, 1, align));
        cr_expect_eq(errno, EINVAL);
    }
    errno = 0;
    cr_expect_null(um_arena_alloc_aligned(a, 1, (size_t)1 << 63));
    cr_expect_eq(errno, ENOMEM);
    cr_expect_null(um_arena_alloc(a, SIZE_MAX));
    cr_expect_null(um_arena_alloc_aligned(a, SIZE_MAX - 8, 64));
    cr_expect_null(um_arena_push(a, SIZE_MAX));
    cr_expect_eq(errno, ENOMEM);
    um_arena_delete(a);
}

/* The test's own allocations must not meet the limit, so it looks at what happened afterwards. */
Test(arena, without_memory_it_stays_as_it_is) {
    um_arena *a = with(0);
    char *p = um_arena_alloc(a, 10), *q;
    um_arena_stats before = stats_of(a), after;
    int error;
    um_space_setting.limit_bytes = 1 << 20;
    errno = 0;
    q = um_arena_alloc(a, 2 << 20);
    error = errno;
    after = stats_of(a);
    um_space_setting.limit_bytes = 0;
    cr_expect_null(q);
    cr_expect_eq(error, ENOMEM);
    cr_expect_eq(memcmp(&before, &after, sizeof before), 0);
    cr_expect_eq(um_arena_alloc(a, 10), p + 16);
    cr_expect_not_null(um_arena_alloc(a, 2 << 20));
    um_arena_delete(a);
}

Test(arena, a_stack_pops_in_reverse) {
    for (size_t m = 0; m < LENGTH(modes); m++) {
        um_arena *a = with(modes[m]);
        static void *stack[500];
        for (size_t i = 0; i < 500; i++) {
            stack[i] = um_arena_push(a, i * 7);
            cr_assert_not_null(stack[i]);
            cr_assert_eq((uintptr_t)stack[i] % 16, 0);
            memset(stack[i], 1, i * 7);
            if (i % 3 == 0)
                cr_assert_not_null(um_arena_alloc(a, 50)); /* goes with the block before it */
        }
        for (size_t i = 500; i-- > 0;)
            um_arena_pop(a, stack[i]);
        cr_expect_eq(stats_of(a).used_bytes, 0);
        um_arena_delete(a);
    }
}

Test(arena, freed_blocks_serve_again) {
    for (unsigned flags = UM_ARENA_REUSE; flags <= (UM_ARENA_REUSE | UM_ARENA_CHECKED);
         flags += UM_ARENA_CHECKED) {
        um_arena *a = with(flags);
        for (size_t bytes = 0; bytes <= 1 << 20; bytes += bytes / 3 + 1) {
            char *p = um_arena_alloc(a, bytes);
            size_t used;
            cr_assert_not_null(p);
            memset(p, 1, bytes);
            used = stats_of(a).used_bytes;
            um_arena_free(a, p, bytes);
            cr_assert_eq(um_arena_alloc(a, bytes), p, "%zu bytes", bytes);
            cr_assert_eq(stats_of(a).used_bytes, used);
            memset(p, 2, bytes);
        }
        um_arena_free(a, NULL, 5);
        um_arena_free(a, um_arena_alloc(a, 3 << 20), 3 << 20);
        um_arena_check(a);
        um_arena_reset(a);
        fill(a, 1000);
        um_arena_delete(a);
    }
}

Test(arena, a_rewind_forgets_freed_blocks) {
    um_arena *a = with(UM_ARENA_REUSE);
    um_arena_mark mark = um_arena_save(a);
    char *p = um_arena_alloc(a, 100), *q;
    um_arena_free(a, p, 100);
    um_arena_rewind(a, mark);
    p = um_arena_alloc(a, 100);
    q = um_arena_alloc(a, 100);
    cr_expect_neq(p, q);
    um_arena_delete(a);
}

static void *use_scratch(void *unused) {
    um_arena *a = um_arena_scratch(NULL), *b = um_arena_scratch(a);
    (void)unused;
    cr_assert(a && b && a != b);
    cr_expect_eq(um_arena_scratch(b), a);
    cr_expect_eq(um_arena_scratch(NULL), a);
    fill(a, 1000);
    fill(b, 1000);
    return a;
}

Test(arena, scratch_is_a_threads_own_and_ends_with_it) {
    pthread_t t;
    void *theirs = NULL;
    uint64_t before = held();
    cr_assert_eq(pthread_create(&t, NULL, use_scratch, NULL), 0);
    cr_assert_eq(pthread_join(t, &theirs), 0);
    cr_expect_not_null(theirs);
    cr_expect_eq(held(), before);
}

Test(arena, scratch_survives_a_fork) {
    um_arena *a = use_scratch(NULL);
    int status;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        bool same = um_arena_scratch(NULL) == a;
        um_arena_reset(a);
        _exit(same && um_arena_alloc(a, 100000) ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *own_arena(void *unused) {
    um_arena *a = um_arena_new(NULL);
    (void)unused;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 200; i++)
            memset(um_arena_alloc(a, 3000), round, 3000);
        um_arena_reset(a);
    }
    um_arena_delete(a);
    return NULL;
}

Test(arena, threads_with_an_arena_each) {
    pthread_t threads[4];
    for (size_t i = 0; i < LENGTH(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, own_arena, NULL), 0);
    for (size_t i = 0; i < LENGTH(threads); i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(held(), 0);
    um_space_check();
}

/* Writes from p on, `step` bytes further each time; whether that ends the process (how is a sanitizer's to
 * say). */
static bool ends_by_writing(volatile char *p, ptrdiff_t step, size_t times) {
    int status;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        for (size_t i = 0; i < times; i++, p += step)
            *p = 1;
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status != 0;
}

Test(arena, guards_stop_who_runs_over_an_end) {
    um_arena *a = with(UM_ARENA_GUARD);
    char *p = um_arena_alloc(a, 1);
    size_t room = (size_t)(a->end - p), page = (size_t)sysconf(_SC_PAGESIZE);
    cr_expect_not(ends_by_writing(p, 1, room));
    cr_expect(ends_by_writing(p, 1, room + 1));
    cr_expect(ends_by_writing(a->end + page - 1, -1, 1));
    cr_expect(ends_by_writing(p - 1, -1, 1));
    cr_expect(ends_by_writing(p - page, -1, 1));
    cr_assert_not_null(um_arena_alloc(a, 1 << 20));
    cr_expect(ends_by_writing(a->end, 1, 1));
    um_arena_delete(a);
}

Test(arena, checked_finds_a_write_behind, .signal = SIGABRT) {
    um_arena *a = with(UM_ARENA_CHECKED);
    char *p = um_arena_alloc(a, 21);
    p[21] ^= 1;
    um_arena_reset(a);
}

Test(arena, checked_finds_a_write_before, .signal = SIGABRT) {
    um_arena *a = with(UM_ARENA_CHECKED);
    char *p = um_arena_alloc(a, 21);
    p[-1] ^= 1;
    um_arena_check(a);
}

Test(arena, checked_looks_at_what_a_rewind_drops, .signal = SIGABRT) {
    um_arena *a = with(UM_ARENA_CHECKED);
    um_arena_mark mark = um_arena_save(a);
    char *p = um_arena_alloc(a, 16);
    p[16] ^= 1;
    um_arena_rewind(a, mark);
}

Test(arena, checked_finds_a_stale_mark, .signal = SIGABRT) {
    um_arena *a = with(UM_ARENA_CHECKED);
    um_arena_mark mark;
    (void)um_arena_alloc(a, 100);
    mark = um_arena_save(a);
    um_arena_reset(a);
    for (int i = 0; i < 50; i++)
        (void)um_arena_alloc(a, 17);
    um_arena_rewind(a, mark);
}

Test(arena, a_mark_beyond_is_fatal, .signal = SIGABRT) {
    um_arena *a = with(0);
    um_arena_mark mark;
    (void)um_arena_alloc(a, 100);
    mark = um_arena_save(a);
    um_arena_reset(a);
    um_arena_rewind(a, mark);
}

Test(arena, a_mark_of_another_is_fatal, .signal = SIGABRT) {
    um_arena *a = with(0), *b = with(0);
    um_arena_rewind(a, um_arena_save(b));
}

Test(arena, a_pop_of_another_block_is_fatal, .signal = SIGABRT) {
    um_arena *a = with(0);
    char *p = um_arena_push(a, 10);
    (void)um_arena_push(a, 10);
    um_arena_pop(a, p);
}

Test(arena, a_pop_of_an_empty_stack_is_fatal, .signal = SIGABRT) {
    um_arena *a = with(UM_ARENA_CHECKED);
    um_arena_pop(a, um_arena_alloc(a, 10));
}

Test(arena, free_needs_its_flag, .signal = SIGABRT) {
    um_arena *a = with(0);
    um_arena_free(a, um_arena_alloc(a, 10), 10);
}

Test(arena, checked_finds_a_double_free, .signal = SIGABRT) {
    um_arena *a = with(UM_ARENA_REUSE | UM_ARENA_CHECKED);
    char *p = um_arena_alloc(a, 10);
    um_arena_free(a, p, 10);
    um_arena_free(a, p, 10);
}

Test(arena, checked_finds_another_size, .signal = SIGABRT) {
    um_arena *a = with(UM_ARENA_REUSE | UM_ARENA_CHECKED);
    um_arena_free(a, um_arena_alloc(a, 10), 11);
}

Test(arena, a_scratch_arena_cannot_be_deleted, .signal = SIGABRT) {
    um_arena_delete(um_arena_scratch(NULL));
}

Test(arena, a_second_delete_is_found, .signal = SIGABRT) {
    um_arena *a = with(0);
    (void)um_arena_alloc(a, 10);
    um_arena_delete(a);
    um_arena_delete(a);
}
