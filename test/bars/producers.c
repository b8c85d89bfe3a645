/* Producers that only allocate and one thread that only frees: does memory stay near what is live?
 *
 *   producers PRODUCERS LIVE_MIB TOTAL_MIB fifo|shuffled early|late
 *
 * Each producer fills a ring of its own with blocks of 64 to 1024 bytes, all written, and waits when its
 * share of LIVE_MIB is live. The freeing thread takes a ring when it is full, frees 64 of its blocks, and
 * goes to the next, so that live bytes stay within a percent of LIVE_MIB; fifo frees the oldest, shuffled
 * random ones. With early the freeing thread has used malloc before, with late its first call ever is a free.
 * Prints the highest resident size over the live bytes of that moment, taken 64 times while TOTAL_MIB pass.
 */
#include "rss.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define PRODUCERS_MAX 64
#define TAKE          64
#define SAMPLES       64

typedef struct block {
    size_t bytes;
} block;

typedef struct ring {
    pthread_mutex_t lock;
    pthread_cond_t full, drained;
    block **slots; /* all fields: under lock */
    size_t capacity, head, count, live;
    int waiting; /* its producer found no room */
    uint64_t random;
} ring;

static ring rings[PRODUCERS_MAX];
static size_t producers, share_bytes, total_bytes;
static atomic_int
    stop; /* set by main at the end, read by producers; relaxed would do: the ring's lock orders */
static int shuffled, late;

static int put(ring *r, block *b) {
    pthread_mutex_lock(&r->lock);
    while ((r->live + b->bytes > share_bytes || r->count == r->capacity) && !stop) {
        r->waiting = 1;
        pthread_cond_signal(&r->full);
        pthread_cond_wait(&r->drained, &r->lock);
    }
    int stopped = stop;
    if (!stopped) {
        r->slots[(r->head + r->count++) % r->capacity] = b;
        r->live += b->bytes;
    }
    pthread_mutex_unlock(&r->lock);
    return stopped;
}

static void *producer(void *arg) {
    ring *r = arg;
    uint64_t random = (uint64_t)(r - rings) * 77 + 1;
    for (;;) {
        size_t bytes = 64 + next_random(&random) % 961;
        block *b = malloc(bytes);
        if (!b)
            exit(3);
        memset(b, 1, bytes);
        b->bytes = bytes;
        if (put(r, b))
            return NULL;
    }
}

/* Waits until the ring is full, then takes blocks out; returns their bytes. */
static size_t take(ring *r, block **out) {
    size_t taken = 0;
    pthread_mutex_lock(&r->lock);
    while (!r->waiting)
        pthread_cond_wait(&r->full, &r->lock);
    for (size_t i = 0; i < TAKE; i++) {
        block **first = &r->slots[r->head % r->capacity];
        if (shuffled) {
            block **other = &r->slots[(r->head + next_random(&r->random) % r->count) % r->capacity];
            block *swap = *first;
            *first = *other;
            *other = swap;
        }
        out[i] = *first;
        taken += out[i]->bytes;
        r->head = (r->head + 1) % r->capacity;
        r->count--;
    }
    r->live -= taken;
    pthread_mutex_unlock(&r->lock);
    return taken;
}

static void *only_free(void *worst) {
    block *taken[TAKE];
    if (!late)
        free(malloc(100));
    for (size_t i = 0; i < producers; i++) { /* all full before the first free */
        pthread_mutex_lock(&rings[i].lock);
        while (!rings[i].waiting)
            pthread_cond_wait(&rings[i].full, &rings[i].lock);
        pthread_mutex_unlock(&rings[i].lock);
    }
    size_t freed = 0;
    for (size_t turn = 0, next = 0; freed < total_bytes; turn++) {
        ring *r = &rings[turn % producers];
        freed += take(r, taken);
        for (size_t i = 0; i < TAKE; i++)
            free(taken[i]);
        if (freed >= next) {
            double ratio = (double)rss_kib() * 1024 / ((double)share_bytes * (double)producers);
            if (ratio > *(double *)worst)
                *(double *)worst = ratio;
            next += total_bytes / SAMPLES;
        }
        pthread_mutex_lock(&r->lock);
        r->waiting = 0;
        pthread_cond_signal(&r->drained);
        pthread_mutex_unlock(&r->lock);
    }
    return worst;
}

static void open_ring(ring *r) {
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->full, NULL);
    pthread_cond_init(&r->drained, NULL);
    r->capacity = share_bytes / 400; /* blocks are 544 bytes on average */
    r->random = (uint64_t)(r - rings) + 1;
    r->slots = mmap(NULL, r->capacity * sizeof *r->slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                    -1, 0);
    if (r->slots == MAP_FAILED)
        exit(3);
}

int main(int argc, char **argv) {
    static pthread_t thread[PRODUCERS_MAX], freer;
    static double worst;
    if (argc != 6)
        return 2;
    producers = strtoul(argv[1], NULL, 10);
    share_bytes = (strtoul(argv[2], NULL, 10) << 20) / producers;
    total_bytes = strtoul(argv[3], NULL, 10) << 20;
    shuffled = !strcmp(argv[4], "shuffled");
    late = !strcmp(argv[5], "late");
    for (size_t i = 0; i < producers; i++)
        open_ring(&rings[i]);
    if (pthread_create(&freer, NULL, only_free, &worst))
        return 3;
    for (size_t i = 0; i < producers; i++)
        if (pthread_create(&thread[i], NULL, producer, &rings[i]))
            return 3;
    pthread_join(freer, NULL);
    for (size_t i = 0; i < producers; i++) {
        pthread_mutex_lock(&rings[i].lock);
        stop = 1;
        pthread_cond_broadcast(&rings[i].drained);
        pthread_mutex_unlock(&rings[i].lock);
        pthread_join(thread[i], NULL);
    }
    dprintf(1, "worst %f\n", worst);
    return 0;
}
