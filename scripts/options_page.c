/* Prints docs/options.md from the table of options in src/conf/options.h, so that the page cannot differ from
   what the library accepts. A tool of the build, not part of the library; run by scripts/options-page. */
#include "conf/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char head[] =
    "# Options\n"
    "\n"
    "This page is printed by `scripts/options-page` from the table in `src/conf/options.h`; change the "
    "table, not the "
    "page.\n"
    "\n"
    "An option is an environment variable, read once, before the first allocation:\n"
    "\n"
    "    UMALLOC_STATS=text UMALLOC_DECAY_MS=250 LD_PRELOAD=libumalloc.so program\n"
    "\n"
    "## Rules\n"
    "\n"
    "- **Values** are taken as a whole: nothing may stand before or after them. An empty value "
    "is as if the variable were not set. "
    "Words and suffixes are read whatever their case.\n"
    "- **Sizes** are whole numbers of bytes, or of K, M, G or T (also `KB` or `KiB` and so on), always "
    "powers of "
    "1024: `64K`, `512MiB`, `2g`.\n"
    "- **A bad value**, one that is malformed, out of range or too large for 64 bits, is reported in one "
    "line on stderr "
    "and the default is used:\n"
    "\n"
    "      umalloc: UMALLOC_DECAY_MS=\"abc\" is not a number from 0 to 86400000; using the default 1000\n"
    "\n"
    "- **An unknown name** that begins with `UMALLOC_` is reported in one line, with the nearest option if "
    "one is "
    "near:\n"
    "\n"
    "      umalloc: unknown option UMALLOC_STAT; did you mean UMALLOC_STATS?\n"
    "\n"
    "  `UMALLOC_LIB` is free for scripts that preload the library; the library itself ignores it.\n"
    "- **`UMALLOC_STRICT=1`** turns each of these reports into an error: the program stops with status 2 "
    "before it "
    "starts.\n"
    "- **Precedence**: the environment over the default. There is no configuration file. If a variable is "
    "given twice "
    "in one environment, the first counts, as for `getenv`.\n"
    "- **Privileged programs** (set-user-ID, set-group-ID or with file capabilities: the kernel sets "
    "AT_SECURE) ignore "
    "every option and report nothing.\n"
    "- **At run time** a program that links with the library may change some of them by `um_option_set`; "
    "they say so.\n"
    "- **Effective values** with their source, default or environment, end the report of `UMALLOC_STATS`.\n"
    "- **Stability**: a stable option keeps its name and meaning within a major version; an evolving one may "
    "change "
    "in any release, which its notes will say.\n";

static const char choices_bool[] = "`0`, `off`, `no`, `false`, or `1`, `on`, `yes`, `true`";

static void print_size(uint64_t v) {
    static const char units[] = "KMGT";
    int power = -1;
    while (v && power < 3 && v % 1024 == 0) {
        v /= 1024;
        power++;
    }
    printf("`%" PRIu64, v);
    if (power >= 0)
        putchar(units[power]);
    putchar('`');
}

/* The choice at this index in "a|b|c". */
static void print_choice(const char *choices, uint64_t index) {
    for (; index; index--)
        choices += strcspn(choices, "|") + 1;
    printf("`%.*s`", (int)strcspn(choices, "|"), choices);
}

static void print_choices(const char *choices) {
    for (;;) {
        print_choice(choices, 0);
        choices += strcspn(choices, "|");
        if (!*choices++)
            return;
        printf(", ");
    }
}

static void type_bool(uint64_t def, uint64_t min, uint64_t max, const char *unit) {
    (void)min, (void)max, (void)unit;
    printf("- Type: boolean: %s\n- Default: `%s`\n", choices_bool, def ? "on" : "off");
}

static void type_choice(uint64_t def, const char *choices, uint64_t max, const char *unit) {
    (void)max, (void)unit;
    printf("- Type: one of ");
    print_choices(choices);
    printf("\n- Default: ");
    print_choice(choices, def);
    printf("\n");
}

static void type_bytes(uint64_t def, uint64_t min, uint64_t max, const char *unit) {
    printf("- Type: size, with or without a suffix\n- Default: ");
    print_size(def);
    printf("\n- Range: ");
    print_size(min);
    printf(" to ");
    print_size(max);
    printf("\n- Unit: %s\n", unit);
}

static void type_auto_bytes(uint64_t def, uint64_t min, uint64_t max, const char *unit) {
    type_bytes(def, min, max, unit);
    printf("- Or: `auto`\n");
}

static void type_count(uint64_t def, uint64_t min, uint64_t max, const char *unit) {
    printf("- Type: number, without a suffix\n- Default: `%" PRIu64 "`\n", def);
    printf("- Range: `%" PRIu64 "` to `%" PRIu64 "`\n- Unit: %s\n", min, max, unit);
}

static void type_string(const char *def, uint64_t min, uint64_t max, const char *what) {
    printf("- Type: %s\n- Default: ", what);
    if (*def)
        printf("`%s`\n", def);
    else
        printf("none\n");
    printf("- Length: %" PRIu64 " to %" PRIu64 " bytes\n", min, max);
}

#define TYPE_BOOL       type_bool
#define TYPE_CHOICE     type_choice
#define TYPE_BYTES      type_bytes
#define TYPE_AUTO_BYTES type_auto_bytes
#define TYPE_COUNT      type_count
#define TYPE_STRING     type_string
#define TYPE_NUMA       type_string

#define X(id) #id,
static const char *const live[] = {UM_OPTIONS_LIVE(X)};
#undef X

static void print_live(const char *id) {
    for (size_t i = 0; i < UM_COUNT(live); i++)
        if (strcmp(live[i], id) == 0)
            printf("- May change at run time\n");
}

int main(void) {
    fputs(head, stdout);
    printf("\n## All options\n");
#define X(id, NAME, type, def, min, max, unit, stability, help)                                              \
    printf("\n### UMALLOC_%s\n\n%s\n\n", #NAME, help);                                                       \
    TYPE_##type(def, min, max, unit);                                                                        \
    printf("- Stability: %s\n", stability);                                                                  \
    print_live(#id);
    UM_OPTION_TABLE(X)
#undef X
    return ferror(stdout) ? 1 : 0;
}
