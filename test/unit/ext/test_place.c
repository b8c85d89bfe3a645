/* The place that a program names for a family's memory: each piece comes from there, spread ones from all in
   turn, and a place that does not exist is refused before anything is taken. */
#include "ext/place.h"
#include "front/front.h"
#include "space/place.h"
#include "umalloc/arena.h"
#include "umalloc/buddy.h"
#include "umalloc/heap.h"
#include "umalloc/pool.h"
#include "umalloc/stack.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define NOWHERE UM_NODE(1023)
#define TURNS   10u

static void two_nodes(void) {
    um_front_free(um_front_malloc(1)); /* the window is there, and place 0 in use */
    um_place.count = 2;
    um_place.policy = UM_PLACING_LOCAL;
    um_place.id[1] = 1;
    atomic_store(&um_place.first_touch, true); /* the kernel may not know node 1 */
    um_place.homing = true;
}

static unsigned node_of(const void *p) {
    cr_assert_not_null(p);
    return (unsigned)um_node_intended(p);
}

Test(place, flags_that_are_one) {
    cr_expect_eq(um_ext_check_place(0), 0);
    cr_expect_eq(um_ext_check_place(UM_LOCAL), 0);
    cr_expect_eq(um_ext_check_place(UM_SPREAD), 0);
    cr_expect_eq(um_ext_check_place(UM_NODE(0)), 0);
    cr_expect_eq(um_ext_check_place(NOWHERE), EINVAL);
    cr_expect_eq(um_ext_check_place((um_flags)3 << 16), EINVAL, "there is no such wish");
    cr_expect_eq(um_ext_check_place(UM_LOCAL | UM_ZERO), EINVAL, "a place and nothing else");
    cr_expect_eq(um_ext_check_place(UM_ALIGN(64)), EINVAL);
}

Test(place, arenas, .init = two_nodes) {
    um_arena *a = um_arena_new(&(um_arena_options){.place = UM_NODE(1)});
    um_arena *spread = um_arena_new(&(um_arena_options){.place = UM_SPREAD});
    char buffer[4096];
    um_arena *own = um_arena_new(
        &(um_arena_options){.buffer = buffer, .buffer_bytes = sizeof buffer, .place = UM_NODE(1)});
    unsigned far = 0;
    cr_assert(a && spread && own);
    cr_expect_eq(node_of(a), 1, "the arena itself lies in its first chunk");
    for (unsigned i = 0; i < TURNS; i++) {
        cr_expect_eq(node_of(um_arena_alloc(a, 1 << 20)), 1);
        far += node_of(um_arena_alloc(spread, 40 << 20)); /* larger than what chunks double to */
    }
    cr_expect_eq(far, TURNS / 2);
    cr_expect_eq(node_of(um_arena_alloc(own, 10000)), 1, "what follows the buffer");
    um_arena_delete(a);
    um_arena_delete(spread);
    um_arena_delete(own);
    errno = 0;
    cr_expect_null(um_arena_new(&(um_arena_options){.place = NOWHERE}));
    cr_expect_eq(errno, EINVAL);
}

Test(place, pools, .init = two_nodes) {
    um_pool *p = um_pool_new(&(um_pool_options){.bytes = 5000, .place = UM_NODE(1), .ready_objects = 100});
    um_pool *spread = um_pool_new(&(um_pool_options){.bytes = 100000, .place = UM_SPREAD, .magazine = 1});
    um_pool_buffers *b = um_pool_buffers_new(&(um_pool_options){.place = UM_NODE(1)});
    unsigned on[2] = {0};
    cr_assert(p && spread && b);
    for (unsigned i = 0; i < 300; i++)
        cr_assert_eq(node_of(um_pool_alloc(p)), 1);
    for (unsigned i = 0; i < 8 * TURNS; i++)
        on[node_of(um_pool_alloc(spread))]++;
    cr_expect_gt(on[0], 2 * TURNS);
    cr_expect_gt(on[1], 2 * TURNS);
    for (size_t bytes = 64; bytes <= 4096; bytes *= 2)
        cr_expect_eq(node_of(um_pool_buffers_get(b, bytes)), 1);
    um_pool_delete(p);
    um_pool_delete(spread);
    um_pool_buffers_delete(b);
    errno = 0;
    cr_expect_null(um_pool_new(&(um_pool_options){.bytes = 64, .place = NOWHERE}));
    cr_expect_eq(errno, EINVAL);
}

Test(place, buddy_regions, .init = two_nodes) {
    unsigned far = 0;
    um_buddy *b = um_buddy_new(&(um_buddy_options){.bytes = 1 << 20, .place = UM_NODE(1)});
    cr_assert_not_null(b);
    cr_expect_eq(node_of(um_buddy_alloc(b, 100)), 1);
    um_buddy_delete(b);
    for (unsigned i = 0; i < TURNS; i++) {
        b = um_buddy_new(&(um_buddy_options){.bytes = 1 << 20, .place = UM_SPREAD});
        cr_assert_not_null(b);
        far += node_of(um_buddy_alloc(b, 100));
        um_buddy_delete(b);
    }
    cr_expect(far > 0 && far < TURNS);
    errno = 0;
    cr_expect_null(um_buddy_new(&(um_buddy_options){.bytes = 1 << 20, .place = NOWHERE}));
    cr_expect_eq(errno, EINVAL);
}

Test(place, stacks, .init = two_nodes) {
    um_stack *there = um_stack_take_at(64 << 10, UM_NODE(1)), *here = um_stack_take_at(64 << 10, UM_NODE(0));
    cr_assert(there && here);
    cr_expect_eq(node_of(there), 1, "its record lies where it does");
    cr_expect_eq(node_of(here), 0);
    um_stack_give(there);
    um_stack_give(here);
    for (unsigned i = 0; i < TURNS; i++) { /* kept ones too */
        there = um_stack_take_at(64 << 10, UM_NODE(1));
        cr_expect_eq(node_of(there), 1);
        um_stack_give(there);
    }
    errno = 0;
    cr_expect_null(um_stack_take_at(64 << 10, NOWHERE));
    cr_expect_eq(errno, EINVAL);
}
