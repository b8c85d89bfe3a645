/* What the looks for misuse find on a thread's lists, that they stay short, and that sound lists pass. */
#include "../heap_calls.h"
#include "../dies.h"

#define BYTES 64u
#define MANY  2000u

static void *blocks[MANY];

static um_bin *bin(void) {
    return &um_theap_get()->bins[um_class_of(BYTES)];
}

/* A hot class, its cache well filled. */
static void warm_up(void) {
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < MANY; i++)
            blocks[i] = give(BYTES);
        for (unsigned i = 0; i < MANY; i++)
            take_back(blocks[(i * 7) % MANY]);
    }
    for (unsigned i = 0; i < MANY; i++)
        blocks[i] = give(BYTES);
    for (unsigned i = 0; i < 40; i++)
        take_back(blocks[i * 9]);
    cr_assert(um_bin_cached(bin()));
}

static void patrol(void) {
    for (unsigned i = 0; i < UM_CLASSES; i++)
        um_theap_patrol(um_theap_get(), 2);
}

Test(patrol, sound_lists_pass) {
    warm_up();
    patrol();
    unsigned all = um_cache_look(bin()->cache, 40);
    cr_assert_gt(all, 2);
    for (unsigned i = 1; i < 40; i++)
        cr_assert_eq(um_cache_look(bin()->cache, i), i < all ? i : all, "%u of %u", i, all);
    for (unsigned i = 0; i < MANY; i++)
        if (i % 9 || i >= 360)
            take_back(blocks[i]);
    patrol();
}

static void ring_of(unsigned n) {
    for (unsigned i = 0; i < n; i++)
        take_back(blocks[1 + 2 * i]);
    take_back(blocks[1]);
    patrol();
}

static void ring_of_1(void *unused) {
    (void)unused;
    ring_of(1);
}

static void ring_of_2(void *unused) {
    (void)unused;
    ring_of(2);
}

static void ring_of_5(void *unused) {
    (void)unused;
    ring_of(5);
}

static void expect_double(void (*f)(void *)) {
    char text[256];
    int status = dies_status(f, NULL, text, sizeof text);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    cr_expect_not_null(strstr(text, " (64-byte block, it is on the free list twice) in thread "), "%s", text);
}

Test(patrol, finds_rings) {
    warm_up();
    expect_double(ring_of_1);
    expect_double(ring_of_2);
    expect_double(ring_of_5);
}

static void link_written(void *p) {
    take_back(p);
    *(uintptr_t *)p = 0x4141414141414140;
    patrol();
}

static void mark_written(void *p) {
    take_back(p);
    ((um_block *)p)->self = 5;
    patrol();
}

static void in_a_block(void *p) {
    take_back((char *)p + 16);
    patrol();
}

Test(patrol, finds_damage) {
    warm_up();
    expect_death(
        link_written, blocks[1],
        "umalloc: freed memory was written to: 0x%zx (64-byte block, its free-list link is damaged)\n",
        (size_t)blocks[1]);
    expect_death(mark_written, blocks[1], "umalloc: double free or write after free: 0x%zx (64-byte block)\n",
                 (size_t)blocks[1]);
    expect_death(in_a_block, blocks[1],
                 "umalloc: invalid free: 0x%zx (64-byte block, not the start of a block)\n",
                 (size_t)blocks[1] + 16);
}

static void at_the_end(void *p) {
    take_back(p);
    ((um_block *)p)->self = 5;
    um_theap_check_lists(um_theap_get(), 4096);
}

Test(patrol, finds_damage_in_classes_that_are_used_little) {
    enum { FEW = 2048 };
    void *p = give(FEW);
    (void)give(FEW);
    cr_assert_not(um_bin_cached(&um_theap_get()->bins[um_class_of(FEW)]));
    expect_death(mark_written, p, "umalloc: freed memory was written to: 0x%zx (2048-byte block)\n",
                 (size_t)p);
    expect_death(at_the_end, p, "umalloc: freed memory was written to: 0x%zx (2048-byte block)\n", (size_t)p);
}

Test(patrol, every_class_has_its_turn) {
    um_theap *h = um_theap_get();
    unsigned first;
    void *p[8];
    for (unsigned i = 0; i < 8; i++)
        p[i] = give(16 + 16 * i);
    for (unsigned i = 0; i < 8; i++)
        take_back(p[i]);
    first = h->patrolled;
    um_theap_patrol(h, 3);
    unsigned step = (h->patrolled + UM_CLASSES - first) % UM_CLASSES;
    cr_expect(step >= 1 && step <= 3, "%u", step);
    bool seen[UM_CLASSES] = {false};
    for (unsigned i = 0; i < UM_CLASSES; i++) {
        seen[h->patrolled] = true;
        um_theap_patrol(h, 1);
    }
    for (unsigned c = 0; c < UM_CLASSES; c++)
        cr_expect(seen[c], "%u", c);
}

Test(patrol, tells_what_is_free) {
    warm_up();
    um_span *s = um_span_of(blocks[1]);
    cr_expect_not(um_theap_is_free(s, blocks[1]));
    take_back(blocks[1]);
    cr_expect(um_theap_is_free(s, blocks[1]));
    cr_expect(um_theap_is_free(um_span_of(blocks[9]), blocks[9]), "it was freed before");
    void *cold = give(480), *other = give(480);
    take_back(cold);
    cr_expect(um_theap_is_free(um_span_of(cold), cold));
    cr_expect_not(um_theap_is_free(um_span_of(other), other));
}

static void *look_from_elsewhere(void *p) {
    return um_theap_is_free(um_span_of(p), p) ? p : NULL;
}

Test(patrol, leaves_the_lists_of_others_alone) {
    pthread_t t;
    void *seen = blocks;
    warm_up();
    cr_assert_eq(pthread_create(&t, NULL, look_from_elsewhere, blocks[0]), 0);
    cr_assert_eq(pthread_join(t, &seen), 0);
    cr_expect_null(seen);
}
