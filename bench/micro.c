/* Small loops over malloc and free, each for a given time.
 *
 *   micro PATTERN BYTES THREADS MILLISECONDS
 *
 * tight     malloc, free
 * lifo      a batch of mallocs, then its frees in reverse: 1000 blocks, fewer above 64 KiB so that a batch is
 * <= 64 MiB random    the blocks of such a batch replaced one by one in random order prodcons  each thread
 * allocates for a thread of its own that frees, over a ring of 4096 blocks larson    each thread replaces
 * random blocks of 16 to BYTES bytes; after 2^16 of them a fresh thread inherits its blocks
 *
 * The first word of each block is written. Prints nanoseconds a pair (wall time x threads / pairs) and the
 * peak resident size. */
#define _GNU_SOURCE
#include "figures.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define BATCH       1000
#define BATCH_BYTES ((size_t)64 << 20)
#define RING        4096
#define LARSON      (1u << 16)
#define THREADS_MAX 64

/* One per thread, or per pair of threads in prodcons. */
typedef struct work {
    size_t bytes, batch;
    uint64_t random, pairs, until_ns;
    void *block[BATCH];
    _Alignas(64) atomic_size_t head; /* written by the producer, released to the consumer */
    _Alignas(64) atomic_size_t tail; /* written by the consumer, released to the producer */
    _Alignas(64) _Atomic(void *) ring[RING];
} work;

typedef void (*round_of)(work *w);

static void *take(size_t bytes) {
    uint64_t *p = malloc(bytes);
    if (!p)
        exit(3);
    *(volatile uint64_t *)p = bytes;
    return p;
}

static void tight(work *w) {
    for (size_t i = 0; i < w->batch; i++)
        free(take(w->bytes));
    w->pairs += w->batch;
}

static void lifo(work *w) {
    for (size_t i = 0; i < w->batch; i++)
        w->block[i] = take(w->bytes);
    for (size_t i = w->batch; i-- > 0;)
        free(w->block[i]);
    w->pairs += w->batch;
}

static void replace_some(work *w, size_t largest, size_t smallest) {
    for (size_t i = 0; i < w->batch; i++) {
        uint64_t r = next_random(&w->random);
        void **slot = &w->block[(r >> 32) % w->batch];
        free(*slot);
        *slot = take(smallest + (smallest < largest ? (r & 0xffffffff) % (largest - smallest + 1) : 0));
    }
    w->pairs += w->batch;
}

static void random_order(work *w) {
    replace_some(w, w->bytes, w->bytes);
}

static void larson(work *w) {
    replace_some(w, w->bytes, 16);
}

static void *producer(void *arg) {
    work *w = arg;
    size_t head = 0;
    for (; head % RING || now_ns() < w->until_ns; head++) {
        while (head - atomic_load_explicit(&w->tail, memory_order_acquire) == RING)
            sched_yield();
        atomic_store_explicit(&w->ring[head % RING], take(w->bytes), memory_order_relaxed);
        atomic_store_explicit(&w->head, head + 1, memory_order_release);
    }
    w->pairs = head;
    while (atomic_load_explicit(&w->tail, memory_order_acquire) != head)
        sched_yield();
    atomic_store_explicit(&w->head, SIZE_MAX, memory_order_release);
    return NULL;
}

static void *consumer(void *arg) {
    work *w = arg;
    for (size_t tail = 0;; tail++) {
        size_t head;
        while ((head = atomic_load_explicit(&w->head, memory_order_acquire)) == tail)
            sched_yield();
        if (head == SIZE_MAX)
            return NULL;
        free(atomic_load_explicit(&w->ring[tail % RING], memory_order_relaxed));
        atomic_store_explicit(&w->tail, tail + 1, memory_order_release);
    }
}

static round_of round_function;

static void *loop(void *arg) {
    work *w = arg;
    while (now_ns() < w->until_ns)
        round_function(w);
    return NULL;
}

static void *larson_link(void *arg) {
    work *w = arg;
    for (uint64_t stop_at = w->pairs + LARSON; w->pairs < stop_at;)
        larson(w);
    return NULL;
}

/* A chain of threads, one after the other, over the same blocks. */
static void *larson_chain(void *arg) {
    work *w = arg;
    while (now_ns() < w->until_ns) {
        pthread_t link;
        if (pthread_create(&link, NULL, larson_link, w) || pthread_join(link, NULL))
            exit(3);
    }
    return NULL;
}

static void run(const char *pattern, work *works, size_t threads) {
    static const struct {
        const char *name;
        void *(*body)(void *), *(*other)(void *);
        round_of round;
    } patterns[] = {{"tight", loop, NULL, tight},
                    {"lifo", loop, NULL, lifo},
                    {"random", loop, NULL, random_order},
                    {"prodcons", producer, consumer, NULL},
                    {"larson", larson_chain, NULL, NULL}};
    static pthread_t thread[THREADS_MAX], other[THREADS_MAX];
    size_t at = 0;
    while (strcmp(pattern, patterns[at].name))
        if (++at == sizeof patterns / sizeof *patterns)
            exit(2);
    round_function = patterns[at].round;
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, patterns[at].body, &works[i]) ||
            (patterns[at].other && pthread_create(&other[i], NULL, patterns[at].other, &works[i])))
            exit(3);
    for (size_t i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        if (patterns[at].other)
            pthread_join(other[i], NULL);
    }
}

int main(int argc, char **argv) {
    size_t threads = argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
    if (!threads || threads > THREADS_MAX)
        return 2;
    size_t bytes = strtoul(argv[2], NULL, 10);
    work *works =
        mmap(NULL, threads * sizeof *works, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (works == MAP_FAILED || bytes < 16)
        return 3;
    uint64_t start = now_ns();
    for (size_t i = 0; i < threads; i++) {
        works[i].bytes = bytes;
        works[i].batch = BATCH_BYTES / bytes < BATCH ? BATCH_BYTES / bytes : BATCH;
        works[i].random = i + 1;
        works[i].until_ns = start + strtoul(argv[4], NULL, 10) * 1000000;
        if (!works[i].batch)
            return 2;
    }
    run(argv[1], works, threads);
    double took = (double)(now_ns() - start);
    uint64_t pairs = 0;
    for (size_t i = 0; i < threads; i++)
        pairs += works[i].pairs;
    dprintf(1, "ns %f\npeak_mib %f\n", took * (double)threads / (double)pairs, peak_mib());
    return 0;
}
