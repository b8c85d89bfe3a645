/* Readers, writers and threads that come and go, over a few words that lead to objects. Each object says of
   itself whether it is alive, and is overwritten when it is reclaimed: a reader that meets a dead one, or
   two halves that do not match, has found an object that was reclaimed under its eyes. Half of the words are
   read in sections, half with hazard pointers.

     reclaim [--threads=N] [--rounds=N] [--generations=N]

   Linked with the static library, so that a sanitizer sees allocator and user as one program. */
#include "../lib/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <umalloc/reclaim.h>

#define WORDS 8
#define ALIVE 0xA11CE0000000u
#define DEAD  0xDEAD00000000u

typedef struct object {
    _Atomic(uint64_t) state; /* relaxed everywhere: what is tested is who comes when */
    uint64_t value, inverse;
} object;

static _Atomic(object *) words[WORDS];
static _Atomic(uint64_t) made, gone, read_count;
static unsigned long threads = 4, rounds = 20000, generations = 5;

static object *make(uint64_t value) {
    object *o = malloc(sizeof *o);
    CHECK(o, "memory");
    atomic_store_explicit(&o->state, ALIVE, memory_order_relaxed);
    o->value = value;
    o->inverse = ~value;
    atomic_fetch_add(&made, 1);
    return o;
}

static void unmake(void *p) {
    object *o = p;
    uint64_t state = atomic_exchange_explicit(&o->state, DEAD, memory_order_relaxed);
    CHECK(state == ALIVE, "reclaimed an object in state %#llx", (unsigned long long)state);
    o->value = o->inverse = 0;
    atomic_fetch_add(&gone, 1);
    free(o);
}

static void look_at(const object *o, uint64_t seed) {
    for (uint64_t i = 0; i < 1 + seed % 16; i++) {
        uint64_t state = atomic_load_explicit(&o->state, memory_order_relaxed);
        CHECK(state == ALIVE, "met an object in state %#llx", (unsigned long long)state);
        CHECK(o->value == ~o->inverse, "met an object that is being overwritten");
    }
    atomic_fetch_add_explicit(&read_count, 1, memory_order_relaxed);
}

static void read_in_section(uint64_t seed) {
    um_epoch_enter();
    look_at(atomic_load_explicit(&words[seed % (WORDS / 2)], memory_order_acquire), seed >> 8);
    look_at(atomic_load_explicit(&words[(seed >> 4) % (WORDS / 2)], memory_order_acquire), seed >> 12);
    um_epoch_leave();
}

static void read_by_hazard(um_hazard *h, uint64_t seed) {
    look_at(um_hazard_protect(h, &words[WORDS / 2 + seed % (WORDS / 2)]), seed >> 8);
    um_hazard_set(h, NULL);
}

static void replace(uint64_t seed) {
    size_t i = seed % WORDS;
    object *before = atomic_exchange_explicit(&words[i], make(seed), memory_order_acq_rel);
    CHECK(i < WORDS / 2 ? um_retire(before, unmake) : um_hazard_retire(before, unmake), "memory");
}

static void *run(void *number) {
    uint64_t seed = (uintptr_t)number * 0x9E3779B97F4A7C15u + 1;
    um_hazard *h = um_hazard_take();
    CHECK(h, "a hazard pointer");
    for (unsigned long i = 0; i < rounds; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
        uint64_t bits = seed >> 24;
        if (bits % 4 == 0)
            replace(bits >> 2);
        else if (bits % 4 == 1)
            read_by_hazard(h, bits >> 2);
        else
            read_in_section(bits >> 2);
        if (bits % 65536 == 7)
            um_epoch_synchronize();
    }
    if ((uintptr_t)number % 2)
        um_hazard_give(h); /* others leave it to the end of the thread */
    return NULL;
}

#ifdef REFUSE_MEMBARRIER
int __wrap_um_os_fence_join(void);
int __wrap_um_os_fence_join(void) {
    return EPERM;
}
#endif

static unsigned long option(const char *arg, const char *name, unsigned long otherwise) {
    size_t n = strlen(name);
    return strncmp(arg, name, n) == 0 ? strtoul(arg + n, NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    pthread_t t[64];
    for (int i = 1; i < argc; i++) {
        threads = option(argv[i], "--threads=", threads);
        rounds = option(argv[i], "--rounds=", rounds);
        generations = option(argv[i], "--generations=", generations);
    }
    CHECK(threads <= 64, "at most 64 threads");
    for (size_t i = 0; i < WORDS; i++)
        atomic_store(&words[i], make(i));
    for (unsigned long g = 0; g < generations; g++) {
        for (uintptr_t i = 0; i < threads; i++)
            CHECK(pthread_create(&t[i], NULL, run, (void *)(g * threads + i + 1)) == 0, "a thread");
        for (unsigned long i = 0; i < threads; i++)
            CHECK(pthread_join(t[i], NULL) == 0, "its end");
    }
    um_reclaim_flush();
#ifdef REFUSE_MEMBARRIER
    um_reclaim_stats s;
    um_reclaim_stat(&s, sizeof s);
    CHECK(s.sections_fence, "sections run fences");
#endif
    CHECK(made - gone == WORDS, "%llu objects are left", (unsigned long long)(made - gone));
    printf("%llu objects reclaimed, %llu reads\n", (unsigned long long)gone, (unsigned long long)read_count);
    return 0;
}
