/* The seal: eight bytes behind each block that an overflow changes. They follow from the block's address and
   two random words of the process, so that reading one tells little of the next. In memory the first is 0:
   a string that runs on ends there, and cannot carry the rest out. What is left of the block's room is 0 and
   checked as well. */
#include "hard/internal.h"
#include "os/os.h"

static uint64_t secret[2]; /* const after um_hard_seal_init */

void um_hard_seal_init(void) {
    secret[0] = um_os_random();
    secret[1] = um_os_random();
}

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014) between the two words. */
static uint64_t word_for(const char *p) {
    uint64_t z = (uintptr_t)p ^ secret[0];
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z = (z ^ (z >> 31)) + secret[1];
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (z | 0x0100) & ~0xFFull; /* and the second is not, if the first is */
#else
    return (z | 0x0001000000000000ull) & (~0ull >> 8);
#endif
}

bool um_hard_is_zero(const char *p, size_t bytes) {
    uint64_t all = 0;
    for (; bytes && (uintptr_t)p % sizeof all; bytes--)
        all |= (unsigned char)*p++;
    for (; bytes >= 4 * sizeof all; bytes -= 4 * sizeof all, p += 4 * sizeof all) {
        const uint64_t *w = (const uint64_t *)(const void *)p;
        all |= w[0] | w[1] | w[2] | w[3];
        if (all)
            return false;
    }
    for (; bytes; bytes--)
        all |= (unsigned char)*p++;
    return all == 0;
}

void um_hard_seal(char *p, size_t bytes, size_t room) {
    uint64_t word = word_for(p);
    __builtin_memcpy(p + bytes, &word, um_min(room, sizeof word));
}

bool um_hard_sealed(const char *p, size_t bytes, size_t room) {
    uint64_t word = word_for(p);
    size_t n = um_min(room, sizeof word);
    return __builtin_memcmp(p + bytes, &word, n) == 0 && um_hard_is_zero(p + bytes + n, room - n);
}
