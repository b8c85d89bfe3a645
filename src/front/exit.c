/* The last acts: a look at the free lists, then the report if it was asked for. A program may have closed fd
   2 by then, so it is duplicated at start; the duplicate may have been closed and its number reused, so the
   file behind it is compared before a byte is written. A child of fork reports only if asked, and only what
   it did itself. */
#include "conf/options.h"
#include "front/family.h"
#include "front/front.h"
#include "front/gather.h"
#include "front/report.h"
#include "os/os.h"

#define CHECKED_BLOCKS 4096u /* bounds the look at the end to some microseconds */
#define PATH_BYTES     1200u

extern int __cxa_at_quick_exit(void (*f)(void *), void *dso) __attribute__((weak));

static int report_fd = -1; /* const after start */
static uint64_t report_file[2];
static _Atomic(uint32_t) reported; /* relaxed: the first wins */
static bool child;                 /* written in the child of fork, single-threaded */
static um_stats snapshot, before_fork;

static void to_fd(void *ctx, const char *bytes, size_t n) {
    (void)um_os_write(*(int *)ctx, bytes, n); /* nowhere to report to */
}

static int open_report_file(const char *pattern) {
    char path[PATH_BYTES];
    um_text t;
    um_text_init(&t, NULL, NULL);
    for (const char *c = pattern; *c; c++) {
        if (*c != '%' || !c[1]) {
            um_text_char(&t, *c);
            continue;
        }
        c++;
        if (*c == 'p') {
            um_text_u64(&t, um_os_pid());
        } else if (*c == 'n') {
            um_text_str(&t, um_os_program());
        } else {
            if (*c != '%')
                um_text_char(&t, '%');
            um_text_char(&t, *c);
        }
    }
    __builtin_memcpy(path, t.buf, t.len);
    path[um_min(t.len, sizeof path - 1)] = 0;
    return um_os_create(path);
}

static int report_target(void) {
    uint64_t id[2];
    if (um_option.stats_file[0])
        return open_report_file(um_option.stats_file);
    if (report_fd >= 0 && um_os_file_id(report_fd, id) == 0 && id[0] == report_file[0] &&
        id[1] == report_file[1])
        return report_fd;
    return um_os_file_id(2, id) == 0 && id[0] == report_file[0] && id[1] == report_file[1] ? 2 : -1;
}

/* The counters of a child start at the fork. */
static void subtract(um_stats *s, const um_stats *b) {
#define X(id, help) s->counters.id -= um_min(s->counters.id, b->counters.id);
    UM_COUNTER_TABLE(X)
#undef X
    for (unsigned c = 0; c < s->class_count; c++) {
        um_class_row *r = &s->classes[c];
        const um_class_row *o = &b->classes[c];
        uint64_t live = r->allocs - r->frees; /* inherited blocks are live here too */
        r->frees -= um_min(r->frees, o->frees);
        r->allocs = r->frees + live;
        r->refills -= um_min(r->refills, o->refills);
        r->flushes -= um_min(r->flushes, o->flushes);
    }
    s->mmap_calls -= b->mmap_calls;
    s->munmap_calls -= b->munmap_calls;
    s->mremap_calls -= b->mremap_calls;
    s->madvise_calls -= b->madvise_calls;
}

void um_front_report(void) {
    um_text t;
    int fd;
    if (um_option.stats == UM_STATS_OFF || (child && !um_option.stats_fork))
        return;
    if (atomic_exchange_explicit(&reported, 1, memory_order_relaxed))
        return;
    fd = report_target();
    if (fd < 0)
        return;
    um_gather(&snapshot);
    if (child)
        subtract(&snapshot, &before_fork);
    um_text_init(&t, to_fd, &fd);
    if (um_option.stats == UM_STATS_JSON)
        um_report_json(&t, &snapshot);
    else
        um_report_text(&t, &snapshot);
    um_text_flush(&t);
}

static __attribute__((destructor(101))) void um_finish(void) {
    if (um_tls.heap)
        um_heap_check_lists(um_tls.heap, CHECKED_BLOCKS);
    um_front_report();
}

static void at_quick_exit_report(void *unused) {
    (void)unused;
    um_front_report();
}

void um_front_exit_init(void) {
    if (um_option.stats == UM_STATS_OFF)
        return;
    if (um_os_file_id(2, report_file) == 0)
        report_fd = um_os_dup_high(2);
    if (__cxa_at_quick_exit)
        (void)__cxa_at_quick_exit(at_quick_exit_report, NULL); /* fails without memory only */
}

void um_front_exit_child(void) {
    child = true;
    atomic_store_explicit(&reported, 0, memory_order_relaxed); /* single thread */
    if (um_option.stats != UM_STATS_OFF && um_option.stats_fork)
        um_gather(&before_fork);
}

/* Programs that leave without running handlers still get their report. */
UM_EXPORT _Noreturn void _exit(int status) {
    um_front_report();
    um_os_exit(status);
}

UM_EXPORT _Noreturn void _Exit(int status) {
    um_front_report();
    um_os_exit(status);
}
