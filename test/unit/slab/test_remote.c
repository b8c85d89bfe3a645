/* The packing of the remote word: every block and every count comes out as it went in, and the parts do not
   touch each other. */
#include "slab/remote.h"
#include "space/space.h"

#include <criterion/criterion.h>

static um_span *slab;

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
    slab = um_space_alloc(0, 1, 1, NULL);
    cr_assert_not_null(slab);
}

TestSuite(remote_word, .init = start);

Test(remote_word, parts_are_apart) {
    const uint64_t parts[] = {UM_REMOTE_HEAD_MASK, UM_REMOTE_COUNT_MASK, UM_REMOTE_PENDING, UM_REMOTE_ORPHAN,
                              ~(UM_REMOTE_EPOCH_ONE - 1)};
    for (unsigned i = 0; i < UM_COUNT(parts); i++)
        for (unsigned j = 0; j < i; j++)
            cr_expect_eq(parts[i] & parts[j], 0);
    cr_expect_eq(UM_REMOTE_LIST_MASK, UM_REMOTE_HEAD_MASK | UM_REMOTE_COUNT_MASK);
}

Test(remote_word, holds_every_block_of_every_class) {
    const uint64_t rest = UM_REMOTE_PENDING | UM_REMOTE_ORPHAN | 77 * UM_REMOTE_EPOCH_ONE;
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_slab_init(slab, c);
        for (unsigned i = 0; i < slab->capacity; i++) {
            um_block *b = (um_block *)(um_span_start(slab) + (size_t)i * slab->block_bytes);
            uint64_t w = um_remote_first(slab, b) | um_remote_sum(i + 1);
            cr_assert_eq(w & ~UM_REMOTE_LIST_MASK, 0);
            cr_assert_eq(um_remote_head(slab, w | rest), b, "class %u block %u", c, i);
            cr_assert_eq(um_remote_count(w | rest), i + 1);
            cr_assert_eq((w | rest) & ~UM_REMOTE_LIST_MASK, rest);
        }
    }
}

Test(remote_word, zero_is_an_empty_list) {
    um_slab_init(slab, 0);
    cr_expect_eq(um_remote_head(slab, 0), um_slab_end(slab));
    cr_expect_eq(um_remote_head(slab, ~UM_REMOTE_LIST_MASK), um_slab_end(slab));
    cr_expect_eq(um_remote_count(0), 0);
    cr_expect_eq(um_remote_count(~UM_REMOTE_LIST_MASK), 0);
}
