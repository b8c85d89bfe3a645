/* In a program that is excluded, no call is ours from the first to the last: an ifunc resolver's,
   preinit_array's, a constructor's, those of threads, of atexit and of a destructor. Usable sizes tell:
   libc's are 8 more than a multiple of 16, ours are multiples. The argument says which is wanted, 8 or 0;
   status 4: another allocator served a block. */
#include "exercise.h"

#include <pthread.h>

static struct exercise from_ifunc, from_preinit, from_constructor, from_main;
static void *small_from_ifunc;
static volatile size_t zero; /* hides what the compiler would warn of */
static size_t wanted = 8;

static void judge(void *p) {
    if (malloc_usable_size(p) % 16 != wanted) {
        dprintf(1, "another allocator: %zu bytes\n", malloc_usable_size(p));
        _exit(4);
    }
}

static void one(void) {
    void *p = malloc(24), *q = calloc(1, 24), *r = realloc(malloc(1), 24);
    judge(p);
    judge(q);
    judge(r);
    free(p);
    free(q);
    free(r);
}

static int answer(void) {
    return 42;
}

static __attribute__((used)) int (*resolve(void))(void) {
    free(NULL);
    exercise_take(&from_ifunc);
    small_from_ifunc = malloc(24);
    return answer;
}

int resolved(void) __attribute__((ifunc("resolve")));

static void at_preinit(int argc, char **argv, char **envp) {
    (void)envp;
    if (argc > 1)
        wanted = strtoul(argv[1], NULL, 10);
    judge(small_from_ifunc);
    exercise_take(&from_preinit);
    one();
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit)(int, char **,
                                                                              char **) = at_preinit;

__attribute__((constructor(101))) static void start(void) {
    exercise_take(&from_constructor);
    one();
}

static void late(void) {
    one();
    exercise_drop(&from_constructor);
}

__attribute__((destructor(101))) static void end(void) {
    one();
    exercise_drop(&from_main);
    free(small_from_ifunc);
}

static void *work(void *unused) {
    for (size_t i = 0; i < 20; i++) {
        exercise();
        one();
    }
    return unused;
}

int main(void) {
    pthread_t t[4];
    check_watchdog(60);
    CHECK(resolved() == 42, "the resolver's answer");
    atexit(late);
    for (size_t i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, work, NULL) == 0, "pthread_create");
    for (size_t i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    one();
    exercise_drop(&from_ifunc);
    exercise_drop(&from_preinit);
    exercise_take(&from_main);
    /* the rest of libc's interface is the next allocator's too */
    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1, "mallopt");
    CHECK(mallinfo2().arena > 0, "mallinfo2");
    (void)malloc_trim(0);
    void *p = valloc(100);
    CHECK(p && ((uintptr_t)p & (check_page() - 1)) == 0, "valloc");
    free(p);
    CHECK(posix_memalign(&p, 256, 1000) == 0 && ((uintptr_t)p & 255) == 0, "posix_memalign");
    p = reallocarray(p, 100, 100);
    CHECK(p && !reallocarray(p, SIZE_MAX / 2 + zero, 4 + zero), "reallocarray");
    free(p);
    return 0;
}
