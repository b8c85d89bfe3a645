/* A preload of the kind that tools use: wraps mmap, munmap, madvise and pthread_create, and allocates in each
   wrapper, in its constructor and in its destructor. An allocator that calls these wrappers from its own
   depth must not recurse or deadlock. WRAP_PROOF in the environment: the destructor then says on stdout what
   ran. */
#include "exercise.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>

static atomic_uint wrapped_threads, wrapped_maps;
static struct exercise from_constructor;

static void allocate(void) {
    static __thread int depth;
    if (depth++ == 0) {
        void *p = malloc(100), *q = calloc(1, 3000);
        p = realloc(p, 2000);
        free(q);
        free(p);
    }
    depth--;
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    static void *(*next)(void *, size_t, int, int, int, off_t);
    allocate();
    if (!next)
        next = (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
    atomic_fetch_add(&wrapped_maps, 1);
    return next(at, n, protection, flags, fd, offset);
}

int munmap(void *at, size_t n) {
    static int (*next)(void *, size_t);
    allocate();
    if (!next)
        next = (int (*)(void *, size_t))dlsym(RTLD_NEXT, "munmap");
    return next(at, n);
}

int madvise(void *at, size_t n, int advice) {
    static int (*next)(void *, size_t, int);
    allocate();
    if (!next)
        next = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "madvise");
    return next(at, n, advice);
}

int pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*body)(void *), void *arg) {
    static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    allocate();
    if (!next)
        next = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(
            RTLD_NEXT, "pthread_create");
    atomic_fetch_add(&wrapped_threads, 1);
    return next(t, attr, body, arg);
}

__attribute__((constructor)) static void start(void) {
    exercise_take(&from_constructor);
}

__attribute__((destructor)) static void end(void) {
    exercise_drop(&from_constructor);
    exercise();
    if (getenv("WRAP_PROOF"))
        dprintf(1, "wrapped threads %s, maps %s\n", wrapped_threads ? "yes" : "no",
                wrapped_maps ? "yes" : "no");
}
