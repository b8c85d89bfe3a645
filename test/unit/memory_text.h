/* A um_text whose output is collected in a string, for tests of what is printed. */
#ifndef UM_TEST_MEMORY_TEXT_H
#define UM_TEST_MEMORY_TEXT_H

#include "base/text.h"

#include <string.h>

typedef struct memory_text {
    um_text text;
    size_t len;
    unsigned sinks; /* how often the sink was called */
    char all[65536];
} memory_text;

static inline void memory_text_sink(void *ctx, const char *bytes, size_t n) {
    memory_text *m = ctx;
    size_t room = sizeof m->all - 1 - m->len;
    n = n < room ? n : room;
    memcpy(m->all + m->len, bytes, n);
    m->len += n;
    m->all[m->len] = 0;
    m->sinks++;
}

static inline um_text *memory_text_start(memory_text *m) {
    m->len = 0;
    m->sinks = 0;
    m->all[0] = 0;
    um_text_init(&m->text, memory_text_sink, m);
    return &m->text;
}

/* What was printed since the start. */
static inline const char *memory_text_end(memory_text *m) {
    um_text_flush(&m->text);
    return m->all;
}

#endif
