/* glibc's own interface to its heap, answered about ours. */
#include "conf/options.h"
#include "front/aside.h"
#include "front/front.h"
#include "front/gather.h"
#include "front/report.h"
#include "os/os.h"
#include "space/space.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>

UM_EXPORT struct mallinfo2 mallinfo2(void) {
    struct mallinfo2 m = {0};
    um_snapshot s;
    if (um_unlikely(um_aside()))
        return um_aside_next.mallinfo2 ? um_aside_next.mallinfo2() : m;
    um_gather(&s);
    m.arena = s.active + s.dirty - um_min(s.large_live_bytes, s.active);
    m.hblks = s.large_live_count;
    m.hblkhd = s.large_live_bytes;
    m.usmblks = s.peak;
    m.uordblks = s.allocated;
    m.fordblks = s.active + s.dirty - um_min(s.allocated, s.active);
    m.keepcost = s.dirty;
    return m;
}

static int clamp(size_t v) {
    return v > __INT_MAX__ ? __INT_MAX__ : (int)v;
}

/* Its fields are ints: figures beyond 2 GiB are cut there rather than wrapped. */
UM_EXPORT struct mallinfo mallinfo(void) {
    struct mallinfo2 m = mallinfo2();
    return (struct mallinfo){.arena = clamp(m.arena),
                             .ordblks = clamp(m.ordblks),
                             .smblks = clamp(m.smblks),
                             .hblks = clamp(m.hblks),
                             .hblkhd = clamp(m.hblkhd),
                             .usmblks = clamp(m.usmblks),
                             .fsmblks = clamp(m.fsmblks),
                             .uordblks = clamp(m.uordblks),
                             .fordblks = clamp(m.fordblks),
                             .keepcost = clamp(m.keepcost)};
}

/* The parameters steer a heap that is not ours. The known ones are accepted, as programs that set them must
   not fail. 1 for success, 0 for an unknown parameter, as mallopt(3) says. */
UM_EXPORT int mallopt(int param, int value) {
    if (um_unlikely(um_aside()))
        return um_aside_next.mallopt ? um_aside_next.mallopt(param, value) : 0;
    switch (param) {
    case M_TRIM_THRESHOLD:
    case M_MXFAST:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX:
        return 1;
    default:
        return 0;
    }
}

/* 1 if memory went back to the system. pad is what may stay, in bytes. */
UM_EXPORT int malloc_trim(size_t pad) {
    um_theap *h = um_front_heap();
    if (um_unlikely(um_aside()))
        return um_aside_next.malloc_trim ? um_aside_next.malloc_trim(pad) : 0;
    if (h)
        um_theap_flush(h);
    um_theap_retire_parked();
    if (um_hard_level) {
        um_hard_check();
        um_hard_flush();
    }
    return um_space_trim(pad);
}

UM_EXPORT void malloc_stats(void) {
    um_text t;
    um_snapshot s;
    if (um_unlikely(um_aside())) {
        if (um_aside_next.malloc_stats)
            um_aside_next.malloc_stats();
        return;
    }
    um_text_init(&t, um_os_to_stderr, NULL);
    um_gather(&s);
    um_gather_placement(&s);
    um_report_text(&t, &s);
    um_text_flush(&t);
}

static void to_stream(void *ctx, const char *bytes, size_t n) {
    (void)fwrite(bytes, 1, n, ctx); /* ferror tells the caller */
}

UM_EXPORT int malloc_info(int options, FILE *stream) {
    um_text t;
    um_snapshot *copy;
    if (um_unlikely(um_aside() && um_aside_next.malloc_info))
        return um_aside_next.malloc_info(options, stream);
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    /* The stream may allocate: nothing is locked while it is written to. */
    copy = um_front_alloc(sizeof *copy);
    if (!copy)
        return -1;
    um_gather(copy);
    um_text_init(&t, to_stream, stream);
    um_report_xml(&t, copy);
    um_text_flush(&t);
    um_front_free(copy);
    return ferror(stream) ? -1 : 0;
}

int um_front_trim(size_t pad)
    __attribute__((alias("malloc_trim"), visibility("hidden"), nothrow, leaf)); /* as <malloc.h> says */

#define TWIN(name) __attribute__((alias(#name), visibility("default"), nothrow, leaf))
UM_EXPORT struct mallinfo __libc_mallinfo(void) TWIN(mallinfo);
UM_EXPORT int __libc_mallopt(int param, int value) TWIN(mallopt);
