/* A library with fork handlers of its own, registered by its constructor: they take a lock under which
   threads of the program allocate, and they allocate themselves. */
#include <pthread.h>
#include <stdlib.h>

pthread_mutex_t handlers_lock = PTHREAD_MUTEX_INITIALIZER;

static void allocate(void) {
    free(malloc(300000));
    free(malloc(100));
}

static void before(void) {
    pthread_mutex_lock(&handlers_lock);
    allocate();
}

static void after(void) {
    allocate();
    pthread_mutex_unlock(&handlers_lock);
}

static __attribute__((constructor)) void start(void) {
    pthread_atfork(before, after, after);
}
