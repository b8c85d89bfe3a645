/* Seals: every changed byte of a block's room is seen, seals of two blocks tell nothing of each other, and
   the first byte ends a string. */
#include "hard_calls.h"

TestSuite(seal, .init = um_hard_seal_init);

enum { ROOM = 64 };

Test(seal, every_byte_of_the_room_counts) {
    _Alignas(16) char block[16 + ROOM];
    for (size_t bytes = 0; bytes <= 16; bytes++)
        for (size_t room = 0; room <= ROOM; room++) {
            memset(block, 0, sizeof block);
            um_hard_seal(block, bytes, room);
            cr_assert(um_hard_sealed(block, bytes, room));
            for (size_t i = 0; i < room; i++) {
                spoil(block + bytes + i);
                cr_assert_not(um_hard_sealed(block, bytes, room), "%zu + %zu, byte %zu", bytes, room, i);
                spoil(block + bytes + i);
            }
            for (size_t i = bytes + room; i < sizeof block; i++)
                cr_assert_eq(block[i], 0, "written beyond the room");
        }
}

Test(seal, ends_a_string_and_is_not_zero) {
    _Alignas(16) static char blocks[1000][32];
    for (size_t i = 0; i < 1000; i++) {
        um_hard_seal(blocks[i], 24, 8);
        cr_assert_eq(blocks[i][24], 0);
        cr_assert_neq(blocks[i][25], 0);
    }
}

Test(seal, differs_from_block_to_block) {
    _Alignas(16) static char blocks[1000][32];
    for (size_t i = 0; i < 1000; i++) {
        um_hard_seal(blocks[i], 16, 8);
        for (size_t j = 0; j < i; j++)
            cr_assert_neq(memcmp(blocks[i] + 16, blocks[j] + 16, 8), 0, "%zu %zu", i, j);
    }
}

Test(seal, differs_from_process_to_process) {
    _Alignas(16) char block[32] = {0};
    um_hard_seal(block, 16, 8);
    um_hard_seal_init();
    cr_expect_not(um_hard_sealed(block, 16, 8));
}

Test(seal, a_single_byte_is_not_zero) {
    _Alignas(64) static char bytes[192];
    for (size_t from = 0; from < 16; from++)
        for (size_t n = 0; n < 160; n++) {
            cr_assert(um_hard_is_zero(bytes + from, n));
            for (size_t i = 0; i < n; i++) {
                bytes[from + i] = 1;
                cr_assert_not(um_hard_is_zero(bytes + from, n), "%zu + %zu, byte %zu", from, n, i);
                bytes[from + i] = 0;
            }
            bytes[from + n] = 1;
            cr_assert(um_hard_is_zero(bytes + from, n));
            bytes[from + n] = 0;
        }
}
