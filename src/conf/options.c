/* Options: the values that the rest of the library reads, and the parser that fills them from the
   environment. Runs once, perhaps before libc's constructors and before relocation, so the rows below hold
   arrays of characters and offsets instead of pointers, and nothing here calls libc or the heap; the deepest
   frame is under 1 KiB. Work is bounded by the number of UMALLOC_* variables. Whether the environment may be
   trusted is the caller's decision. */
#include "conf/options.h"

#define PREFIX        "UMALLOC_"
#define PREFIX_BYTES  (sizeof PREFIX - 1)
#define NAME_ROOM     16u /* longest NAME and its zero */
#define TEXT_ROOM     48u /* longest list of choices and its zero */
#define SHOWN_COLUMNS 80u /* of a value or a name in a complaint */
#define AUTO          "auto"
#define BOOL_CHOICES  "0|1|on|off|yes|no|true|false"
#define NOT_A_CHOICE  (~0u)

typedef enum option_kind {
    KIND_BOOL,
    KIND_CHOICE,
    KIND_BYTES,
    KIND_AUTO_BYTES,
    KIND_COUNT,
    KIND_STRING,
    KIND_NUMA
} option_kind;

typedef struct option_row {
    char name[NAME_ROOM];
    char key[NAME_ROOM];
    char text[TEXT_ROOM]; /* CHOICE: the choices; STRING: the default */
    uint64_t def, min, max;
    uint8_t kind;
    uint8_t field_offset;
} option_row;

#define ROW_BOOL(d, lo, hi)   .def = (d), .min = (lo), .max = (hi), .text = ""
#define ROW_CHOICE(d, lo, hi) .def = (d), .min = 0, .max = 0, .text = lo
#define ROW_BYTES(d, lo, hi)  .def = (d), .min = (lo), .max = (hi), .text = ""
#define ROW_AUTO_BYTES        ROW_BYTES
#define ROW_COUNT(d, lo, hi)  .def = (d), .min = (lo), .max = (hi), .text = ""
#define ROW_STRING(d, lo, hi) .def = 0, .min = (lo), .max = (hi), .text = d
#define ROW_NUMA              ROW_STRING

static const option_row rows[] = {
#define X(id, NAME, type, default_, min_, max_, unit, stability, help)                                       \
    {.name = #NAME,                                                                                          \
     .key = #id,                                                                                             \
     .kind = KIND_##type,                                                                                    \
     .field_offset = offsetof(um_options, id),                                                               \
     ROW_##type(default_, min_, max_)},
    UM_OPTION_TABLE(X)
#undef X
};

#define X(id, NAME, type, default_, min_, max_, unit, stability, help)                                       \
    _Static_assert(sizeof #NAME <= NAME_ROOM, "the name of " #NAME " fits its row");
UM_OPTION_TABLE(X)
#undef X
_Static_assert(sizeof UM_STATS_CHOICES <= TEXT_ROOM && sizeof UM_HUGEPAGES_CHOICES <= TEXT_ROOM &&
                   sizeof UM_HARDEN_CHOICES <= TEXT_ROOM,
               "choices fit");
_Static_assert(sizeof(um_options) <= UINT8_MAX, "offsets fit");
_Static_assert(UM_COUNT(rows) <= 32, "one bit an option in from_environment");

um_options um_option = {
#define X(id, NAME, type, default_, min_, max_, unit, stability, help) .id = (default_),
    UM_OPTION_TABLE(X)
#undef X
};

/* Bit i: row i's value came from the environment. Written by um_options_load, const after init. */
static uint32_t from_environment;
static uint32_t refused; /* likewise, of those whose value there was not accepted */
static bool changed;     /* there is something to set back before options are loaded again */

/* Strings: ASCII, case-insensitive. */

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static size_t length_of(const char *s) {
    size_t n = 0;
    while (s[n]) {
        n++;
        __asm__ volatile(""); /* keeps compilers from making this a call of strlen */
    }
    return n;
}

/* s is exactly the n bytes at word, whatever the case. */
static bool is_word(const char *s, const char *word, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (lower(s[i]) != lower(word[i])) /* a zero in s differs: words hold none */
            return false;
    return s[n] == 0;
}

/* Bytes of the choice that starts at s. */
static size_t choice_length(const char *s) {
    size_t n = 0;
    while (s[n] && s[n] != '|')
        n++;
    return n;
}

/* Position of value in "a|b|c", or NOT_A_CHOICE. */
static unsigned choice_index(const char *value, const char *choices) {
    for (unsigned index = 0;; index++) {
        size_t n = choice_length(choices);
        if (is_word(value, choices, n))
            return index;
        if (!choices[n])
            return NOT_A_CHOICE;
        choices += n + 1;
    }
}

/* Values */

static void *field_of(const option_row *row) {
    return (char *)&um_option + row->field_offset;
}

static uint64_t number_of(const option_row *row) {
    const void *field = field_of(row);
    switch ((option_kind)row->kind) {
    case KIND_BOOL:
        return *(const bool *)field;
    case KIND_CHOICE:
        return (uint64_t) * (const int *)field;
    case KIND_BYTES:
    case KIND_AUTO_BYTES:
    case KIND_COUNT:
        return *(const uint64_t *)field;
    case KIND_STRING:
    case KIND_NUMA:
        break;
    }
    return 0;
}

static void set_number(const option_row *row, uint64_t v) {
    void *field = field_of(row);
    switch ((option_kind)row->kind) {
    case KIND_BOOL:
        *(bool *)field = v != 0;
        break;
    case KIND_CHOICE:
        *(int *)field = (int)v;
        break;
    case KIND_BYTES:
    case KIND_AUTO_BYTES:
    case KIND_COUNT:
        *(uint64_t *)field = v;
        break;
    case KIND_STRING:
    case KIND_NUMA:
        break;
    }
}

static bool is_text(const option_row *row) {
    return row->kind == KIND_STRING || row->kind == KIND_NUMA;
}

static const char *string_of(const option_row *row) {
    return *(const char **)field_of(row);
}

static void set_string(const option_row *row, const char *s) {
    *(const char **)field_of(row) = s;
}

/* Values outlive the environment: programs overwrite it to show a title in ps. */
#define ROOM_BOOL(max)   0
#define ROOM_CHOICE(max) 0
#define ROOM_BYTES(max)  0
#define ROOM_AUTO_BYTES  ROOM_BYTES
#define ROOM_COUNT(max)  0
#define ROOM_STRING(max) ((max) + 1)
#define ROOM_NUMA        ROOM_STRING
enum {
#define X(id, NAME, type, def, min, max, unit, stability, help) +ROOM_##type(max)
    STRINGS_BYTES = UM_OPTION_TABLE(X)
#undef X
};

static unsigned kept_bytes; /* by the options loaded so far */

static const char *kept(const char *value, size_t n) {
    static char room[STRINGS_BYTES];
    char *copy = room + kept_bytes;
    kept_bytes += (unsigned)n + 1;
    for (size_t i = 0; i <= n; i++)
        copy[i] = value[i];
    return copy;
}

/* Parsing */

/* The power of 1024 that a suffix stands for: K, KB, KiB ... T, TB, TiB, or B and nothing for 1. False if
 * unknown. */
static bool parse_suffix(const char *s, unsigned *shift) {
    static const char units[] = "kmgt";
    *shift = 0;
    for (unsigned i = 0; i < sizeof units - 1; i++)
        if (lower(*s) == units[i])
            *shift = 10 * (i + 1);
    if (*shift)
        s++;
    if (*shift && lower(s[0]) == 'i' && lower(s[1]) == 'b')
        s += 2;
    else if (lower(*s) == 'b')
        s++;
    return *s == 0;
}

/* Digits, then a suffix if sizes; false if it is anything else or does not fit 64 bits. */
static bool parse_number(const char *s, bool sizes, uint64_t *out) {
    if (*s < '0' || *s > '9')
        return false;
    uint64_t v = 0;
    for (; *s >= '0' && *s <= '9'; s++) {
        uint64_t digit = (uint64_t)(*s - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    unsigned shift = 0;
    if (sizes ? !parse_suffix(s, &shift) : *s != 0)
        return false;
    if (v > UINT64_MAX >> shift)
        return false;
    *out = v << shift;
    return true;
}

/* Sets the option; false, and no change, if the value is not acceptable. */
static bool parse_value(const option_row *row, const char *value) {
    uint64_t v = 0;
    switch ((option_kind)row->kind) {
    case KIND_BOOL: {
        unsigned index = choice_index(value, BOOL_CHOICES);
        if (index == NOT_A_CHOICE)
            return false;
        v = 0x56u >> index & 1u; /* bits 1, 2, 4 and 6: 1, on, yes, true */
        break;
    }
    case KIND_CHOICE:
        v = choice_index(value, row->text);
        if (v == NOT_A_CHOICE)
            return false;
        break;
    case KIND_AUTO_BYTES:
        if (is_word(value, AUTO, sizeof AUTO - 1)) {
            v = UM_OPTION_AUTO;
            break;
        }
        __attribute__((fallthrough));
    case KIND_BYTES:
    case KIND_COUNT:
        if (!parse_number(value, row->kind != KIND_COUNT, &v) || v < row->min || v > row->max)
            return false;
        break;
    case KIND_STRING:
    case KIND_NUMA: {
        size_t n = length_of(value);
        if (n < row->min || n > row->max ||
            (row->kind == KIND_NUMA && !um_placing_parse(value, &um_placing_asked)))
            return false;
        set_string(row, kept(value, n));
        break;
    }
    }
    set_number(row, v);
    changed = true;
    return true;
}

/* Complaints */

/* The shortest form that the parser reads back: 64T, 1M, 1000. */
static void say_size(um_text *t, uint64_t v) {
    static const char units[] = "KMGT";
    unsigned power = 0;
    while (v && power < sizeof units - 1 && !(v & 1023)) {
        v >>= 10;
        power++;
    }
    um_text_u64(t, v);
    if (power)
        um_text_char(t, units[power - 1]);
}

static void say_choice(um_text *t, const char *choices, uint64_t index) {
    for (; index; index--)
        choices += choice_length(choices) + 1;
    for (size_t n = choice_length(choices); n; n--)
        um_text_char(t, *choices++);
}

static void say_value(um_text *t, const option_row *row, uint64_t v, const char *string) {
    switch ((option_kind)row->kind) {
    case KIND_BOOL:
        um_text_str(t, v ? "on" : "off");
        break;
    case KIND_CHOICE:
        say_choice(t, row->text, v);
        break;
    case KIND_AUTO_BYTES:
        if (v == UM_OPTION_AUTO) {
            um_text_str(t, AUTO);
            break;
        }
        __attribute__((fallthrough));
    case KIND_BYTES:
        say_size(t, v);
        break;
    case KIND_COUNT:
        um_text_u64(t, v);
        break;
    case KIND_STRING:
        um_text_quoted(t, string, SHOWN_COLUMNS);
        break;
    case KIND_NUMA:
        um_text_str(t, string); /* um_placing_parse took it: it is printable */
        break;
    }
}

static void say_accepted(um_text *t, const option_row *row) {
    switch ((option_kind)row->kind) {
    case KIND_BOOL:
    case KIND_CHOICE:
        um_text_str(t, "one of ");
        um_text_str(t, row->kind == KIND_BOOL ? BOOL_CHOICES : row->text);
        break;
    case KIND_AUTO_BYTES:
        um_text_str(t, AUTO " or ");
        __attribute__((fallthrough));
    case KIND_BYTES:
        um_text_str(t, "a size from ");
        say_size(t, row->min);
        um_text_str(t, " to ");
        say_size(t, row->max);
        um_text_str(t, " (suffixes K, M, G, T)");
        break;
    case KIND_COUNT:
        um_text_str(t, "a number from ");
        um_text_u64(t, row->min);
        um_text_str(t, " to ");
        um_text_u64(t, row->max);
        break;
    case KIND_STRING:
        um_text_str(t, "a text of ");
        um_text_u64(t, row->min);
        um_text_str(t, " to ");
        um_text_u64(t, row->max);
        um_text_str(t, " bytes");
        break;
    case KIND_NUMA:
        um_text_str(t, "one of " UM_PLACING_FORMS);
        break;
    }
}

static void complain_value(um_text *t, const option_row *row, const char *value) {
    um_text_str(t, "umalloc: " PREFIX);
    um_text_str(t, row->name);
    um_text_char(t, '=');
    um_text_quoted(t, value, SHOWN_COLUMNS);
    um_text_str(t, " is not ");
    say_accepted(t, row);
    um_text_str(t, "; using the default ");
    say_value(t, row, row->def, row->text);
    um_text_char(t, '\n');
}

static unsigned smaller(unsigned a, unsigned b) {
    return a < b ? a : b;
}

/* Edits (insert, delete, replace, swap of neighbours) between the n bytes at s and an option's name. n < 2 *
 * NAME_ROOM. */
static unsigned edit_distance(const char *s, unsigned n, const char *name, unsigned name_length) {
    unsigned table[3][NAME_ROOM + 1]; /* the last three rows of the usual matrix, taken in turn */
    for (unsigned j = 0; j <= name_length; j++)
        table[0][j] = j;
    for (unsigned i = 1; i <= n; i++) {
        unsigned *row = table[i % 3], *above = table[(i + 2) % 3], *above2 = table[(i + 1) % 3];
        row[0] = i;
        for (unsigned j = 1; j <= name_length; j++) {
            bool same = lower(s[i - 1]) == lower(name[j - 1]);
            row[j] = smaller(smaller(row[j - 1], above[j]) + 1, above[j - 1] + !same);
            if (i > 1 && j > 1 && lower(s[i - 1]) == lower(name[j - 2]) &&
                lower(s[i - 2]) == lower(name[j - 1]))
                row[j] = smaller(row[j], above2[j - 2] + 1);
        }
    }
    return table[n % 3][name_length];
}

static bool starts_with(const char *s, unsigned n, const char *start, unsigned start_length) {
    if (start_length > n)
        return false;
    for (unsigned i = 0; i < start_length; i++)
        if (lower(s[i]) != lower(start[i]))
            return false;
    return true;
}

/* The row whose name is most likely meant by the n bytes at s; NULL when none is near. Near is a third of the
   longer name in edits, or one name begins the other (DECAY, LIMIT_BYTES). */
static const option_row *nearest(const char *s, unsigned n) {
    const option_row *best = NULL;
    unsigned best_distance = ~0u;
    for (unsigned i = 0; i < UM_COUNT(rows); i++) {
        unsigned name_length = (unsigned)length_of(rows[i].name);
        unsigned distance = edit_distance(s, n, rows[i].name, name_length);
        bool begins = n > 2 && (starts_with(s, n, rows[i].name, name_length) ||
                                starts_with(rows[i].name, name_length, s, n));
        bool near = distance * 3 <= (n > name_length ? n : name_length);
        if ((near || begins) && distance < best_distance) {
            best = &rows[i];
            best_distance = distance;
        }
    }
    return best;
}

static void complain_name(um_text *t, const char *entry) {
    char shown[SHOWN_COLUMNS + 2]; /* one more than is shown, so that the cut is seen */
    unsigned n = 0;
    for (; n < sizeof shown - 1 && entry[n] && entry[n] != '='; n++)
        shown[n] = entry[n];
    shown[n] = 0;
    um_text_str(t, "umalloc: unknown option ");
    um_text_safe(t, shown, SHOWN_COLUMNS);
    unsigned rest = n - (unsigned)PREFIX_BYTES;
    const option_row *guess = rest && rest < 2 * NAME_ROOM ? nearest(shown + PREFIX_BYTES, rest) : NULL;
    if (guess) {
        um_text_str(t, "; did you mean " PREFIX);
        um_text_str(t, guess->name);
        um_text_char(t, '?');
    }
    um_text_char(t, '\n');
}

/* Loading and dumping */

/* The n bytes at s are this name, case and all. */
static bool is_name(const char *s, size_t n, const char *name) {
    size_t i = 0;
    while (i < n && name[i] == s[i]) /* s[i] is not 0 here */
        i++;
    return i == n && !name[i];
}

/* Index of the row called by the n bytes at s, or the number of rows. */
static unsigned row_called(const char *s, size_t n) {
    unsigned i = 0;
    while (i < UM_COUNT(rows) && !is_name(s, n, rows[i].name))
        i++;
    return i;
}

static UM_NOINLINE void load_defaults(void) {
    changed = false;
    from_environment = refused = 0;
    kept_bytes = 0;
    um_placing_asked = (um_placing_spec){.policy = UM_PLACING_LOCAL};
    for (unsigned i = 0; i < UM_COUNT(rows); i++)
        if (is_text(&rows[i]))
            set_string(&rows[i], rows[i].text);
        else
            set_number(&rows[i], rows[i].def);
}

/* An entry that begins as ours do; false: it is of no use, which is one complaint. */
static UM_NOINLINE bool take_entry(const char *entry, uint32_t *seen, um_text *complaints) {
    size_t n = PREFIX_BYTES;
    unsigned i;
    while (entry[n] && entry[n] != '=')
        n++;
    if (!entry[n])
        return true; /* no value: getenv does not see it either */
    if (is_name(entry + PREFIX_BYTES, n - PREFIX_BYTES, UM_NAME_OF_SCRIPTS))
        return true;
    i = row_called(entry + PREFIX_BYTES, n - PREFIX_BYTES);
    if (i == UM_COUNT(rows)) {
        complain_name(complaints, entry);
        return false;
    }
    if (*seen >> i & 1)
        return true; /* the first of duplicates counts, as for getenv */
    *seen |= 1u << i;
    if (!entry[n + 1])
        return true; /* as if it were not set */
    if (!parse_value(&rows[i], entry + n + 1)) {
        complain_value(complaints, &rows[i], entry + n + 1);
        refused |= 1u << i;
        changed = true;
        return false;
    }
    from_environment |= 1u << i;
    return true;
}

unsigned um_options_load(char *const *envp, um_text *complaints) {
    unsigned bad = 0;
    uint32_t seen = 0;
    if (changed)
        load_defaults();
    for (; envp && *envp; envp++)
        if (um_option_begins(*envp))
            bad += !take_entry(*envp, &seen, complaints);
    return bad;
}

static const char *source_of(unsigned i) {
    return from_environment >> i & 1 ? "environment" : "default";
}

static bool is_among(uint32_t set, const void *field) {
    unsigned i = 0;
    if (!set) /* the rows' page need not be touched */
        return false;
    while (i < UM_COUNT(rows) && field_of(&rows[i]) != field)
        i++;
    return set >> i & 1;
}

bool um_option_given(const void *field) {
    return is_among(from_environment, field);
}

bool um_option_refused(const void *field) {
    return is_among(refused, field);
}

unsigned um_option_find(const char *name) {
    size_t n;
    unsigned i = 0;
    if (starts_with(name, (unsigned)um_min(length_of(name), PREFIX_BYTES), PREFIX, PREFIX_BYTES))
        name += PREFIX_BYTES;
    n = length_of(name);
    while (i < UM_COUNT(rows) && !(length_of(rows[i].name) == n && is_word(name, rows[i].name, n)))
        i++;
    return i < UM_COUNT(rows) ? i : UM_OPTION_NONE;
}

bool um_option_is_live(unsigned i) {
    switch (rows[i].field_offset) {
#define X(id) case offsetof(um_options, id):
        UM_OPTIONS_LIVE(X)
#undef X
        return true;
    default:
        return false;
    }
}

bool um_option_assign(unsigned i, const char *value) {
    return parse_value(&rows[i], value);
}

void um_option_say(unsigned i, um_text *t) {
    if (is_text(&rows[i]))
        um_text_str(t, string_of(&rows[i]));
    else
        say_value(t, &rows[i], number_of(&rows[i]), "");
}

void um_option_say_accepted(unsigned i, um_text *t) {
    say_accepted(t, &rows[i]);
}

void um_options_dump_text(um_text *t) {
    for (unsigned i = 0; i < UM_COUNT(rows); i++) {
        um_text_str(t, "  " PREFIX);
        um_text_str_wide(t, rows[i].name, NAME_ROOM);
        um_text_str_wide(t, source_of(i), 13);
        say_value(t, &rows[i], number_of(&rows[i]), is_text(&rows[i]) ? string_of(&rows[i]) : "");
        um_text_char(t, '\n');
    }
}

static void json_value(um_text *t, const option_row *row) {
    uint64_t v = number_of(row);
    switch ((option_kind)row->kind) {
    case KIND_BOOL:
        um_text_str(t, v ? "true" : "false");
        break;
    case KIND_CHOICE:
        um_text_char(t, '"');
        say_choice(t, row->text, v);
        um_text_char(t, '"');
        break;
    case KIND_AUTO_BYTES:
        if (v == UM_OPTION_AUTO) {
            um_text_str(t, "\"" AUTO "\"");
            break;
        }
        __attribute__((fallthrough));
    case KIND_BYTES:
    case KIND_COUNT:
        um_text_u64(t, v);
        break;
    case KIND_STRING:
    case KIND_NUMA:
        um_text_json(t, string_of(row));
        break;
    }
}

void um_options_dump_json(um_text *t) {
    for (unsigned i = 0; i < UM_COUNT(rows); i++) {
        um_text_str(t, i ? ",\n    \"" : "    \"");
        um_text_str(t, rows[i].key);
        um_text_str(t, "\": {\"value\": ");
        json_value(t, &rows[i]);
        um_text_str(t, ", \"source\": \"");
        um_text_str(t, source_of(i));
        um_text_str(t, "\"}");
    }
    um_text_char(t, '\n');
}
