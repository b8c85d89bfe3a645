/* The loops whose instructions test_instructions.py counts.
 *
 *   instructions PATTERN KIND SIZE ROUNDS
 *
 * PATTERN: tight (malloc, free), lifo (1000 mallocs, then 1000 frees in reverse), calloc (calloc, free),
 * remote (the main thread allocates 1000 blocks, a second thread frees them in the order of allocation; the
 * two never run at once). KIND: real calls the C library's names, stub calls functions that are one `ret`
 * each. Both kinds come from the same text, so the difference between them is what the allocator costs and
 * the loop cancels out.
 *
 * The counted functions are named <pattern>_<kind>, and remote_alloc_<kind> and remote_free_<kind>; nothing
 * else in the program matters. Compiled with -fno-builtin and lazy PLTs: each call is `call f@plt`. */
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 1000

void *stub_malloc(size_t bytes);
void *stub_calloc(size_t n, size_t bytes);
void stub_free(void *p);

static void *batch[BATCH];
static pthread_barrier_t turn;

typedef void (*loop)(size_t bytes, size_t rounds);
typedef void (*side)(size_t bytes);

#define LOOPS(kind, ALLOC, ZALLOC, FREE)                                                                     \
    __attribute__((noinline)) void tight_##kind(size_t bytes, size_t rounds) {                               \
        for (size_t i = 0; i < rounds; i++)                                                                  \
            FREE(ALLOC(bytes));                                                                              \
    }                                                                                                        \
    __attribute__((noinline)) void calloc_##kind(size_t bytes, size_t rounds) {                              \
        for (size_t i = 0; i < rounds; i++)                                                                  \
            FREE(ZALLOC(1, bytes));                                                                          \
    }                                                                                                        \
    __attribute__((noinline)) void lifo_##kind(size_t bytes, size_t rounds) {                                \
        for (size_t i = 0; i < rounds; i++) {                                                                \
            for (size_t k = 0; k < BATCH; k++)                                                               \
                batch[k] = ALLOC(bytes);                                                                     \
            for (size_t k = BATCH; k-- > 0;)                                                                 \
                FREE(batch[k]);                                                                              \
        }                                                                                                    \
    }                                                                                                        \
    __attribute__((noinline)) void remote_alloc_##kind(size_t bytes) {                                       \
        for (size_t k = 0; k < BATCH; k++)                                                                   \
            batch[k] = ALLOC(bytes);                                                                         \
    }                                                                                                        \
    __attribute__((noinline)) void remote_free_##kind(size_t bytes) {                                        \
        (void)bytes;                                                                                         \
        for (size_t k = 0; k < BATCH; k++)                                                                   \
            FREE(batch[k]);                                                                                  \
    }

LOOPS(real, malloc, calloc, free)
LOOPS(stub, stub_malloc, stub_calloc, stub_free)

static size_t remote_rounds;
static side remote_side;

static void *freeing_thread(void *unused) {
    (void)unused;
    for (size_t i = 0; i < remote_rounds; i++) {
        pthread_barrier_wait(&turn);
        remote_side(0);
        pthread_barrier_wait(&turn);
    }
    return NULL;
}

static int remote(side alloc, side free_, size_t bytes, size_t rounds) {
    pthread_t thread;
    remote_rounds = rounds;
    remote_side = free_;
    pthread_barrier_init(&turn, NULL, 2);
    if (pthread_create(&thread, NULL, freeing_thread, NULL))
        return 1;
    for (size_t i = 0; i < rounds; i++) {
        alloc(bytes);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
    }
    return pthread_join(thread, NULL) != 0;
}

static const struct {
    const char *pattern, *kind;
    loop run;
} loops[] = {
    {"tight", "real", tight_real},   {"tight", "stub", tight_stub}, {"calloc", "real", calloc_real},
    {"calloc", "stub", calloc_stub}, {"lifo", "real", lifo_real},   {"lifo", "stub", lifo_stub},
};

int main(int argc, char **argv) {
    if (argc != 5)
        return 2;
    size_t bytes = strtoul(argv[3], NULL, 10), rounds = strtoul(argv[4], NULL, 10);
    if (!strcmp(argv[1], "remote")) {
        if (!strcmp(argv[2], "stub"))
            return remote(remote_alloc_stub, remote_free_stub, bytes, rounds);
        return remote(remote_alloc_real, remote_free_real, bytes, rounds);
    }
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        if (!strcmp(argv[1], loops[i].pattern) && !strcmp(argv[2], loops[i].kind)) {
            loops[i].run(bytes, rounds);
            return 0;
        }
    return 2;
}
