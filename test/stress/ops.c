/* A randomised sequence of operations on malloc, checked against a shadow of what each block must be: size,
   alignment, contents, usable size, zeros from calloc. Several threads work on tables of their own, hand
   blocks to each other (remote frees and remote reallocs) and end while their blocks live on in the hands of
   successors.

   Each thread's sequence follows from the seed alone; with one thread so does the whole run. The shadow lies
   in mapped memory, so that a broken heap cannot hide what it broke. On a failure: seed, thread, operation
   and its number, slot and what was expected, then abort.

   Blocks up to 64 KiB are written and compared whole, larger ones at every CHECK_STRIDE-th byte. Not judged:
   speed. At the end the number of mappings must be bounded, and RSS after a trim too. */
#include "../lib/check.h"

#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>

enum { SLOTS = 2048, MAILBOX = 512, THREADS_MAX = 64, VMAS_MAX = 5000 };
#define LIVE_MAX (48 * CHECK_MIB) /* of one table; beyond it operations turn into frees */
#define END_RSS  (64 * 1024)      /* KiB above the start that a trimmed, empty heap may hold */

/* What a block must be. Owned by the thread whose table or hand it is in. */
struct shadow {
    unsigned char *p; /* NULL: the slot is empty */
    size_t size;      /* asked for */
    size_t usable;    /* as told at the start, constant since */
    uint64_t tag;     /* of the pattern in [0, size) */
};

/* Blocks on their way to a thread; guarded by the lock. */
struct mailbox {
    pthread_mutex_t lock;
    unsigned count;
    struct shadow in[MAILBOX];
};

/* One a sequence; handed from thread to thread when generations change, by create and join. */
struct worker {
    unsigned index;
    uint64_t rng, tags, ops_done;
    size_t live; /* sum of the sizes in the table */
    const char *op;
    unsigned slot;
    struct shadow table[SLOTS];
};

static struct {
    uint64_t seed, ops, seconds, threads, generations;
} run = {.seed = 0, .ops = 400000, .threads = 4, .generations = 8};

static struct worker *workers;
static struct mailbox *mailboxes;

__attribute__((format(printf, 2, 3), noreturn)) static void fail(const struct worker *w, const char *format,
                                                                 ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const struct shadow *s = &w->table[w->slot];
    dprintf(
        2, "ops: FAILED: %s\nops: %s, operation %llu of thread %u, slot %u: block %p size %zu usable %zu\n",
        text, w->op, (unsigned long long)w->ops_done, w->index, w->slot, (void *)s->p, s->size, s->usable);
    dprintf(2, "ops: again with --seed=%llu --threads=%llu --ops=%llu --generations=%llu\n",
            (unsigned long long)run.seed, (unsigned long long)run.threads, (unsigned long long)run.ops,
            (unsigned long long)run.generations);
    abort();
}

/* splitmix64 */
static uint64_t next(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t below(struct worker *w, uint64_t n) {
    return next(&w->rng) % n;
}

/* Most sizes are small; one in 16 to 64 KiB; one in 200 to 4 MiB; some lie at a border on purpose. */
static size_t random_size(struct worker *w) {
    uint64_t kind = below(w, 400);
    if (kind < 2)
        return (size_t)below(w, 4 * CHECK_MIB);
    if (kind < 27)
        return (size_t)below(w, 64 * CHECK_KIB);
    if (kind < 60) {
        size_t border = (size_t)1 << (4 + below(w, 14));
        return border - 1 + (size_t)below(w, 3);
    }
    if (kind < 160)
        return (size_t)below(w, 64);
    return (size_t)below(w, CHECK_KIB + 1);
}

/* The block in the slot is as it must be, its first `n` bytes at least. */
static void verify(struct worker *w, const struct shadow *s, size_t n) {
    size_t bad = check_pattern(s->p, n, s->size, s->tag);
    if (bad != n)
        fail(w, "byte %zu is %#x, expected %#x", bad, s->p[bad], check_byte(s->tag, bad));
}

static void verify_usable(struct worker *w, const struct shadow *s) {
    size_t usable = malloc_usable_size(s->p);
    if (usable != s->usable)
        fail(w, "usable size was %zu, is %zu", s->usable, usable);
}

/* Enters a block that an allocation gave; writes it whole, the slack past `size` included. */
static void adopt(struct worker *w, void *p, size_t size, size_t alignment) {
    struct shadow *s = &w->table[w->slot];
    s->p = p;
    s->size = size;
    s->tag = w->tags++ * THREADS_MAX + w->index;
    s->usable = 0;
    if (!p)
        fail(w, "NULL for %zu bytes", size);
    if ((uintptr_t)p & (alignment - 1))
        fail(w, "alignment %zu not kept", alignment);
    s->usable = malloc_usable_size(p);
    if (s->usable < size)
        fail(w, "usable size below the request");
    memset(s->p + size, 0x77, s->usable - size > 4096 ? 4096 : s->usable - size);
    check_fill(s->p, size, s->tag);
    w->live += size;
}

static void op_malloc(struct worker *w) {
    size_t n = random_size(w);
    adopt(w, malloc(n), n, 16);
}

static void op_calloc(struct worker *w) {
    size_t n = random_size(w), each = 1 + (size_t)below(w, 8);
    n = n / each * each;
    void *p = calloc(n / each, each);
    size_t bad = p ? check_zero(p, n) : n;
    if (bad != n)
        fail(w, "calloc of %zu: byte %zu at %p is not zero", n, bad, p);
    adopt(w, p, n, 16);
}

static void op_aligned(struct worker *w) {
    size_t n = random_size(w);
    unsigned shift = 3 + (unsigned)(below(w, 20) ? below(w, 10) : below(w, 19));
    size_t alignment = (size_t)1 << shift;
    void *p = NULL;
    switch (below(w, 3)) {
    case 0:
        if (posix_memalign(&p, alignment, n))
            p = NULL;
        break;
    case 1:
        p = memalign(alignment, n);
        break;
    default:
        p = aligned_alloc(alignment, n);
    }
    adopt(w, p, n, alignment < 16 ? 16 : alignment);
}

static void drop(struct worker *w) {
    struct shadow *s = &w->table[w->slot];
    verify(w, s, s->size);
    if (s->tag % 8 == 0)
        verify_usable(w, s);
    w->live -= s->size;
    errno = 4711;
    free(s->p);
    if (errno != 4711)
        fail(w, "free set errno to %d", errno);
    s->p = NULL;
}

static void op_realloc(struct worker *w) {
    struct shadow *s = &w->table[w->slot];
    size_t n = random_size(w), kept;
    if (below(w, 3) == 0) /* a near size: in place, or nearly */
        n = s->size + (size_t)below(w, s->size / 4 + 64);
    if (n == 0)
        n = 1;
    verify(w, s, s->size);
    kept = n < s->size ? n : s->size;
    unsigned char *p = below(w, 8) ? realloc(s->p, n) : reallocarray(s->p, n, 1);
    if (!p)
        fail(w, "NULL for %zu bytes", n);
    s->p = p;
    size_t bad = check_pattern(p, kept, s->size, s->tag);
    if (bad != kept)
        fail(w, "realloc from %zu to %zu lost byte %zu", s->size, n, bad);
    w->live -= s->size;
    adopt(w, p, n, 16);
}

static void op_check(struct worker *w) {
    struct shadow *s = &w->table[w->slot];
    verify(w, s, s->size);
    verify_usable(w, s);
}

/* Puts the slot's block into another thread's mailbox; a full one leaves it here. */
static void op_send(struct worker *w) {
    struct shadow *s = &w->table[w->slot];
    struct mailbox *box = &mailboxes[below(w, run.threads)];
    pthread_mutex_lock(&box->lock);
    bool sent = box->count < MAILBOX;
    if (sent)
        box->in[box->count++] = *s;
    pthread_mutex_unlock(&box->lock);
    if (sent) {
        w->live -= s->size;
        s->p = NULL;
    }
}

/* What others sent: some blocks are freed at once, in a burst as a consumer does; one is kept if a slot is
   free. Takes no random numbers, so that the sequence does not depend on when others send. */
static void receive(struct worker *w) {
    struct mailbox *box = &mailboxes[w->index];
    struct shadow got[64];
    unsigned n = 0;
    pthread_mutex_lock(&box->lock);
    while (n < 64 && box->count)
        got[n++] = box->in[--box->count];
    pthread_mutex_unlock(&box->lock);
    w->op = "remote free";
    for (unsigned i = 0; i < n; i++) {
        verify(w, &got[i], got[i].size);
        if (got[i].tag % 4 == 0)
            got[i].p = realloc(got[i].p, got[i].size + 1);
        free(got[i].p);
    }
}

static void operate(struct worker *w) {
    w->slot = (unsigned)below(w, SLOTS);
    uint64_t kind = below(w, 100);
    if (w->table[w->slot].p) {
        if (w->live > LIVE_MAX || kind < 45) {
            w->op = "free";
            drop(w);
        } else if (kind < 65) {
            w->op = "realloc";
            op_realloc(w);
        } else if (kind < 80) {
            w->op = "send";
            op_send(w);
        } else {
            w->op = "check";
            op_check(w);
        }
    } else if (kind < 60) {
        w->op = "malloc";
        op_malloc(w);
    } else if (kind < 80) {
        w->op = "calloc";
        op_calloc(w);
    } else {
        w->op = "aligned";
        op_aligned(w);
    }
}

static bool time_is_up(void) {
    static struct timespec start;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!start.tv_sec)
        start = now; /* first called before any thread */
    return run.seconds && (uint64_t)(now.tv_sec - start.tv_sec) >= run.seconds;
}

static void *generation(void *arg) {
    struct worker *w = arg;
    uint64_t end = w->ops_done + run.ops / run.generations;
    for (; w->ops_done < end; w->ops_done++) {
        if (w->ops_done % 32 == 0)
            receive(w);
        if (w->ops_done % 65536 == 65535) {
            w->op = "trim";
            malloc_trim(0);
        }
        operate(w);
    }
    return NULL;
}

static void empty_everything(void) {
    for (unsigned i = 0; i < run.threads; i++) {
        struct worker *w = &workers[i];
        while (mailboxes[i].count)
            receive(w);
        w->op = "last free";
        for (w->slot = 0; w->slot < SLOTS; w->slot++)
            if (w->table[w->slot].p)
                drop(w);
        w->slot = 0;
        if (w->live)
            fail(w, "the test itself lost count of %zu bytes", w->live);
    }
}

static void one_round(void) {
    pthread_t t[THREADS_MAX];
    for (unsigned i = 0; i < run.threads; i++)
        CHECK(pthread_create(&t[i], NULL, generation, &workers[i]) == 0, "thread %u", i);
    for (unsigned i = 0; i < run.threads; i++)
        CHECK(pthread_join(t[i], NULL) == 0, "thread %u", i);
}

static void *mapped(size_t n) {
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED, "%zu bytes of shadow", n);
    return p;
}

static void set_up(void) {
    workers = mapped(run.threads * sizeof *workers);
    mailboxes = mapped(run.threads * sizeof *mailboxes);
    for (unsigned i = 0; i < run.threads; i++) {
        workers[i].index = i;
        workers[i].rng = run.seed * 0x100000001B3u + i;
        workers[i].op = "none";
        pthread_mutex_init(&mailboxes[i].lock, NULL);
    }
    (void)time_is_up();
}

static bool number(const char *arg, const char *name, uint64_t *value) {
    size_t n = strlen(name);
    char *end;
    if (strncmp(arg, name, n) != 0)
        return false;
    *value = strtoull(arg + n, &end, 0);
    return end != arg + n && !*end;
}

static void read_arguments(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    run.seed =
        ((uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20 ^ (uint64_t)getpid() << 44) & 0xffffffffffff;
    for (int i = 1; i < argc; i++)
        if (!number(argv[i], "--seed=", &run.seed) && !number(argv[i], "--ops=", &run.ops) &&
            !number(argv[i], "--seconds=", &run.seconds) && !number(argv[i], "--threads=", &run.threads) &&
            !number(argv[i], "--generations=", &run.generations)) {
            dprintf(2, "usage: ops [--seed=N] [--ops=N] [--seconds=N] [--threads=N] [--generations=N]\n"
                       "  --ops          operations a thread and round\n"
                       "  --seconds      repeat rounds until then\n"
                       "  --generations  how often a round's threads are replaced by new ones\n");
            _exit(2);
        }
    CHECK(run.threads >= 1 && run.threads <= THREADS_MAX, "threads %llu", (unsigned long long)run.threads);
    CHECK(run.generations >= 1 && run.generations <= run.ops, "generations");
}

#ifdef STRESS_STATIC
int main(int argc, char **argv);

/* The malloc that is called is part of this program. */
static void check_serving(void) {
    Dl_info theirs, ours;
    CHECK(dladdr((void *)(uintptr_t)malloc, &theirs) && dladdr((void *)(uintptr_t)main, &ours), "dladdr");
    CHECK(theirs.dli_fbase == ours.dli_fbase, "malloc comes from %s", theirs.dli_fname);
}
#else
static void check_serving(void) {
    check_library();
}
#endif

int main(int argc, char **argv) {
    check_serving();
    read_arguments(argc, argv);
    dprintf(1, "ops: --seed=%llu --threads=%llu --ops=%llu --generations=%llu\n",
            (unsigned long long)run.seed, (unsigned long long)run.threads, (unsigned long long)run.ops,
            (unsigned long long)run.generations);
    set_up();
    size_t rss = check_rss_kib();
    unsigned rounds = 0;
    do {
        for (uint64_t g = 0; g < run.generations; g++)
            one_round();
        rounds++;
    } while (run.seconds && !time_is_up());
    size_t vmas = check_vmas();
    empty_everything();
    malloc_trim(0);
    size_t end = check_rss_kib();
    dprintf(1, "ops: ok, %u rounds, %zu mappings, RSS %zu KiB at the start, %zu at the end\n", rounds, vmas,
            rss, end);
    CHECK(vmas < VMAS_MAX, "%zu mappings", vmas);
#ifndef STRESS_SANITIZED /* a sanitizer's shadow grows */
    CHECK(end < rss + END_RSS, "RSS grew from %zu to %zu KiB", rss, end);
#endif
    return 0;
}
