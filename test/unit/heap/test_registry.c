/* All heaps: one a thread, recycled, handed over whole at exit however others free meanwhile; the heap of
   those past their exit; and what a child of fork finds. */
#include "heap_calls.h"

#include "os/os.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

Test(registry, a_thread_has_one_heap) {
    um_theap *h = um_theap_get();
    cr_assert_not_null(h);
    cr_expect_eq(um_theap_get(), h);
    cr_expect_eq(um_tls.heap, h);
    cr_expect_eq(um_tls.out, h->out);
    cr_expect_eq(h->owner, um_thread_id());
    cr_expect(h->live);
    cr_expect_null(h->pending);
    check_heap(h);
    leave();
    cr_expect_null(um_theap_get());
    cr_expect_null(um_tls.heap);
    cr_expect_eq(um_tls.out, um_out_none);
    cr_expect(um_tls.exited && !h->live);
    cr_expect_eq(h->pending, UM_PENDING_CLOSED);
    for (unsigned i = 0; i < UM_SMALL_BINS; i++)
        cr_expect_eq(um_tls.bins[i], &um_span_none.home);
}

static void *live_and_leave(void *arg) {
    (void)arg;
    for (int i = 0; i < 10; i++)
        take_back(give(100));
    leave();
    return NULL;
}

Test(registry, threads_in_turn_share_a_heap) {
    cr_assert_not_null(um_theap_get());
    for (int i = 0; i < 1000; i++)
        run_thread(live_and_leave, NULL);
    cr_expect_eq(um_count.heaps_created, 2);
    cr_expect_eq(um_count.heaps_reused, 999);
    cr_expect_eq(count_slabs().slabs, 0);
}

enum { THREADS = 8 };

static um_theap *_Atomic heaps[THREADS];
static _Atomic(bool) go;

static void *live_until_told(void *arg) {
    um_theap *_Atomic *out = arg;
    *out = um_theap_get();
    while (!go)
        sched_yield();
    leave();
    return NULL;
}

struct heaps_seen {
    unsigned all, live;
};

static void see(um_theap *h, void *ctx) {
    struct heaps_seen *n = ctx;
    n->all++;
    n->live += h->live;
}

static void live_all_at_once(void) {
    pthread_t t[THREADS];
    struct heaps_seen n = {0, 0};
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, live_until_told, &heaps[i]), 0);
    for (int i = 0; i < THREADS; i++)
        while (!heaps[i])
            sched_yield();
    for (int i = 0; i < THREADS; i++)
        for (int j = 0; j < i; j++)
            cr_expect_neq(heaps[i], heaps[j]);
    um_theap_each(see, &n);
    cr_expect_eq(n.all, THREADS);
    cr_expect_eq(n.live, THREADS);
    go = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    n = (struct heaps_seen){0, 0};
    um_theap_each(see, &n);
    cr_expect_eq(n.all, THREADS);
    cr_expect_eq(n.live, 0);
}

Test(registry, threads_at_once_have_each_their_own) {
    live_all_at_once();
    go = false;
    for (int i = 0; i < THREADS; i++)
        heaps[i] = NULL;
    live_all_at_once();
    cr_expect_eq(um_count.heaps_created, THREADS);
    cr_expect_eq(um_count.heaps_reused, THREADS);
}

static void *count_and_leave(void *arg) {
    void **theirs = arg;
    unsigned c = um_class_of(3000);
    for (int i = 0; i < 5; i++)
        take_back(theirs[i]);
    for (int i = 0; i < 200; i++)
        theirs[i] = give(3000);
    for (int i = 0; i < 200; i++)
        take_back(theirs[i]);
    cr_expect_gt(um_tls.heap->bins[c].refills, 0);
    leave();
    return NULL;
}

Test(registry, what_a_thread_counted_outlives_it) {
    void *theirs[200];
    unsigned c = um_class_of(3000);
    for (int i = 0; i < 5; i++)
        theirs[i] = give(64);
    run_thread(count_and_leave, theirs);
    cr_expect_eq(um_theap_past.classes[c].frees, 200);
    cr_expect_gt(um_theap_past.classes[c].refills, 0);
    cr_expect_eq(um_count.remote_frees, 5);
    cr_expect_eq(um_count.remote_batches, 1);
}

Test(registry, the_shared_heap_serves_those_past_their_exit) {
    um_theap *h;
    void *p[300];
    cr_assert_not_null(um_theap_get());
    leave();
    for (int i = 0; i < 300; i++) {
        h = um_theap_shared_lock();
        cr_assert_not_null(h);
        p[i] = um_theap_alloc(h, um_class_of(500));
        um_theap_shared_unlock();
        cr_assert_not_null(p[i]);
        memset(p[i], 0x5a, 500);
    }
    check_heap(h);
    for (int i = 0; i < 300; i++)
        take_back(p[i]);
    h = um_theap_shared_lock();
    um_theap_flush(h);
    check_heap(h);
    um_theap_shared_unlock();
    cr_expect_leq(count_slabs().slabs, 1);
}

/* Parked heaps: they stay together for the next thread, and nobody's id stands in their slabs meanwhile. */
enum { SOME = 40 };

static void *left[SOME];

static void *leave_some(void *arg) {
    /* So many slabs: however large their pages are, they are little enough to be parked. */
    unsigned classes = (unsigned)um_min(SOME, UM_MIB / 2 / um_os_page_bytes);
    for (unsigned i = 0; i < SOME; i++)
        cr_assert_not_null(left[i] = give(16 * (i % classes + 1)));
    heaps[0] = um_tls.heap;
    um_theap_leave(um_tls.heap);
    cr_expect(um_tls.exited && !um_tls.heap && um_tls.out == um_out_none);
    return arg;
}

static void *take_over(void *arg) {
    um_theap *h = um_theap_get();
    cr_expect_eq(h, heaps[0]);
    cr_expect_eq(h->owner, um_thread_id());
    check_heap(h);
    for (int i = 0; i < SOME; i++)
        take_back(left[i]);
    cr_expect_eq(h->remote_frees, 0, "they were its own");
    check_heap(h);
    leave();
    return arg;
}

Test(registry, the_next_thread_takes_a_parked_heap_over) {
    cr_assert_not_null(um_theap_get());
    run_thread(leave_some, NULL);
    cr_expect_eq(heaps[0]->owner, UM_ID_NOBODY);
    cr_expect(heaps[0]->live);
    cr_expect_eq(count_slabs().orphans, 0);
    for (int i = 0; i < SOME; i++)
        cr_expect_eq(*um_home_owner(um_home_at(um_window_offset(left[i]))), UM_ID_NOBODY);
    cr_expect_eq(um_count.slabs_orphaned, 0);
    run_thread(take_over, NULL);
    cr_expect_eq(count_slabs().slabs, 0);
    cr_expect_eq(um_count.heaps_created, 2);
}

static void *find_all_back(void *arg) {
    um_theap *h = um_theap_get();
    cr_expect_eq(h, heaps[0]);
    um_theap_flush(h);
    check_heap(h);
    leave();
    return arg;
}

Test(registry, others_free_to_a_parked_heap) {
    cr_assert_not_null(um_theap_get());
    run_thread(leave_some, NULL);
    for (int i = 0; i < SOME; i++)
        take_back(left[i]);
    um_remote_flush(um_tls.heap);
    cr_expect_not_null(heaps[0]->pending);
    run_thread(find_all_back, NULL);
    cr_expect_eq(count_slabs().slabs, 0);
    um_space_check();
}

Test(registry, parked_heaps_are_handed_over_in_time) {
    uint64_t now = um_os_now_ms();
    cr_assert_not_null(um_theap_get());
    run_thread(leave_some, NULL);
    um_theap_retire_due(now + um_space_setting.decay_ms / 2);
    cr_expect(heaps[0]->live);
    um_theap_retire_due(now + 2 * um_space_setting.decay_ms);
    cr_expect_not(heaps[0]->live);
    cr_expect_eq(heaps[0]->pending, UM_PENDING_CLOSED);
    cr_expect_gt(count_slabs().orphans, 0);
    cr_expect_eq(count_slabs().orphans, count_slabs().slabs);
    run_thread(leave_some, NULL);
    cr_expect(heaps[0]->live);
    um_theap_retire_parked();
    cr_expect_eq(count_slabs().orphans, count_slabs().slabs);
}

static void *leave_much(void *arg) {
    for (int i = 0; i < 8 * SOME; i++)
        cr_assert_not_null(give(32768));
    return leave_some(arg);
}

Test(registry, what_is_much_is_not_parked) {
    cr_assert_not_null(um_theap_get());
    run_thread(leave_much, NULL);
    cr_expect_not(heaps[0]->live);
    cr_expect_eq(count_slabs().orphans, count_slabs().slabs);
    um_space_setting.decay_ms = 0;
    run_thread(leave_some, NULL);
    cr_expect_not(heaps[0]->live);
    cr_expect_eq(count_slabs().orphans, count_slabs().slabs);
}

/* Much is parked where threads come one after another, and little again when nobody wanted it. */
Test(registry, what_threads_in_turn_want_is_parked) {
    unsigned turns = 1;
    cr_assert_not_null(um_theap_get());
    for (int i = 0; i < 32 * SOME; i++)
        cr_assert_not_null(give(32768));
    run_thread(leave_much, NULL);
    cr_expect_not(heaps[0]->live);
    for (; !heaps[0]->live && turns < 16; turns++)
        run_thread(leave_much, NULL);
    cr_expect_leq(turns, 5, "%u", turns);
    for (unsigned i = 0; i < 5; i++) {
        um_theap_retire_parked();
        run_thread(leave_some, NULL);
    }
    um_theap_retire_parked();
    run_thread(leave_much, NULL);
    cr_expect_not(heaps[0]->live);
}

static int child_with_a_parked_heap(void) {
    um_lock_forker = um_thread_id();
    um_theap_child_after_fork();
    um_space_reset_locks();
    um_lock_forker = 0;
    run_thread(take_over, NULL);
    return count_slabs().slabs == 0 ? 0 : 1;
}

Test(registry, a_child_of_fork_has_the_parked_heaps) {
    int status;
    cr_assert_not_null(um_theap_get());
    run_thread(leave_some, NULL);
    um_theap_lock_all();
    um_space_lock_all();
    pid_t child = fork();
    if (child == 0)
        _exit(child_with_a_parked_heap());
    um_space_unlock_all();
    um_theap_unlock_all();
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x", status);
    run_thread(take_over, NULL);
}

static void *hold_some(void *arg) {
    void **p = arg;
    for (int i = 0; i < 100; i++)
        p[i] = give(64);
    heaps[0] = um_tls.heap;
    while (!go)
        sched_yield();
    leave();
    return NULL;
}

/* The child: everything works at once, and the other thread's blocks can be freed. */
static int child_of_fork(void **theirs) {
    um_lock_forker = um_thread_id(); /* holds every lock, as the fork handlers have it */
    um_theap_child_after_fork();
    um_space_reset_locks();
    um_lock_forker = 0;
    um_theap *h = um_tls.heap;
    void *p = give(64);
    if (!p || h->fork_gen != um_theap_fork_gen || heaps[0]->fork_gen == um_theap_fork_gen)
        return 1;
    take_back(p);
    for (int i = 0; i < 100; i++)
        take_back(theirs[i]);
    um_remote_flush(h);
    if (um_span_of(theirs[0])->heap || um_count.slabs_adopted)
        return 2;
    um_theap_flush(h);
    leave();
    return count_slabs().slabs == 0 ? 0 : 3;
}

Test(registry, child_of_fork) {
    static void *theirs[100];
    pthread_t t;
    int status;
    take_back(give(64));
    cr_assert_eq(pthread_create(&t, NULL, hold_some, theirs), 0);
    while (!heaps[0])
        sched_yield();
    um_theap_lock_all();
    um_space_lock_all();
    pid_t child = fork();
    if (child == 0)
        _exit(child_of_fork(theirs));
    um_space_unlock_all();
    um_theap_unlock_all();
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x", status);
    go = true;
    pthread_join(t, NULL);
    cr_expect_not_null(give(64), "the parent goes on");
    check_heap(um_tls.heap);
}

/* Threads end while others free their blocks: whoever comes last, everything goes back. */
enum { ROUNDS = 3000, BLOCKS = 12 };

static void *handed[BLOCKS];
static _Atomic(int) handed_round;
static _Atomic(int) freed_round;

static void *free_what_is_handed(void *arg) {
    (void)arg;
    cr_assert_not_null(um_theap_get());
    for (int round = 1; round <= ROUNDS; round++) {
        while (handed_round < round)
            sched_yield();
        for (int i = 0; i < BLOCKS; i++)
            take_back(handed[i]);
        um_remote_flush(um_tls.heap);
        freed_round = round;
    }
    leave();
    return NULL;
}

static bool parks;

static void *hand_over_and_leave(void *round) {
    cr_assert_not_null(um_theap_get());
    um_tls.heap->keep_bytes = UM_MIB; /* as after some work: slabs that get empty stay for a while */
    for (int i = 0; i < BLOCKS; i++)
        cr_assert_not_null(handed[i] = give(32768));
    handed_round = (int)(intptr_t)round;
    if (parks)
        um_theap_leave(um_tls.heap);
    else
        leave();
    return NULL;
}

Test(registry, exit_and_remote_frees_at_once) {
    pthread_t freer;
    cr_assert_eq(pthread_create(&freer, NULL, free_what_is_handed, NULL), 0);
    for (int round = 1; round <= ROUNDS; round++) {
        run_thread(hand_over_and_leave, (void *)(intptr_t)round);
        while (freed_round < round)
            sched_yield();
        cr_assert_eq(count_slabs().slabs, 0, "round %d", round);
        um_space_check();
    }
    pthread_join(freer, NULL);
    cr_expect_leq(um_count.heaps_created, 2);
}

/* Half of the threads take the last one's heap over, half find it handed over meanwhile. */
Test(registry, parking_and_remote_frees_at_once) {
    pthread_t freer;
    parks = true;
    cr_assert_eq(pthread_create(&freer, NULL, free_what_is_handed, NULL), 0);
    for (int round = 1; round <= ROUNDS; round++) {
        run_thread(hand_over_and_leave, (void *)(intptr_t)round);
        if (round % 2)
            um_theap_retire_parked();
        while (freed_round < round)
            sched_yield();
    }
    pthread_join(freer, NULL);
    um_theap_retire_parked();
    cr_expect_eq(count_slabs().slabs, 0);
    um_space_check();
    cr_expect_leq(um_count.heaps_created, 3);
}

/* The linker sends um_theap_exit's call of um_theap_flush here, so that frees arrive at its weakest moment:
   after the flush, before the stack is closed. */
void __real_um_theap_flush(um_theap *h);
void __wrap_um_theap_flush(um_theap *h);

static bool late_frees;

static void *free_handed(void *arg) {
    (void)arg;
    for (int i = 0; i < 4; i++)
        take_back(handed[i]);
    leave();
    return NULL;
}

void __wrap_um_theap_flush(um_theap *h) {
    __real_um_theap_flush(h);
    if (late_frees) {
        late_frees = false;
        run_thread(free_handed, NULL);
    }
}

static void *leave_while_all_is_freed(void *arg) {
    (void)arg;
    for (int i = 0; i < 4; i++)
        cr_assert_not_null(handed[i] = give(16384));
    cr_assert_not_null(give(16384)); /* the first slab is full now */
    cr_assert_eq(um_span_of(handed[0])->place, UM_PLACE_FULL);
    um_tls.heap->keep_bytes = UM_MIB;
    late_frees = true;
    leave();
    return NULL;
}

Test(registry, a_slab_emptied_while_its_owner_leaves) {
    run_thread(leave_while_all_is_freed, NULL);
    cr_expect_not(late_frees);
    cr_expect_eq(count_slabs().slabs, 1);
    um_space_check();
}
