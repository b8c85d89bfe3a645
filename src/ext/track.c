/* Tracking. While it is on, the hardened allocator serves: malloc's fast paths find empty lists and go the
   slow way, where the calls of the hardened allocator are observed (front/front.h). So nothing of it is on
   the fast paths, and nothing is asked while it is off.

   Live blocks are in one hash table by address, chained, under one lock; records come from spans of the
   module and are used again. A block is taken out of the table before it is freed: another thread may get its
   address at once. The table doubles with its contents; where there is no memory for a record, the block is
   not tracked and counted as lost.

   Whoever looks at many blocks copies them first: nothing is locked while a visitor runs or text is written.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "umalloc/track.h"
#include "base/text.h"
#include "conf/options.h"
#include "ext/local.h"
#include "ext/room.h"
#include "front/aside.h"
#include "front/front.h"
#include "os/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#define FIRST_BUCKETS 4096u
#define SHOWN_STACKS  20u
#define LOG_MAX       512u

_Static_assert(UM_TRACK_FRAMES == UM_HARD_FRAMES, "a trace fits");
_Static_assert(sizeof(um_track_operation) == 32, "the log's format");

typedef struct record {
    um_track_block block;
    struct record *next;
} record;

static um_lock lock; /* rank: before the registry and the hardened allocator's; guards all below */
static bool on;
static um_track_config how;
static um_track_mark now;
static record **buckets;
static size_t bucket_count;
static record *idle;
static struct chunk { struct chunk *next; } * chunks;
static uint64_t started_ms;
static um_track_operation logged[LOG_MAX];
static unsigned log_count;

/* Between the two halves of a fork the forking thread holds the lock, and handlers of others may allocate.
   Relaxed: only that thread stores or finds its id. */
static _Atomic(uintptr_t) forker;

static bool forks(void) {
    return atomic_load_explicit(&forker, memory_order_relaxed) == um_thread_id();
}

static void enter(void) {
    if (!forks())
        um_lock_take(&lock);
}

static void leave(void) {
    if (!forks())
        um_lock_drop(&lock);
}

static size_t bucket_of(const void *p, size_t count) {
    return (size_t)(((uintptr_t)p * 0x9E3779B97F4A7C15ull) >> 20) & (count - 1);
}

/* --- under the lock --- */

static void flush_log_locked(void) {
    if (log_count)
        (void)um_os_write(how.log_fd, (const char *)logged, log_count * sizeof *logged);
    log_count = 0;
}

static void log_locked(const void *p, size_t bytes, size_t align, uint64_t time_ms) {
    if (!how.log_fd)
        return;
    logged[log_count++] =
        (um_track_operation){(uintptr_t)p, bytes, align, um_os_tid(), (uint32_t)(time_ms - started_ms)};
    if (log_count == LOG_MAX)
        flush_log_locked();
}

static void grow_locked(void) {
    size_t count = bucket_count ? 2 * bucket_count : FIRST_BUCKETS;
    bool zeroed;
    record **fresh = um_room_take(UM_MODULE_track, um_room_here(), count * sizeof *fresh, 1, &zeroed);
    if (!fresh)
        return; /* longer chains, then */
    if (!zeroed)
        memset(fresh, 0, count * sizeof *fresh);
    for (size_t i = 0; i < bucket_count; i++)
        for (record *r = buckets[i], *next; r; r = next) {
            record **at = &fresh[bucket_of(r->block.start, count)];
            next = r->next;
            r->next = *at;
            *at = r;
        }
    if (buckets)
        um_room_give(buckets, bucket_count * sizeof *buckets);
    buckets = fresh;
    bucket_count = count;
}

static record *idle_locked(void) {
    record *r = idle;
    if (!r) {
        struct chunk *c = um_room_take(UM_MODULE_track, um_room_here(), UM_SLOT_BYTES, 1, NULL);
        if (!c)
            return NULL;
        c->next = chunks;
        chunks = c;
        r = (record *)(void *)((char *)c + UM_CACHE_LINE_BYTES);
        for (size_t n = (UM_SLOT_BYTES - UM_CACHE_LINE_BYTES) / sizeof *r; n--; r++) {
            r->next = idle;
            idle = r;
        }
        r = idle;
    }
    idle = r->next;
    return r;
}

static record **find_locked(const void *p) {
    record **at;
    if (!buckets)
        return NULL;
    at = &buckets[bucket_of(p, bucket_count)];
    while (*at && (*at)->block.start != p)
        at = &(*at)->next;
    return *at ? at : NULL;
}

static void add_locked(const um_track_block *b) {
    record *r, **at;
    if (now.live_blocks >= bucket_count)
        grow_locked();
    r = buckets ? idle_locked() : NULL;
    if (!r) {
        now.lost++;
        return;
    }
    at = &buckets[bucket_of(b->start, bucket_count)];
    r->block = *b;
    r->next = *at;
    *at = r;
    now.live_blocks++;
    now.live_bytes += b->bytes;
}

/* --- what is observed --- */

static void allocated(void *p, size_t bytes, size_t align, void *frame) {
    int before = errno;
    um_track_block b = {.start = p, .bytes = bytes, .time_ms = um_os_now_ms()};
    um_hard_trace t;
    bool with_stack;
    enter();
    b.serial = ++now.serial;
    with_stack = how.stack_every <= 1 || b.serial % how.stack_every == 0;
    leave();
    t.depth = 0;
    t.thread = um_os_tid();
    if (with_stack)
        um_hard_trace_take(&t, frame);
    b.thread = t.thread;
    b.depth = t.depth;
    for (uint32_t i = 0; i < t.depth; i++)
        b.stack[i] = (void *)t.pc[i];
    enter();
    if (on) {
        add_locked(&b);
        log_locked(p, bytes, align, b.time_ms);
    }
    leave();
    errno = before;
}

static void freed(void *p) {
    record **at, *r;
    enter();
    at = on ? find_locked(p) : NULL;
    if (at) {
        r = *at;
        *at = r->next;
        r->next = idle;
        idle = r;
        now.live_blocks--;
        now.live_bytes -= r->block.bytes;
        now.frees++;
        log_locked(p, SIZE_MAX, 0, um_os_now_ms());
    }
    leave();
}

static const um_front_observer observer = {allocated, freed};

/* --- fork --- */

static void before_fork(void) {
    um_lock_take(&lock);
    atomic_store_explicit(&forker, um_thread_id(), memory_order_relaxed); /* see there */
}

static void in_parent(void) {
    atomic_store_explicit(&forker, 0, memory_order_relaxed); /* see there */
    um_lock_drop(&lock);
}

/* What is in the log's buffer is the parent's to write. */
static void in_child(void) {
    log_count = 0;
    how.log_fd = 0;
    how.report_at_exit = false;
    atomic_store_explicit(&forker, 0, memory_order_relaxed); /* single thread */
    um_lock_reset(&lock);
}

static const um_local_hooks hooks = {NULL, before_fork, in_parent, in_child};

/* --- start and end --- */

static int fail(int err) {
    errno = err;
    return -1;
}

int um_track_start(const um_track_config *config) {
    static const char magic[8] = {'u', 'm', 't', 'r', 'a', 'c', 'k', '1'};
    um_track_config wanted = {.size = sizeof wanted};
    int err;
    if (config && config->size != sizeof wanted)
        return fail(EINVAL);
    if (config)
        wanted = *config;
    if (!um_front_heap() && um_aside())
        return fail(ENOTSUP);
    if (um_local_use(UM_MODULE_track, &hooks) != 0)
        return fail(ENOMEM);
    enter();
    err = on ? EALREADY : 0;
    if (!err && um_front_harden(wanted.full ? UM_HARD_FULL : UM_HARD_ON) != 0)
        err = ENOMEM;
    if (!err) {
        how = wanted;
        on = true;
        now = (um_track_mark){0};
        started_ms = um_os_now_ms();
        if (how.report_at_exit)
            um_front_keep_stderr();
        if (how.log_fd)
            (void)um_os_write(how.log_fd, magic, sizeof magic);
        /* K1: release publishes what is set above to K2 in front/harden.c. */
        atomic_store_explicit(&um_front_observed, &observer, memory_order_release);
    }
    leave();
    return err ? fail(err) : 0;
}

void um_track_stop(void) {
    enter();
    /* relaxed: who is in the observer still finds `on` false under the lock */
    atomic_store_explicit(&um_front_observed, NULL, memory_order_relaxed);
    flush_log_locked();
    on = false;
    now = (um_track_mark){0};
    if (buckets)
        um_room_give(buckets, bucket_count * sizeof *buckets);
    buckets = NULL;
    bucket_count = 0;
    idle = NULL;
    while (chunks) {
        struct chunk *c = chunks;
        chunks = c->next;
        um_room_give(c, UM_SLOT_BYTES);
    }
    leave();
}

void um_front_track(void) {
    um_track_config c = {.size = sizeof c, .report_at_exit = true};
    (void)um_track_start(&c); /* without memory the program goes on untracked */
}

/* Beside the other destructors: a program that tracks nothing touches no page for it. */
static __attribute__((destructor(102), section(".text.exit"))) void report_at_exit(void) {
    if (um_likely(!on))
        return;
    if (how.report_at_exit && um_front_stderr() >= 0)
        (void)um_track_report(um_front_stderr(), NULL, NULL);
    enter();
    flush_log_locked();
    leave();
}

/* --- questions --- */

bool um_track_find(const void *p, um_track_block *out) {
    record **at;
    enter();
    at = find_locked(p);
    if (at && out)
        *out = (*at)->block;
    leave();
    return at != NULL;
}

um_track_mark um_track_now(void) {
    um_track_mark m;
    enter();
    m = now;
    leave();
    return m;
}

void um_track_check(void) {
    if (um_hard_level)
        um_hard_check();
}

/* A copy of the blocks between two marks, in a span of the module. NULL: none, or no memory (*count tells).
 */
static um_track_block *copy_blocks(const um_track_mark *after, const um_track_mark *until, int64_t *count) {
    um_track_block *copy = NULL;
    size_t n = 0, room;
    enter();
    room = now.live_blocks;
    if (room && !(copy = um_room_take(UM_MODULE_track, um_room_here(), room * sizeof *copy, 1, NULL)))
        room = 0;
    *count = copy || !now.live_blocks ? 0 : -1;
    for (size_t i = 0; i < bucket_count && copy; i++)
        for (const record *r = buckets[i]; r && n < room; r = r->next)
            if ((!after || r->block.serial > after->serial) && (!until || r->block.serial <= until->serial))
                copy[n++] = r->block;
    leave();
    *count += (int64_t)n;
    return copy;
}

static void give_copy(um_track_block *copy, int64_t n) {
    if (copy)
        um_room_give(copy, um_max(1, (size_t)n * sizeof *copy));
}

int64_t um_track_each(const um_track_mark *after, const um_track_mark *until,
                      bool (*visit)(const um_track_block *block, void *ctx), void *ctx) {
    int64_t n, seen = 0;
    um_track_block *copy = copy_blocks(after, until, &n);
    if (n < 0)
        return -1;
    while (seen < n && visit(&copy[seen++], ctx))
        continue;
    give_copy(copy, n);
    return seen;
}

void um_track_begin(um_track_scope *scope) {
    *scope = (um_track_scope){.begin = um_track_now(), .thread = um_os_tid()};
}

static bool add_to_scope(const um_track_block *b, void *ctx) {
    um_track_scope *scope = ctx;
    if (b->thread == scope->thread) {
        scope->leaked_blocks++;
        scope->leaked_bytes += b->bytes;
    }
    return true;
}

int64_t um_track_end(um_track_scope *scope) {
    scope->leaked_blocks = scope->leaked_bytes = 0;
    return um_track_each(&scope->begin, NULL, add_to_scope, scope) < 0 ? -1 : (int64_t)scope->leaked_blocks;
}

/* --- the report --- */

static bool same_stack(const um_track_block *a, const um_track_block *b) {
    return a->depth == b->depth && memcmp(a->stack, b->stack, a->depth * sizeof *a->stack) == 0;
}

/* Odd multipliers spread each word over the result (Knuth, The Art of Computer Programming 3, 6.4). */
static size_t hash_of(const um_track_block *b) {
    uint64_t h = b->depth;
    for (uint32_t i = 0; i < b->depth; i++)
        h = (h ^ h >> 32 ^ (uintptr_t)b->stack[i]) * 0x9e3779b97f4a7c15u;
    return h >> 32;
}

/* Puts the blocks of one stack into its first block: time_ms becomes their number, bytes their sum. Returns
   how many stacks there are, which come first. They are found by `heads`, all 0 and a power of two, of
   indices from 1; serial becomes the link. */
static size_t group(um_track_block *b, size_t n, uint32_t *heads, size_t head_count) {
    size_t stacks = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t *head = &heads[hash_of(&b[i]) & (head_count - 1)];
        size_t k = *head;
        while (k && !same_stack(&b[k - 1], &b[i]))
            k = b[k - 1].serial;
        if (k) {
            b[k - 1].bytes += b[i].bytes;
            b[k - 1].time_ms++;
            continue;
        }
        b[stacks] = b[i];
        b[stacks].time_ms = 1;
        b[stacks].serial = *head;
        *head = (uint32_t)++stacks;
    }
    return stacks;
}

/* -1: no memory. */
static int64_t group_all(um_track_block *b, size_t n) {
    size_t head_count = (size_t)1 << (n > 1 ? um_log2_floor(n - 1) + 1 : 0),
           bytes = head_count * sizeof(uint32_t);
    bool zeroed;
    uint32_t *heads = um_room_take(UM_MODULE_track, um_room_here(), bytes, 1, &zeroed);
    size_t stacks;
    if (!heads)
        return -1;
    if (!zeroed)
        memset(heads, 0, bytes);
    stacks = group(b, n, heads, head_count);
    um_room_give(heads, bytes);
    return (int64_t)stacks;
}

static void say_frame(um_text *t, void *pc) {
    Dl_info info;
    um_text_str(t, "    ");
    um_text_hex(t, (uintptr_t)pc);
    if (dladdr((char *)pc - 1, &info) && info.dli_sname) { /* a call may be a function's last instruction */
        um_text_char(t, ' ');
        um_text_safe(t, info.dli_sname, 200);
        um_text_char(t, '+');
        um_text_u64(t, (uintptr_t)pc - (uintptr_t)info.dli_saddr);
    }
    if (dladdr((char *)pc - 1, &info) && info.dli_fname) {
        um_text_str(t, " in ");
        um_text_safe(t, info.dli_fname, 200);
    }
    um_text_char(t, '\n');
}

static void say_stack(um_text *t, const um_track_block *b) {
    um_text_str(t, "  ");
    um_text_u64(t, b->bytes);
    um_text_str(t, " bytes in ");
    um_text_u64(t, b->time_ms);
    um_text_str(t, " blocks, the first by thread ");
    um_text_u64(t, b->thread);
    um_text_str(t, b->depth ? ", from\n" : ", whose stack was not kept\n");
    for (uint32_t i = 0; i < b->depth; i++)
        say_frame(t, b->stack[i]);
}

static void to_fd(void *ctx, const char *bytes, size_t n) {
    (void)um_os_write(*(int *)ctx, bytes, n); /* nowhere to report to */
}

/* The most bytes first. */
static void say_stacks(um_text *t, um_track_block *b, size_t stacks) {
    for (size_t shown = 0; shown < stacks && shown < SHOWN_STACKS; shown++) {
        size_t most = shown;
        um_track_block first;
        for (size_t i = shown; i < stacks; i++)
            if (b[i].bytes > b[most].bytes)
                most = i;
        first = b[most];
        b[most] = b[shown];
        b[shown] = first;
        say_stack(t, &first);
    }
    if (stacks > SHOWN_STACKS) {
        um_text_str(t, "  and from ");
        um_text_u64(t, stacks - SHOWN_STACKS);
        um_text_str(t, " more stacks\n");
    }
}

int64_t um_track_report(int fd, const um_track_mark *after, const um_track_mark *until) {
    um_text t;
    int64_t n, stacks;
    uint64_t bytes = 0;
    um_track_block *copy = copy_blocks(after, until, &n);
    if (n < 0)
        return -1;
    for (int64_t i = 0; i < n; i++)
        bytes += copy[i].bytes;
    stacks = group_all(copy, (size_t)n);
    if (stacks < 0) {
        give_copy(copy, n);
        return -1;
    }
    um_text_init(&t, to_fd, &fd);
    um_text_str(&t, "umalloc: ");
    um_text_u64(&t, bytes);
    um_text_str(&t, " bytes in ");
    um_text_u64(&t, (uint64_t)n);
    um_text_str(&t, " tracked blocks are live\n");
    say_stacks(&t, copy, (size_t)stacks);
    um_text_flush(&t);
    give_copy(copy, n);
    return n;
}
