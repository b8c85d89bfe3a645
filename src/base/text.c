/* Text without stdio: numbers, sizes and escaped strings into a bounded buffer that a sink empties when it is
   full. Runs before the library is relocated and in signal handlers, so: no libc call, no table of pointers,
   no heap; the deepest frame is under 200 bytes. Does not know locales, wide characters or errors: the sink
   owns those. */
#include "base/text.h"

#define U64_DIGITS_MAX 20u

void um_text_flush(um_text *t) {
    if (!t->sink || !t->len)
        return;
    t->sink(t->ctx, t->buf, t->len);
    t->len = 0;
}

void um_text_char(um_text *t, char c) {
    if (t->len == sizeof t->buf) {
        if (!t->sink)
            return;
        um_text_flush(t);
    }
    t->buf[t->len++] = c;
}

void um_text_str(um_text *t, const char *s) {
    for (; *s; s++)
        um_text_char(t, *s);
}

static void pad(um_text *t, unsigned used, unsigned width) {
    for (; used < width; used++)
        um_text_char(t, ' ');
}

void um_text_str_wide(um_text *t, const char *s, unsigned width) {
    unsigned used = 0;
    for (; s[used]; used++)
        um_text_char(t, s[used]);
    pad(t, used, width);
}

/* Writes the digits of v at the end of out and returns how many there are. */
static unsigned digits_of(uint64_t v, char out[U64_DIGITS_MAX]) {
    unsigned n = 0;
    do {
        out[U64_DIGITS_MAX - ++n] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return n;
}

void um_text_u64_wide(um_text *t, uint64_t v, unsigned width) {
    char digits[U64_DIGITS_MAX];
    unsigned n = digits_of(v, digits);
    pad(t, n, width);
    for (unsigned i = U64_DIGITS_MAX - n; i < U64_DIGITS_MAX; i++)
        um_text_char(t, digits[i]);
}

void um_text_u64(um_text *t, uint64_t v) {
    um_text_u64_wide(t, v, 0);
}

static char hex_digit(unsigned nibble) {
    return (char)(nibble < 10 ? '0' + nibble : 'a' + nibble - 10);
}

void um_text_hex(um_text *t, uint64_t v) {
    um_text_str(t, "0x");
    for (unsigned shift = (v ? um_log2_floor(v) : 0) & ~3u;; shift -= 4) {
        um_text_char(t, hex_digit((unsigned)(v >> shift) & 15u));
        if (!shift)
            return;
    }
}

void um_text_ratio(um_text *t, uint64_t num, uint64_t den, unsigned digits) {
    uint64_t whole = den ? num / den : 0, rest = den ? num % den : 0;
    uint64_t fraction = 0, scale = 1;
    /* Room for rest * 10 and rest * 2: the bits dropped are far below the last digit shown. */
    while (den > UINT64_MAX / 10) {
        den >>= 1;
        rest >>= 1;
    }
    for (unsigned i = 0; i < digits; i++) {
        uint64_t tenfold = rest * 10;
        fraction = fraction * 10 + (den ? tenfold / den : 0);
        rest = den ? tenfold % den : 0;
        scale *= 10;
    }
    if (den && rest * 2 >= den)
        fraction++;
    if (fraction >= scale) { /* rounded up to the next whole */
        fraction -= scale;
        whole++;
    }
    um_text_u64(t, whole);
    if (!digits)
        return;
    um_text_char(t, '.');
    for (scale /= 10; scale; scale /= 10)
        um_text_char(t, (char)('0' + fraction / scale % 10));
}

void um_text_bytes_wide(um_text *t, uint64_t v, unsigned width) {
    static const char prefixes[] = "KMGTPE";
    unsigned power = 0;
    uint64_t tenths = 0;
    if (v >= 1024) {
        uint64_t unit = 1;
        /* The next unit where this one would round to 1024.0. */
        do {
            power++;
            unit <<= 10;
            tenths = v / unit * 10 + (v % unit / (unit >> 10) * 10 + 512) / 1024;
        } while (tenths >= 10240 && power < sizeof prefixes - 1);
    }
    char digits[U64_DIGITS_MAX];
    unsigned used = power ? digits_of(tenths / 10, digits) + 6 : digits_of(v, digits) + 2;
    pad(t, used, width);
    if (!power) {
        um_text_u64(t, v);
        um_text_str(t, " B");
        return;
    }
    um_text_u64(t, tenths / 10);
    um_text_char(t, '.');
    um_text_char(t, (char)('0' + tenths % 10));
    um_text_char(t, ' ');
    um_text_char(t, prefixes[power - 1]);
    um_text_str(t, "iB");
}

void um_text_bytes(um_text *t, uint64_t v) {
    um_text_bytes_wide(t, v, 0);
}

void um_text_safe(um_text *t, const char *s, unsigned most) {
    for (unsigned used = 0; *s; s++) {
        unsigned char c = (unsigned char)*s;
        bool escaped = c == '"' || c == '\\', raw = c >= ' ' && c < 0x7f && !escaped;
        unsigned columns = raw ? 1 : escaped ? 2 : 4;
        if (used + columns > most) {
            um_text_str(t, "...");
            return;
        }
        used += columns;
        if (!raw)
            um_text_char(t, '\\');
        if (raw || escaped) {
            um_text_char(t, (char)c);
            continue;
        }
        um_text_char(t, 'x');
        um_text_char(t, hex_digit(c >> 4));
        um_text_char(t, hex_digit(c & 15u));
    }
}

void um_text_quoted(um_text *t, const char *s, unsigned most) {
    um_text_char(t, '"');
    um_text_safe(t, s, most);
    um_text_char(t, '"');
}

/* Bytes of the UTF-8 sequence at s, 0 if it is not a valid one: no overlong forms, surrogates, or above
 * U+10FFFF. */
static unsigned utf8_length(const unsigned char *s) {
    if (s[0] < 0x80)
        return 1;
    unsigned length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (unsigned i = 1; i < length; i++)
        if ((s[i] & 0xc0u) != 0x80) /* the terminating zero ends here too */
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

void um_text_json(um_text *t, const char *s) {
    um_text_char(t, '"');
    while (*s) {
        unsigned char c = (unsigned char)*s;
        unsigned length = utf8_length((const unsigned char *)s);
        if (!length) {
            um_text_str(t, "\\ufffd");
            s++;
        } else if (c < ' ' || c == 0x7f) {
            um_text_str(t, "\\u00");
            um_text_char(t, hex_digit(c >> 4));
            um_text_char(t, hex_digit(c & 15u));
            s++;
        } else {
            if (c == '"' || c == '\\')
                um_text_char(t, '\\');
            for (; length; length--)
                um_text_char(t, *s++);
        }
    }
    um_text_char(t, '"');
}
