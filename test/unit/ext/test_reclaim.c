/* What waits for readers is reclaimed when none is left, not before; threads, forks, and misuse. */
#include "dies.h"
#include "ext/reclaim.h"
#include "os/os.h"
#include "refuse.h"
#include "space/space.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY (10 * UM_BAG_OBJECTS)

static _Atomic(size_t) reclaimed;

static void count(void *object) {
    (void)object;
    atomic_fetch_add(&reclaimed, 1);
}

static char objects[64 * UM_BAG_OBJECTS];

static um_reclaim_stats stats(void) {
    um_reclaim_stats s;
    um_reclaim_stat(&s, sizeof s);
    return s;
}

static void retire_many(size_t first, size_t n) {
    for (size_t i = first; i < first + n; i++)
        cr_assert(um_retire(&objects[i], count));
}

/* A thread that is in a read section, or holds a hazard pointer, until it is told to go on. */
typedef struct reader {
    pthread_t thread;
    pthread_barrier_t in, out;
    const void *hazard; /* NULL: a section */
} reader;

static void *read_on(void *of) {
    reader *r = of;
    um_hazard *h = r->hazard ? um_hazard_take() : NULL;
    if (h)
        cr_expect_eq(um_hazard_protect(h, &r->hazard), r->hazard);
    else
        um_epoch_enter();
    pthread_barrier_wait(&r->in);
    pthread_barrier_wait(&r->out);
    if (h)
        um_hazard_give(h);
    else
        um_epoch_leave();
    return NULL;
}

static void begin_reading(reader *r, const void *hazard) {
    r->hazard = hazard;
    pthread_barrier_init(&r->in, NULL, 2);
    pthread_barrier_init(&r->out, NULL, 2);
    cr_assert_eq(pthread_create(&r->thread, NULL, read_on, r), 0);
    pthread_barrier_wait(&r->in);
}

static void end_reading(reader *r) {
    pthread_barrier_wait(&r->out);
    pthread_join(r->thread, NULL);
}

Test(reclaim, sections_nest_and_cost_nothing_alone) {
    um_epoch_enter();
    um_epoch_enter();
    um_epoch_leave();
    cr_expect_eq(stats().oldest_thread, um_os_tid());
    um_epoch_leave();
    cr_expect_eq(stats().oldest_thread, 0);
    um_epoch_synchronize();
}

Test(reclaim, what_is_retired_is_reclaimed_once) {
    retire_many(0, MANY + 7);
    um_reclaim_flush();
    cr_expect_eq(reclaimed, MANY + 7);
    um_reclaim_flush();
    cr_expect_eq(reclaimed, MANY + 7);
    cr_expect_eq(stats().retired, MANY + 7);
    cr_expect_eq(stats().waiting, 0);
    cr_expect(um_retire(NULL, count));
}

Test(reclaim, blocks_go_to_free) {
    for (int i = 0; i < 1000; i++)
        cr_assert(i % 2 ? um_retire(malloc(40), NULL) : um_hazard_retire(malloc(40), NULL));
    um_reclaim_flush();
    cr_expect_eq(stats().reclaimed, 1000);
}

Test(reclaim, a_quiet_process_keeps_little) {
    for (size_t i = 0; i < 60; i++) {
        retire_many(i * UM_BAG_OBJECTS, UM_BAG_OBJECTS);
        cr_assert_lt((i + 1) * UM_BAG_OBJECTS - reclaimed, 6 * UM_BAG_OBJECTS);
    }
}

Test(reclaim, a_section_holds_what_is_retired_meanwhile) {
    reader r;
    um_reclaim_stats s;
    begin_reading(&r, NULL);
    retire_many(0, MANY);
    cr_expect_eq(reclaimed, 0);
    s = stats();
    cr_expect_eq(s.waiting, MANY);
    cr_expect_neq(s.oldest_thread, 0);
    cr_expect_neq(s.oldest_thread, um_os_tid());
    cr_expect_geq(s.oldest_bags, MANY / UM_BAG_OBJECTS);
    cr_expect_gt(s.stalls, 0);
    end_reading(&r);
    um_reclaim_flush();
    cr_expect_eq(reclaimed, MANY);
}

Test(reclaim, a_section_does_not_hold_what_went_before) {
    reader r;
    retire_many(0, UM_BAG_OBJECTS); /* closed: its stamp is below the section's epoch */
    begin_reading(&r, NULL);
    retire_many(UM_BAG_OBJECTS, MANY);
    cr_expect_eq(reclaimed, UM_BAG_OBJECTS);
    end_reading(&r);
    um_reclaim_flush();
    cr_expect_eq(reclaimed, MANY + UM_BAG_OBJECTS);
}

Test(reclaim, its_own_section_holds_too) {
    um_epoch_enter();
    retire_many(0, MANY);
    cr_expect_eq(reclaimed, 0);
    um_epoch_leave();
    um_reclaim_flush();
    cr_expect_eq(reclaimed, MANY);
}

/* A look costs a system call: a reader that stays must not bring one for each bag. */
Test(reclaim, looks_that_find_nothing_get_rarer) {
    reader r;
    begin_reading(&r, NULL);
    retire_many(0, sizeof objects);
    cr_expect_lt(stats().looks, sizeof objects / UM_BAG_OBJECTS / 4);
    end_reading(&r);
    um_reclaim_flush();
    cr_expect_eq(reclaimed, sizeof objects);
}

static _Atomic(bool) synchronized;

static void *synchronize(void *unused) {
    um_epoch_synchronize();
    atomic_store(&synchronized, true);
    return unused;
}

/* Not before the section ends; that it comes after is the join. */
Test(reclaim, synchronize_waits) {
    reader r;
    pthread_t t;
    begin_reading(&r, NULL);
    cr_assert_eq(pthread_create(&t, NULL, synchronize, NULL), 0);
    while (stats().looks < 3)
        um_cpu_relax();
    cr_expect_not(synchronized);
    end_reading(&r);
    pthread_join(t, NULL);
    cr_expect(synchronized);
}

static size_t stalled_calls, stalled_most;
static uint32_t stalled_thread;
static reader *to_end;

static void on_stall(uint32_t thread, size_t waiting) {
    stalled_calls++;
    stalled_thread = thread;
    stalled_most = waiting > stalled_most ? waiting : stalled_most;
    if (stalled_calls == 1)
        end_reading(to_end);
}

Test(reclaim, a_bound_tells_who_stalls_and_waits) {
    reader r;
    to_end = &r;
    um_reclaim_bound(4 * UM_BAG_OBJECTS, on_stall);
    begin_reading(&r, NULL);
    retire_many(0, MANY);
    cr_expect_eq(stalled_calls, 1);
    cr_expect_neq(stalled_thread, 0);
    cr_expect_neq(stalled_thread, um_os_tid());
    cr_expect_eq(stalled_most, 5 * UM_BAG_OBJECTS);
    cr_expect_geq(reclaimed, MANY - 5 * UM_BAG_OBJECTS);
}

static size_t told;

static void tell(uint32_t thread, size_t waiting) {
    (void)thread;
    (void)waiting;
    told++;
}

/* As a program does that shuts itself in when it is up. False: the kernel has no membarrier anyway. */
static bool shut_in(void) {
    um_reclaim_flush();
    return !stats().sections_fence && refuse(SYS_membarrier, EPERM);
}

/* Nothing is reclaimed and nothing hangs; a child can tell what it has. */
Test(reclaim, a_late_refusal_leaves_garbage) {
    int status;
    pid_t child;
    if (!shut_in())
        return;
    um_reclaim_bound(2 * UM_BAG_OBJECTS, tell);
    retire_many(0, MANY);
    for (size_t i = 0; i < MANY; i++)
        cr_assert(um_hazard_retire(&objects[MANY + i], count));
    um_reclaim_flush();
    cr_expect_eq(reclaimed, 0);
    cr_expect_eq(stats().waiting, 2 * MANY);
    cr_expect(stats().refused);
    cr_expect_gt(told, 0, "the bound tells");
    child = fork();
    if (child == 0) {
        um_reclaim_flush();
        _exit(reclaimed != 2 * MANY || stats().refused);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0);
}

Test(reclaim, a_late_refusal_is_told_by_who_cannot_wait, .signal = SIGABRT) {
    if (!shut_in())
        abort(); /* without a filter there is nothing to see */
    um_epoch_synchronize();
}

/* It cannot wait for itself. */
Test(reclaim, a_bound_is_passed_in_a_section) {
    um_reclaim_bound(UM_BAG_OBJECTS, NULL);
    um_epoch_enter();
    retire_many(0, MANY);
    um_epoch_leave();
    um_reclaim_flush();
    cr_expect_eq(reclaimed, MANY);
}

static void again(void *object) {
    count(object);
    if (object != &objects[0])
        cr_assert(um_retire(&objects[0], again));
}

Test(reclaim, a_function_may_retire_more) {
    for (size_t i = 1; i <= MANY; i++)
        cr_assert(um_retire(&objects[i], again));
    um_reclaim_flush();
    um_reclaim_flush();
    cr_expect_eq(reclaimed, 2 * MANY);
}

/* --- hazard pointers --- */

Test(reclaim, a_hazard_pointer_holds_one_object) {
    reader r;
    begin_reading(&r, &objects[5]);
    for (size_t i = 0; i < MANY; i++)
        cr_assert(um_hazard_retire(&objects[MANY - 1 - i], count)); /* in no order that suits */
    um_reclaim_flush();
    cr_expect_eq(reclaimed, MANY - 1);
    end_reading(&r);
    um_reclaim_flush();
    cr_expect_eq(reclaimed, MANY);
}

Test(reclaim, every_hazard_pointer_of_every_thread_holds) {
    enum { READERS = 9 };
    static reader r[READERS];
    um_hazard *own[UM_HAZARDS_A_THREAD];
    for (size_t i = 0; i < READERS; i++)
        begin_reading(&r[i], &objects[i * 70]);
    for (size_t i = 0; i < UM_HAZARDS_A_THREAD; i++) {
        cr_assert_not_null(own[i] = um_hazard_take());
        um_hazard_set(own[i], &objects[i * 70 + 1]);
    }
    for (size_t i = 0; i < 20 * UM_BAG_OBJECTS; i++) {
        cr_assert(um_hazard_retire(&objects[i], count));
        cr_assert_leq(i + 1 - reclaimed, READERS + UM_HAZARDS_A_THREAD + 6 * UM_BAG_OBJECTS);
    }
    um_reclaim_flush();
    cr_expect_eq(reclaimed, 20 * UM_BAG_OBJECTS - READERS - UM_HAZARDS_A_THREAD);
    cr_expect_eq(stats().waiting, READERS + UM_HAZARDS_A_THREAD);
    for (size_t i = 0; i < READERS; i++)
        end_reading(&r[i]);
    for (size_t i = 0; i < UM_HAZARDS_A_THREAD; i++)
        um_hazard_give(own[i]);
    um_reclaim_flush();
    cr_expect_eq(reclaimed, 20 * UM_BAG_OBJECTS);
}

Test(reclaim, hazard_pointers_are_few) {
    um_hazard *h[UM_HAZARDS_A_THREAD];
    for (size_t i = 0; i < UM_HAZARDS_A_THREAD; i++) {
        cr_assert_not_null(h[i] = um_hazard_take());
        for (size_t k = 0; k < i; k++)
            cr_assert_neq(h[i], h[k]);
    }
    errno = 0;
    cr_expect_null(um_hazard_take());
    cr_expect_eq(errno, ENOSPC);
    um_hazard_give(h[3]);
    cr_expect_eq(um_hazard_take(), h[3]);
}

/* --- threads and processes --- */

static void *retire_and_end(void *first) {
    for (size_t i = 0; i < UM_BAG_OBJECTS + 3; i++) {
        cr_assert(um_retire((char *)first + i, count));
        cr_assert(um_hazard_retire((char *)first + i + 100, count));
    }
    return NULL;
}

Test(reclaim, what_a_thread_leaves_others_take_over) {
    reader section, hazard;
    pthread_t t;
    begin_reading(&section, NULL);
    begin_reading(&hazard, &objects[100]);
    cr_assert_eq(pthread_create(&t, NULL, retire_and_end, objects), 0);
    pthread_join(t, NULL);
    cr_expect_eq(reclaimed, UM_BAG_OBJECTS + 2, "the thread's end reclaims what it can: %zu", reclaimed);
    end_reading(&section);
    um_reclaim_flush();
    cr_expect_eq(reclaimed, 2 * UM_BAG_OBJECTS + 5);
    end_reading(&hazard);
    um_reclaim_flush();
    cr_expect_eq(reclaimed, 2 * UM_BAG_OBJECTS + 6);
}

static void *end_in_a_section(void *unused) {
    um_hazard_set(um_hazard_take(), &objects[0]);
    um_epoch_enter();
    return unused;
}

Test(reclaim, a_thread_that_ends_reads_no_more) {
    pthread_t t;
    for (int i = 0; i < 300; i++) {
        cr_assert_eq(pthread_create(&t, NULL, end_in_a_section, NULL), 0);
        pthread_join(t, NULL);
    }
    um_epoch_synchronize();
    cr_assert(um_hazard_retire(&objects[0], count));
    um_reclaim_flush();
    cr_expect_eq(reclaimed, 1);
    cr_expect_eq(atomic_load(&um_module_counts[UM_MODULE_reclaim].bytes), 2 * UM_SLOT_BYTES,
                 "one slot of records for all threads, and one of bags");
}

static pthread_key_t late_key;
static int late_rounds;

/* Destructors come round again until libc gives up: in the last rounds there is no record. ThreadSanitizer's
   own record of the thread is gone by then. */
static void late(void *unused) {
    (void)unused;
    if (UM_TSAN && late_rounds++)
        return;
    um_epoch_enter();
    cr_assert(um_retire(&objects[atomic_fetch_add(&reclaimed, 0)], count));
    um_epoch_leave();
    pthread_setspecific(late_key, &late_key);
    synchronized = true;
}

static void *end_late(void *unused) {
    pthread_setspecific(late_key, &late_key);
    um_epoch_enter();
    um_epoch_leave();
    return unused;
}

Test(reclaim, destructors_may_read_and_retire) {
    pthread_t t;
    uint64_t all;
    cr_assert_eq(pthread_key_create(&late_key, late), 0);
    cr_assert_eq(pthread_create(&t, NULL, end_late, NULL), 0);
    pthread_join(t, NULL);
    cr_expect(synchronized);
    all = stats().retired;
    cr_expect_geq(all, UM_TSAN ? 1 : 2);
    um_reclaim_flush();
    cr_expect_eq(stats().waiting, 0);
    cr_expect_eq(reclaimed, all);
}

static int child_status(int (*f)(void)) {
    int status;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(f());
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status), "%#x", status);
    return WEXITSTATUS(status);
}

static int flush_in_child(void) {
    um_epoch_leave(); /* the thread's own section came with it */
    um_reclaim_flush();
    um_hazard_retire(&objects[1], count);
    um_reclaim_flush();
    return reclaimed == 11 + 1 ? 0 : 1;
}

/* Readers stay behind; their sections and hazard pointers must not hold anything in the child. */
Test(reclaim, a_child_goes_on_alone) {
    reader section, hazard;
    begin_reading(&section, NULL);
    begin_reading(&hazard, &objects[1]);
    retire_many(0, 11);
    um_epoch_enter();
    cr_expect_eq(child_status(flush_in_child), 0);
    cr_expect_eq(reclaimed, 0);
    um_epoch_leave();
    end_reading(&section);
    end_reading(&hazard);
    um_reclaim_flush();
    cr_expect_eq(reclaimed, 11);
}

/* --- exhaustion --- */

static void *use_all(void *unused) {
    errno = 0;
    cr_expect_not(um_retire(&objects[0], count));
    cr_expect_eq(errno, ENOMEM);
    errno = 0;
    cr_expect_null(um_hazard_take());
    cr_expect_eq(errno, ENOMEM);
    um_epoch_enter(); /* never fails */
    um_epoch_enter();
    um_epoch_leave();
    um_epoch_leave();
    um_epoch_synchronize();
    return unused;
}

Test(reclaim, without_memory_sections_still_hold) {
    um_space_setting.limit_bytes = 1;
    use_all(NULL);
    um_epoch_enter(); /* without a record */
    um_space_setting.limit_bytes = 0;
    um_epoch_enter(); /* with one */
    retire_many(0, MANY);
    um_epoch_leave();
    retire_many(MANY, MANY);
    cr_expect_eq(reclaimed, 0, "the outer section has no record and counts all the same");
    um_epoch_leave();
    um_reclaim_flush();
    cr_expect_eq(reclaimed, 2 * MANY);
}

/* --- misuse --- */

static void leave_only(void *unused) {
    (void)unused;
    um_epoch_leave();
}

static void leave_twice(void *unused) {
    (void)unused;
    um_epoch_enter();
    um_epoch_leave();
    um_epoch_leave();
}

static void synchronize_within(void *unused) {
    (void)unused;
    um_epoch_enter();
    um_epoch_synchronize();
}

static void flush_within(void *unused) {
    (void)unused;
    um_epoch_enter();
    um_reclaim_flush();
}

static void flush(void *unused) {
    (void)unused;
    um_reclaim_flush();
}

static void flush_in_a_function(void *unused) {
    (void)unused;
    um_retire(&objects[0], flush);
    um_reclaim_flush();
}

static void expect_line(void (*f)(void *), const char *start, const char *detail) {
    char got[1024];
    int status = dies_status(f, NULL, got, sizeof got);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "died otherwise: %#x", status);
    cr_expect(strncmp(got, start, strlen(start)) == 0 && strstr(got, detail), "said: %s", got);
}

Test(reclaim, misuse_is_told) {
    expect_line(leave_only, "umalloc: um_epoch_leave: 0x", "(no read section)");
    expect_line(leave_twice, "umalloc: um_epoch_leave: 0x", "(no read section)");
    expect_line(synchronize_within, "umalloc: um_epoch_synchronize: 0x", "(in a read section)");
    expect_line(flush_within, "umalloc: um_reclaim_flush: 0x", "(in a read section)");
    expect_line(flush_in_a_function, "umalloc: um_reclaim_flush: 0x", "(in a function that reclaims)");
}

static void give_twice(void *h) {
    um_hazard_give(h);
    um_hazard_give(h);
}

static void retire_twice(void *object) {
    um_hazard_retire(object, count);
    um_hazard_retire(object, count);
    um_reclaim_flush();
}

Test(reclaim, misuse_of_hazard_pointers_is_told) {
    um_hazard *h = um_hazard_take();
    expect_death(give_twice, h, "umalloc: um_hazard_give: %p (not a hazard pointer of this thread)\n",
                 (void *)h);
    expect_death((void (*)(void *))um_hazard_give, objects,
                 "umalloc: um_hazard_give: %p (not a hazard pointer of this thread)\n", (void *)objects);
    expect_death(retire_twice, objects, "umalloc: um_hazard_retire: %p (retired twice)\n", (void *)objects);
}
