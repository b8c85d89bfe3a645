/* The report: what each form holds, that no figure wraps when a snapshot is inconsistent, and that the JSON
   keeps its form. A reader written here walks the JSON, so that a missing comma or a key given twice fails.
 */
#include "front/report.h"

#include "conf/options.h"
#include "memory_text.h"
#include "os/os.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <unistd.h>

static memory_text out;

static um_snapshot sample(void) {
    um_snapshot s;
    memset(&s, 0, sizeof s);
    s.allocated = 1000000;
    s.active = 1100000;
    s.resident = 1250000;
    s.mapped = 64u << 20;
    s.retained = 60u << 20;
    s.metadata = 50000;
    s.dirty = 100000;
    s.peak = 3u << 20;
    s.kernel_resident = 5u << 20;
    s.large_live_bytes = 777216;
    s.large_live_count = 3;
    s.threads = 2;
    s.mmap_calls = 11;
    s.munmap_calls = 12;
    s.mremap_calls = 13;
    s.madvise_calls = 14;
    s.counters.remote_frees = 500;
    s.counters.remote_batches = 40;
    s.counters.purges = 7;
    s.class_count = 4;
    s.classes[0] = (um_class_row){.block_bytes = 16,
                                  .allocs = 9000,
                                  .frees = 8000,
                                  .live = 1000,
                                  .slabs = 1,
                                  .slab_bytes = 65536,
                                  .refills = 9,
                                  .flushes = 2};
    s.classes[1] = (um_class_row){.block_bytes = 32};
    s.classes[2] = (um_class_row){.block_bytes = 48, .allocs = 1000, .frees = 1000, .refills = 1};
    s.classes[3] =
        (um_class_row){.block_bytes = 1024, .allocs = 5, .frees = 6, .slabs = 1, .slab_bytes = 65536};
    s.node_count = 2;
    s.nodes[0] =
        (um_node_row){.node = 0, .mapped_bytes = 1u << 20, .active_bytes = 4096, .dirty_bytes = 8192};
    s.nodes[1] = (um_node_row){.node = 250,
                               .mapped_bytes = 2u << 20,
                               .intended_bytes = 3000,
                               .home_bytes = 2999,
                               .actual_bytes = 65536};
    s.machine_nodes = 4;
    s.placement = "prefer";
    s.first_touch = 38;
    s.measured_pages = 100;
    s.measured_of = 300;
    s.policy = (um_policy_values){.calls = 9, .refused_EPERM = 2, .refused_other = 1};
    s.counters.numa_remote_spans = 6;
    s.counters.numa_policy_errors = 3;
    s.counters.numa_migrations = 8;
    s.counters.numa_requests = 5;
    s.counters.numa_request_bytes = 3u << 20;
    s.counters.huge_wanted_bytes = 8u << 20;
    s.counters.hugetlb_fallbacks = 4;
    s.huge_bytes = 6u << 20;
    return s;
}

/* A reader of JSON: skips one value and fails on whatever is not JSON, or a key that an object has twice. */

static const char *skip_value(const char *p);

static const char *blanks(const char *p) {
    while (*p == ' ' || *p == '\n')
        p++;
    return p;
}

static const char *skip_string(const char *p) {
    cr_assert_eq(*p, '"', "string at %.30s", p);
    for (p++; *p != '"'; p++) {
        cr_assert((unsigned char)*p >= ' ', "control character in a string");
        if (*p == '\\')
            p++;
    }
    return p + 1;
}

static const char *skip_object(const char *p) {
    const char *keys[100];
    size_t lengths[100], count = 0;
    if (*blanks(p + 1) == '}')
        return blanks(p + 1) + 1;
    for (;;) {
        p = blanks(p + 1);
        const char *end = skip_string(p);
        for (size_t i = 0; i < count; i++)
            cr_assert(lengths[i] != (size_t)(end - p) || memcmp(keys[i], p, lengths[i]), "twice: %.30s", p);
        cr_assert_lt(count, UM_COUNT(keys));
        keys[count] = p;
        lengths[count++] = (size_t)(end - p);
        p = blanks(end);
        cr_assert_eq(*p, ':', "colon at %.30s", p);
        p = blanks(skip_value(blanks(p + 1)));
        if (*p == '}')
            return p + 1;
        cr_assert_eq(*p, ',', "comma at %.30s", p);
    }
}

static const char *skip_array(const char *p) {
    if (*blanks(p + 1) == ']')
        return blanks(p + 1) + 1;
    for (;;) {
        p = blanks(skip_value(blanks(p + 1)));
        if (*p == ']')
            return p + 1;
        cr_assert_eq(*p, ',', "comma at %.30s", p);
    }
}

static const char *skip_value(const char *p) {
    if (*p == '{')
        return skip_object(p);
    if (*p == '[')
        return skip_array(p);
    if (*p == '"')
        return skip_string(p);
    if (!strncmp(p, "true", 4) || !strncmp(p, "null", 4))
        return p + 4;
    if (!strncmp(p, "false", 5))
        return p + 5;
    cr_assert(isdigit((unsigned char)*p), "value at %.30s", p);
    cr_assert(*p != '0' || !isdigit((unsigned char)p[1]), "leading zero at %.30s", p);
    while (isdigit((unsigned char)*p))
        p++;
    if (*p == '.')
        for (p++; isdigit((unsigned char)*p); p++)
            ;
    return p;
}

static const char *json_of(const um_snapshot *s) {
    um_report_json(memory_text_start(&out), s);
    const char *json = memory_text_end(&out);
    cr_assert_str_eq(skip_value(json), "\n", "one object and a newline");
    return json;
}

static void expect_in(const char *text, const char *part) {
    cr_expect_not_null(strstr(text, part), "no >%s< in:\n%s", part, text);
}

Test(report, json_holds_everything) {
    um_snapshot s = sample();
    const char *json = json_of(&s);
    char process[64];
    snprintf(process, sizeof process, "\"pid\": %d", (int)getpid());
    const char *const parts[] = {
        "{\n  \"schema_version\": 1,\n  \"program\": \"",
        process,
        "\"gauges\": {\"allocated\": 1000000, \"active\": 1100000, \"resident\": 1250000, \"mapped\": "
        "67108864, "
        "\"retained\": 62914560, \"metadata\": 50000}",
        "\"dirty\": 100000",
        "\"peak\": 3145728",
        "\"kernel_resident\": 5242880",
        "\"threads\": 2",
        "\"fragmentation\": 1.250000",
        "\"thread_cache_hit_rate\": 0.999000", /* 10 refills in 10005 allocs */
        "\"remote_batch_mean\": 12.500000",
        "\"large\": {\"live\": 3, \"live_bytes\": 777216}",
        "\"system_calls\": {\"mmap\": 11, \"munmap\": 12, \"mremap\": 13, \"madvise\": 14}",
        "{\"block_bytes\": 16, \"allocs\": 9000, \"frees\": 8000, \"live\": 1000, \"slabs\": 1, "
        "\"slab_bytes\": "
        "65536, \"waste_bytes\": 49536, \"refills\": 9, \"flushes\": 2},",
        "{\"node\": 250, \"mapped\": 2097152, \"active\": 0, \"dirty\": 0, \"intended\": 3000, "
        "\"intended_at_home\": 2999, \"actual\": 65536}",
        "\"placement\": {\"nodes_with_memory\": 4, \"policy\": \"prefer\", \"first_touch_error\": 38, "
        "\"pages_looked_up\": 100, \"pages\": 300, "
        "\"look_up_error\": 0, \"policy_calls\": 9,\n",
        "\"policy_errors\": {\"EPERM\": 2, \"ENOSYS\": 0, \"EINVAL\": 0, \"ENOMEM\": 0, \"EIO\": 0, "
        "\"EFAULT\": 0, \"other\": 1}}",
        "\"huge_pages\": {\"wanted\": 8388608, \"measured\": 6291456}",
        "\"options\": {\n    \"stats\": {\"value\": \"off\", \"source\": \"default\"}",
    };
    for (size_t i = 0; i < UM_COUNT(parts); i++)
        expect_in(json, parts[i]);
#define X(id, help) expect_in(json, "    \"" #id "\": ");
    UM_COUNTER_TABLE(X)
#undef X
    expect_in(json, "\"purges\": 7");
}

Test(report, json_is_valid_for_an_empty_and_for_a_full_snapshot) {
    um_snapshot s;
    memset(&s, 0, sizeof s);
    const char *json = json_of(&s);
    expect_in(json, "\"fragmentation\": 0.000000");
    expect_in(json, "\"thread_cache_hit_rate\": 0.000000");
    memset(&s, 0xff, sizeof s);
    s.placement = "local";
    s.class_count = UM_STATS_CLASSES_MAX;
    s.node_count = UM_STATS_NODES_MAX;
    json_of(&s);
}

Test(report, figures_never_wrap) {
    um_snapshot s = sample(); /* its class 1024 has more frees than allocs, as after a fork */
    s.classes[2].refills = 2000000;
    s.classes[3].live = 100; /* more than its slabs hold */
    s.retained = s.mapped + 1;
    const char *json = json_of(&s);
    expect_in(json, "{\"block_bytes\": 1024, \"allocs\": 5, \"frees\": 6, \"live\": 100, \"slabs\": 1, "
                    "\"slab_bytes\": 65536, \"waste_bytes\": 0,");
    expect_in(json, "\"thread_cache_hit_rate\": 0.000000");
    cr_expect_null(strstr(json, "184467440737"));
    um_report_text(memory_text_start(&out), &s);
    cr_expect_null(strstr(memory_text_end(&out), "184467440737"));
    um_report_xml(memory_text_start(&out), &s);
    cr_expect_null(strstr(memory_text_end(&out), "184467440737"));
}

Test(report, rows_beyond_the_count_are_not_read) {
    um_snapshot s = sample();
    s.classes[s.class_count] = (um_class_row){.block_bytes = 4711, .allocs = 4711, .slabs = 4711};
    s.nodes[s.node_count] = (um_node_row){.node = 4711};
    um_text *t = memory_text_start(&out);
    um_report_text(t, &s);
    um_report_json(t, &s);
    um_report_xml(t, &s);
    cr_expect_null(strstr(memory_text_end(&out), "4711"));
    expect_in(out.all, "\"allocs\": 10005,");
}

Test(report, unused_classes_are_left_out) {
    um_snapshot s = sample();
    cr_expect_null(strstr(json_of(&s), "\"block_bytes\": 32,"));
    um_report_text(memory_text_start(&out), &s);
    memory_text_end(&out);
    expect_in(out.all, "\n       48         1000");
    cr_expect_null(strstr(out.all, "\n       32 "));
}

Test(report, text_for_people) {
    um_snapshot s = sample();
    um_report_text(memory_text_start(&out), &s);
    const char *text = memory_text_end(&out);
    char head[256];
    snprintf(head, sizeof head, "umalloc report: %s (pid %d)\n\nmemory\n", um_os_program(), (int)getpid());
    cr_expect_eq(strncmp(text, head, strlen(head)), 0, "%s", text);
    const char *const parts[] = {
        "\n  allocated           976.6 KiB  in blocks that the program holds\n",
        "\n  peak                  3.0 MiB  highest active + dirty\n",
        "\n  process RSS           5.0 MiB  ",
        "\n  fragmentation        1.250     resident / allocated\n",
        "\n  small             10005 allocs, 9006 frees, 1000 live\n",
        "\n  thread-cache hits 99.90% of small allocs\n",
        "\n  remote frees      500 in 40 batches, mean 12.5\n",
        "\n  system calls      mmap 11, munmap 12, mremap 13, madvise 14\n",
        "\n  purges            7 of 0 B, 0 refused\n",
        "\n  huge pages            6.0 MiB  of it in huge pages, measured\n",
        "\n  huge pages wanted     8.0 MiB  ",
        "\n  hugetlb fallbacks 4\n",
        "\nnodes\n  with memory       4\n",
        "\n  policy            prefer, but pages go where they are touched first: error 38\n",
        "\n  policy calls      9, EPERM 2, other errors 1\n",
        "\n  fallbacks         6 spans refused as misplaced, 3 regions left to first touch; 8 heaps moved\n",
        "\n  on request        5 blocks and heaps moved, 3.0 MiB\n",
        "\n  pages looked up   100 of 300, for the last three columns\n",
        "\noptions\n  UMALLOC_STATS           default      off\n",
    };
    for (size_t i = 0; i < UM_COUNT(parts); i++)
        expect_in(text, parts[i]);
}

static void expect_aligned(const char *line, unsigned rows) {
    cr_assert_not_null(line);
    size_t width = strcspn(line, "\n");
    for (; rows; rows--, line += width + 1)
        cr_expect_eq(strcspn(line, "\n"), width, "%.120s", line);
}

Test(report, rows_of_the_class_table_are_aligned) {
    um_snapshot s = sample();
    um_report_text(memory_text_start(&out), &s);
    const char *line = strstr(memory_text_end(&out), "    block  ");
    expect_aligned(line, 4);
    cr_expect_eq(line[4 * (strcspn(line, "\n") + 1)], '\n', "three classes are in use");
}

Test(report, nodes) {
    um_snapshot s = sample();
    um_report_text(memory_text_start(&out), &s);
    const char *head = strstr(memory_text_end(&out), "     node  ");
    expect_aligned(head, 3);
    expect_in(head, " of the former\n");
    expect_in(head, "       -\n"); /* node 0 should have none */
    expect_in(head,
              "      250      2.0 MiB          0 B          0 B      2.9 KiB     64.0 KiB         99.97%\n");
    s.nodes[0].node = UM_STATS_ANY_NODE;
    s.measured_pages = 0;
    s.measure_error = 1;
    expect_in(json_of(&s), "{\"node\": null, \"mapped\": 1048576,");
    um_report_text(memory_text_start(&out), &s);
    memory_text_end(&out);
    expect_in(out.all, "\n  pages looked up   none, error 1\n");
    expect_aligned(strstr(out.all, "     node  "), 3);
    expect_in(out.all, "\n      any      1.0 MiB ");
    cr_expect_null(strstr(out.all, " of the former"));
}

/* What a machine of one node has not, is not shown. */
Test(report, one_node_is_one_line) {
    um_snapshot s = sample();
    s.machine_nodes = s.node_count = 1;
    um_report_text(memory_text_start(&out), &s);
    expect_in(memory_text_end(&out), "\nnodes\n  with memory       1\n\noptions\n");
    const char *json = json_of(&s);
    expect_in(json, "{\"node\": 0, \"mapped\": 1048576, \"active\": 4096, \"dirty\": 8192}\n");
    expect_in(json, "\"placement\": {\"nodes_with_memory\": 1}");
}

Test(report, xml_is_well_formed) {
    um_snapshot s = sample();
    um_report_xml(memory_text_start(&out), &s);
    cr_expect_str_eq(memory_text_end(&out), "<malloc version=\"umalloc-1\">\n"
                                            "<heap nr=\"0\">\n"
                                            "<sizes>\n"
                                            "<size from=\"1\" to=\"16\" total=\"16000\" count=\"1000\"/>\n"
                                            "</sizes>\n"
                                            "</heap>\n"
                                            "<total type=\"small\" count=\"1000\" size=\"16000\"/>\n"
                                            "<total type=\"large\" count=\"3\" size=\"777216\"/>\n"
                                            "<system type=\"current\" size=\"1200000\"/>\n"
                                            "<system type=\"max\" size=\"3145728\"/>\n"
                                            "<aspace type=\"total\" size=\"67108864\"/>\n"
                                            "<aspace type=\"mprotect\" size=\"4194304\"/>\n"
                                            "</malloc>\n");
}
