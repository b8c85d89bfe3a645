/* Reads and writes where the program has no business: after free, beyond the ends, before the first write. */
#include "misuse.h"

#include <string>

namespace {

/* --- use after free --- */

outcome read_after_free(size_t n) {
    char *p = block(n);
    free(p);
    armed();
    for (size_t i = 0; i < n; i++)
        if (p[i] == MARK)
            return GOT_AWAY;
    return HARMLESS;
}

outcome link_read_after_free(size_t n) {
    char *other = block(n), *p = block(n);
    free(other);
    free(p);
    uintptr_t words[2];
    armed();
    memcpy(words, p, sizeof words); /* an address of the heap, where links lie in freed blocks */
    for (uintptr_t w : words)
        if (w != 0 && w - reinterpret_cast<uintptr_t>(p) + 16 * MIB < 32 * MIB)
            return GOT_AWAY;
    return HARMLESS;
}

outcome read_after_reuse(size_t n) {
    char *p = block(n);
    free(p);
    char *q = block(n);
    memset(q, 'q', n);
    armed();
    return away_if(p[n - 1] == 'q');
}

outcome write_after_free(size_t n) {
    char *p = block(n);
    free(p);
    armed();
    memset(p, 'w', n);
    return GOT_AWAY;
}

outcome write_after_free_churn(size_t n) {
    char *p = block(n);
    free(p);
    armed();
    memset(p, 'w', n);
    churn(n);
    return GOT_AWAY;
}

outcome write_after_free_fill(size_t n) {
    char *p = block(n);
    fill_up(n);
    free(p);
    armed();
    memset(p, 'w', n);
    fill_up(n);
    return GOT_AWAY;
}

outcome write_of_link_after_free(size_t n) {
    static char decoy[64] __attribute__((aligned(16)));
    char *p = block(n), *fake = decoy;
    free(p);
    armed();
    memcpy(p, &fake, sizeof fake);
    void *a = malloc(n), *b = malloc(n);
    return away_if(a == fake || b == fake);
}

outcome write_of_end_after_free(size_t n) {
    char *p = block(n);
    free(p);
    armed();
    p[n - 1] ^= 1;
    churn(n);
    return GOT_AWAY;
}

outcome reuse_at_once(size_t n) {
    char *p = block(n);
    free(p);
    armed();
    return away_if(malloc(n) == p);
}

outcome reuse_by_smaller(size_t n) {
    char *p = block(n);
    free(p);
    armed();
    return away_if(malloc(n - n / 3) == p);
}

outcome reuse_in_churn(size_t n) {
    char *p = block(n);
    free(p);
    armed();
    for (size_t i = 0; i < 8; i++) {
        void *q = malloc(n);
        if (q == p)
            return GOT_AWAY;
        free(q);
    }
    return HARMLESS;
}

/* --- beyond the ends --- */

/* Neighbours on both sides, where the allocator puts blocks of one size together. */
struct row {
    char *before, *p, *after;
};

row neighbours(size_t n) {
    row r = {block(n), block(n), block(n)};
    return r;
}

outcome drop(row r) {
    free(r.p);
    free(r.before);
    free(r.after);
    return GOT_AWAY;
}

outcome overflow_by(size_t n, size_t by) {
    row r = neighbours(n);
    armed();
    for (size_t i = 0; i < by; i++)
        r.p[n + i] ^= 0x55;
    return drop(r);
}

outcome overflow_1(size_t n) {
    return overflow_by(n, 1);
}
outcome overflow_8(size_t n) {
    return overflow_by(n, 8);
}
outcome overflow_16(size_t n) {
    return overflow_by(n, 16);
}
/* Where the room ends is another matter for each of these two. */
outcome overflow_aligned(size_t n) {
    char *p = static_cast<char *>(memalign(256, n));
    memset(p, MARK, n);
    armed();
    p[n] = 1;
    free(p);
    return GOT_AWAY;
}
outcome overflow_after_shrink(size_t n) {
    char *p = static_cast<char *>(realloc(block(n), n - n / 4));
    armed();
    p[n - n / 4] = 1;
    free(p);
    return GOT_AWAY;
}
outcome overflow_8k(size_t n) {
    return overflow_by(n, 8 * KIB);
}

outcome overflow_far(size_t n) {
    char *p = block(n);
    armed();
    p[n + 2 * MIB] ^= 0x55;
    free(p);
    return GOT_AWAY;
}

outcome overflow_by_memcpy(size_t n) {
    static char from[512 * KIB];
    row r = neighbours(n);
    armed();
    memcpy(r.p, from, n + 32);
    return drop(r);
}

outcome overflow_by_nul(size_t n) {
    row r = neighbours(n);
    armed();
    r.p[n] = 0;
    return drop(r);
}

outcome overflow_by_strcpy(size_t n) {
    row r = neighbours(n);
    std::string text(n + 20, 'x');
    armed();
    strcpy(r.p, text.c_str());
    return drop(r);
}

outcome overflow_by_strcat(size_t n) {
    row r = neighbours(n);
    r.p[n - 1] = 0;
    armed();
    strcat(r.p, "and some more text");
    return drop(r);
}

outcome underflow_by(size_t n, size_t by) {
    row r = neighbours(n);
    armed();
    r.p[-static_cast<ptrdiff_t>(by)] ^= 0x55;
    return drop(r);
}

outcome underflow_1(size_t n) {
    return underflow_by(n, 1);
}
outcome underflow_16(size_t n) {
    return underflow_by(n, 16);
}
outcome underflow_far(size_t n) {
    return underflow_by(n, 2 * MIB);
}

outcome read_overflow_neighbour(size_t n) {
    row r = neighbours(n);
    memset(r.before, 'n', n);
    memset(r.after, 'n', n);
    armed();
    for (size_t i = 0; i < 4 * KIB; i++)
        if (r.p[n + i] == 'n')
            return GOT_AWAY;
    return HARMLESS;
}

outcome read_overflow_far(size_t n) {
    char *p = block(n);
    armed();
    sink = reinterpret_cast<void *>(uintptr_t(p[n + 2 * MIB]));
    return GOT_AWAY;
}

outcome read_of_unterminated(size_t n) {
    row r = neighbours(n);
    armed();
    return away_if(strlen(r.p) > n);
}

/* --- contents nobody wrote --- */

outcome old_contents(size_t n) {
    char *p = block(n);
    free(p);
    char *q = static_cast<char *>(malloc(n));
    armed();
    return away_if(memchr(q, MARK, n) != nullptr);
}

outcome old_contents_when_warm(size_t n) {
    fill_up(n);
    char *q = static_cast<char *>(malloc(n));
    armed();
    return away_if(memchr(q, MARK, n) != nullptr);
}

outcome old_contents_behind_realloc(size_t n) {
    fill_up(2 * n);
    char *p = static_cast<char *>(realloc(block(n), 2 * n));
    armed();
    return away_if(memchr(p + n, MARK, n) != nullptr);
}

outcome fresh_contents(size_t n) {
    char *p = static_cast<char *>(malloc(n));
    armed();
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return GOT_AWAY;
    return HARMLESS;
}

} // namespace

const family wrong_contents[] = {
    FAMILY(read_after_free, ALL),
    FAMILY(read_after_free, LARGE),
    FAMILY(link_read_after_free, ALL),
    FAMILY(read_after_reuse, ALL),
    FAMILY(write_after_free, ALL),
    FAMILY(write_after_free, LARGE),
    FAMILY(write_after_free_churn, ALL),
    FAMILY(write_after_free_fill, ALL),
    FAMILY(write_of_link_after_free, ALL),
    FAMILY(write_of_end_after_free, ALL),
    FAMILY(reuse_at_once, ALL),
    FAMILY(reuse_by_smaller, ALL),
    FAMILY(reuse_in_churn, ALL),
    FAMILY(overflow_1, ALL),
    FAMILY(overflow_8, ALL),
    FAMILY(overflow_16, ALL),
    FAMILY(overflow_aligned, ALL),
    FAMILY(overflow_after_shrink, ALL),
    FAMILY(overflow_8k, ALL),
    FAMILY(overflow_far, ALL),
    FAMILY(overflow_by_memcpy, ALL),
    FAMILY(overflow_by_nul, ALL),
    FAMILY(overflow_by_strcpy, ALL),
    FAMILY(overflow_by_strcat, ALL),
    FAMILY(underflow_1, ALL),
    FAMILY(underflow_16, ALL),
    FAMILY(underflow_far, ALL),
    FAMILY(read_overflow_neighbour, ALL),
    FAMILY(read_overflow_far, ALL),
    FAMILY(read_of_unterminated, ALL),
    FAMILY(old_contents, ALL),
    FAMILY(old_contents, LARGE),
    FAMILY(old_contents_when_warm, ALL),
    FAMILY(old_contents_behind_realloc, ALL),
    FAMILY(fresh_contents, ALL),
    {nullptr, nullptr, ONE},
};
