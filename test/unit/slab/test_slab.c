/* Blocks of every class: cutting, numbering at every offset, walking, and what a damaged list is called. */
#include "slab/slab.h"
#include "os/os.h"
#include "space/space.h"

#include "dies.h"

static um_span *slab;

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
    slab = um_space_alloc(0, 1, 1, NULL);
    cr_assert_not_null(slab);
    slab->bytes = 0;
}

TestSuite(slab, .init = start);

static um_block *block(unsigned i) {
    return (um_block *)(um_span_start(slab) + (size_t)i * slab->block_bytes);
}

Test(slab, the_end_of_a_list_fails_the_mark_of_a_block) {
    for (int i = 0; i < 1000; i++) /* each try changes what it holds */
        cr_expect(!um_block_take(um_slab_end(&um_span_none)));
    cr_expect_eq(um_span_none.list, um_slab_end(&um_span_none));
    cr_expect_eq(um_span_none.countdown, UM_COUNTDOWN_NEVER);
}

Test(slab, starts_without_owner_and_blocks) {
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        atomic_store(&slab->remote, ~0ull);
        um_slab_init(slab, c);
        cr_expect_eq(um_span_kind_of(slab), UM_SPAN_SLAB);
        cr_expect_eq(slab->list, um_slab_end(slab));
        cr_expect_eq(slab->block_bytes, um_class_bytes(c));
        cr_expect_eq(slab->capacity, UM_SLOT_BYTES / um_class_bytes(c));
        cr_expect_eq(slab->carved, 0);
        cr_expect_eq(slab->remote, 0);
        cr_expect_eq(slab->place, UM_PLACE_NONE);
        cr_expect(slab->countdown == UM_COUNTDOWN_NEVER && slab->mark == UM_COUNTDOWN_NEVER);
        cr_expect(slab->wake >= 1 && slab->wake <= slab->capacity);
        cr_expect(slab->transit >= 1 && (slab->transit == 1 || slab->transit * slab->block_bytes <= 16384));
        cr_expect_leq(slab->transit, slab->capacity);
        cr_expect_eq(um_slab_touched(slab), 0);
    }
}

/* Takes all blocks of one carve off the list; they must be the next in order. */
static unsigned take_list(unsigned from) {
    unsigned n = 0;
    um_block *tail, *b = slab->list;
    unsigned length = um_slab_walk(slab, &tail);
    for (; b != um_slab_end(slab); b = b->next, n++) {
        cr_assert_eq(b, block(from + n));
        cr_assert_eq(b->self, (uintptr_t)b);
        cr_assert(b->next != um_slab_end(slab) || b == tail);
    }
    cr_assert_eq(n, length);
    slab->list = um_slab_end(slab);
    return n;
}

/* Few blocks of memory that is there anyway are cut at once; many are not, for lists of cold slabs are
 * walked. */
Test(slab, carves_memory_that_is_there_at_once) {
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        slab->bytes = UM_SLOT_BYTES;
        um_slab_init(slab, c);
        cr_assert(um_slab_carve(slab, UM_CARVE_BYTES));
        if (slab->capacity > 64)
            cr_expect_leq(slab->carved, 64);
        else
            cr_expect_eq(slab->carved, slab->block_bytes <= 4096 ? slab->capacity : 1);
        cr_expect_eq(take_list(0), slab->carved);
        slab->bytes = UM_SLOT_BYTES - 1;
        um_slab_init(slab, c);
        cr_assert(um_slab_carve(slab, UM_CARVE_BYTES));
        cr_expect_leq(slab->carved, um_max(1, 4096 / um_class_bytes(c)));
    }
}

Test(slab, carves_each_block_once) {
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        unsigned n = 0;
        um_slab_init(slab, c);
        while (um_slab_carve(slab, UM_CARVE_BYTES)) {
            unsigned more = take_list(n);
            cr_assert_geq(more, 1);
            cr_assert(more == 1 || more * slab->block_bytes <= 4096, "a page's worth");
            cr_assert(n || more <= 64);
            n += more;
            cr_assert_eq(slab->carved, n);
            cr_assert_geq(um_slab_touched(slab), n * slab->block_bytes);
            cr_assert_lt(um_slab_touched(slab), n * slab->block_bytes + um_os_page_bytes);
            cr_assert_leq(um_slab_touched(slab), UM_SLOT_BYTES);
        }
        cr_assert_eq(n, slab->capacity, "class %u", c);
        cr_assert_leq((uintptr_t)block(n), (uintptr_t)um_span_start(slab) + UM_SLOT_BYTES);
        cr_assert_eq(slab->list, um_slab_end(slab));
    }
}

Test(slab, touched_remembers_an_earlier_use) {
    um_slab_init(slab, 0);
    slab->bytes = UM_SLOT_BYTES;
    cr_assert(um_slab_carve(slab, UM_CARVE_BYTES));
    cr_expect_eq(um_slab_touched(slab), UM_SLOT_BYTES);
}

Test(slab, numbers_every_offset_of_every_class) {
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        um_slab_init(slab, c);
        const char *at = um_span_start(slab);
        for (unsigned offset = 0; offset < UM_SLOT_BYTES; offset++) {
            unsigned i = offset / slab->block_bytes;
            cr_assert_eq(um_slab_index(slab, at + offset), i, "class %u offset %u", c, offset);
            cr_assert_eq(um_slab_is_block(slab, at + offset),
                         offset % slab->block_bytes == 0 && i < slab->capacity, "class %u offset %u", c,
                         offset);
        }
    }
}

Test(slab, walks_an_empty_list) {
    um_block *tail = block(0);
    um_slab_init(slab, 3);
    cr_expect_eq(um_slab_walk(slab, &tail), 0);
    cr_expect_null(tail);
}

static void walk(void *arg) {
    um_block *tail;
    (void)arg;
    (void)um_slab_walk(slab, &tail);
}

/* The list of a slab of 48-byte blocks, all in order. */
static void start_list(void) {
    um_slab_init(slab, um_class_of(48));
    cr_assert(um_slab_carve(slab, UM_CARVE_BYTES));
}

Test(slab, link_out_of_the_slab) {
    start_list();
    block(2)->next = (um_block *)(um_span_start(slab) + UM_SLOT_BYTES);
    expect_death(
        walk, NULL,
        "umalloc: freed memory was written to: 0x%zx (48-byte block, its free-list link is damaged)\n",
        (size_t)block(2));
    slab->list = NULL;
    expect_death(
        walk, NULL,
        "umalloc: freed memory was written to: 0x%zx (48-byte block, its free-list link is damaged)\n",
        (size_t)um_span_start(slab));
}

Test(slab, link_into_the_middle_of_a_block) {
    start_list();
    block(2)->next = (um_block *)((char *)block(3) + 16);
    expect_death(walk, NULL, "umalloc: invalid free: 0x%zx (48-byte block, not the start of a block)\n",
                 (size_t)block(3) + 16);
}

Test(slab, overwritten_mark) {
    start_list();
    block(4)->self = 1;
    expect_death(walk, NULL, "umalloc: freed memory was written to: 0x%zx (48-byte block)\n",
                 (size_t)block(4));
}

Test(slab, list_in_a_circle) {
    char text[256];
    start_list();
    block(5)->next = block(3);
    int status = dies_status(walk, NULL, text, sizeof text);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    cr_expect_not_null(strstr(text, "umalloc: double free: 0x"));
    cr_expect_not_null(strstr(text, " (48-byte block, it is on the free list twice) in thread "));
}

Test(slab, walk_ends_by_sigabrt, .signal = SIGABRT) {
    start_list();
    block(0)->self = (uintptr_t)block(1);
    walk(NULL);
}

static void damaged(void *arg) {
    um_slab_damaged(slab, arg);
}

Test(slab, first_block_of_a_list_without_its_mark) {
    start_list();
    expect_death(damaged, block(1), "umalloc: double free or write after free: 0x%zx (48-byte block)\n",
                 (size_t)block(1));
    expect_death(
        damaged, NULL,
        "umalloc: freed memory was written to: 0x%zx (48-byte block, a free-list link in its slab is "
        "damaged)\n",
        (size_t)um_span_start(slab));
}
