/* One misuse of free a run, named by the argument: prints the address that is about to be misused to stdout,
   then does it. The allocator must end the process there; status 3 says that it did not. */
#include "../lib/check.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

static void *volatile sink; /* no compiler may see that a block is not used */

static void tell(void *p) {
    dprintf(1, "%p\n", p);
}

static void *filled(size_t n) {
    void *p = malloc(n);
    CHECK(p, "malloc(%zu)", n);
    memset(p, 0x41, n);
    return p;
}

static void twice(size_t n) {
    void *keep = filled(n), *p = filled(n), *keep_too = filled(n);
    tell(p);
    free(p);
    free(p);
    free(keep);
    free(keep_too);
}

static void double_16(void) {
    twice(16);
}
static void double_24(void) {
    twice(24);
}
static void double_100(void) {
    twice(100);
}
static void double_1000(void) {
    twice(1000);
}
static void double_8k(void) {
    twice(8 * CHECK_KIB);
}
static void double_30k(void) {
    twice(30 * CHECK_KIB);
}
static void double_100k(void) {
    twice(100 * CHECK_KIB);
}
static void double_1m(void) {
    twice(CHECK_MIB);
}
static void double_64m(void) {
    twice(64 * CHECK_MIB);
}

/* The only block there is: its whole page goes empty by the first free. */
static void double_lone(void) {
    void *p = filled(700);
    tell(p);
    free(p);
    free(p);
}

static void double_aligned(void) {
    void *p = memalign(4096, 5000);
    CHECK(p, "memalign");
    tell(p);
    free(p);
    free(p);
}

/* a, b, a: the second free of a is not the latest freed block. Caught then, or before a block is handed out
 * twice. */
static void interleaved(size_t n) {
    void *a = filled(n), *b = filled(n), *again[64];
    tell(a);
    free(a);
    free(b);
    free(a);
    for (size_t i = 0; i < 64; i++) {
        again[i] = malloc(n);
        for (size_t k = 0; k < i; k++)
            CHECK(again[i] != again[k], "one block was handed out twice");
    }
}

/* A class in full use: many blocks live, many turned over. */
static void warm_up(size_t n) {
    static void *live[3000];
    for (size_t round = 0; round < 30; round++)
        for (size_t i = round % 3; i < 3000; i += 1 + round % 3) {
            free(live[i]);
            live[i] = filled(n);
        }
}

static void double_warm_64(void) {
    warm_up(64);
    twice(64);
    interleaved(64);
}

static void double_warm_1000(void) {
    warm_up(1000);
    twice(1000);
    interleaved(1000);
}

static void double_warm_interleaved_64(void) {
    warm_up(64);
    interleaved(64);
}

static void double_interleaved_48(void) {
    interleaved(48);
}
static void double_interleaved_2k(void) {
    interleaved(2048);
}

/* Many frees in between. */
static void double_late(void) {
    void *p[64];
    for (size_t i = 0; i < 64; i++)
        p[i] = filled(64);
    tell(p[20]);
    for (size_t i = 0; i < 64; i++)
        free(p[i]);
    free(p[20]);
    for (size_t i = 0; i < 64; i++)
        p[i] = malloc(64);
}

static void *free_it(void *p) {
    free(p);
    return NULL;
}

static void in_thread_of(void *(*f)(void *), void *p) {
    pthread_t t;
    CHECK(pthread_create(&t, NULL, f, p) == 0, "pthread_create");
    pthread_join(t, NULL);
}

static void in_thread(void *p) {
    in_thread_of(free_it, p);
}

/* A block that was freed twice by different threads is free in two places: noticed when these meet, at the
   latest when the block, handed out twice, comes back twice. */
static void use_all_and_free(void) {
    static void *all[4096];
    for (size_t i = 0; i < 4096; i++)
        all[i] = malloc(64);
    for (size_t i = 0; i < 4096; i++)
        free(all[i]);
    for (size_t i = 0; i < 4096; i++)
        all[i] = malloc(64);
}

static void double_remote_then_local(void) {
    void *p = filled(64);
    tell(p);
    in_thread(p);
    free(p);
    use_all_and_free();
}

static void double_local_then_remote(void) {
    void *p = filled(64);
    tell(p);
    free(p);
    in_thread(p);
    use_all_and_free();
}

static void double_remote_large(void) {
    void *p = filled(200 * CHECK_KIB);
    tell(p);
    in_thread(p);
    free(p);
}

static void realloc_freed(void) {
    void *p = filled(64), *keep = filled(64);
    tell(p);
    free(p);
    sink = realloc(p, 5000);
    free(keep);
}

static void realloc_freed_large(void) {
    void *p = filled(4 * CHECK_MIB);
    tell(p);
    free(p);
    sink = realloc(p, 8 * CHECK_MIB);
}

static void bad(void *p) {
    tell(p);
    free(p);
}

static void foreign_stack(void) {
    char local[128] __attribute__((aligned(64)));
    memset(local, 0, sizeof local);
    bad(local + 64);
}

static void foreign_static(void) {
    static char block[128] __attribute__((aligned(64)));
    bad(block + 64);
}

static void foreign_constant(void) {
    static const char block[128] __attribute__((aligned(64))) = "text";
    bad((void *)(uintptr_t)(block + 64));
}

static void foreign_mapping(void) {
    char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED, "mmap");
    bad(p + 4096);
}

static void foreign_no_access(void) {
    char *p = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED, "mmap");
    bad(p + 4096);
}

static void foreign_low(void) {
    bad((void *)(uintptr_t)0x1000);
}

static void foreign_high(void) {
    bad((void *)(uintptr_t)0xffffffffffffff00);
}

static void foreign_noncanonical(void) {
    bad((void *)(uintptr_t)0x4141414141414140);
}

static void foreign_realloc(void) {
    static char block[128] __attribute__((aligned(64)));
    tell(block);
    sink = realloc(block, 1000);
}

/* Shared by a million programs: the pointer was never from malloc but lies near one that is. */
static void foreign_never_given(void) {
    char *p = filled(100);
    bad((void *)(((uintptr_t)p + ((size_t)64 << 20)) & ~(uintptr_t)0xfff));
}

static void interior_small(void) {
    char *p = filled(1000);
    bad(p + 16);
}

static void interior_medium(void) {
    char *p = filled(20000);
    bad(p + 4096);
}

static void interior_large(void) {
    char *p = filled(300 * CHECK_KIB);
    bad(p + 4096);
}

static void interior_large_64k(void) {
    char *p = filled(3 * CHECK_MIB);
    bad(p + 65536);
}

static void interior_huge(void) {
    char *p = filled(64 * CHECK_MIB);
    bad(p + 32 * CHECK_MIB);
}

static void interior_huge_realloc(void) {
    char *p = filled(64 * CHECK_MIB);
    tell(p + CHECK_MIB);
    sink = realloc(p + CHECK_MIB, 100);
}

/* Of a slab's memory that no block was cut from yet. */
static void uncut_small(void) {
    char *p = filled(48);
    bad(p + 48 * 200);
}

static void uncut_medium(void) {
    char *p = filled(4096);
    bad(p + 5 * 4096);
}

/* The handler meets the same damage: it runs once, and the process ends. */
static void handle_abort(int number) {
    (void)number;
    dprintf(1, "handler\n");
    for (size_t i = 0; i < 100; i++)
        sink = malloc(64);
    use_all_and_free();
}

static void double_handled(void) {
    CHECK(signal(SIGABRT, handle_abort) != SIG_ERR, "signal");
    warm_up(64);
    interleaved(64);
}

static void misaligned_1(void) {
    char *p = filled(100);
    bad(p + 1);
}

static void misaligned_8(void) {
    char *p = filled(100);
    bad(p + 8);
}

static void misaligned_large(void) {
    char *p = filled(300 * CHECK_KIB);
    bad(p + 8);
}

/* A function of the library that no header here declares. */
static void (*entry(const char *name))(void) {
    void (*f)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, name);
    CHECK(f, "no %s", name);
    return f;
}

/* operator delete of a block of `made` bytes as one of `said`. */
static void delete_as(size_t made, size_t said) {
    void (*delete_sized)(void *, size_t) = (void (*)(void *, size_t))entry("_ZdlPvm");
    void *p = ((void *(*)(size_t))entry("_Znwm"))(made);
    tell(p);
    delete_sized(p, said);
}

static void delete_less(void) {
    delete_as(100, 50);
}
static void delete_more(void) {
    delete_as(100, 200);
}
static void delete_medium(void) {
    delete_as(5000, 100);
}
static void delete_large(void) {
    delete_as(100 * CHECK_KIB, 300 * CHECK_KIB);
}
static void delete_small_as_large(void) {
    delete_as(100, 300 * CHECK_KIB);
}

/* The one size that could be taken for none said. */
static void delete_minus_one(void) {
    delete_as(100, SIZE_MAX);
}

static void delete_warm(void) {
    warm_up(64);
    delete_as(64, 80);
}

static void delete_array(void) {
    void *p = ((void *(*)(size_t))entry("_Znam"))(400);
    tell(p);
    ((void (*)(void *, size_t))entry("_ZdaPvm"))(p, 40);
}

static void delete_aligned(void) {
    void *p = ((void *(*)(size_t, size_t))entry("_ZnwmSt11align_val_t"))(100, 64);
    tell(p);
    ((void (*)(void *, size_t, size_t))entry("_ZdlPvmSt11align_val_t"))(p, 100, 2048);
}

static void delete_interior(void) {
    char *p = filled(100);
    tell(p + 16);
    ((void (*)(void *, size_t))entry("_ZdlPvm"))(p + 16, 50);
}

/* The thread has another block of the slab on its way back, and frees one after. */
static void *delete_tail(void *blocks) {
    void (*delete_sized)(void *, size_t) = (void (*)(void *, size_t))entry("_ZdlPvm");
    char **p = blocks, *slab = (char *)((uintptr_t)p[0] & ~(uintptr_t)0xffff);
    size_t bytes = malloc_usable_size(p[0]);
    char *tail = slab + 0x10000 / bytes * bytes;
    tell(tail);
    free(filled(100));
    delete_sized(p[0], bytes);
    delete_sized(tail, bytes);
    delete_sized(p[1], bytes);
    return NULL;
}

/* What is left of a slab behind its last block, by a thread that does not own it. */
static void delete_tail_elsewhere(void) {
    char *p[2] = {filled(640), filled(640)};
    in_thread_of(delete_tail, p);
}

static void free_sized_more(void) {
    void *p = realloc(filled(1000), 600); /* a shrink that stays in place */
    tell(p);
    ((void (*)(void *, size_t))entry("free_sized"))(p, 5000);
}

static void free_sized_aligned(void) {
    void *p = memalign(64, 200);
    tell(p);
    ((void (*)(void *, size_t, size_t))entry("free_aligned_sized"))(p, 64, 2000);
}

static void usable_freed(void) {
    void *p = filled(64), *keep = filled(64);
    tell(p);
    free(p);
    CHECK(malloc_usable_size(p) == 0, "it is free");
    free(keep);
}

static void usable_freed_large(void) {
    void *p = filled(4 * CHECK_MIB);
    tell(p);
    free(p);
    CHECK(malloc_usable_size(p) == 0, "it is free");
}

/* The free span begins at the block before. */
static void double_merged(void) {
    char *p = filled(3 * CHECK_MIB), *q = filled(3 * CHECK_MIB), *keep = filled(3 * CHECK_MIB);
    CHECK(q == p + 3 * CHECK_MIB, "fresh blocks are neighbours");
    tell(q);
    free(p);
    free(q);
    free(q);
    free(keep);
}

static void interior_freed(void) {
    char *p = filled(3 * CHECK_MIB), *keep = filled(3 * CHECK_MIB);
    tell(p + CHECK_MIB + 4096);
    free(p);
    free(p + CHECK_MIB + 4096);
    free(keep);
}

static void realloc_freed_warm(void) {
    void *p;
    warm_up(64);
    p = filled(64);
    tell(p);
    free(p);
    sink = realloc(p, 5000);
}

/* Both blocks of a slab are free, so nothing of it is current. */
static void double_empty_slab(void) {
    void *p = filled(5000), *q = filled(5000);
    tell(p);
    free(p);
    free(q);
    free(p);
}

/* Nothing touches the class again; the heap grows elsewhere. */
static void double_looked_at(void) {
    void *p;
    warm_up(64);
    p = filled(64);
    tell(p);
    free(p);
    free(p);
    for (size_t i = 0; i < 200; i++)
        sink = filled(2000);
}

static void written_looked_at(void) {
    char *p;
    warm_up(64);
    p = filled(64);
    tell(p);
    free(p);
    memset(p, 0x41, 8);
    for (size_t i = 0; i < 200; i++)
        sink = filled(2000);
}

#define CASE(name)                                                                                           \
    { #name, name }

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    CASE(double_16),
    CASE(double_24),
    CASE(double_100),
    CASE(double_1000),
    CASE(double_8k),
    CASE(double_30k),
    CASE(double_100k),
    CASE(double_1m),
    CASE(double_64m),
    CASE(double_lone),
    CASE(double_aligned),
    CASE(double_interleaved_48),
    CASE(double_interleaved_2k),
    CASE(double_late),
    CASE(double_warm_64),
    CASE(double_warm_1000),
    CASE(double_warm_interleaved_64),
    CASE(double_remote_then_local),
    CASE(double_local_then_remote),
    CASE(double_remote_large),
    CASE(realloc_freed),
    CASE(realloc_freed_large),
    CASE(foreign_stack),
    CASE(foreign_static),
    CASE(foreign_constant),
    CASE(foreign_mapping),
    CASE(foreign_no_access),
    CASE(foreign_low),
    CASE(foreign_high),
    CASE(foreign_noncanonical),
    CASE(foreign_realloc),
    CASE(foreign_never_given),
    CASE(interior_small),
    CASE(interior_medium),
    CASE(interior_large),
    CASE(interior_large_64k),
    CASE(interior_huge),
    CASE(interior_huge_realloc),
    CASE(uncut_small),
    CASE(uncut_medium),
    CASE(double_handled),
    CASE(misaligned_1),
    CASE(misaligned_8),
    CASE(misaligned_large),
    CASE(delete_less),
    CASE(delete_more),
    CASE(delete_medium),
    CASE(delete_large),
    CASE(delete_small_as_large),
    CASE(delete_minus_one),
    CASE(delete_warm),
    CASE(delete_array),
    CASE(delete_aligned),
    CASE(delete_interior),
    CASE(delete_tail_elsewhere),
    CASE(free_sized_more),
    CASE(free_sized_aligned),
    CASE(usable_freed),
    CASE(usable_freed_large),
    CASE(double_merged),
    CASE(interior_freed),
    CASE(realloc_freed_warm),
    CASE(double_empty_slab),
    CASE(double_looked_at),
    CASE(written_looked_at),
};

int main(int argc, char **argv) {
    check_library();
    check_watchdog(60);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (argc == 1)
            dprintf(1, "%s\n", cases[i].name);
        else if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            return 3;
        }
    }
    return argc == 1 ? 0 : 2;
}
