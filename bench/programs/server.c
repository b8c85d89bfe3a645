/* Threads of a server that come and go and leave their blocks to the next one: the pattern of Larson and
 * Krishnan, "Memory allocation for long-running server applications" (ISMM 1998).
 *
 *   server MOST THREADS MILLISECONDS
 *
 * Each of THREADS chains holds 1000 blocks of 16 to MOST bytes and replaces them at random. After 2^15 of
 * them its thread ends and a fresh one goes on with its blocks: what a thread inherits, it frees for a thread
 * that is gone. Prints ns a replacement (wall time x threads / replacements). */
#include "program.h"

#define LIVE 1000
#define LIFE (1u << 15)

typedef struct chain {
    uint64_t random, done, until_ns;
    block blocks[LIVE];
} __attribute__((aligned(2 * LINE_BYTES))) chain;

static size_t most;

static void *life(void *arg) {
    chain *c = arg;
    for (size_t i = 0; i < LIFE; i++) {
        block *b = &c->blocks[random_below(&c->random, LIVE)];
        give_if(*b);
        *b = take(16 + random_below(&c->random, most - 15));
    }
    c->done += LIFE;
    return NULL;
}

static void run(void *arg) {
    chain *c = arg;
    do {
        pthread_t thread;
        if (pthread_create(&thread, NULL, life, c) || pthread_join(thread, NULL))
            stop(STATUS_NO_MEMORY, "no thread");
    } while (now_ns() < c->until_ns);
}

int main(int argc, char **argv) {
    most = argument(argv, argc, 1, 16);
    size_t threads = argument(argv, argc, 2, 1), ms = argument(argv, argc, 3, 1);
    chain *chains = books(threads * sizeof *chains);
    for (size_t i = 0; i < threads; i++) {
        chains[i].random = i + 1;
        chains[i].until_ns = now_ns() + ms * NS_PER_MS;
    }
    uint64_t took = together(threads, run, chains, sizeof *chains), done = 0;
    for (size_t i = 0; i < threads; i++)
        done += chains[i].done;
    report((double)took * (double)threads, done);
    return 0;
}
