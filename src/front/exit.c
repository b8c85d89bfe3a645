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

#include <errno.h>

#define CHECKED_BLOCKS 4096u /* bounds the look at the end to some microseconds */
#define SHOWN_COLUMNS  200u  /* of a path in a complaint */

extern int __cxa_at_quick_exit(void (*f)(void *), void *dso) __attribute__((weak));

static int report_fd = -1; /* const after start */
static uint64_t report_file[2];
static _Atomic(uint32_t) reported; /* relaxed: the first wins */
static uint32_t report_pid;        /* whose report it is; const after start, but for the child of fork */
static bool child;                 /* written in the child of fork, single-threaded */
static um_snapshot snapshot, before_fork;

typedef struct target {
    int fd, err; /* err: of the first write that failed; what would follow is left out */
} target;

static void to_target(void *ctx, const char *bytes, size_t n) {
    target *to = ctx;
    if (!to->err)
        to->err = um_os_write(to->fd, bytes, n);
}

/* The pattern with %p, %n and %% replaced, and a zero after it. False if it is too long. */
static bool expand(const char *pattern, um_text *path) {
    um_text_init(path, NULL, NULL);
    for (const char *c = pattern; *c; c++) {
        if (*c == '%' && c[1] == 'p') {
            um_text_u64(path, um_os_pid());
        } else if (*c == '%' && c[1] == 'n') {
            um_text_str(path, um_os_program());
        } else {
            um_text_char(path, *c);
            if (*c != '%' || c[1] != '%')
                continue;
        }
        c++;
    }
    um_text_char(path, 0);
    return path->len < sizeof path->buf;
}

void um_front_keep_stderr(void) {
    if (report_fd < 0 && um_os_file_id(2, report_file) == 0)
        report_fd = um_os_dup_high(2);
}

int um_front_stderr(void) {
    uint64_t id[2];
    if (report_fd >= 0 && um_os_file_id(report_fd, id) == 0 && id[0] == report_file[0] &&
        id[1] == report_file[1])
        return report_fd;
    return um_os_file_id(2, id) == 0 && id[0] == report_file[0] && id[1] == report_file[1] ? 2 : -1;
}

static void complain(int err) {
    target to = {um_front_stderr(), 0};
    um_text t;
    if (to.fd < 0)
        return;
    um_text_init(&t, to_target, &to);
    um_text_str(&t, "umalloc: cannot write the report to UMALLOC_STATS_FILE=");
    um_text_quoted(&t, um_option.stats_file, SHOWN_COLUMNS);
    um_text_str(&t, " (error ");
    um_text_u64(&t, (uint64_t)err);
    um_text_str(&t, ")\n");
    um_text_flush(&t);
}

/* A file that cannot be made does not lose the report: stderr gets it, after the reason. */
static int report_fd_now(void) {
    um_text path;
    int fd = -ENAMETOOLONG;
    if (!um_option.stats_file[0])
        return um_front_stderr();
    if (expand(um_option.stats_file, &path))
        fd = um_os_create(path.buf);
    if (fd >= 0)
        return fd;
    complain(-fd);
    return um_front_stderr();
}

/* The counters of a child start at the fork. */
static void subtract(um_snapshot *s, const um_snapshot *b) {
#define X(id, help) s->counters.id -= um_min(s->counters.id, b->counters.id);
    UM_COUNTER_TABLE(X)
#undef X
    for (unsigned c = 0; c < s->class_count; c++) {
        um_class_row *r = &s->classes[c];
        const um_class_row *o = &b->classes[c];
        r->allocs -= um_min(r->allocs, o->allocs);
        r->frees -= um_min(r->frees, o->frees);
        r->refills -= um_min(r->refills, o->refills);
        r->flushes -= um_min(r->flushes, o->flushes);
    }
    for (unsigned m = 0; m < UM_MODULES; m++)
        s->modules[m].takes -= b->modules[m].takes;
    s->mmap_calls -= b->mmap_calls;
    s->munmap_calls -= b->munmap_calls;
    s->mremap_calls -= b->mremap_calls;
    s->madvise_calls -= b->madvise_calls;
    s->policy.calls -= b->policy.calls;
    s->policy.refused_other -= b->policy.refused_other;
#define X(name) s->policy.refused_##name -= b->policy.refused_##name;
    UM_POLICY_ERRNOS(X)
#undef X
}

void um_front_report(void) {
    target to = {-1, 0};
    um_text t;
    if (um_option.stats == UM_STATS_OFF || (child && !um_option.stats_fork))
        return;
    /* A child of vfork shares our memory, one of a bare clone ran no fork handler: neither is us. */
    if (um_os_pid() != report_pid)
        return;
    if (atomic_exchange_explicit(&reported, 1, memory_order_relaxed))
        return;
    to.fd = report_fd_now();
    if (to.fd < 0)
        return;
    um_gather(&snapshot);
    um_gather_placement(&snapshot);
    if (child)
        subtract(&snapshot, &before_fork);
    um_text_init(&t, to_target, &to);
    if (um_option.stats == UM_STATS_JSON)
        um_report_json(&t, &snapshot);
    else
        um_report_text(&t, &snapshot);
    um_text_flush(&t);
    if (to.err && um_option.stats_file[0])
        complain(to.err);
}

static __attribute__((destructor(101))) void um_finish(void) {
    if (um_tls.heap)
        um_theap_check_lists(um_tls.heap, CHECKED_BLOCKS);
    if (um_hard_level)
        um_hard_check();
    um_front_report();
}

static void at_quick_exit_report(void *unused) {
    (void)unused;
    um_front_report();
}

void um_front_exit_init(void) {
    static bool ready;
    if (um_option.stats == UM_STATS_OFF || ready)
        return;
    ready = true;
    report_pid = um_os_pid();
    um_front_keep_stderr();
    if (__cxa_at_quick_exit)
        (void)__cxa_at_quick_exit(at_quick_exit_report, NULL); /* fails without memory only */
}

void um_front_exit_child(void) {
    child = true;
    report_pid = um_os_pid();
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
