/* What a real program asks of malloc: the sizes of its blocks and how long each lives. A library to preload:
 *
 *   RECORD_SIZES=FOLDER LD_PRELOAD=record_sizes.so PROGRAM ...
 *
 * FOLDER/NAME.PID becomes an array of `row`, one for each size class, as 64-bit words: mapped and shared, so
 * it is complete whenever the process ends, by a signal too. Age is counted in allocations of the process, in
 * powers of two. Sizes are rounded up to 16 bytes up to 1 KiB, then to eighths of their power of two. A
 * realloc counts as the end of one block and the birth of another: its program cannot know whether it stays
 * in place.
 *
 * It stands on glibc's malloc, by the names that glibc exports for the purpose, and knows every live block in
 * a table under one lock: slow, but complete. A child of fork counts nothing until it runs another program.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEADS      (1u << 20) /* of the table, a power of two */
#define BLOCKS     (1u << 24) /* live at once */
#define AGES       48
#define CLASSES    512
#define FINE_BYTES 1024

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

typedef struct row {
    uint64_t bytes, births, deaths[AGES]; /* deaths by age: at [a] from 2^a to 2^(a+1)-1 allocations */
} row;

typedef struct node {
    uintptr_t at;
    uint64_t born;
    size_t bytes;
    uint32_t next; /* in its list; 0 ends it */
} node;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static enum { BEFORE, ON, OFF } state;
static uint32_t heads[HEADS];
static node *nodes;
static uint32_t fresh_node = 1, free_nodes;
static uint64_t births;
static row *rows;

static unsigned log2_of(uint64_t x) {
    return 63 - (unsigned)__builtin_clzll(x);
}

/* Class 0 is 16 bytes, 63 is FINE_BYTES, then eight a doubling. */
static unsigned class_of(size_t bytes) {
    if (bytes <= FINE_BYTES)
        return bytes ? (unsigned)((bytes - 1) / 16) : 0;
    unsigned order = log2_of(bytes - 1);
    return FINE_BYTES / 16 + (order - 10) * 8 + (unsigned)((bytes - 1) >> (order - 3) & 7);
}

static size_t class_bytes(unsigned c) {
    if (c < FINE_BYTES / 16)
        return (c + 1) * 16;
    c -= FINE_BYTES / 16;
    return (size_t)(c % 8 + 9) << (c / 8 + 7);
}

static void turn_off(void) {
    state = OFF;
    pthread_mutex_unlock(&lock);
}

static void hold(void) {
    pthread_mutex_lock(&lock);
}

static void let_go(void) {
    pthread_mutex_unlock(&lock);
}

/* From here on blocks are counted; what was allocated before, by the loader and by libraries, is not. */
__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("RECORD_SIZES");
    char path[4096];
    if (!folder || pthread_atfork(hold, let_go, turn_off))
        return;
    snprintf(path, sizeof path, "%s/%s.%d", folder, program_invocation_short_name, (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0 || ftruncate(fd, CLASSES * sizeof *rows))
        return;
    rows = mmap(NULL, CLASSES * sizeof *rows, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    nodes = mmap(NULL, BLOCKS * sizeof *nodes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    close(fd);
    if (rows == MAP_FAILED || nodes == MAP_FAILED)
        return;
    for (unsigned c = 0; c < CLASSES; c++)
        rows[c].bytes = class_bytes(c);
    state = ON;
}

static uint32_t *head_of(void *p) {
    return &heads[((uintptr_t)p * 0x9e3779b97f4a7c15u) >> 44];
}

static void *begin(void *p, size_t bytes) {
    pthread_mutex_lock(&lock);
    if (p && state == ON) {
        uint32_t *head = head_of(p), n = free_nodes;
        if (n)
            free_nodes = nodes[n].next;
        else if ((n = fresh_node++) == BLOCKS)
            abort();
        nodes[n] = (node){(uintptr_t)p, births++, bytes, *head};
        *head = n;
        rows[class_of(bytes)].births++;
    }
    pthread_mutex_unlock(&lock);
    return p;
}

/* The link in the table that leads to a block, or to 0. */
static uint32_t *link_to(void *p) {
    uint32_t *link = head_of(p);
    while (*link && nodes[*link].at != (uintptr_t)p)
        link = &nodes[*link].next;
    return link;
}

/* Answers the size that was asked for, 0 for a block that is not known. */
static size_t end(void *p) {
    size_t bytes = 0;
    pthread_mutex_lock(&lock);
    uint32_t *link = link_to(p), self = *link;
    if (self) {
        node *n = &nodes[self];
        bytes = n->bytes;
        if (state == ON)
            rows[class_of(bytes)].deaths[log2_of(births - n->born)]++;
        *link = n->next;
        n->next = free_nodes;
        free_nodes = self;
    }
    pthread_mutex_unlock(&lock);
    return bytes;
}

void *malloc(size_t bytes) {
    return begin(__libc_malloc(bytes), bytes);
}

void *calloc(size_t n, size_t each) {
    return begin(__libc_calloc(n, each), n * each);
}

void free(void *p) {
    if (p)
        end(p);
    __libc_free(p);
}

/* The old block leaves the table first: once realloc has freed it, another thread may get its address. */
void *realloc(void *p, size_t bytes) {
    size_t old = p ? end(p) : 0;
    void *fresh = __libc_realloc(p, bytes);
    if (!fresh && p && bytes)
        begin(p, old);
    return begin(fresh, bytes);
}

void *reallocarray(void *p, size_t n, size_t each) {
    return realloc(p, n * each);
}

void *memalign(size_t alignment, size_t bytes) {
    return begin(__libc_memalign(alignment, bytes), bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    return memalign(alignment, bytes);
}

int posix_memalign(void **result, size_t alignment, size_t bytes) {
    void *p = memalign(alignment, bytes);
    if (p)
        *result = p;
    return p ? 0 : ENOMEM;
}

/* What was asked for, so that a program uses no more of a block here than elsewhere. */
size_t malloc_usable_size(void *p) {
    pthread_mutex_lock(&lock);
    uint32_t n = p ? *link_to(p) : 0;
    size_t bytes = n ? nodes[n].bytes : 0;
    pthread_mutex_unlock(&lock);
    return bytes;
}
