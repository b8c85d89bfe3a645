/* Spans taken as the layers above take them. */
#ifndef UM_TEST_SPANS_H
#define UM_TEST_SPANS_H

#include "space/space.h"

#include "ageless.h"

#include <criterion/criterion.h>
#include <string.h>

static inline um_span *take(size_t slots) {
    um_span *s = um_space_alloc(0, slots, 1, NULL);
    cr_assert_not_null(s);
    um_span_set_kind(s, UM_SPAN_LARGE);
    return s;
}

/* Every page of it is in memory. */
static inline um_span *take_filled(size_t slots) {
    um_span *s = take(slots);
    memset(um_span_start(s), 0x5a, slots << UM_SLOT_SHIFT);
    return s;
}

#endif
