/* Slabs without owner: made at a thread's exit, listed when a block is free, adopted with every block, given
   back when all came home and no token is out. */
#include "heap_calls.h"

enum { BLOCKS = 64, BYTES = 1024 }; /* one slab */

static void *blocks[4 * BLOCKS];
static unsigned block_count = BLOCKS, keep_from = BLOCKS;

static um_span *slab(void) {
    return um_span_of(blocks[0]);
}

/* Fills whole slabs, frees what lies from keep_from on, and ends. */
static void *give_and_leave(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < block_count; i++)
        cr_assert_not_null(blocks[i] = give(BYTES));
    for (unsigned i = keep_from; i < block_count; i++)
        take_back(blocks[i]);
    leave();
    return NULL;
}

static void push(unsigned i) {
    um_block *b = blocks[i];
    b->self = (uintptr_t)b;
    um_remote_push(um_span_of(b), b, b, 1);
}

static void start(void) {
    cr_assert_not_null(um_theap_get());
}

TestSuite(orphan, .init = start);

Test(orphan, a_full_slab_waits_unlisted_for_its_first_block) {
    run_thread(give_and_leave, NULL);
    cr_expect_eq(um_span_kind_of(slab()), UM_SPAN_SLAB);
    cr_expect_eq(slab()->place, UM_PLACE_ORPHAN);
    cr_expect_eq(slab()->owner, UM_ID_NOBODY);
    cr_expect_null(slab()->heap);
    cr_expect(slab()->remote & UM_REMOTE_ORPHAN);
    cr_expect_not(slab()->listed);
    cr_expect_null(um_orphan_adopt(um_tls.heap, um_class_of(BYTES)));
    push(5);
    cr_expect(slab()->listed);
    push(6);
    cr_expect_eq(um_remote_count(slab()->remote), 2);
    cr_expect_eq(um_count.slabs_orphaned, 1);
}

Test(orphan, an_empty_slab_is_given_back_at_exit) {
    keep_from = 0;
    run_thread(give_and_leave, NULL);
    cr_expect_eq(count_slabs().slabs, 0);
    um_space_check();
}

Test(orphan, the_last_block_gives_the_slab_back) {
    keep_from = 40;
    run_thread(give_and_leave, NULL);
    cr_expect(slab()->listed);
    for (unsigned i = 0; i < 40; i++) {
        cr_assert_eq(um_span_kind_of(slab()), UM_SPAN_SLAB);
        push(i);
    }
    cr_expect_eq(count_slabs().slabs, 0);
    cr_expect_null(um_orphan_adopt(um_tls.heap, um_class_of(BYTES)), "it is off the list");
    cr_expect_eq(um_orphan_frees[um_class_of(BYTES)], 40);
    um_space_check();
}

Test(orphan, is_adopted_with_all_free_blocks) {
    um_span *s;
    keep_from = 40;
    run_thread(give_and_leave, NULL);
    for (unsigned i = 0; i < 10; i++)
        push(i);
    cr_expect_null(um_orphan_adopt(um_tls.heap, um_class_of(BYTES) + 1), "another class");
    s = um_orphan_adopt(um_tls.heap, um_class_of(BYTES));
    cr_assert_eq(s, slab());
    cr_expect_eq(local_blocks(s), 34);
    cr_expect_eq(s->remote % UM_REMOTE_EPOCH_ONE, 0);
    cr_expect_eq(s->remote / UM_REMOTE_EPOCH_ONE, 2, "changed hands twice");
    cr_expect_eq(s->owner, um_thread_id());
    cr_expect_eq(s->heap, um_tls.heap);
    cr_expect_eq(s->place, UM_PLACE_NONE);
    cr_expect_eq(um_orphan_frees[um_class_of(BYTES)], 10);
    cr_expect_eq(um_count.slabs_adopted, 1);
    cr_expect_null(um_orphan_adopt(um_tls.heap, um_class_of(BYTES)));
}

static void *push_ten(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < 10; i++)
        push(i);
    return NULL;
}

static void *leave_with_blocks_from_all(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < BLOCKS; i++)
        cr_assert_not_null(blocks[i] = give(BYTES));
    for (unsigned i = 40; i < BLOCKS; i++)
        take_back(blocks[i]);
    run_thread(push_ten, NULL);
    leave();
    return NULL;
}

Test(orphan, joins_what_the_owner_and_others_freed) {
    run_thread(leave_with_blocks_from_all, NULL);
    cr_expect_eq(um_remote_count(slab()->remote), 34);
    cr_assert_eq(um_orphan_adopt(um_tls.heap, um_class_of(BYTES)), slab());
    cr_expect_eq(local_blocks(slab()), 34);
}

Test(orphan, serves_live_threads_before_fresh_memory) {
    unsigned slabs;
    block_count = 4 * BLOCKS;
    keep_from = 2 * BLOCKS + BLOCKS / 2;
    run_thread(give_and_leave, NULL);
    slabs = count_slabs().slabs;
    for (unsigned i = 0; i < 2 * BLOCKS; i += 2)
        push(i);
    for (unsigned i = 0; i < BLOCKS + BLOCKS / 2; i++)
        cr_assert_not_null(give(BYTES));
    cr_expect_eq(count_slabs().slabs, slabs);
    cr_expect_eq(count_slabs().orphans, 0);
    cr_expect_eq(um_count.slabs_adopted, 3);
    check_heap(um_tls.heap);
}

Test(orphan, with_the_token_out_is_not_given_back) {
    um_span *s;
    run_thread(give_and_leave, NULL);
    s = slab();
    atomic_fetch_or(&s->remote, UM_REMOTE_PENDING); /* a thread is about to find out */
    for (unsigned i = 0; i < BLOCKS; i++)
        push(i);
    cr_expect_eq(um_span_kind_of(s), UM_SPAN_SLAB);
    um_orphan_look(s);
    cr_expect_eq(um_span_kind_of(s), UM_SPAN_SLAB);
    um_remote_deliver(s);
    cr_expect_neq(um_span_kind_of(s), UM_SPAN_SLAB);
    cr_expect_eq(s->remote, 0);
    um_space_check();
}

Test(orphan, keeps_the_token_through_adoption) {
    um_span *s;
    run_thread(give_and_leave, NULL);
    atomic_fetch_or(&slab()->remote, UM_REMOTE_PENDING);
    push(0);
    s = um_orphan_adopt(um_tls.heap, um_class_of(BYTES));
    cr_assert_eq(s, slab());
    cr_expect(s->remote & UM_REMOTE_PENDING);
    um_remote_deliver(s);
    cr_expect_eq(um_tls.heap->pending, s, "the new owner will look");
    cr_expect(s->remote & UM_REMOTE_PENDING);
}

Test(orphan, a_late_look_harms_nothing) {
    um_span *s;
    keep_from = 40;
    run_thread(give_and_leave, NULL);
    s = slab();
    um_orphan_look(s);
    cr_assert_eq(um_orphan_adopt(um_tls.heap, um_class_of(BYTES)), s);
    um_orphan_look(s);
    cr_expect_eq(um_span_kind_of(s), UM_SPAN_SLAB);
    cr_expect_not(s->listed);
    s->next = NULL;
    um_orphan_give_all(um_tls.heap, s);
    cr_expect(s->listed);
    for (unsigned i = 0; i < 40; i++)
        push(i);
    um_orphan_look(s); /* given back by now */
    um_space_check();
    cr_expect_eq(count_slabs().slabs, 0);
}

/* The owner stayed in the parent of a fork. */
Test(orphan, is_salvaged_from_a_thread_that_is_not_here) {
    um_theap *parent = um_tls.heap;
    um_span *s;
    for (unsigned i = 0; i < BLOCKS; i++)
        cr_assert_not_null(blocks[i] = give(BYTES));
    s = slab();
    atomic_fetch_or(&s->remote, UM_REMOTE_PENDING); /* held by a thread that is not here either */
    um_theap_fork_gen++;
    cr_assert_neq(parent->fork_gen, um_theap_fork_gen);
    push(3);
    cr_expect_eq(s->place, UM_PLACE_ORPHAN);
    cr_expect_eq(s->owner, UM_ID_NOBODY);
    cr_expect_not(s->remote & UM_REMOTE_PENDING);
    cr_expect_eq(um_remote_count(s->remote), 1);
    cr_expect(s->listed);
    um_orphan_salvage(s); /* nothing more to do */
    for (unsigned i = 0; i < BLOCKS; i++)
        if (i != 3)
            push(i);
    cr_expect_neq(um_span_kind_of(s), UM_SPAN_SLAB);
}

/* The owner was about to take a block when the process forked. */
Test(orphan, salvage_leaves_out_a_block_that_was_being_taken) {
    um_span *s;
    for (unsigned i = 0; i < BLOCKS; i++)
        cr_assert_not_null(blocks[i] = give(BYTES));
    s = slab();
    take_back(blocks[5]);
    take_back(blocks[6]);
    cr_assert_eq((void *)s->list, blocks[6]);
    s->list->self = 0;
    um_theap_fork_gen++;
    push(3);
    cr_expect_eq(um_remote_count(s->remote), 2, "one that was free, and the one that came back");
    for (unsigned i = 0; i < BLOCKS; i++)
        if (i != 3 && i != 5 && i != 6)
            push(i);
    cr_expect_eq(um_span_kind_of(s), UM_SPAN_SLAB, "somebody has the block");
    push(6);
    cr_expect_neq(um_span_kind_of(s), UM_SPAN_SLAB);
}
