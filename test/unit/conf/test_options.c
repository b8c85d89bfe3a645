/* Options: every accepted form, every complaint verbatim, edges of ranges, duplicates, unknown names and
   their nearest option, and the two dumps. */
#include "conf/options.h"

#include "memory_text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static memory_text out;
static unsigned bad;

/* Loads one environment and returns the complaints. */
#define load(...)                                                                                            \
    (bad =                                                                                                   \
         um_options_load((char *const *)(const char *const[]){__VA_ARGS__, NULL}, memory_text_start(&out)),  \
     memory_text_end(&out))

#define expect_silent(entry)                                                                                 \
    do {                                                                                                     \
        cr_expect_str_eq(load(entry), "");                                                                   \
        cr_expect_eq(bad, 0);                                                                                \
    } while (0)

#define expect_complaint(entry, wanted)                                                                      \
    do {                                                                                                     \
        cr_expect_str_eq(load(entry), "umalloc: " wanted "\n");                                              \
        cr_expect_eq(bad, 1);                                                                                \
    } while (0)

static void expect_defaults(void) {
#define EXPECT_BOOL(a, b)                                       cr_expect_eq(a, b)
#define EXPECT_CHOICE(a, b)                                     cr_expect_eq(a, b)
#define EXPECT_AUTO_BYTES                                       EXPECT_BYTES
#define EXPECT_BYTES(a, b)                                      cr_expect_eq(a, b)
#define EXPECT_COUNT(a, b)                                      cr_expect_eq(a, b)
#define EXPECT_STRING(a, b)                                     cr_expect_str_eq(a, b)
#define EXPECT_NUMA                                             EXPECT_STRING
#define X(id, NAME, type, def, min, max, unit, stability, help) EXPECT_##type(um_option.id, def);
    UM_OPTION_TABLE(X)
#undef X
}

Test(options, defaults_hold_before_and_after_an_empty_environment) {
    expect_defaults();
    cr_expect_eq(um_options_load((char *[]){NULL}, memory_text_start(&out)), 0);
    cr_expect_eq(um_options_load(NULL, &out.text), 0);
    cr_expect_str_eq(memory_text_end(&out), "");
    expect_defaults();
}

Test(options, other_variables_do_not_matter) {
    expect_silent("PATH=/bin");
    expect_silent("");
    expect_silent("=");
    expect_silent("UMALLOC=1");
    expect_silent("umalloc_stats=bogus");
    expect_silent("XUMALLOC_STATS=bogus");
    expect_silent("UMALLOC_STATS"); /* no '=': getenv does not see it */
    expect_silent("UMALLOC_NO_SUCH");
    expect_silent("UMALLOC_LIB=/x.so"); /* of scripts */
    expect_defaults();
}

Test(options, a_second_load_forgets_the_first) {
    load("UMALLOC_DECAY_MS=5", "UMALLOC_STATS_FILE=/x");
    cr_expect_eq(um_option.decay_ms, 5);
    cr_expect_str_eq(um_option.stats_file, "/x");
    load("PATH=/bin");
    expect_defaults();
    um_text *t = memory_text_start(&out);
    um_options_dump_text(t);
    cr_expect_null(strstr(memory_text_end(&out), "environment"));
}

Test(options, sizes) {
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {
        {"0", 0},
        {"1", 1},
        {"4096", 4096},
        {"10B", 10},
        {"1k", 1024},
        {"1K", 1024},
        {"1KB", 1024},
        {"1kib", 1024},
        {"1KiB", 1024},
        {"3m", 3u << 20},
        {"3MB", 3u << 20},
        {"3MiB", 3u << 20},
        {"2G", 2ull << 30},
        {"2gIb", 2ull << 30},
        {"1T", 1ull << 40},
        {"64T", 1ull << 46},
        {"64TiB", 1ull << 46},
        {"007", 7},
        {"70368744177664", 1ull << 46},
    };
    for (size_t i = 0; i < UM_COUNT(good); i++) {
        char entry[64];
        snprintf(entry, sizeof entry, "UMALLOC_LIMIT=%s", good[i].text);
        cr_expect_str_eq(load(entry), "");
        cr_expect_eq(um_option.limit, good[i].value, "%s gave %llu", entry,
                     (unsigned long long)um_option.limit);
    }
}

Test(options, sizes_that_are_none) {
    static const char *const wrong[] = {
        " 1",
        "1 ",
        "+1",
        "-1",
        "-0",
        "1.5G",
        "0x10",
        "K",
        "1KK",
        "1iB",
        "1Ki",
        "1E",
        "1P",
        "1 K",
        "1K ",
        "1BK",
        "1bb",
        "1,5",
        "1e3",
        "abc",
        "1_000",
        "1KBx",
        "\t1",
        "65T",
        "70368744177665",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999",
        "16777216T",
        "18014398509481984K",
        "18014398509481985K",
        "\xd9\xa1",
    };
    for (size_t i = 0; i < UM_COUNT(wrong); i++) {
        char entry[64];
        snprintf(entry, sizeof entry, "UMALLOC_LIMIT=%s", wrong[i]);
        load(entry);
        cr_expect_eq(bad, 1, "%s was accepted", entry);
        cr_expect_not_null(
            strstr(out.all, "is not a size from 0 to 64T (suffixes K, M, G, T); using the default 0\n"), "%s",
            out.all);
        cr_expect_eq(strchr(out.all, '\n') - out.all + 1, (long)out.len, "one line");
        cr_expect_eq(um_option.limit, 0);
    }
}

Test(options, counts_take_no_suffix) {
    expect_silent("UMALLOC_DECAY_MS=0");
    cr_expect_eq(um_option.decay_ms, 0);
    expect_silent("UMALLOC_DECAY_MS=9");
    cr_expect_eq(um_option.decay_ms, 9);
    expect_silent("UMALLOC_DECAY_MS=86400000");
    cr_expect_eq(um_option.decay_ms, 86400000);
    expect_complaint("UMALLOC_DECAY_MS=abc", "UMALLOC_DECAY_MS=\"abc\" is not a number from 0 to 86400000; "
                                             "using the default 1000");
    cr_expect_eq(um_option.decay_ms, 1000);
    expect_complaint("UMALLOC_DECAY_MS=86400001", "UMALLOC_DECAY_MS=\"86400001\" is not a number from 0 to "
                                                  "86400000; using the default 1000");
    expect_complaint("UMALLOC_DECAY_MS=1k",
                     "UMALLOC_DECAY_MS=\"1k\" is not a number from 0 to 86400000; using "
                     "the default 1000");
    expect_complaint(
        "UMALLOC_DECAY_MS=18446744073709551617",
        "UMALLOC_DECAY_MS=\"18446744073709551617\" is not a number from 0 to 86400000; using the "
        "default 1000");
}

Test(options, booleans) {
    static const char *const yes[] = {"1", "on", "ON", "yes", "Yes", "true", "tRUE"};
    static const char *const no[] = {"0", "off", "Off", "no", "NO", "false"};
    for (size_t i = 0; i < UM_COUNT(yes); i++) {
        char entry[64];
        snprintf(entry, sizeof entry, "UMALLOC_VERBOSE=%s", yes[i]);
        expect_silent(entry);
        cr_expect(um_option.verbose, "%s", entry);
    }
    for (size_t i = 0; i < UM_COUNT(no); i++) {
        char entry[64];
        snprintf(entry, sizeof entry, "UMALLOC_VERBOSE=%s", no[i]);
        expect_silent(entry);
        cr_expect(!um_option.verbose, "%s", entry);
    }
    expect_complaint("UMALLOC_VERBOSE=2", "UMALLOC_VERBOSE=\"2\" is not one of 0|1|on|off|yes|no|true|false; "
                                          "using the default off");
    expect_complaint("UMALLOC_VERBOSE=0|1", "UMALLOC_VERBOSE=\"0|1\" is not one of "
                                            "0|1|on|off|yes|no|true|false; using the default off");
}

Test(options, pinned_memory) {
    expect_silent("UMALLOC_PREFAULT=64M");
    cr_expect_eq(um_option.prefault, 64 * UM_MIB);
    expect_silent("UMALLOC_PREFAULT_THREAD=1M");
    cr_expect_eq(um_option.prefault_thread, UM_MIB);
    expect_silent("UMALLOC_LOCK=1");
    cr_expect(um_option.lock);
    expect_complaint("UMALLOC_PREFAULT=all", "UMALLOC_PREFAULT=\"all\" is not a size from 0 to 64T "
                                             "(suffixes K, M, G, T); using the default 0");
    expect_complaint("UMALLOC_PREFAULT_THREAD=2T",
                     "UMALLOC_PREFAULT_THREAD=\"2T\" is not a size from 0 to 1T "
                     "(suffixes K, M, G, T); using the default 0");
    expect_complaint("UMALLOC_LOCK=64M", "UMALLOC_LOCK=\"64M\" is not one of "
                                         "0|1|on|off|yes|no|true|false; using the default off");
}

Test(options, choices) {
    static const char *const words[] = {"auto", "off", "thp", "always", "hugetlb:2M", "hugetlb:1G"};
    for (size_t i = 0; i < UM_COUNT(words); i++) {
        char entry[64];
        snprintf(entry, sizeof entry, "UMALLOC_HUGEPAGES=%s", words[i]);
        expect_silent(entry);
        cr_expect_eq(um_option.hugepages, (int)i);
    }
    expect_complaint("UMALLOC_HUGEPAGES=hugetlb",
                     "UMALLOC_HUGEPAGES=\"hugetlb\" is not one of auto|off|thp|always|hugetlb:2M|hugetlb:1G; "
                     "using the default auto");
    expect_silent("UMALLOC_HUGEPAGES=ALWAYS");
    cr_expect_eq(um_option.hugepages, UM_HUGEPAGES_ALWAYS);
    expect_silent("UMALLOC_STATS=JSON");
    cr_expect_eq(um_option.stats, UM_STATS_JSON);
    expect_complaint("UMALLOC_STATS=xml",
                     "UMALLOC_STATS=\"xml\" is not one of off|text|json; using the default off");
    cr_expect_eq(um_option.stats, UM_STATS_OFF);
    expect_complaint("UMALLOC_STATS=text|json",
                     "UMALLOC_STATS=\"text|json\" is not one of off|text|json; using the default off");
    expect_complaint("UMALLOC_STATS=tex",
                     "UMALLOC_STATS=\"tex\" is not one of off|text|json; using the default off");
    expect_complaint("UMALLOC_STATS=textual",
                     "UMALLOC_STATS=\"textual\" is not one of off|text|json; using the default off");
}

Test(options, strings_have_a_longest) {
    char entry[2000] = "UMALLOC_STATS_FILE=";
    size_t start = strlen(entry);
    memset(entry + start, 'p', 1023);
    expect_silent(entry);
    cr_expect(um_option.stats_file != entry + start && !strcmp(um_option.stats_file, entry + start),
              "copied, for programs overwrite their environment");
    entry[start + 1023] = 'p';
    load(entry);
    cr_expect_eq(bad, 1);
    cr_expect_not_null(
        strstr(out.all, "pppp...\" is not a text of 1 to 1023 bytes; using the default \"\"\n"));
    cr_expect_lt(out.len, 200);
    cr_expect_str_eq(um_option.stats_file, "");
    expect_silent("UMALLOC_STATS_FILE=r");
    cr_expect_str_eq(um_option.stats_file, "r");
}

Test(options, each_text_has_its_room) {
    cr_expect_str_eq(load("UMALLOC_EXCLUDE=a,b", "UMALLOC_STATS_FILE=/file"), "");
    cr_expect_str_eq(um_option.stats_file, "/file");
    cr_expect_str_eq(um_option.exclude, "a,b");
}

Test(options, values_are_shown_safely) {
    expect_complaint(
        "UMALLOC_STATS=a\033[31m\n\"\\",
        "UMALLOC_STATS=\"a\\x1b[31m\\x0a\\\"\\\\\" is not one of off|text|json; using the default off");
}

Test(options, an_empty_value_is_the_default) {
#define X(id, NAME, type, def, min, max, unit, stability, help)                                              \
    expect_silent("UMALLOC_" #NAME "=");                                                                     \
    cr_expect_not(um_option_given(&um_option.id));                                                           \
    expect_defaults();
    UM_OPTION_TABLE(X)
#undef X
    expect_complaint("UMALLOC_NO_SUCH=", "unknown option UMALLOC_NO_SUCH");
    cr_expect_str_eq(load("UMALLOC_DECAY_MS=", "UMALLOC_DECAY_MS=6"), "");
    cr_expect_eq(um_option.decay_ms, 1000, "as for getenv");
    expect_complaint("UMALLOC_STATS= ",
                     "UMALLOC_STATS=\" \" is not one of off|text|json; using the default off");
}

Test(options, the_first_of_duplicates_counts) {
    cr_expect_str_eq(load("UMALLOC_DECAY_MS=5", "UMALLOC_DECAY_MS=6", "UMALLOC_DECAY_MS=junk"), "");
    cr_expect_eq(um_option.decay_ms, 5);
    load("UMALLOC_DECAY_MS=junk", "UMALLOC_DECAY_MS=6");
    cr_expect_eq(bad, 1);
    cr_expect_eq(um_option.decay_ms, 1000);
}

Test(options, each_bad_entry_is_one_line) {
    const char *lines =
        load("UMALLOC_STATS=x", "HOME=/", "UMALLOC_NOPE=1", "UMALLOC_LIMIT=-1", "UMALLOC_DECAY_MS=7");
    unsigned count = 0;
    for (const char *p = lines; *p; p++)
        count += *p == '\n';
    cr_expect_eq(count, 3);
    cr_expect_eq(bad, 3);
    cr_expect_eq(um_option.decay_ms, 7, "good ones still count");
}

Test(options, unknown_names_get_the_nearest) {
    expect_complaint("UMALLOC_STAT=1", "unknown option UMALLOC_STAT; did you mean UMALLOC_STATS?");
    expect_complaint("UMALLOC_STATSFILE=1",
                     "unknown option UMALLOC_STATSFILE; did you mean UMALLOC_STATS_FILE?");
    expect_complaint("UMALLOC_STATS_FLIE=1",
                     "unknown option UMALLOC_STATS_FLIE; did you mean UMALLOC_STATS_FILE?");
    expect_complaint("UMALLOC_stats=1", "unknown option UMALLOC_stats; did you mean UMALLOC_STATS?");
    expect_complaint("UMALLOC_DECAY=1", "unknown option UMALLOC_DECAY; did you mean UMALLOC_DECAY_MS?");
    expect_complaint("UMALLOC_LIMITS=1", "unknown option UMALLOC_LIMITS; did you mean UMALLOC_LIMIT?");
    expect_complaint("UMALLOC_LIMIT_BYTES=1",
                     "unknown option UMALLOC_LIMIT_BYTES; did you mean UMALLOC_LIMIT?");
    expect_complaint("UMALLOC_TRHEAD_CACHE=1",
                     "unknown option UMALLOC_TRHEAD_CACHE; did you mean UMALLOC_THREAD_CACHE?");
    expect_complaint("UMALLOC_HUGE_PAGE=1",
                     "unknown option UMALLOC_HUGE_PAGE; did you mean UMALLOC_HUGEPAGES?");
}

Test(options, near_ends_at_a_third) {
    expect_complaint("UMALLOC_LIMTI=1",
                     "unknown option UMALLOC_LIMTI; did you mean UMALLOC_LIMIT?"); /* one swap */
    expect_complaint("UMALLOC_LIXXT=1", "unknown option UMALLOC_LIXXT");           /* two edits in five */
    expect_complaint("UMALLOC_STXXCT=1", "unknown option UMALLOC_STXXCT; did you mean UMALLOC_STRICT?");
    expect_complaint("UMALLOC_STA=1", "unknown option UMALLOC_STA; did you mean UMALLOC_STATS?");
    expect_complaint("UMALLOC_ST=1", "unknown option UMALLOC_ST"); /* begins too many */
}

Test(options, far_names_get_none) {
    expect_complaint("UMALLOC_QUX=1", "unknown option UMALLOC_QUX");
    expect_complaint("UMALLOC_=1", "unknown option UMALLOC_");
    expect_complaint("UMALLOC_S=1", "unknown option UMALLOC_S");
    expect_complaint("UMALLOC_a\nb=1", "unknown option UMALLOC_a\\x0ab");
    char entry[4000] = "UMALLOC_";
    memset(entry + 8, 'A', 3000);
    strcpy(entry + 3008, "=1");
    load(entry);
    cr_expect_eq(bad, 1);
    cr_expect_eq(out.len, strlen("umalloc: unknown option ") + 80 + strlen("...\n"));
    cr_expect_eq(out.all[out.len - 1], '\n');
}

Test(options, text_dump_shows_value_and_source) {
    load("UMALLOC_DECAY_MS=1000", "UMALLOC_STATS=text", "UMALLOC_DIRTY_MAX=1536K",
         "UMALLOC_STATS_FILE=/tmp/%p\n", "UMALLOC_LIMIT=oops", "UMALLOC_STRICT=yes",
         "UMALLOC_THREAD_CACHE=1048576");
    um_text *t = memory_text_start(&out);
    um_options_dump_text(t);
    cr_expect_str_eq(memory_text_end(&out), "  UMALLOC_STATS           environment  text\n"
                                            "  UMALLOC_STATS_FILE      environment  \"/tmp/%p\\x0a\"\n"
                                            "  UMALLOC_STATS_FORK      default      off\n"
                                            "  UMALLOC_VERBOSE         default      off\n"
                                            "  UMALLOC_STRICT          environment  on\n"
                                            "  UMALLOC_DECAY_MS        environment  1000\n"
                                            "  UMALLOC_DIRTY_MAX       environment  1536K\n"
                                            "  UMALLOC_THREAD_CACHE    environment  1M\n"
                                            "  UMALLOC_LIMIT           default      0\n"
                                            "  UMALLOC_SOFT_LIMIT      default      0\n"
                                            "  UMALLOC_HARDEN          default      off\n"
                                            "  UMALLOC_TRACK           default      off\n"
                                            "  UMALLOC_EXCLUDE         default      \"\"\n"
                                            "  UMALLOC_HUGEPAGES       default      auto\n"
                                            "  UMALLOC_NUMA            default      local\n"
                                            "  UMALLOC_NUMA_STRICT     default      off\n"
                                            "  UMALLOC_PREFAULT        default      0\n"
                                            "  UMALLOC_PREFAULT_THREAD default      0\n"
                                            "  UMALLOC_LOCK            default      off\n");
}

Test(options, a_size_or_auto) {
    load("UMALLOC_SOFT_LIMIT=Auto");
    cr_expect_eq(um_option.soft_limit, UM_OPTION_AUTO);
    um_text *t = memory_text_start(&out);
    um_options_dump_text(t);
    cr_expect(strstr(memory_text_end(&out), "  UMALLOC_SOFT_LIMIT      environment  auto\n"));
    t = memory_text_start(&out);
    um_options_dump_json(t);
    cr_expect(
        strstr(memory_text_end(&out), "\"soft_limit\": {\"value\": \"auto\", \"source\": \"environment\"}"));
    load("UMALLOC_SOFT_LIMIT=3M");
    cr_expect_eq(um_option.soft_limit, 3 * UM_MIB);
    expect_complaint("UMALLOC_SOFT_LIMIT=much",
                     "UMALLOC_SOFT_LIMIT=\"much\" is not auto or a size from 0 to 64T "
                     "(suffixes K, M, G, T); using the default 0");
}

Test(options, json_dump_holds_every_option_with_its_type) {
    load("UMALLOC_STATS=json", "UMALLOC_STATS_FILE=a\"b", "UMALLOC_LIMIT=1G", "UMALLOC_VERBOSE=1");
    um_text *t = memory_text_start(&out);
    um_options_dump_json(t);
    memory_text_end(&out);
    static const char *const members[] = {
        "\"stats\": {\"value\": \"json\", \"source\": \"environment\"},",
        "\"stats_file\": {\"value\": \"a\\\"b\", \"source\": \"environment\"},",
        "\"verbose\": {\"value\": true, \"source\": \"environment\"},",
        "\"strict\": {\"value\": false, \"source\": \"default\"},",
        "\"decay_ms\": {\"value\": 1000, \"source\": \"default\"},",
        "\"limit\": {\"value\": 1073741824, \"source\": \"environment\"},",
        "\"hugepages\": {\"value\": \"auto\", \"source\": \"default\"}",
    };
    for (size_t i = 0; i < UM_COUNT(members); i++)
        cr_expect_not_null(strstr(out.all, members[i]), "%s in %s", members[i], out.all);
#define X(id, NAME, type, def, min, max, unit, stability, help)                                              \
    cr_expect_not_null(strstr(out.all, "\"" #id "\": {"), "%s", #id);
    UM_OPTION_TABLE(X)
#undef X
}
