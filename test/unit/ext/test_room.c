/* Memory of the modules: it is theirs, counted as theirs, and free() knows it for what it is. */
#include "ext/room.h"
#include "space/space.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static uint64_t held(um_module m) {
    return atomic_load(&um_module_counts[m].bytes);
}

Test(room, is_taken_aligned_counted_and_given_back) {
    bool zeroed;
    uint64_t before = held(UM_MODULE_arena);
    char *p = um_room_take(UM_MODULE_arena, um_room_here(), 100000, 1 << 21, &zeroed);
    cr_assert_not_null(p);
    cr_expect_eq((uintptr_t)p % (1 << 21), 0);
    cr_expect_eq(um_room_bytes(p), 2 * UM_SLOT_BYTES);
    cr_expect_eq(held(UM_MODULE_arena), before + 2 * UM_SLOT_BYTES);
    for (size_t i = 0; zeroed && i < um_room_bytes(p); i++)
        cr_assert_eq(p[i], 0);
    memset(p, 1, um_room_bytes(p));
    um_room_give(p, um_room_bytes(p));
    cr_expect_eq(held(UM_MODULE_arena), before);
    cr_expect_geq(atomic_load(&um_module_counts[UM_MODULE_arena].peak_bytes), before + 2 * UM_SLOT_BYTES);
    um_space_check();
}

Test(room, grows_in_place_where_there_is_room) {
    char *p = um_room_take(UM_MODULE_arena, um_room_here(), 1, 1, NULL), *q;
    cr_assert_not_null(p);
    q = um_room_take(UM_MODULE_arena, um_room_here(), 1 << 20, 1, NULL);
    cr_assert_not_null(q);
    um_room_give(q, 1 << 20);
    if (um_room_extend(p, 3 * UM_SLOT_BYTES)) {
        cr_expect_eq(um_room_bytes(p), 3 * UM_SLOT_BYTES);
        memset(p, 1, um_room_bytes(p));
    } else {
        cr_expect_eq(um_room_bytes(p), UM_SLOT_BYTES);
    }
    cr_expect(um_room_extend(p, 1), "what is there already is enough");
    cr_expect_not(um_room_extend(p, SIZE_MAX));
    um_room_give(p, um_room_bytes(p));
    um_space_check();
}

Test(room, knows_its_own) {
    char *p = um_room_take(UM_MODULE_pool, um_room_here(), 1, 1, NULL);
    int on_the_stack;
    cr_expect(um_room_is(UM_MODULE_pool, p));
    cr_expect_not(um_room_is(UM_MODULE_arena, p));
    cr_expect_not(um_room_is(UM_MODULE_pool, p + 1));
    cr_expect_not(um_room_is(UM_MODULE_pool, &on_the_stack));
    cr_expect_not(um_room_is(UM_MODULE_pool, NULL));
    um_room_give(p, 0);
    cr_expect_not(um_room_is(UM_MODULE_pool, p));
}

static void reads_as_it_says(size_t bytes) {
    bool zeroed;
    char *p = um_room_take(UM_MODULE_arena, um_room_here(), bytes, 1, &zeroed);
    cr_assert_not_null(p);
    for (size_t i = 0; zeroed && i < bytes; i++)
        cr_assert_eq(p[i], 0, "byte %zu of memory that is to be zero", i);
    um_room_give(p, bytes);
}

/* What nobody touches this time may still hold what was written the last time. */
Test(room, that_came_dirty_goes_dirty) {
    enum { BYTES = 1 << 20 };
    bool zeroed;
    char *p = um_room_take(UM_MODULE_arena, um_room_here(), BYTES, 1, NULL);
    cr_assert_not_null(p);
    memset(p, 0xff, BYTES);
    um_room_give(p, BYTES);
    p = um_room_take(UM_MODULE_arena, um_room_here(), BYTES, 1, &zeroed);
    cr_assert_not_null(p);
    cr_assert_not(zeroed, "else this test tests nothing");
    um_room_give(p, 0);
    reads_as_it_says(BYTES);
    p = um_room_take(UM_MODULE_arena, um_room_here(), BYTES, 1, &zeroed);
    cr_assert(um_room_purge(p));
    um_room_give(p, 0);
    reads_as_it_says(BYTES);
    um_space_check();
}

/* So must be what grows into it. */
Test(room, that_grew_into_dirt_goes_dirty) {
    enum { BYTES = 1 << 20 };
    char *p = um_room_take(UM_MODULE_arena, um_room_here(), BYTES, 1, NULL);
    cr_assert_not_null(p);
    memset(p, 0xff, BYTES);
    um_room_give(p, BYTES);
    p = um_room_take(UM_MODULE_arena, um_room_here(), UM_SLOT_BYTES, 1, NULL);
    cr_assert_not_null(p);
    if (um_room_extend(p, BYTES)) {
        memset(p, 0, UM_SLOT_BYTES);
        um_room_give(p, 0);
        reads_as_it_says(BYTES);
    }
}

Test(room, absurd_sizes_are_refused) {
    errno = 0;
    cr_expect_null(um_room_take(UM_MODULE_pool, um_room_here(), SIZE_MAX, 1, NULL));
    cr_expect_eq(errno, ENOMEM);
    errno = 0;
    cr_expect_null(um_room_take(UM_MODULE_pool, um_room_here(), 1, SIZE_MAX / 2 + 1, NULL));
    cr_expect_eq(errno, ENOMEM);
}

Test(room, free_knows_it, .signal = SIGABRT) {
    free(um_room_take(UM_MODULE_pool, um_room_here(), 1, 1, NULL));
}
