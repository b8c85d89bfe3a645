/* The walk that the other tests rely on notices what it is for. */
#include "space/internal.h"

#include "ageless.h"
#include "dies.h"

static um_span *taken, *freed;

static void start(void) {
    cr_assert_eq(um_space_init(), 0);
    taken = um_space_alloc(0, 4, 1, NULL);
    freed = um_space_alloc(0, 4, 1, NULL);
    cr_assert(um_space_alloc(0, 1, 1, NULL) && taken && freed);
    um_space_free(freed, 4 * UM_SLOT_BYTES);
    um_space_check();
}

TestSuite(check, .init = start);

static void no_tail(void *arg) {
    (void)arg;
    um_span_set_kind(freed + 3, UM_SPAN_NONE);
    um_space_check();
}

static void other_length(void *arg) {
    (void)arg;
    freed[3].slots = 3;
    um_space_check();
}

static void no_span(void *arg) {
    (void)arg;
    um_span_set_kind(taken, UM_SPAN_NONE);
    um_space_check();
}

static void overlap(void *arg) {
    (void)arg;
    taken->slots = 1 << 20;
    um_space_check();
}

static void not_filed(void *arg) {
    (void)arg;
    um_bins_remove(&um_spaces[0].bins[UM_DIRTY], freed);
    um_space_check();
}

static void wrong_sum(void *arg) {
    (void)arg;
    um_spaces[0].dirty_bytes++;
    um_space_check();
}

static void not_aged(void *arg) {
    (void)arg;
    um_spaces[0].oldest = NULL;
    um_space_check();
}

static void wrong_active(void *arg) {
    (void)arg;
    um_spaces[0].active_slots--;
    um_space_check();
}

static void neighbours(void *arg) {
    (void)arg;
    um_space *sp = &um_spaces[0];
    um_space_detach_locked(sp, freed);
    for (um_span *s = freed; s <= freed + 2; s += 2) { /* filed as two, side by side */
        s->slots = 2;
        s->state = UM_CLEAN;
        s[1].slots = 2;
        um_span_set_kind(s, UM_SPAN_FREE);
        um_span_set_kind(s + 1, UM_SPAN_FREE_TAIL);
        um_bins_insert(&sp->bins[UM_CLEAN], s);
    }
    um_space_check();
}

#define BROKEN "umalloc: broken invariant of the span allocator: 0x%zx (%s)\n"

Test(check, names_what_is_broken) {
    expect_death(no_tail, NULL, BROKEN, (size_t)freed, "no tag in the last slot");
    expect_death(other_length, NULL, BROKEN, (size_t)freed, "the tag has another length");
    expect_death(no_span, NULL, BROKEN, (size_t)0, "opened slots");
    expect_death(overlap, NULL, BROKEN, (size_t)taken, "reaches beyond what is open");
    expect_death(not_filed, NULL, BROKEN, (size_t)freed, "not found in its bin");
    expect_death(wrong_sum, NULL, BROKEN, (size_t)0, "dirty bytes");
    expect_death(not_aged, NULL, BROKEN, (size_t)0, "dirty bytes");
    expect_death(wrong_active, NULL, BROKEN, (size_t)0, "active slots");
    expect_death(neighbours, NULL, BROKEN, (size_t)(freed + 2), "two free neighbours of one state");
}
