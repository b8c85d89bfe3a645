/* A burst of live memory, all of it freed: how much stays resident?
 *
 *   burst MIB SMALLEST LARGEST forward|shuffled DECAY_MS [IDLE_THREADS]
 *
 * Allocates and writes MIB of blocks whose sizes are spread evenly over the doublings from SMALLEST to
 * LARGEST, frees them in the order of allocation or shuffled, waits for the decay time, makes a few calls.
 * With IDLE_THREADS so many threads allocate the blocks, then sit idle while the main thread frees them.
 * Prints MiB resident at the peak, right after the last free, and at the end. */
#include "rss.h"
#include <pthread.h>
#include <sys/mman.h>

typedef struct share {
    void **blocks;
    size_t capacity, count, bytes;
    uint64_t random;
} share;

#define SHARES_MAX 64

static share shares[SHARES_MAX];
static pthread_barrier_t filled, leave;
static size_t smallest, largest;

static size_t pick(uint64_t *random) {
    size_t doublings = 0, low = smallest;
    while (low << (doublings + 1) <= largest)
        doublings++;
    low <<= doublings ? next_random(random) % doublings : 0;
    return low + next_random(random) % low;
}

static void fill(share *s) {
    for (size_t done = 0; done < s->bytes && s->count < s->capacity;) {
        size_t bytes = pick(&s->random);
        void *p = malloc(bytes);
        if (!p)
            exit(3);
        memset(p, 1, bytes);
        s->blocks[s->count++] = p;
        done += bytes;
    }
}

static void *filler(void *s) {
    fill(s);
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&leave);
    return NULL;
}

static void free_all(share *s, int shuffled) {
    for (size_t i = 0; i < s->count; i++) {
        size_t other = shuffled ? i + next_random(&s->random) % (s->count - i) : i;
        void *p = s->blocks[other];
        s->blocks[other] = s->blocks[i];
        free(p);
    }
    munmap(s->blocks, s->capacity * sizeof *s->blocks);
}

static void open_share(share *s, size_t bytes) {
    s->bytes = bytes;
    s->capacity = bytes / smallest + 1;
    s->random = (uint64_t)(s - shares) + 1;
    s->blocks = mmap(NULL, s->capacity * sizeof *s->blocks, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->blocks == MAP_FAILED)
        exit(3);
}

int main(int argc, char **argv) {
    static pthread_t thread[SHARES_MAX];
    if (argc < 6)
        return 2;
    size_t bytes = strtoul(argv[1], NULL, 10) << 20;
    size_t threads = argc > 6 ? strtoul(argv[6], NULL, 10) : 0, count = threads ? threads : 1;
    smallest = strtoul(argv[2], NULL, 10);
    largest = strtoul(argv[3], NULL, 10);
    pthread_barrier_init(&filled, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&leave, NULL, (unsigned)threads + 1);
    for (size_t i = 0; i < count; i++)
        open_share(&shares[i], bytes / count);
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, filler, &shares[i]))
            return 3;
    if (!threads)
        fill(&shares[0]);
    pthread_barrier_wait(&filled);
    dprintf(1, "peak %f\n", (double)rss_kib() / 1024);
    for (size_t i = 0; i < count; i++)
        free_all(&shares[i], !strcmp(argv[4], "shuffled"));
    dprintf(1, "freed %f\n", (double)rss_kib() / 1024);
    wait_and_call(strtoul(argv[5], NULL, 10));
    dprintf(1, "end %f\n", (double)rss_kib() / 1024);
    pthread_barrier_wait(&leave);
    for (size_t i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    return 0;
}
