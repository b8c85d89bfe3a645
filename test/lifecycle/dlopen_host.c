/* The library comes late and privately: dlopen, RTLD_NOW | RTLD_LOCAL, after other libraries took
   thread-local storage. Arguments: the library, then the libraries to load before it. The program's own
   malloc stays what it was. */
#include "exercise.h"

#include <pthread.h>

static void *(*their_malloc)(size_t);
static void *(*their_calloc)(size_t, size_t);
static void *(*their_realloc)(void *, size_t);
static void (*their_free)(void *);
static size_t (*their_usable_size)(void *);

static void *symbol(void *lib, const char *name) {
    void *fn = dlsym(lib, name);
    CHECK(fn && !check_is_foreign(fn), "%s", name);
    return fn;
}

static void *use(void *unused) {
    void *p[300];
    (void)unused;
    for (size_t round = 0; round < 20; round++) {
        for (size_t i = 0; i < 300; i++) {
            size_t n = 1 + i * i;
            p[i] = i % 2 ? their_malloc(n) : their_calloc(1, n);
            CHECK(p[i] && their_usable_size(p[i]) >= n, "size %zu", n);
            check_fill(p[i], n, i);
        }
        for (size_t i = 0; i < 300; i++) {
            size_t n = 1 + i * i;
            p[i] = their_realloc(p[i], n + 100);
            CHECK(check_pattern(p[i], n, n, i) == n, "a block of %zu changed", n);
            their_free(p[i]);
        }
    }
    return NULL;
}

static void *early_thread(void *go) {
    pthread_mutex_lock(go); /* until the library is there */
    pthread_mutex_unlock(go);
    return use(NULL);
}

static void load_and_use(const char *path) {
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(lib, "%s", dlerror());
    their_malloc = (void *(*)(size_t))symbol(lib, "malloc");
    their_calloc = (void *(*)(size_t, size_t))symbol(lib, "calloc");
    their_realloc = (void *(*)(void *, size_t))symbol(lib, "realloc");
    their_free = (void (*)(void *))symbol(lib, "free");
    their_usable_size = (size_t(*)(void *))symbol(lib, "malloc_usable_size");
    CHECK((void *)their_malloc != dlsym(RTLD_DEFAULT, "malloc"), "the program's malloc changed");
    use(NULL);
    pthread_t t[4];
    for (size_t i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, use, NULL) == 0, "pthread_create");
    for (size_t i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    dlclose(lib); /* threads that used it end after it */
}

int main(int argc, char **argv) {
    static pthread_mutex_t go = PTHREAD_MUTEX_INITIALIZER;
    pthread_t before;
    check_watchdog(60);
    CHECK(argc >= 2, "usage: dlopen_host LIBRARY [OTHER...]");
    for (int i = 2; i < argc; i++)
        CHECK(dlopen(argv[i], RTLD_NOW | RTLD_LOCAL), "%s", dlerror());
    pthread_mutex_lock(&go);
    CHECK(pthread_create(&before, NULL, early_thread, &go) == 0, "pthread_create");
    exercise();
    load_and_use(argv[1]);
    pthread_mutex_unlock(&go);
    pthread_join(before, NULL);
    load_and_use(argv[1]);
    exercise();
    return 0;
}
