/* Memory sent to another node on request: which pages the kernel is asked to move, what becomes of what
   cannot be moved, and that nothing sent away is kept for reuse. The kernel is made up: the nodes are not
   there. */
#include "heap_calls.h"

#include "space/internal.h"
#include "os/os.h"
#include "two_nodes.h"

#include <errno.h>

/* What the kernel is asked, and how it answers. */
static struct {
    unsigned calls, node, busy_calls; /* so many of the next calls leave a page behind */
    size_t pages;
    uintptr_t last;
    int error;
} kernel;

int __wrap_um_os_move_pages(uintptr_t at, size_t pages, unsigned node, um_os_moved *out);
int __wrap_um_os_move_pages(uintptr_t at, size_t pages, unsigned node, um_os_moved *out) {
    size_t left = kernel.busy_calls ? 1 : kernel.error ? pages / 2 : 0;
    kernel.busy_calls -= kernel.busy_calls != 0;
    kernel.calls++;
    kernel.node = node;
    kernel.pages += pages;
    kernel.last = at;
    *out = (um_os_moved){pages - left, left};
    return kernel.error;
}

/* The thread's heap draws from the first node. */
static void start(void) {
    um_os_init();
    two_nodes_known(1);
    two_nodes_placed();
    cr_assert_not_null(um_theap_get());
    um_tls.heap->node = 0;
    um_tls.heap->patience = 255;
}

TestSuite(migrate, .init = start);

static size_t slot_pages(void) {
    return UM_SLOT_BYTES / um_os_page_bytes;
}

static um_span *large(size_t bytes) {
    bool zeroed;
    char *p = um_large_alloc(um_tls.heap, bytes, 1, &zeroed);
    cr_assert_not_null(p);
    memset(p, 7, bytes);
    return um_span_of(p);
}

Test(migrate, all_pages_of_a_span_are_moved) {
    um_migration got;
    um_span *s = large(3 * UM_SLOT_BYTES);
    cr_expect_eq(um_migrate_span(s, 1, &got), 0);
    cr_expect_eq(kernel.calls, 1);
    cr_expect_eq(kernel.node, 1);
    cr_expect_eq(kernel.last, (uintptr_t)um_span_start(s));
    cr_expect_eq(kernel.pages, 3 * slot_pages());
    cr_expect_eq(got.there_bytes, 3 * UM_SLOT_BYTES);
    cr_expect_eq(got.elsewhere_bytes, 0);
}

/* It goes past the thread's cache, and the memory reads as zero: its pages are gone. */
Test(migrate, what_was_sent_away_is_not_kept) {
    um_migration got;
    um_span *s = large(3 * UM_SLOT_BYTES);
    char *at = um_span_start(s);
    cr_expect_eq(um_migrate_span(s, 1, &got), 0);
    um_large_free(um_tls.heap, s);
    cr_expect_eq(um_span_kind_of(s), UM_SPAN_FREE);
    cr_expect_eq(um_spaces_used, 1);
    cr_expect_eq(at[0], 0);
    cr_expect_eq(at[3 * UM_SLOT_BYTES - 1], 0);
    um_space_check();
    s = large(3 * UM_SLOT_BYTES);
    cr_expect_not(um_span_migrated(s), "a new block is at home");
    um_large_free(um_tls.heap, s);
    cr_expect_eq(um_span_kind_of(s), UM_SPAN_CACHED);
}

Test(migrate, what_came_home_is_kept) {
    um_migration got;
    um_span *s = large(3 * UM_SLOT_BYTES);
    cr_expect_eq(um_migrate_span(s, 1, &got), 0);
    cr_expect_eq(um_migrate_span(s, 0, &got), 0);
    um_large_free(um_tls.heap, s);
    cr_expect_eq(um_span_kind_of(s), UM_SPAN_CACHED);
}

/* Cut in two, grown in place, or moved to grow: its parts stay marked, or are mapped anew. */
Test(migrate, the_mark_goes_with_the_pages) {
    um_migration got;
    char *p, *tail;
    um_span *s = large(64 * UM_SLOT_BYTES);
    cr_expect_eq(um_migrate_span(s, 1, &got), 0);
    tail = um_span_start(s) + 32 * UM_SLOT_BYTES;
    p = um_large_resize(um_tls.heap, s, 32 * UM_SLOT_BYTES);
    cr_assert_eq(p, um_span_start(s));
    cr_expect_eq(tail[0], 0);
    cr_expect_eq(p[0], 7);
    p = um_large_resize(um_tls.heap, s, 1024 * UM_SLOT_BYTES);
    cr_assert_not_null(p);
    s = um_span_of(p);
    um_large_free(um_tls.heap, s);
    cr_expect_eq(p[0], 0);
    um_space_check();
}

Test(migrate, pages_in_use_are_tried_again) {
    um_migration got;
    um_span *s = large(2 * UM_SLOT_BYTES);
    kernel.busy_calls = 2;
    cr_expect_eq(um_migrate_span(s, 1, &got), 0);
    cr_expect_eq(kernel.calls, 3);
    kernel.busy_calls = 1000;
    cr_expect_eq(um_migrate_span(s, 1, &got), EBUSY);
    cr_expect_lt(kernel.calls, 20);
    cr_expect_eq(got.elsewhere_bytes, um_os_page_bytes);
}

/* What could be moved was, and is told; so it is marked too. */
Test(migrate, a_full_node_is_an_error_with_a_part_done) {
    um_migration got;
    um_span *s = large(2 * UM_SLOT_BYTES);
    kernel.error = ENOMEM;
    cr_expect_eq(um_migrate_span(s, 1, &got), ENOMEM);
    cr_expect_eq(kernel.calls, 1);
    cr_expect_eq(got.there_bytes, UM_SLOT_BYTES);
    cr_expect_eq(got.elsewhere_bytes, UM_SLOT_BYTES);
    cr_expect(um_span_migrated(s));
    cr_expect_eq(um_theap_migrate(um_tls.heap, 1, &got), 0, "of small blocks there are none");
    cr_assert_not_null(give(64));
    cr_expect_eq(um_theap_migrate(um_tls.heap, 0, &got), ENOMEM);
    cr_expect_eq(um_tls.heap->node, 1, "the heap stays");
}

Test(migrate, unknown_nodes_are_refused) {
    um_migration got;
    um_span *s = large(2 * UM_SLOT_BYTES);
    cr_expect_eq(um_migrate_span(s, 2, &got), EINVAL);
    cr_expect_eq(um_migrate_span(s, UINT32_MAX, &got), EINVAL);
    cr_expect_eq(um_theap_migrate(um_tls.heap, 2, &got), EINVAL);
    cr_expect_eq(kernel.calls, 0);
}

/* Each slab goes once, wherever the heap has it, and the heap draws from the node then. */
Test(migrate, a_heap_goes_with_all_its_slabs) {
    enum { BLOCKS = 3000 };
    static void *blocks[BLOCKS], *blocks_kept[BLOCKS];
    um_migration got;
    struct slab_count before;
    for (unsigned i = 0; i < BLOCKS; i++) {
        cr_assert_not_null(blocks[i] = give(i % 2 ? 48 : 1000));
        memset(blocks[i], 9, 48);
    }
    for (unsigned i = 0; i < BLOCKS; i += 3)
        take_back(blocks[i]);
    for (unsigned i = 0; i < BLOCKS; i++)
        cr_assert_not_null(blocks_kept[i] = give(144)); /* their slabs are full */
    um_theap_flush(um_tls.heap);
    before = count_slabs();
    cr_expect_eq(um_theap_migrate(um_tls.heap, 1, &got), 0);
    cr_expect_eq(kernel.pages, before.slabs * slot_pages(), "%zu for %u", kernel.pages, before.slabs);
    cr_expect_eq(got.there_bytes, before.slabs * UM_SLOT_BYTES);
    cr_expect_eq(um_tls.heap->node, 1);
    check_heap(um_tls.heap);
    for (unsigned i = 0; i < BLOCKS; i++)
        if (i % 3)
            take_back(blocks[i]);
    for (unsigned i = 0; i < BLOCKS; i++)
        take_back(blocks_kept[i]);
    um_theap_flush(um_tls.heap);
    cr_expect_eq(um_spaces[0].dirty_bytes, 0, "what was sent away was given back: %zu",
                 um_spaces[0].dirty_bytes);
    um_space_check();
}
