/* The option parser as a fuzzer drives it. An input is an environment: entries end in a zero byte. The first
   byte of an entry tells how it begins: with the prefix, with the name of an option and "=", or with nothing.

   Checked: each complaint is one line of printable ASCII, and there are as many as the parser says; every
   number is in its range and every choice is one; both dumps are printable; numbers and choices, dumped and
   read again, are the same; an empty environment brings all defaults back. */
#include "../lib/check.h"
#include "conf/options.h"
#include "fuzz.h"

enum { ENTRIES_MAX = 64, ROOM = 8192, OUT_MAX = 1 << 20 };

static const char *const names[] = {
#define X(id, NAME, type, default_, min_, max_, unit, stability, help) #NAME,
    UM_OPTION_TABLE(X)
#undef X
};

static struct output {
    size_t n;
    char text[OUT_MAX];
} first, again;

static void collect(void *ctx, const char *bytes, size_t n) {
    struct output *o = ctx;
    CHECK(n > 0 && n <= OUT_MAX - 1 - o->n, "%zu bytes more than %zu", n, o->n);
    memcpy(o->text + o->n, bytes, n);
    o->n += n;
    o->text[o->n] = 0;
}

static unsigned load(char *const *envp, struct output *o) {
    um_text t;
    unsigned bad;
    o->n = 0;
    um_text_init(&t, collect, o);
    bad = um_options_load(envp, &t);
    um_text_flush(&t);
    return bad;
}

static void dump(struct output *o, void (*how)(um_text *)) {
    um_text t;
    o->n = 0;
    um_text_init(&t, collect, o);
    how(&t);
    um_text_flush(&t);
}

static void check_complaints(const struct output *o, unsigned bad) {
    unsigned lines = 0;
    for (const char *at = o->text, *end; at < o->text + o->n; at = end + 1) {
        end = memchr(at, '\n', (size_t)(o->text + o->n - at));
        CHECK(end && strncmp(at, "umalloc: ", 9) == 0, "line %u of the complaints", lines);
        CHECK(end - at < 700, "a line of %zu bytes", (size_t)(end - at));
        for (const char *c = at; c < end; c++)
            CHECK(*c >= ' ' && *c <= '~', "byte %#x in a complaint", (unsigned char)*c);
        lines++;
    }
    CHECK(lines == bad, "%u lines for %u bad options", lines, bad);
}

#define IN_RANGE_BOOL(id, lo, hi)       CHECK(um_option.id == 0 || um_option.id == 1, #id)
#define IN_RANGE_CHOICE(id, lo, hi)     CHECK(um_option.id >= 0 && um_option.id < 8, #id)
#define IN_RANGE_BYTES(id, lo, hi)      CHECK(um_option.id <= (hi), #id)
#define IN_RANGE_AUTO_BYTES(id, lo, hi) CHECK(um_option.id <= (hi) || um_option.id == UM_OPTION_AUTO, #id)
#define IN_RANGE_COUNT                  IN_RANGE_BYTES
#define IN_RANGE_NUMA                   IN_RANGE_STRING
#define IN_RANGE_STRING(id, lo, hi)     CHECK(strlen(um_option.id) <= (hi), #id)

static void check_ranges(void) {
#define X(id, NAME, type, default_, min_, max_, unit, stability, help) IN_RANGE_##type(id, min_, max_);
    UM_OPTION_TABLE(X)
#undef X
}

static void check_printable(const struct output *o) {
    for (size_t i = 0; i < o->n; i++)
        CHECK(o->text[i] == '\n' || (unsigned char)o->text[i] >= ' ', "byte %#x in a dump", o->text[i]);
}

/* Each line of the dump, "  UMALLOC_NAME  source  value", is an entry again. Texts are left out: they are
 * quoted. */
static void check_read_again(void) {
    static char entries[ENTRIES_MAX][256];
    char *envp[ENTRIES_MAX + 1];
    size_t n = 0;
    static struct output values;
    dump(&first, um_options_dump_json);
    check_printable(&first);
    dump(&values, um_options_dump_text);
    check_printable(&values);
    for (char *line = strtok(values.text, "\n"); line; line = strtok(NULL, "\n")) {
        char name[64], source[64], value[128];
        if (strchr(line, '"') || sscanf(line, " %63s %63s %127s", name, source, value) != 3)
            continue;
        if (strcmp(source, "default") == 0)
            continue;
        snprintf(entries[n], sizeof entries[n], "%s=%s", name, value);
        envp[n] = entries[n];
        n++;
    }
    envp[n] = NULL;
    um_options was = um_option;
    CHECK(load(envp, &again) == 0, "the dump is not accepted: %s", again.text);
#define SAME_BOOL(id)                                                  CHECK(was.id == um_option.id, #id)
#define SAME_CHOICE                                                    SAME_BOOL
#define SAME_BYTES                                                     SAME_BOOL
#define SAME_AUTO_BYTES                                                SAME_BOOL
#define SAME_COUNT                                                     SAME_BOOL
#define SAME_NUMA                                                      SAME_STRING
#define SAME_STRING(id)                                                (void)was.id
#define X(id, NAME, type, default_, min_, max_, unit, stability, help) SAME_##type(id);
    UM_OPTION_TABLE(X)
#undef X
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char room[ROOM];
    char *envp[ENTRIES_MAX + 1], *nothing[1] = {NULL}, *to = room, *end = room + ROOM - 64;
    size_t n = 0, at = 0;
    while (at < size && n < ENTRIES_MAX && to < end) {
        unsigned how = data[at++];
        envp[n++] = to;
        if (how % 4 == 1)
            to += sprintf(to, "UMALLOC_");
        else if (how % 4 > 1)
            to += sprintf(to, "UMALLOC_%s=", names[how / 4 % UM_COUNT(names)]);
        while (at < size && data[at] && to < end)
            *to++ = (char)data[at++];
        *to++ = 0;
        at++;
    }
    envp[n] = NULL;
    check_complaints(&first, load(envp, &first));
    check_ranges();
    check_read_again();
    CHECK(load(nothing, &first) == 0 && first.n == 0, "an empty environment");
    return 0;
}
