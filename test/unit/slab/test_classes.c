/* Size classes: for each size the smallest that fits, and the bins that each class serves. */
#include "slab/classes.h"

#include <criterion/criterion.h>

Test(classes, rise_in_multiples_of_16) {
    unsigned before = 0;
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        cr_expect_gt(um_class_bytes(c), before);
        cr_expect_eq(um_class_bytes(c) % 16, 0);
        before = um_class_bytes(c);
    }
    cr_expect_eq(um_class_bytes(0), 16);
    cr_expect_eq(before, UM_MEDIUM_MAX);
}

Test(classes, are_sixteen_a_doubling) {
    for (unsigned c = 0; c < 32; c++)
        cr_expect_eq(um_class_bytes(c), 16 * (c + 1));
    for (unsigned c = 32; c < UM_CLASSES; c++)
        cr_expect_eq(um_class_bytes(c) - um_class_bytes(c - 1), 32u << (c - 32) / 16, "class %u", c);
}

Test(classes, every_size_has_the_smallest_that_fits) {
    for (unsigned bytes = 1; bytes <= UM_MEDIUM_MAX; bytes++) {
        unsigned c = um_class_of(bytes);
        cr_assert_lt(c, UM_CLASSES, "%u", bytes);
        cr_assert_geq(um_class_bytes(c), bytes, "%u", bytes);
        cr_assert(c == 0 || um_class_bytes(c - 1) < bytes, "%u", bytes);
    }
}

Test(classes, mean_waste_beyond_128_bytes_is_at_most_4_percent) {
    for (unsigned from = 128; from < UM_MEDIUM_MAX; from *= 2) {
        uint64_t asked = 0, given = 0;
        for (unsigned bytes = from + 1; bytes <= 2 * from; bytes++) {
            asked += bytes;
            given += um_class_bytes(um_class_of(bytes));
        }
        cr_expect_leq((given - asked) * 100, given * 4, "%u", from);
    }
}

Test(classes, each_bin_belongs_to_the_class_of_its_sizes) {
    unsigned next = 0;
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        unsigned first = um_class_first_bin(c), last = um_class_last_bin(c);
        cr_assert_leq(first, last);
        if (um_class_bytes(c) > UM_SMALL_MAX) {
            cr_assert_geq(first, UM_SMALL_BINS, "class %u", c);
            continue;
        }
        cr_assert_eq(first, next, "class %u", c);
        next = last + 1;
        for (unsigned bytes = first * 16 + 1; bytes <= last * 16 + 16; bytes++)
            cr_assert_eq(um_class_of(bytes), c, "%u", bytes);
    }
    cr_expect_eq(next, UM_SMALL_BINS);
}
