/* The malloc family as a fuzzer drives it: bytes are a program of operations, each checked against a shadow
   of what every block must be. Besides allocating there are threads that start, act and end, forks, limits,
   settings, a clock that is moved, and a system that refuses calls. So one input is one exact history: only
   one thread acts at a time.

   Checked at each step: alignment, usable size, contents up to the usable size, zeros of calloc, that no two
   blocks overlap, errno; NULL only where the size is absurd, a limit is set or the system refuses. At the end
   of an input everything is freed, and the allocator must agree: its invariants hold, and it counts no block
   and no dirty byte.

   Linked with an archive whose functions are renamed, so that the fuzzer's own memory is not what is tested.
 */
#include "../lib/check.h"
#include "../lib/os_faults.h"
#include "conf/options.h"
#include "fuzz.h"
#include "front/family.h"
#include "front/gather.h"
#include "heap/heap.h"
#include "os/os.h"
#include "space/space.h"

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SLOTS = 96, ACTORS = 4, OPS_MAX = 3000, FORKS_MAX = 1, LEFT_SLOTS_MAX = 160, PAGES_SEEN = 1 << 16 };
#define LIVE_MAX (32 * CHECK_MIB)
#define DENSE    (8 * CHECK_KIB) /* larger blocks are written and compared here and there only */

void *_Znwm(size_t), *_Znam(size_t);
void *_ZnwmRKSt9nothrow_t(size_t, const void *), *_ZnamRKSt9nothrow_t(size_t, const void *);
void *_ZnwmSt11align_val_t(size_t, size_t), *_ZnamSt11align_val_t(size_t, size_t);
void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t, size_t, const void *);
void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t, size_t, const void *);
void _ZdlPv(void *), _ZdaPv(void *), _ZdlPvm(void *, size_t), _ZdaPvm(void *, size_t);
void _ZdlPvRKSt9nothrow_t(void *, const void *), _ZdaPvRKSt9nothrow_t(void *, const void *);
void _ZdlPvSt11align_val_t(void *, size_t), _ZdaPvSt11align_val_t(void *, size_t);
void _ZdlPvmSt11align_val_t(void *, size_t, size_t), _ZdaPvmSt11align_val_t(void *, size_t, size_t);
void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *, size_t, const void *);
void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *, size_t, const void *);
void cfree(void *);

enum family {
    FAMILY_C,
    FAMILY_C_ALIGNED,
    FAMILY_NEW,
    FAMILY_ARRAY,
    FAMILY_NEW_ALIGNED,
    FAMILY_ARRAY_ALIGNED
};

/* What a block must be. */
static struct shadow {
    unsigned char *p; /* NULL: the slot is empty */
    size_t size, usable, align;
    uint64_t tag;
    enum family family;
} table[SLOTS];

/* Who acts; number 0 is the fuzzer's own thread. */
static struct actor {
    pthread_t thread;
    sem_t go, done;
    bool live, ending;
} actors[ACTORS];

static struct {
    const unsigned char *at, *end;
    unsigned actor, slot, op;
    size_t live, done, forks;
    uint64_t tags;
    bool may_fail;
} run;

static unsigned take(unsigned bytes) {
    unsigned v = 0;
    while (bytes-- && run.at < run.end)
        v = v << 8 | *run.at++;
    return v;
}

#define REQUIRE(cond, ...)                                                                                   \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            const struct shadow *x_ = &table[run.slot];                                                      \
            dprintf(2,                                                                                       \
                    "ops: step %zu, operation %u of actor %u on slot %u (%p, %zu of %zu bytes): ", run.done, \
                    run.op, run.actor, run.slot, (void *)x_->p, x_->size, x_->usable);                       \
            dprintf(2, "expected %s: ", #cond);                                                              \
            dprintf(2, __VA_ARGS__);                                                                         \
            dprintf(2, "\n");                                                                                \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* Sizes: mostly small ones and borders of classes, slots and powers of two; sometimes more than there can be.
 */
static size_t take_size(void) {
    unsigned kind = take(1);
    switch (kind % 16) {
    default:
        return take(1);
    case 5:
    case 6:
        return take(1) * 8;
    case 7:
    case 8:
        return um_class_bytes(take(1) % UM_CLASSES) + kind / 16 % 3 - 1;
    case 9:
        return ((size_t)1 << (3 + take(1) % 21)) + kind / 16 % 3 - 1;
    case 10:
        return take(2);
    case 11:
        return (1 + take(1) % 64) * UM_SLOT_BYTES + kind / 16 % 3 - 1;
    case 12:
        return take(3) % (8 * CHECK_MIB);
    case 13:
        return (size_t)take(1) * (kind < 16 ? 256 : 16) * CHECK_KIB;
    case 14:
        return kind < 128 ? take(1) : (size_t)PTRDIFF_MAX + 1 - (kind & 64) + take(1);
    case 15:
        return kind < 128 ? take(1) : SIZE_MAX - take(1);
    }
}

static bool absurd(size_t n) {
    return n > (size_t)1 << 40;
}

static size_t step_in(size_t usable) {
    return usable <= DENSE ? 1 : (usable / 64) | 1;
}

static void fill(const struct shadow *s) {
    for (size_t i = 0; i < s->usable; i += step_in(s->usable))
        s->p[i] = check_byte(s->tag, i);
    s->p[s->usable - 1] = check_byte(s->tag, s->usable - 1);
}

static void verify_contents(const struct shadow *s, size_t n) {
    for (size_t i = 0; i < n; i += step_in(s->usable))
        REQUIRE(s->p[i] == check_byte(s->tag, i), "byte %zu is %#x", i, s->p[i]);
    if (n == s->usable)
        REQUIRE(s->p[n - 1] == check_byte(s->tag, n - 1), "the last byte is %#x", s->p[n - 1]);
}

static void verify(const struct shadow *s) {
    REQUIRE(malloc_usable_size(s->p) == s->usable, "it is %zu now", malloc_usable_size(s->p));
    verify_contents(s, s->usable);
}

static void verify_apart(const struct shadow *s) {
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct shadow *o = &table[i];
        REQUIRE(o == s || !o->p || s->p + s->usable <= o->p || o->p + o->usable <= s->p,
                "overlaps slot %u: %p, %zu bytes", i, (void *)o->p, o->usable);
    }
}

/* Enters what an allocation gave. errno was SENTINEL before. */
enum { SENTINEL = 4711 };

static void enter(void *p, size_t size, size_t align, enum family family) {
    struct shadow *s = &table[run.slot];
    if (!p) {
        REQUIRE(run.may_fail || absurd(size) || absurd(align), "NULL for %zu bytes, alignment %zu", size,
                align);
        REQUIRE(errno == ENOMEM, "errno %d", errno);
        return;
    }
    REQUIRE(errno == SENTINEL, "errno %d after success", errno);
    REQUIRE(!absurd(size), "%p for %zu bytes", p, size);
    *s = (struct shadow){p, size, malloc_usable_size(p), align, run.tags++, family};
    REQUIRE(s->usable >= size && s->usable >= 1, "usable size");
    REQUIRE(((uintptr_t)p & (align - 1)) == 0 && ((uintptr_t)p & 15) == 0, "alignment %zu", align);
    verify_apart(s);
    fill(s);
    run.live += s->usable;
}

static void leave(struct shadow *s) {
    run.live -= s->usable;
    s->p = NULL;
}

static void op_malloc(void) {
    size_t n = take_size();
    enter(malloc(n), n, 16, FAMILY_C);
}

static void op_calloc(void) {
    size_t n = take_size(), each = 1 + take(1) % 9, bytes;
    void *p;
    if (absurd(n)) { /* products that wrap to little, too */
        p = calloc(n, each);
        REQUIRE(!p && errno == ENOMEM, "calloc(%zu, %zu) is %p", n, each, p);
        return;
    }
    bytes = n / each * each;
    p = calloc(n / each, each);
    if (p) {
        size_t bad = check_zero(p, bytes);
        REQUIRE(bad == bytes, "calloc(%zu, %zu): byte %zu", n / each, each, bad);
    }
    enter(p, bytes, 16, FAMILY_C);
}

static void op_aligned(void) {
    unsigned how = take(1) % 6;
    size_t align = (size_t)1 << (how < 3 ? take(1) % 13 : take(1) % 23), n = take_size();
    void *p = NULL;
    switch (how) {
    case 0:
        align = align < sizeof p ? sizeof p : align;
        REQUIRE(posix_memalign(&p, align, n) == (p ? 0 : ENOMEM), "posix_memalign");
        break;
    case 1:
        p = aligned_alloc(align, n);
        break;
    case 2:
        p = valloc(n);
        align = check_page();
        break;
    case 3:
        p = pvalloc(n);
        align = check_page();
        break;
    default:
        p = memalign(align, n);
    }
    enter(p, n, align, how == 1 ? FAMILY_C_ALIGNED : FAMILY_C);
}

static void op_bad_alignment(void) {
    void *mark = &run, *p = mark;
    unsigned odd = take(1) | 3;
    REQUIRE(posix_memalign(&p, odd, 100) == EINVAL && p == mark, "posix_memalign(%u)", odd);
    REQUIRE(!aligned_alloc(odd, 100) && errno == EINVAL, "aligned_alloc(%u), errno %d", odd, errno);
    errno = SENTINEL;
    enter(memalign(odd, 100), 100, 16, FAMILY_C); /* rounded up */
}

static void op_new(void) {
    unsigned how = take(1) % 8;
    size_t n = take_size(), align = (size_t)1 << (take(1) % 14);
    bool throws = how % 2 == 0; /* and nobody here could catch it */
    if (throws && (run.may_fail || absurd(n)))
        return;
    void *p = how == 0   ? _Znwm(n)
              : how == 1 ? _ZnwmRKSt9nothrow_t(n, "")
              : how == 2 ? _Znam(n)
              : how == 3 ? _ZnamRKSt9nothrow_t(n, "")
              : how == 4 ? _ZnwmSt11align_val_t(n, align)
              : how == 5 ? _ZnwmSt11align_val_tRKSt9nothrow_t(n, align, "")
              : how == 6 ? _ZnamSt11align_val_t(n, align)
                         : _ZnamSt11align_val_tRKSt9nothrow_t(n, align, "");
    enter(p, n, how < 4 || align < 16 ? 16 : align, FAMILY_NEW + how / 2);
}

/* The one of the forms that go with the family, which the input picks. */
static void free_as(enum family family, unsigned how, void *p, size_t n, size_t align) {
    switch (family) {
    case FAMILY_C:
        how % 4 == 3 ? cfree(p) : how % 4 == 1 ? free_sized(p, n) : free(p);
        return;
    case FAMILY_C_ALIGNED:
        how % 2 ? free_aligned_sized(p, align, n) : free(p);
        return;
    case FAMILY_NEW:
        how % 3 == 2 ? _ZdlPvRKSt9nothrow_t(p, "") : how % 3 == 1 ? _ZdlPvm(p, n) : _ZdlPv(p);
        return;
    case FAMILY_ARRAY:
        how % 3 == 2 ? _ZdaPvRKSt9nothrow_t(p, "") : how % 3 == 1 ? _ZdaPvm(p, n) : _ZdaPv(p);
        return;
    case FAMILY_NEW_ALIGNED:
        how % 3 == 2   ? _ZdlPvSt11align_val_tRKSt9nothrow_t(p, align, "")
        : how % 3 == 1 ? _ZdlPvmSt11align_val_t(p, n, align)
                       : _ZdlPvSt11align_val_t(p, align);
        return;
    case FAMILY_ARRAY_ALIGNED:
        how % 3 == 2   ? _ZdaPvSt11align_val_tRKSt9nothrow_t(p, align, "")
        : how % 3 == 1 ? _ZdaPvmSt11align_val_t(p, n, align)
                       : _ZdaPvSt11align_val_t(p, align);
    }
}

static void drop(unsigned how) {
    struct shadow s = table[run.slot];
    verify(&s);
    leave(&table[run.slot]);
    errno = SENTINEL;
    free_as(s.family, how, s.p, s.size, s.align);
    REQUIRE(errno == SENTINEL, "a free set errno to %d", errno);
}

static void op_free(void) {
    drop(take(1));
}

static void op_realloc(void) {
    struct shadow *s = &table[run.slot], old = *s;
    unsigned how = take(1);
    size_t n = take_size(), kept;
    unsigned char *p;
    if (how % 4 == 0) /* a near size */
        n = old.size + take(1) * (how / 4);
    if (old.family > FAMILY_C_ALIGNED)
        return;
    verify(s);
    p = how % 3 && n < 1u << 30 ? reallocarray(s->p, n, 1) : realloc(s->p, n);
    if (!p && n != 0) {
        REQUIRE(absurd(n) || (run.may_fail && n > old.size), "NULL for %zu bytes", n);
        REQUIRE(errno == ENOMEM, "errno %d", errno);
        verify(s);
        return;
    }
    leave(s);
    if (n == 0) { /* freed, as glibc does */
        REQUIRE(!p, "realloc(p, 0) is %p", (void *)p);
        return;
    }
    kept = n < old.usable ? n : old.usable;
    old.p = p;
    verify_contents(&old, kept);
    enter(p, n, 16, FAMILY_C);
}

static void op_realloc_null(void) {
    size_t n = take_size();
    enter(realloc(NULL, n), n, 16, FAMILY_C);
}

static void op_verify(void) {
    verify(&table[run.slot]);
}

static void op_trim(void) {
    malloc_trim(take(1) * CHECK_KIB);
    free(NULL);
    REQUIRE(malloc_usable_size(NULL) == 0, "of NULL");
}

static void op_info(void) {
    static um_snapshot s;
    struct mallinfo2 m;
    um_gather(&s);
    m = mallinfo2();
    REQUIRE(m.uordblks <= m.arena + m.hblkhd, "mallinfo2: %zu in use of %zu", m.uordblks, m.arena + m.hblkhd);
    REQUIRE(s.active <= s.mapped, "%llu active, %llu mapped", (unsigned long long)s.active,
            (unsigned long long)s.mapped);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << take(1) % 20);
}

/* Settings that the options would make. */
static void op_settings(void) {
    unsigned what = take(1);
    switch (what % 8) {
    case 0:
    case 1:
        um_space_setting.decay_ms = what & 8 ? 0 : 1 + take(1) * 10;
        break;
    case 2:
        um_space_setting.dirty_max = what & 8 ? 0 : take(1) * 64 * CHECK_KIB;
        break;
    case 3:
        um_theap_set_cache(what & 8 ? CHECK_MIB : take(1) * 8 * CHECK_KIB);
        break;
    case 5:
        um_space_setting.soft_limit_bytes = what & 8 ? 0 : take(1) * 64 * CHECK_KIB;
        break;
    case 4:
        um_os_space_limited = what & 8;
        break;
    default:
        um_space_setting.hugepages = (int)(what >> 3) % 4;
    }
}

static void op_limit(void) {
    unsigned kib = take(2);
    um_space_setting.limit_bytes = kib & 1 ? run.live + kib * CHECK_KIB : 0;
    run.may_fail |= um_space_setting.limit_bytes != 0;
}

bool fuzz_plan_is_given;
uint64_t fuzz_plan_calls;

/* The next so many calls of some kinds fail. */
static void op_faults(void) {
    static const int errors[] = {ENOMEM, EPERM, ENOSYS, EAGAIN, EINTR, EINVAL, EEXIST};
    unsigned what = take(1), points = take(2), first = take(1) % 8;
    if (fuzz_plan_is_given)
        return;
    os_faults_set((struct os_fault_plan){points ? points : OS_FAULT_EVERYWHERE, first, what / 7 % 16,
                                         errors[what % 7]});
    run.may_fail = true; /* from here on: what was refused may be missing later */
}

static void op_clock(void) {
    os_clock_advance(take(1) * 20);
}

static void end_thread(struct actor *a) {
    a->ending = true;
    sem_post(&a->go);
    pthread_join(a->thread, NULL);
    a->live = a->ending = false;
}

/* A child that has the caller's thread alone frees, allocates and checks; this process goes on undisturbed.
 */
static void op_fork(void) {
    int status;
    pid_t pid, done;
    if (run.forks++ >= FORKS_MAX)
        return;
    pid = fork();
    if (pid == 0) {
        alarm(60);
        for (run.slot = 0; run.slot < SLOTS; run.slot++) {
            if (table[run.slot].p)
                drop(run.slot);
            else
                enter((errno = SENTINEL, malloc(run.slot * 40)), run.slot * 40, 16, FAMILY_C);
        }
        for (run.slot = 0; run.slot < SLOTS; run.slot++)
            if (table[run.slot].p)
                drop(0);
        malloc_trim(0);
        um_space_check();
        syscall(SYS_exit_group, 0); /* the driver's own handlers are not for us */
    }
    REQUIRE(pid > 0, "fork: errno %d", errno);
    while ((done = waitpid(pid, &status, 0)) == -1 && errno == EINTR)
        ; /* the fuzzer's own clock ticks by signals */
    REQUIRE(done == pid, "waitpid: errno %d", errno);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is %#x", status);
}

static const struct operation {
    void (*act)(void);
    unsigned weight;
    bool on_block; /* needs a block in the slot, or an empty slot */
} operations[] = {
    {op_malloc, 60, false},       {op_calloc, 20, false}, {op_aligned, 16, false},
    {op_bad_alignment, 1, false}, {op_new, 14, false},    {op_realloc_null, 2, false},
    {op_free, 60, true},          {op_realloc, 24, true}, {op_verify, 4, true},
    {op_trim, 3, true},           {op_info, 2, true},     {op_settings, 5, true},
    {op_limit, 3, true},          {op_faults, 6, true},   {op_clock, 5, true},
    {op_fork, 2, true},
};

enum { FREE = 6 };

/* By weight, among those that fit the slot. */
static unsigned pick(bool block) {
    unsigned sum = 0, at;
    for (unsigned i = 0; i < UM_COUNT(operations); i++)
        sum += operations[i].on_block == block ? operations[i].weight : 0;
    at = take(1) % sum;
    for (unsigned i = 0;; i++)
        if (operations[i].on_block == block) {
            if (at < operations[i].weight)
                return i;
            at -= operations[i].weight;
        }
}

static void act(void) {
    errno = SENTINEL;
    operations[run.op].act();
}

static void *acting(void *arg) {
    struct actor *a = arg;
    for (;;) {
        while (sem_wait(&a->go) != 0)
            ;
        if (a->ending)
            return NULL;
        act();
        sem_post(&a->done);
    }
}

/* On the actor's own thread, which is started if it is not there. */
static void act_as(struct actor *a) {
    if (a == actors) {
        act();
        return;
    }
    if (!a->live) {
        sem_init(&a->go, 0, 0);
        sem_init(&a->done, 0, 0);
        if (pthread_create(&a->thread, NULL, acting, a) != 0)
            return;
        a->live = true;
    }
    sem_post(&a->go);
    while (sem_wait(&a->done) != 0)
        ;
}

static void step(void) {
    unsigned b = take(1);
    bool block;
    run.done++;
    run.slot = take(1) % SLOTS;
    run.actor = b % 8 < ACTORS ? b % 8 : run.actor;
    if (run.actor && b >= 250) {
        if (actors[run.actor].live)
            end_thread(&actors[run.actor]);
        return;
    }
    block = table[run.slot].p != NULL;
    if (!block && run.live > LIVE_MAX)
        return;
    run.op = run.live > LIVE_MAX ? FREE : pick(block);
    act_as(&actors[run.actor]);
}

static void reset_settings(void) {
    os_faults_set((struct os_fault_plan){0});
    um_space_setting.decay_ms = um_option.decay_ms;
    um_space_setting.dirty_max = um_option.dirty_max;
    um_space_setting.limit_bytes = um_option.limit;
    um_space_setting.soft_limit_bytes = 0;
    um_space_setting.hugepages = um_option.hugepages;
    um_theap_set_cache(um_option.thread_cache);
    um_os_space_limited = false;
}

/* Half by this thread, half by whoever is there. */
static void free_everything(void) {
    for (run.slot = 0; run.slot < SLOTS; run.slot++) {
        struct actor *a = &actors[run.slot / 2 % ACTORS];
        if (!table[run.slot].p)
            continue;
        run.op = FREE;
        act_as(run.slot % 2 && a->live ? a : actors);
    }
    run.slot = 0;
    for (unsigned i = 1; i < ACTORS; i++)
        if (actors[i].live)
            end_thread(&actors[i]);
}

/* Free spans that are not dirty cost no memory, and unmapped ones no mapping either; unless the system
   refused all ways to give back. */
static void judge_span(const um_span *s, void *pages) {
    size_t n = (size_t)s->slots << UM_SLOT_SHIFT;
    int got;
    if (um_span_kind_of(s) != UM_SPAN_FREE || s->state == UM_DIRTY || n > PAGES_SEEN * check_page())
        return;
    got = mincore(um_span_start(s), n, pages);
    REQUIRE((got != 0) == (s->state == UM_UNMAPPED) || os_faults_in_a_row() > 2,
            "span at %p of state %u: mincore says %d", um_span_start(s), s->state, got);
    for (size_t i = 0; s->state == UM_CLEAN && i < n / check_page(); i++)
        REQUIRE(!(((unsigned char *)pages)[i] & 1), "clean span at %p: page %zu is in memory",
                um_span_start(s), i);
}

static void judge_the_end(void) {
    static um_snapshot s;
    static unsigned char pages[PAGES_SEEN];
    static unsigned times;
    malloc_trim(0);
    um_space_check();
    um_gather(&s);
    REQUIRE(s.allocated == 0 && s.large_live_count == 0, "%llu bytes are counted as in use",
            (unsigned long long)s.allocated);
    REQUIRE(s.dirty == 0, "%llu bytes are dirty after a trim", (unsigned long long)s.dirty);
    if (times++ % 32 == 0)
        um_space_each(0, judge_span, pages);
    REQUIRE(s.active <= LEFT_SLOTS_MAX * UM_SLOT_BYTES, "%llu bytes are active",
            (unsigned long long)s.active);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* a huge page reaches into clean spans: see judge_span */
    memset(&run, 0, sizeof run);
    run.at = data;
    run.end = data + size;
    run.may_fail = fuzz_plan_is_given;
    while (run.at < run.end && run.done < OPS_MAX)
        step();
    fuzz_plan_calls = os_faults_calls();
    reset_settings();
    free_everything();
    judge_the_end();
    return 0;
}
