/* The report, from one snapshot: a tidy block for people, JSON for programs, XML for malloc_info(3). Runs at
   exit and on demand, also after the program closed its streams: no stdio, no heap, frames under 200 bytes
   beside the caller's um_text. Figures of a running program are a few events apart, so every difference
   saturates at 0. What the JSON holds is a promise: members are added freely, renamed or removed only with
   schema_version. */
#include "front/report.h"

#include "conf/options.h"
#include "os/os.h"

#define SCHEMA_VERSION  1u
#define LABEL_COLUMNS   18u
#define BYTES_COLUMNS   11u /* 1023.9 MiB */
#define COUNT_COLUMNS   13u
#define SLAB_COLUMNS    9u
#define SHARE_COLUMNS   15u
#define PROGRAM_COLUMNS 120u

/* What the small classes did together. */
typedef struct small_sums {
    uint64_t allocs, frees, live, live_bytes, slabs, slab_bytes, refills, flushes;
} small_sums;

static uint64_t minus(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

static uint64_t class_live_bytes(const um_class_row *c) {
    return c->live * c->block_bytes;
}

static uint64_t class_waste_bytes(const um_class_row *c) {
    return minus(c->slab_bytes, class_live_bytes(c));
}

static bool class_used(const um_class_row *c) {
    return c->allocs || c->frees || c->slabs;
}

static small_sums sum_classes(const um_snapshot *s) {
    small_sums sum = {0, 0, 0, 0, 0, 0, 0, 0};
    for (uint32_t i = 0; i < s->class_count; i++) {
        const um_class_row *c = &s->classes[i];
        sum.allocs += c->allocs;
        sum.frees += c->frees;
        sum.live += c->live;
        sum.live_bytes += class_live_bytes(c);
        sum.slabs += c->slabs;
        sum.slab_bytes += c->slab_bytes;
        sum.refills += c->refills;
        sum.flushes += c->flushes;
    }
    return sum;
}

/* Text */

static void text_bytes_row(um_text *t, const char *label, uint64_t v, const char *meaning) {
    um_text_str(t, "  ");
    um_text_str_wide(t, label, LABEL_COLUMNS);
    um_text_bytes_wide(t, v, BYTES_COLUMNS);
    um_text_str(t, "  ");
    um_text_str(t, meaning);
    um_text_char(t, '\n');
}

static void text_label(um_text *t, const char *label) {
    um_text_str(t, "  ");
    um_text_str_wide(t, label, LABEL_COLUMNS);
}

static void text_count(um_text *t, const char *before, uint64_t v, const char *after) {
    um_text_str(t, before);
    um_text_u64(t, v);
    um_text_str(t, after);
}

static void text_gauges(um_text *t, const um_snapshot *s) {
    um_text_str(t, "\nmemory\n");
    text_bytes_row(t, "allocated", s->allocated, "in blocks that the program holds");
    text_bytes_row(t, "active", s->active, "in spans that hold or are cut for such blocks");
    text_bytes_row(t, "resident", s->resident, "active, dirty and metadata: kept in memory at most");
    text_bytes_row(t, "mapped", s->mapped, "address space");
    text_bytes_row(t, "retained", s->retained, "mapped, its memory given back");
    text_bytes_row(t, "metadata", s->metadata, "tables and thread heaps");
    text_bytes_row(t, "dirty", s->dirty, "free, kept in memory for reuse");
    text_bytes_row(t, "peak", s->peak, "highest active + dirty");
    text_bytes_row(t, "huge pages", s->huge_bytes, "of it in huge pages, measured");
    if (s->counters.huge_wanted_bytes)
        text_bytes_row(t, "huge pages wanted", s->counters.huge_wanted_bytes,
                       "that huge pages were asked for");
    if (s->counters.hugetlb_fallbacks) {
        text_label(t, "hugetlb fallbacks");
        text_count(t, "", s->counters.hugetlb_fallbacks, "\n");
    }
    if (s->counters.prefaults_short) {
        text_label(t, "prefaults short");
        text_count(t, "", s->counters.prefaults_short, "\n");
    }
    if (s->counters.unlocked_bytes)
        text_bytes_row(t, "not locked", s->counters.unlocked_bytes, "that UMALLOC_LOCK was refused");
#define X(id, help)                                                                                          \
    if (s->modules[UM_MODULE_##id].takes)                                                                    \
        text_bytes_row(t, "in " #id, s->modules[UM_MODULE_##id].bytes, "of it in spans of " help);
    UM_MODULE_TABLE(X)
#undef X
    if (s->kernel_resident)
        text_bytes_row(t, "process RSS", s->kernel_resident, "the whole process, as the kernel counts");
    um_text_str(t, "  ");
    um_text_str_wide(t, "fragmentation", LABEL_COLUMNS + 3);
    um_text_ratio(t, s->resident, s->allocated, 3);
    um_text_str(t, "     resident / allocated\n");
}

/* num/den as a percentage with two decimals. */
static void text_percent(um_text *t, uint64_t num, uint64_t den) {
    while (num > UINT64_MAX / 100) {
        num >>= 1;
        den >>= 1;
    }
    um_text_ratio(t, num * 100, den, 2);
    um_text_char(t, '%');
}

static void text_activity(um_text *t, const um_snapshot *s) {
    const um_counter_values *c = &s->counters;
    small_sums sum = sum_classes(s);
    um_text_str(t, "\nactivity\n");
    text_label(t, "small");
    text_count(t, "", sum.allocs, " allocs, ");
    text_count(t, "", sum.frees, " frees, ");
    text_count(t, "", sum.live, " live\n");
    text_label(t, "large");
    text_count(t, "", c->large_allocs, " allocs, ");
    text_count(t, "", c->large_frees, " frees, ");
    text_count(t, "", s->large_live_count, " live in ");
    um_text_bytes(t, s->large_live_bytes);
    text_count(t, "; ", c->large_cache_hits, " from the thread cache\n");
    text_label(t, "thread-cache hits");
    text_percent(t, minus(sum.allocs, sum.refills), sum.allocs);
    um_text_str(t, " of small allocs\n");
    text_label(t, "large reallocs");
    text_count(t, "", c->realloc_in_place, " in place, ");
    text_count(t, "", c->realloc_moved, " moved by mremap\n");
    text_label(t, "remote frees");
    text_count(t, "", c->remote_frees, " in ");
    text_count(t, "", c->remote_batches, " batches, mean ");
    um_text_ratio(t, c->remote_frees, c->remote_batches, 1);
    um_text_char(t, '\n');
    text_label(t, "system calls");
    text_count(t, "mmap ", s->mmap_calls, "");
    text_count(t, ", munmap ", s->munmap_calls, "");
    text_count(t, ", mremap ", s->mremap_calls, "");
    text_count(t, ", madvise ", s->madvise_calls, "\n");
    text_label(t, "purges");
    text_count(t, "", c->purges, " of ");
    um_text_bytes(t, c->purged_bytes);
    text_count(t, ", ", c->purge_failures, " refused\n");
    text_label(t, "threads");
    text_count(t, "", s->threads, " heaps alive, ");
    text_count(t, "", c->heaps_created, " made, ");
    text_count(t, "", c->heaps_reused, " reused; slabs ");
    text_count(t, "", c->slabs_orphaned, " orphaned, ");
    text_count(t, "", c->slabs_adopted, " adopted\n");
    text_label(t, "failed allocs");
    text_count(t, "", c->failed_allocs, "\n");
    text_label(t, "soft limit");
    text_count(t, "exceeded at ", c->soft_limit_hits, " looks\n");
}

static void text_right(um_text *t, const char *s, unsigned width) {
    unsigned n = 0;
    while (s[n])
        n++;
    um_text_str_wide(t, "", width > n ? width - n : 0);
    um_text_str(t, s);
}

static void text_classes(um_text *t, const um_snapshot *s) {
    static const char heads[][8] = {"allocs", "frees", "live"};
    um_text_str(t, "\nsize classes in use\n");
    text_right(t, "block", SLAB_COLUMNS);
    for (unsigned i = 0; i < UM_COUNT(heads); i++)
        text_right(t, heads[i], COUNT_COLUMNS);
    text_right(t, "slabs", SLAB_COLUMNS);
    text_right(t, "slab bytes", BYTES_COLUMNS + 1);
    text_right(t, "waste", BYTES_COLUMNS + 1);
    text_right(t, "refills", COUNT_COLUMNS);
    text_right(t, "flushes\n", SLAB_COLUMNS + 1);
    for (uint32_t i = 0; i < s->class_count; i++) {
        const um_class_row *c = &s->classes[i];
        if (!class_used(c))
            continue;
        um_text_u64_wide(t, c->block_bytes, SLAB_COLUMNS);
        um_text_u64_wide(t, c->allocs, COUNT_COLUMNS);
        um_text_u64_wide(t, c->frees, COUNT_COLUMNS);
        um_text_u64_wide(t, c->live, COUNT_COLUMNS);
        um_text_u64_wide(t, c->slabs, SLAB_COLUMNS);
        um_text_bytes_wide(t, c->slab_bytes, BYTES_COLUMNS + 1);
        um_text_bytes_wide(t, class_waste_bytes(c), BYTES_COLUMNS + 1);
        um_text_u64_wide(t, c->refills, COUNT_COLUMNS);
        um_text_u64_wide(t, c->flushes, SLAB_COLUMNS);
        um_text_char(t, '\n');
    }
}

static bool one_node(const um_snapshot *s) {
    return s->machine_nodes <= 1 && s->node_count <= 1;
}

/* What the kernel refused, by errno. */
static void text_policy_calls(um_text *t, const um_snapshot *s) {
    text_label(t, "policy calls");
    text_count(t, "", s->policy.calls, "");
#define X(name)                                                                                              \
    if (s->policy.refused_##name)                                                                            \
        text_count(t, ", " #name " ", s->policy.refused_##name, "");
    UM_POLICY_ERRNOS(X)
#undef X
    if (s->policy.refused_other)
        text_count(t, ", other errors ", s->policy.refused_other, "");
    um_text_char(t, '\n');
}

/* In the column "of the former". */
static void text_share(um_text *t, uint64_t part, uint64_t of) {
    um_text share;
    um_text_init(&share, NULL, NULL);
    if (of)
        text_percent(&share, part, of);
    else
        um_text_char(&share, '-');
    um_text_char(&share, 0);
    text_right(t, share.buf, SHARE_COLUMNS);
}

static void text_node_row(um_text *t, const um_node_row *n, bool measured) {
    if (n->node == UM_STATS_ANY_NODE)
        text_right(t, "any", SLAB_COLUMNS);
    else
        um_text_u64_wide(t, n->node, SLAB_COLUMNS);
    um_text_bytes_wide(t, n->mapped_bytes, BYTES_COLUMNS + 2);
    um_text_bytes_wide(t, n->active_bytes, BYTES_COLUMNS + 2);
    um_text_bytes_wide(t, n->dirty_bytes, BYTES_COLUMNS + 2);
    if (measured) {
        um_text_bytes_wide(t, n->intended_bytes, BYTES_COLUMNS + 2);
        um_text_bytes_wide(t, n->actual_bytes, BYTES_COLUMNS + 2);
        text_share(t, n->home_bytes, n->intended_bytes);
    }
    um_text_char(t, '\n');
}

/* Nothing to tell where there is one. */
static void text_nodes(um_text *t, const um_snapshot *s) {
    const um_counter_values *c = &s->counters;
    um_text_str(t, "\nnodes\n");
    text_label(t, "with memory");
    text_count(t, "", um_max(s->machine_nodes, 1), "\n");
    if (one_node(s))
        return;
    text_label(t, "policy");
    um_text_str(t, s->placement ? s->placement : "none");
    if (s->first_touch)
        text_count(t, ", but pages go where they are touched first: error ", (uint64_t)s->first_touch, "");
    um_text_char(t, '\n');
    text_policy_calls(t, s);
    text_label(t, "fallbacks");
    text_count(t, "", c->numa_remote_spans, " spans refused as misplaced, ");
    text_count(t, "", c->numa_policy_errors, " regions left to first touch; ");
    text_count(t, "", c->numa_migrations, " heaps moved\n");
    text_label(t, "on request");
    text_count(t, "", c->numa_requests, " blocks and heaps moved, ");
    um_text_bytes(t, c->numa_request_bytes);
    um_text_char(t, '\n');
    text_label(t, "pages looked up");
    if (s->measure_error) {
        text_count(t, "none, error ", (uint64_t)s->measure_error, "\n");
    } else {
        text_count(t, "", s->measured_pages, " of ");
        text_count(t, "", s->measured_of, ", for the last three columns\n");
    }
    text_right(t, "node", SLAB_COLUMNS);
    text_right(t, "mapped", BYTES_COLUMNS + 2);
    text_right(t, "active", BYTES_COLUMNS + 2);
    text_right(t, "dirty", BYTES_COLUMNS + 2);
    if (s->measured_pages) {
        text_right(t, "should have", BYTES_COLUMNS + 2);
        text_right(t, "has", BYTES_COLUMNS + 2);
        text_right(t, "of the former", SHARE_COLUMNS);
    }
    um_text_char(t, '\n');
    for (uint32_t i = 0; i < s->node_count; i++)
        text_node_row(t, &s->nodes[i], s->measured_pages != 0);
}

void um_report_text(um_text *t, const um_snapshot *s) {
    um_text_str(t, "umalloc report: ");
    um_text_safe(t, um_os_program(), PROGRAM_COLUMNS);
    text_count(t, " (pid ", um_os_pid(), ")\n");
    text_gauges(t, s);
    text_activity(t, s);
    text_classes(t, s);
    text_nodes(t, s);
    um_text_str(t, "\noptions\n");
    um_options_dump_text(t);
}

/* JSON */

/* "name": v, after a comma unless the line or object opens here. */
static void json_u64(um_text *t, const char *lead, const char *name, uint64_t v) {
    um_text_str(t, lead);
    um_text_char(t, '"');
    um_text_str(t, name);
    um_text_str(t, "\": ");
    um_text_u64(t, v);
}

static void json_ratio(um_text *t, const char *name, uint64_t num, uint64_t den) {
    um_text_str(t, ",\n  \"");
    um_text_str(t, name);
    um_text_str(t, "\": ");
    um_text_ratio(t, num, den, 6);
}

static void json_gauges(um_text *t, const um_snapshot *s) {
    um_text_str(t, ",\n  \"gauges\": {");
    json_u64(t, "", "allocated", s->allocated);
    json_u64(t, ", ", "active", s->active);
    json_u64(t, ", ", "resident", s->resident);
    json_u64(t, ", ", "mapped", s->mapped);
    json_u64(t, ", ", "retained", s->retained);
    json_u64(t, ", ", "metadata", s->metadata);
    um_text_char(t, '}');
    json_u64(t, ",\n  ", "dirty", s->dirty);
    json_u64(t, ",\n  ", "peak", s->peak);
    json_u64(t, ",\n  ", "kernel_resident", s->kernel_resident);
    json_u64(t, ",\n  ", "threads", s->threads);
    json_ratio(t, "fragmentation", s->resident, s->allocated);
}

static void json_activity(um_text *t, const um_snapshot *s) {
    small_sums sum = sum_classes(s);
    json_ratio(t, "thread_cache_hit_rate", minus(sum.allocs, sum.refills), sum.allocs);
    json_ratio(t, "remote_batch_mean", s->counters.remote_frees, s->counters.remote_batches);
    um_text_str(t, ",\n  \"small\": {");
    json_u64(t, "", "allocs", sum.allocs);
    json_u64(t, ", ", "frees", sum.frees);
    json_u64(t, ", ", "live", sum.live);
    json_u64(t, ", ", "live_bytes", sum.live_bytes);
    json_u64(t, ", ", "slabs", sum.slabs);
    json_u64(t, ", ", "slab_bytes", sum.slab_bytes);
    json_u64(t, ", ", "refills", sum.refills);
    json_u64(t, ", ", "flushes", sum.flushes);
    um_text_str(t, "},\n  \"large\": {");
    json_u64(t, "", "live", s->large_live_count);
    json_u64(t, ", ", "live_bytes", s->large_live_bytes);
    um_text_str(t, "},\n  \"system_calls\": {");
    json_u64(t, "", "mmap", s->mmap_calls);
    json_u64(t, ", ", "munmap", s->munmap_calls);
    json_u64(t, ", ", "mremap", s->mremap_calls);
    json_u64(t, ", ", "madvise", s->madvise_calls);
    um_text_str(t, "},\n  \"counters\": {");
    const char *lead = "\n    ";
#define X(id, help)                                                                                          \
    json_u64(t, lead, #id, s->counters.id);                                                                  \
    lead = ",\n    ";
    UM_COUNTER_TABLE(X)
#undef X
    um_text_str(t, "\n  }");
}

static void json_modules(um_text *t, const um_snapshot *s) {
    const char *lead = "\n    \"";
    um_text_str(t, ",\n  \"modules\": {");
#define X(id, help)                                                                                          \
    if (s->modules[UM_MODULE_##id].takes) {                                                                  \
        um_text_str(t, lead);                                                                                \
        um_text_str(t, #id "\": {");                                                                         \
        json_u64(t, "", "bytes", s->modules[UM_MODULE_##id].bytes);                                          \
        json_u64(t, ", ", "peak_bytes", s->modules[UM_MODULE_##id].peak_bytes);                              \
        json_u64(t, ", ", "spans_taken", s->modules[UM_MODULE_##id].takes);                                  \
        um_text_char(t, '}');                                                                                \
        lead = ",\n    \"";                                                                                  \
    }
    UM_MODULE_TABLE(X)
#undef X
    um_text_str(t, "}");
}

static void json_classes(um_text *t, const um_snapshot *s) {
    const char *lead = "\n    {";
    um_text_str(t, ",\n  \"classes\": [");
    for (uint32_t i = 0; i < s->class_count; i++) {
        const um_class_row *c = &s->classes[i];
        if (!class_used(c))
            continue;
        json_u64(t, lead, "block_bytes", c->block_bytes);
        json_u64(t, ", ", "allocs", c->allocs);
        json_u64(t, ", ", "frees", c->frees);
        json_u64(t, ", ", "live", c->live);
        json_u64(t, ", ", "slabs", c->slabs);
        json_u64(t, ", ", "slab_bytes", c->slab_bytes);
        json_u64(t, ", ", "waste_bytes", class_waste_bytes(c));
        json_u64(t, ", ", "refills", c->refills);
        json_u64(t, ", ", "flushes", c->flushes);
        um_text_char(t, '}');
        lead = ",\n    {";
    }
    um_text_str(t, "\n  ]");
}

static void json_nodes(um_text *t, const um_snapshot *s) {
    um_text_str(t, ",\n  \"nodes\": [");
    for (uint32_t i = 0; i < s->node_count; i++) {
        const um_node_row *n = &s->nodes[i];
        if (n->node == UM_STATS_ANY_NODE)
            um_text_str(t, i ? ",\n    {\"node\": null" : "\n    {\"node\": null");
        else
            json_u64(t, i ? ",\n    {" : "\n    {", "node", n->node);
        json_u64(t, ", ", "mapped", n->mapped_bytes);
        json_u64(t, ", ", "active", n->active_bytes);
        json_u64(t, ", ", "dirty", n->dirty_bytes);
        if (!one_node(s)) {
            json_u64(t, ", ", "intended", n->intended_bytes);
            json_u64(t, ", ", "intended_at_home", n->home_bytes);
            json_u64(t, ", ", "actual", n->actual_bytes);
        }
        um_text_char(t, '}');
    }
    um_text_str(t, "\n  ]");
}

static void json_placement(um_text *t, const um_snapshot *s) {
    um_text_str(t, ",\n  \"placement\": {");
    json_u64(t, "", "nodes_with_memory", um_max(s->machine_nodes, 1));
    if (!one_node(s)) {
        um_text_str(t, ", \"policy\": ");
        um_text_json(t, s->placement ? s->placement : "none");
        json_u64(t, ", ", "first_touch_error", (uint64_t)s->first_touch);
        json_u64(t, ", ", "pages_looked_up", s->measured_pages);
        json_u64(t, ", ", "pages", s->measured_of);
        json_u64(t, ", ", "look_up_error", (uint64_t)s->measure_error);
        json_u64(t, ", ", "policy_calls", s->policy.calls);
        um_text_str(t, ",\n    \"policy_errors\": {");
#define X(name) json_u64(t, "", #name, s->policy.refused_##name), um_text_str(t, ", ");
        UM_POLICY_ERRNOS(X)
#undef X
        json_u64(t, "", "other", s->policy.refused_other);
        um_text_char(t, '}');
    }
    um_text_str(t, "},\n  \"huge_pages\": {");
    json_u64(t, "", "wanted", s->counters.huge_wanted_bytes);
    json_u64(t, ", ", "measured", s->huge_bytes);
    um_text_char(t, '}');
}

void um_report_json(um_text *t, const um_snapshot *s) {
    json_u64(t, "{\n  ", "schema_version", SCHEMA_VERSION);
    um_text_str(t, ",\n  \"program\": ");
    um_text_json(t, um_os_program());
    json_u64(t, ",\n  ", "pid", um_os_pid());
    json_gauges(t, s);
    json_activity(t, s);
    json_classes(t, s);
    json_modules(t, s);
    json_nodes(t, s);
    json_placement(t, s);
    um_text_str(t, ",\n  \"options\": {\n");
    um_options_dump_json(t);
    um_text_str(t, "  }\n}\n");
}

/* XML */

static void xml_u64(um_text *t, const char *before, uint64_t v) {
    um_text_str(t, before);
    um_text_str(t, "=\"");
    um_text_u64(t, v);
    um_text_char(t, '"');
}

static void xml_total(um_text *t, const char *type, uint64_t count, uint64_t bytes) {
    um_text_str(t, "<total type=\"");
    um_text_str(t, type);
    xml_u64(t, "\" count", count);
    xml_u64(t, " size", bytes);
    um_text_str(t, "/>\n");
}

static void xml_size(um_text *t, const char *element_and_type, uint64_t bytes) {
    xml_u64(t, element_and_type, bytes);
    um_text_str(t, "/>\n");
}

/* Elements as in glibc's document; the sizes are those of live blocks. */
void um_report_xml(um_text *t, const um_snapshot *s) {
    small_sums sum = sum_classes(s);
    um_text_str(t, "<malloc version=\"umalloc-1\">\n<heap nr=\"0\">\n<sizes>\n");
    uint64_t below = 0;
    for (uint32_t i = 0; i < s->class_count; i++) {
        const um_class_row *c = &s->classes[i];
        if (c->live) {
            xml_u64(t, "<size from", below + 1);
            xml_u64(t, " to", c->block_bytes);
            xml_u64(t, " total", class_live_bytes(c));
            xml_u64(t, " count", c->live);
            um_text_str(t, "/>\n");
        }
        below = c->block_bytes;
    }
    um_text_str(t, "</sizes>\n</heap>\n");
    xml_total(t, "small", sum.live, sum.live_bytes);
    xml_total(t, "large", s->large_live_count, s->large_live_bytes);
    xml_size(t, "<system type=\"current\" size", s->active + s->dirty);
    xml_size(t, "<system type=\"max\" size", s->peak);
    xml_size(t, "<aspace type=\"total\" size", s->mapped);
    xml_size(t, "<aspace type=\"mprotect\" size", minus(s->mapped, s->retained));
    um_text_str(t, "</malloc>\n");
}
