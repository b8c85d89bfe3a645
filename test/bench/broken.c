/* A malloc that is wrong on purpose, to preload: BROKEN says how. None of them crashes by itself.
 *
 * twice    every hundredth block is the one before it, handed out again
 * dirty    calloc does not clear
 * forgets  realloc moves a block without its content
 *
 * Nothing is ever freed, and the first calls are served well: they are those of the start-up. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define GOOD_CALLS 300

void *__libc_malloc(size_t);
void *__libc_realloc(void *, size_t);

static unsigned calls;
static void *last;
static size_t last_bytes;

static int broken(const char *how) {
    const char *wanted = getenv("BROKEN");
    return calls > GOOD_CALLS && wanted && !strcmp(wanted, how);
}

void free(void *p) {
    (void)p;
}

void *malloc(size_t bytes) {
    if (++calls % 100 == 0 && broken("twice") && last_bytes >= bytes)
        return last;
    last_bytes = bytes;
    return last = __libc_malloc(bytes);
}

void *calloc(size_t n, size_t each) {
    void *p = __libc_malloc(n * each);
    calls++;
    return p ? memset(p, broken("dirty"), n * each) : NULL;
}

void *realloc(void *p, size_t bytes) {
    calls++;
    return broken("forgets") ? memset(__libc_malloc(bytes), 0, bytes) : __libc_realloc(p, bytes);
}
