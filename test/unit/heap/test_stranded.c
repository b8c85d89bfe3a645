/* Slabs that others emptied while their owner sits idle: their pages go, the owner finds them fit for use,
   and a slab with a block in use, or of an owner who was here a moment ago, is left alone. */
#include "heap_calls.h"

#include "heap/queue.h"
#include "os/os.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { BLOCKS = 4 * 64, BYTES = 1024 }; /* four slabs and a current one */

static void *blocks[BLOCKS];
static um_theap *owner;
static unsigned freed = BLOCKS;
static uint64_t now;

/* The owner is of another class's slab and stays away from here on. */
static void start(void) {
    owner = um_theap_get();
    cr_assert_not_null(owner);
    owner->bins[um_class_of(BYTES)].heat = UM_HOT;
    for (int i = 0; i < BLOCKS; i++) {
        cr_assert_not_null(blocks[i] = give(BYTES));
        memset(blocks[i], 0x5a, BYTES);
    }
    cr_assert_not_null(give(BYTES));
    um_space_setting.decay_ms = 1000;
    now = um_os_now_ms() + 1000000;
    atomic_store(&owner->seen_ms, 1);
}

TestSuite(stranded, .init = start);

static void *free_and_purge(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < freed; i++)
        take_back(blocks[i]);
    um_remote_flush(um_tls.heap);
    um_stranded_purge(now);
    leave();
    return NULL;
}

static bool is_purged(const um_span *s) {
    return (s->remote & UM_REMOTE_PURGED) != 0;
}

static bool reads_zero(const um_span *s) {
    const char *p = um_span_start(s);
    return p[0] == 0 && memcmp(p, p + 1, UM_SLOT_BYTES - 1) == 0;
}

Test(stranded, pages_go_and_the_token_comes_back) {
    run_thread(free_and_purge, NULL);
    for (int i = 0; i < BLOCKS; i += 64) {
        const um_span *s = um_span_of(blocks[i]);
        cr_expect_eq(s->remote, UM_REMOTE_PURGED | UM_REMOTE_PENDING);
        cr_expect(reads_zero(s));
        cr_expect_eq(s->place, UM_PLACE_FULL);
    }
    cr_expect_eq(um_count.purges, 4);
    cr_expect_eq(owner->stranded, 0);
    cr_expect_not_null(owner->pending);
    um_theap_drain(owner, atomic_exchange(&owner->pending, NULL));
    check_heap(owner);
    cr_expect_eq(count_slabs().slabs, 1);
    cr_expect_eq(owner->bins[um_class_of(BYTES)].frees, BLOCKS);
    um_space_check();
}

Test(stranded, a_slab_with_a_block_in_use_keeps_its_pages) {
    freed = BLOCKS - 1;
    run_thread(free_and_purge, NULL);
    cr_expect_eq(um_count.purges, 3);
    cr_expect_not(is_purged(um_span_of(blocks[BLOCKS - 1])));
    cr_expect_eq(*(unsigned char *)blocks[BLOCKS - 1], 0x5a);
    for (int i = 0; i < BLOCKS; i++) /* the owner is back */
        cr_assert_not_null(give(BYTES));
    check_heap(owner);
    um_space_check();
}

Test(stranded, an_owner_who_was_just_here_is_left_alone) {
    atomic_store(&owner->seen_ms, now);
    run_thread(free_and_purge, NULL);
    cr_expect_eq(um_count.purges, 0);
    cr_expect_eq(um_remote_count(um_span_of(blocks[0])->remote), 64);
}

Test(stranded, pages_stay_where_others_would_not_be_looked_at) {
    um_place.strict = true;
    run_thread(free_and_purge, NULL);
    cr_expect_eq(um_count.purges, 0);
    cr_expect_not(is_purged(um_span_of(blocks[0])));
}

Test(stranded, a_current_slab_is_cut_anew) {
    um_span *s = um_span_of(blocks[0]);
    um_bin *bin = &owner->bins[um_class_of(BYTES)];
    um_span *last = bin->current;
    um_queue_remove(&bin->full, s); /* makes the two change places */
    um_queue_push(&bin->full, last);
    bin->current = s;
    s->place = UM_PLACE_CURRENT;
    last->place = UM_PLACE_FULL;
    s->mark = s->countdown = UM_COUNTDOWN_NEVER;
    last->mark = last->countdown = last->wake;
    last->carved = last->capacity; /* it looks full to its owner */
    last->list = um_slab_end(last);
    um_theap_show(owner, bin, &s->home);
    run_thread(free_and_purge, NULL);
    cr_assert(is_purged(s));
    for (int i = 0; i < 64; i++) {
        char *p = give(BYTES);
        cr_assert_eq(um_span_of(p), s);
        memset(p, 0x66, BYTES);
    }
    cr_expect_not(is_purged(s));
    cr_expect_eq(s->carved, 64);
    (void)give(BYTES);
    check_heap(owner);
    um_space_check();
}

Test(stranded, the_owner_may_leave_afterwards) {
    run_thread(free_and_purge, NULL);
    leave();
    cr_expect_eq(count_slabs().slabs, 1, "the one with a block in use");
    um_space_check();
}

Test(stranded, locked_pages_are_not_taken_for_zero) {
    um_span *s = um_span_of(blocks[0]);
    cr_assert_eq(syscall(SYS_mlock, um_span_start(s), UM_SLOT_BYTES), 0);
    freed = 64;
    run_thread(free_and_purge, NULL);
    cr_expect_eq(s->remote, UM_REMOTE_PURGED | UM_REMOTE_KEPT | UM_REMOTE_PENDING);
    cr_expect_eq(um_count.purge_failures, 1);
    um_theap_drain(owner, atomic_exchange(&owner->pending, NULL));
    cr_expect_neq(um_span_kind_of(s), UM_SPAN_SLAB);
    cr_expect_eq(s->state, UM_DIRTY);
    um_space_check();
}
