/* Text without stdio: a bounded buffer that a sink empties. Never allocates; async-signal-safe if the sink
 * is. */
#ifndef UM_TEXT_H
#define UM_TEXT_H

#include "base/base.h"

/* Called with at least one byte. The sink owns error handling; the text goes on either way. */
typedef void (*um_text_sink)(void *ctx, const char *bytes, size_t n);

typedef struct um_text {
    um_text_sink sink; /* NULL: what does not fit is dropped */
    void *ctx;
    size_t len;
    char buf[1000];
} um_text;

UM_INLINE void um_text_init(um_text *t, um_text_sink sink, void *ctx) {
    t->sink = sink;
    t->ctx = ctx;
    t->len = 0;
}
UM_HIDDEN void um_text_flush(um_text *t);
UM_HIDDEN void um_text_char(um_text *t, char c);
UM_HIDDEN void um_text_str(um_text *t, const char *s);
/* Left-aligned in at least `width` columns. */
UM_HIDDEN void um_text_str_wide(um_text *t, const char *s, unsigned width);
UM_HIDDEN void um_text_u64(um_text *t, uint64_t v);
/* Right-aligned in at least `width` columns. */
UM_HIDDEN void um_text_u64_wide(um_text *t, uint64_t v, unsigned width);
UM_HIDDEN void um_text_hex(um_text *t, uint64_t v); /* 0x... */
/* num/den with `digits` decimals (0..6), rounded half up; den 0 prints 0. */
UM_HIDDEN void um_text_ratio(um_text *t, uint64_t num, uint64_t den, unsigned digits);
/* 12.3 MiB and the like, for people. */
UM_HIDDEN void um_text_bytes(um_text *t, uint64_t v);
/* The same, right-aligned in at least `width` columns. */
UM_HIDDEN void um_text_bytes_wide(um_text *t, uint64_t v, unsigned width);
/* "s" in printable ASCII: quote, backslash and every other byte as \", \\ or \xNN; cut with ... once more
   than `most` columns of s are out. For lines on a terminal. */
UM_HIDDEN void um_text_quoted(um_text *t, const char *s, unsigned most);
/* The same without the two quotes. */
UM_HIDDEN void um_text_safe(um_text *t, const char *s, unsigned most);
/* A JSON string with its quotes: valid whatever s holds, bytes that are not UTF-8 become U+FFFD. */
UM_HIDDEN void um_text_json(um_text *t, const char *s);

#endif
