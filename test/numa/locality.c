/* Whether memory lies on the node of the thread that asked for it, pattern by pattern.
 *
 *     locality [--show] [PATTERN...]
 *
 * One thread is pinned to each node. Every pattern runs for four ranges of sizes, each time in a process of
 * its own, and one line tells the pages of the blocks that live at its end, and how many percent of them are
 * on a node of the thread that allocated them: its own, or the nearest with memory. A line below
 * the pattern's bar makes the status 1, and so does a page on a node that has memory but no cpu while others
 * have room; not so with --show.
 *
 * Where a node has less room than a pattern needs, the next nearest is as good. */
#include "places.h"

#include <sys/wait.h>

#define BLOCKS_MAX    ((size_t)1 << 20)
#define ROUNDS        3
#define STREAM_STEPS  16
#define RETAINED_PART 4 /* one of so many blocks of the stream is kept */

typedef struct range {
    const char *name;
    size_t least, most;
    size_t bytes; /* of a thread's set */
} range;

static const range ranges[] = {
    {"small", 16, 1024, 8 * MIB},
    {"medium", 2048, 32 << 10, 8 * MIB},
    {"large", 64 << 10, 1 * MIB, 8 * MIB},
    {"huge", 2 * MIB, 4 * MIB, 12 * MIB},
};

typedef struct set {
    block *blocks;
    size_t count, bytes;
} set;

/* A thread; another may carry on after it with what it left. */
typedef struct worker {
    size_t index;
    const place *home;     /* where it begins */
    const place *measured; /* whose memory `kept` should be */
    set kept;              /* what is measured */
    set other;             /* what is not */
    uint64_t random;
} worker;

static worker workers[NODES_MAX];
static const range *sizes;
static pthread_barrier_t barrier;

static void meet(void) {
    pthread_barrier_wait(&barrier);
}

static worker *neighbour(const worker *w, size_t steps) {
    return &workers[(w->index + steps) % place_count];
}

static void add(set *s, block b) {
    if (s->count == BLOCKS_MAX)
        stop(STATUS_USAGE, "too many blocks");
    s->blocks[s->count++] = b;
    s->bytes += b.bytes;
}

static block any(worker *w) {
    return take(sizes->least + random_below(&w->random, sizes->most - sizes->least + 1));
}

/* Out of the set, in no order. */
static block taken(set *s, size_t i) {
    block b = s->blocks[i];
    s->blocks[i] = s->blocks[--s->count];
    s->bytes -= b.bytes;
    return b;
}

static void fill(worker *w, set *s, size_t bytes) {
    while (s->bytes < bytes)
        add(s, any(w));
}

/* Frees blocks in random order until `left` are left. */
static void drop(worker *w, set *s, size_t left) {
    while (s->count > left)
        give(taken(s, random_below(&w->random, s->count)));
}

static void fresh(worker *w) {
    fill(w, &w->kept, sizes->bytes);
}

static void reuse(worker *w) {
    for (size_t round = 0; round < ROUNDS; round++) {
        fill(w, &w->kept, sizes->bytes);
        drop(w, &w->kept, w->kept.count / 2);
    }
    fill(w, &w->kept, sizes->bytes);
    drop(w, &w->kept, 0);
    fill(w, &w->kept, sizes->bytes);
}

/* Everybody frees what the neighbour allocated. */
static void ring(worker *w) {
    for (size_t round = 0; round < ROUNDS; round++) {
        fill(w, &w->kept, sizes->bytes);
        meet();
        drop(w, &neighbour(w, 1)->kept, 0);
        meet();
    }
    fill(w, &w->kept, sizes->bytes);
}

/* One half allocates, the other frees and allocates for itself right then. */
static void consumer(worker *w) {
    bool consumes = w->index >= place_count / 2;
    for (size_t round = 0; round < ROUNDS; round++) {
        if (!consumes)
            fill(w, &w->kept, sizes->bytes);
        meet();
        if (consumes) {
            drop(w, &w->kept, 0);
            drop(w, &neighbour(w, place_count - place_count / 2)->kept, 0);
            fill(w, &w->kept, sizes->bytes);
        }
        meet();
    }
}

/* Everybody streams to the neighbour, who keeps some: they take the place of others, which go. */
static void stream(worker *w) {
    set *from = &neighbour(w, 1)->other, *retained = &neighbour(w, 1)->kept;
    for (size_t step = 0; step < STREAM_STEPS; step++) {
        fill(w, &w->other, sizes->bytes / RETAINED_PART);
        meet();
        while (from->count) {
            block b = taken(from, from->count - 1);
            if (random_below(&w->random, RETAINED_PART)) {
                give(b);
                continue;
            }
            if (retained->bytes >= sizes->bytes)
                drop(w, retained, retained->count - 1);
            add(retained, b);
        }
        meet();
    }
}

static void migrate(worker *w) {
    w->measured = neighbour(w, 1)->home;
    go_to(w->measured);
}

static void after_migration(worker *w) {
    fill(w, &w->kept, sizes->bytes);
    drop(w, &w->kept, w->kept.count / 2);
    fill(w, &w->kept, sizes->bytes);
}

/* It frees all, and goes. */
static void migrate_empty(worker *w) {
    fill(w, &w->other, sizes->bytes);
    drop(w, &w->other, 0);
    migrate(w);
    after_migration(w);
}

/* It goes, and keeps what it has. */
static void migrate_laden(worker *w) {
    fill(w, &w->other, sizes->bytes);
    drop(w, &w->other, w->other.count / 2);
    migrate(w);
    after_migration(w);
}

/* It goes, and frees there what it had. */
static void migrate_free(worker *w) {
    fill(w, &w->other, sizes->bytes);
    migrate(w);
    drop(w, &w->other, 0);
    after_migration(w);
}

static void end_empty(worker *w) {
    fill(w, &w->other, sizes->bytes);
    drop(w, &w->other, 0);
}

static void end_laden(worker *w) {
    fill(w, &w->other, sizes->bytes);
    drop(w, &w->other, w->other.count / 2);
}

/* The second thread of such a worker, on the next node. */
static void begin_again(worker *w) {
    w->measured = w->home = &places[(w->index + 1) % place_count];
    go_to(w->home);
    after_migration(w);
}

typedef struct pattern {
    const char *name;
    double bar;                                /* percent */
    void (*body)(worker *), (*next)(worker *); /* of a thread; of one that comes after it */
} pattern;

static const pattern patterns[] = {
    {"fresh", 99, fresh, NULL},
    {"reuse", 99, reuse, NULL},
    {"ring", 99, ring, NULL},
    {"consumer", 99, consumer, NULL},
    {"stream", 99, stream, NULL},
    {"migrate-empty", 95, migrate_empty, NULL},
    {"migrate-laden", 95, migrate_laden, NULL},
    {"migrate-free", 95, migrate_free, NULL},
    {"exit-empty", 95, end_empty, begin_again},
    {"exit-laden", 95, end_laden, begin_again},
};

typedef struct start {
    worker *worker;
    void (*body)(worker *);
} start;

static void *run_worker(void *arg) {
    const start *s = arg;
    go_to(s->worker->home);
    s->body(s->worker);
    return NULL;
}

static void run_all(void (*body)(worker *)) {
    pthread_t threads[NODES_MAX];
    start starts[NODES_MAX];
    for (size_t i = 0; i < place_count; i++) {
        starts[i] = (start){&workers[i], body};
        if (pthread_create(&threads[i], NULL, run_worker, &starts[i]))
            stop(STATUS_NO_MEMORY, "no thread");
    }
    for (size_t i = 0; i < place_count; i++)
        pthread_join(threads[i], NULL);
}

/* Nodes that memory for a place may be on. */
static uint64_t acceptable(const place *p) {
    uint64_t nodes = p->wanted, all = allowed_nodes();
    long long room = 0, least = 6 * (long long)sizes->bytes;
    numa_node_size64(__builtin_ctzll(nodes), &room);
    return room < least ? nodes | nearest_nodes(p->node, all & ~nodes) : nodes;
}

/* In a process of its own: 0, or 1 if a bar is missed. */
static int run(const pattern *p, bool show) {
    uint64_t accepted[NODES_MAX], lonely = allowed_nodes();
    size_t good = 0, all = 0, astray = 0;
    pthread_barrier_init(&barrier, NULL, (unsigned)place_count);
    for (size_t i = 0; i < place_count; i++) {
        workers[i] = (worker){.index = i, .home = &places[i], .measured = &places[i], .random = i + 1};
        workers[i].kept.blocks = books(BLOCKS_MAX * sizeof(block));
        workers[i].other.blocks = books(BLOCKS_MAX * sizeof(block));
        accepted[i] = acceptable(&places[i]);
        lonely &= ~(bit(places[i].node) | accepted[i]);
    }
    run_all(p->body);
    if (p->next)
        run_all(p->next);
    for (size_t i = 0; i < place_count; i++) {
        census *c = census_new();
        for (size_t j = 0; j < workers[i].kept.count; j++)
            census_count(c, workers[i].kept.blocks[j]);
        good += census_on(c, accepted[workers[i].measured - places]);
        astray += census_on(c, lonely);
        all += census_all(c);
    }
    double percent = 100.0 * (double)good / (double)all;
    bool bad = percent < p->bar || astray;
    say("%s,%s,%zu,%.1f,%s\n", p->name, sizes->name, all, percent, !bad ? "ok" : astray ? "ASTRAY" : "LOW");
    return bad && !show;
}

static bool chosen(const pattern *p, char **names) {
    for (char **name = names; *name; name++)
        if (strcmp(*name, p->name) == 0)
            return true;
    return !*names;
}

int main(int argc, char **argv) {
    bool show = argc > 1 && strcmp(argv[1], "--show") == 0;
    int failed = 0;
    find_places();
    for (size_t i = 0; i < LENGTH(patterns); i++) {
        if (!chosen(&patterns[i], argv + 1 + show))
            continue;
        for (sizes = ranges; sizes < ranges + LENGTH(ranges); sizes++) {
            pid_t child = fork();
            int status = 0;
            if (child == 0)
                _exit(run(&patterns[i], show));
            if (child < 0 || waitpid(child, &status, 0) != child)
                stop(STATUS_NO_MEMORY, "no process");
            if (status)
                failed++;
            if (WIFSIGNALED(status) || WEXITSTATUS(status) > 1)
                say("%s,%s,0,0,ENDED %d\n", patterns[i].name, sizes->name, status);
        }
    }
    return failed ? 1 : 0;
}
