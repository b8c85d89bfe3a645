/* Text: digits, rounding at the edges, widths, escapes, and a buffer that never overflows nor loses a byte.
 */
#include "base/text.h"

#include "memory_text.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static memory_text out;

#define expect_text(wanted, call)                                                                            \
    do {                                                                                                     \
        um_text *t = memory_text_start(&out);                                                                \
        call;                                                                                                \
        cr_expect_str_eq(memory_text_end(&out), wanted);                                                     \
    } while (0)

Test(text, numbers) {
    expect_text("0", um_text_u64(t, 0));
    expect_text("9", um_text_u64(t, 9));
    expect_text("10", um_text_u64(t, 10));
    expect_text("18446744073709551615", um_text_u64(t, UINT64_MAX));
    expect_text("    7", um_text_u64_wide(t, 7, 5));
    expect_text("12345", um_text_u64_wide(t, 12345, 5));
    expect_text("123456", um_text_u64_wide(t, 123456, 5));
    expect_text("0x0", um_text_hex(t, 0));
    expect_text("0xf", um_text_hex(t, 15));
    expect_text("0x10", um_text_hex(t, 16));
    expect_text("0xdeadbeef", um_text_hex(t, 0xdeadbeef));
    expect_text("0xffffffffffffffff", um_text_hex(t, UINT64_MAX));
}

Test(text, strings) {
    expect_text("", um_text_str(t, ""));
    expect_text("abc", um_text_str(t, "abc"));
    expect_text("abc  |", (um_text_str_wide(t, "abc", 5), um_text_char(t, '|')));
    expect_text("abcdef|", (um_text_str_wide(t, "abcdef", 5), um_text_char(t, '|')));
}

Test(text, ratios_round_half_up_and_survive_any_operands) {
    expect_text("0.00", um_text_ratio(t, 5, 0, 2));
    expect_text("0", um_text_ratio(t, 5, 0, 0));
    expect_text("0.333", um_text_ratio(t, 1, 3, 3));
    expect_text("0.667", um_text_ratio(t, 2, 3, 3));
    expect_text("0.13", um_text_ratio(t, 1, 8, 2));
    expect_text("1.00", um_text_ratio(t, 999, 1000, 2));
    expect_text("10.0", um_text_ratio(t, 9999, 1000, 1));
    expect_text("3", um_text_ratio(t, 5, 2, 0));
    expect_text("2", um_text_ratio(t, 9, 4, 0));
    expect_text("0.000001", um_text_ratio(t, 1, 1000000, 6));
    expect_text("18446744073709551615.000000", um_text_ratio(t, UINT64_MAX, 1, 6));
    expect_text("1.000000", um_text_ratio(t, UINT64_MAX, UINT64_MAX, 6));
    expect_text("0.500000", um_text_ratio(t, UINT64_MAX / 2, UINT64_MAX, 6));
    expect_text("0.000000", um_text_ratio(t, 1, UINT64_MAX, 6));
}

Test(text, ratios_agree_with_long_double) {
    uint64_t state = 88172645463325252ull;
    for (int i = 0; i < 20000; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        uint64_t num = state >> (state & 31);
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        uint64_t den = (state >> (state & 31)) | 1;
        um_text *t = memory_text_start(&out);
        um_text_ratio(t, num, den, 6);
        long double exact = (long double)num / (long double)den, shown = 0;
        cr_assert_eq(sscanf(memory_text_end(&out), "%Lf", &shown), 1);
        cr_assert(fabsl(shown - exact) <= 0.5000001e-6L + exact * 1e-15L, "%" PRIu64 "/%" PRIu64 ": %s", num,
                  den, out.all);
    }
}

Test(text, bytes_for_people) {
    expect_text("0 B", um_text_bytes(t, 0));
    expect_text("1023 B", um_text_bytes(t, 1023));
    expect_text("1.0 KiB", um_text_bytes(t, 1024));
    expect_text("1.5 KiB", um_text_bytes(t, 1536));
    expect_text("1023.9 KiB", um_text_bytes(t, 1048576 - 100));
    expect_text("1.0 MiB", um_text_bytes(t, 1048576 - 1));
    expect_text("1.0 MiB", um_text_bytes(t, 1048576));
    expect_text("64.0 TiB", um_text_bytes(t, 1ull << 46));
    expect_text("16.0 EiB", um_text_bytes(t, UINT64_MAX));
    expect_text("    1.0 KiB", um_text_bytes_wide(t, 1024, 11));
    expect_text(" 1023.9 KiB", um_text_bytes_wide(t, 1048576 - 100, 11));
    expect_text("       10 B", um_text_bytes_wide(t, 10, 11));
}

Test(text, quoting_leaves_printable_ascii_only) {
    expect_text("\"abc\"", um_text_quoted(t, "abc", 80));
    expect_text("\"a b~\"", um_text_quoted(t, "a b~", 80));
    expect_text("\"a\\\"b\\\\c\"", um_text_quoted(t, "a\"b\\c", 80));
    expect_text("\"\\x0a\\x1b\\x7f\\xc3\\xa9\"", um_text_quoted(t, "\n\033\177\303\251", 80));
    expect_text("abc", um_text_safe(t, "abc", 3));
    expect_text("abc...", um_text_safe(t, "abcd", 3));
    expect_text("ab...", um_text_safe(t, "ab\n", 5));
    expect_text("ab\\x0a", um_text_safe(t, "ab\n", 6));
    expect_text("", um_text_safe(t, "", 0));
    expect_text("...", um_text_safe(t, "a", 0));
}

Test(text, json_is_valid_whatever_the_bytes) {
    expect_text("\"\"", um_text_json(t, ""));
    expect_text("\"a/b c\"", um_text_json(t, "a/b c"));
    expect_text("\"\\\"\\\\\"", um_text_json(t, "\"\\"));
    expect_text("\"\\u0001\\u001f\\u007f\"", um_text_json(t, "\001\037\177"));
    /* valid: two, three and four bytes, the edges of each range */
    expect_text("\"\302\200\337\277\"", um_text_json(t, "\302\200\337\277"));
    expect_text("\"\340\240\200\355\237\277\356\200\200\"",
                um_text_json(t, "\340\240\200\355\237\277\356\200\200"));
    expect_text("\"\360\220\200\200\364\217\277\277\"", um_text_json(t, "\360\220\200\200\364\217\277\277"));
    /* not valid: lone continuation, overlong, surrogate, too high, cut short */
    expect_text("\"\\ufffdx\"", um_text_json(t, "\200x"));
    expect_text("\"\\ufffd\\ufffd\"", um_text_json(t, "\300\200"));
    expect_text("\"\\ufffd\\ufffd\\ufffd\"", um_text_json(t, "\340\200\200"));
    expect_text("\"\\ufffd\\ufffd\\ufffd\"", um_text_json(t, "\355\240\200"));
    expect_text("\"\\ufffd\\ufffd\\ufffd\\ufffd\"", um_text_json(t, "\364\220\200\200"));
    expect_text("\"\\ufffd\"", um_text_json(t, "\377"));
    expect_text("\"\\ufffd\"", um_text_json(t, "\303"));
    expect_text("\"\\ufffd\\ufffd\"", um_text_json(t, "\342\202"));
    expect_text("\"\\ufffdA\"", um_text_json(t, "\303A"));
}

Test(text, buffer_empties_into_the_sink_in_order) {
    um_text *t = memory_text_start(&out);
    for (unsigned i = 0; i < 10000; i++)
        um_text_char(t, (char)('a' + i % 26));
    cr_expect_eq(out.sinks, 10000 / sizeof t->buf - (10000 % sizeof t->buf == 0),
                 "only a full buffer calls the sink");
    memory_text_end(&out);
    cr_assert_eq(out.len, 10000);
    for (unsigned i = 0; i < 10000; i++)
        cr_assert_eq(out.all[i], 'a' + i % 26);
    unsigned before = out.sinks;
    um_text_flush(t);
    cr_expect_eq(out.sinks, before, "an empty buffer does not call the sink");
}

Test(text, without_a_sink_the_rest_is_dropped) {
    struct {
        um_text text;
        char guard[16];
    } s;
    memset(&s, 0x5a, sizeof s);
    um_text_init(&s.text, NULL, NULL);
    for (unsigned i = 0; i < 5000; i++)
        um_text_str(&s.text, "xyz");
    um_text_flush(&s.text);
    cr_expect_eq(s.text.len, sizeof s.text.buf);
    cr_expect_eq(s.text.buf[0], 'x');
    for (unsigned i = 0; i < sizeof s.guard; i++)
        cr_expect_eq(s.guard[i], 0x5a);
}
