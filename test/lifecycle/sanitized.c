/* Built with AddressSanitizer or ThreadSanitizer, whose runtimes bring a malloc of their own. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static volatile int shared;

static void *work(void *mistake) {
    if (mistake)
        shared++; /* without a lock */
    for (size_t i = 1; i < 100000; i = i * 2 + 1) {
        char *p = malloc(i);
        memset(p, 1, i);
        p = realloc(p, i * 2);
        free(p);
    }
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t t[4];
    int stale = 0;
    for (size_t i = 0; i < 4; i++)
        if (pthread_create(&t[i], NULL, work, argc > 1 ? argv : NULL))
            return 1;
    for (size_t i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    if (argc > 1) { /* mistakes that the sanitizers must still find */
        char *volatile p = malloc(10);
        free(p);
        stale = p[3];
    }
    return stale & 0;
}
