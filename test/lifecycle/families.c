/* The -lumalloc API at every stage of a program's life, with arguments that nobody means: before
 * constructors, in them, in threads, in the destructors of their keys, in a child of fork and in its threads,
 * at exit and after it. What is too much or senseless is refused with the errno value that the header names,
 * and nothing else changes. */
#include "../lib/check.h"

#include <umalloc/arena.h>
#include <umalloc/buddy.h>
#include <umalloc/heap.h>
#include <umalloc/map.h>
#include <umalloc/numa.h>
#include <umalloc/pool.h>
#include <umalloc/reclaim.h>
#include <umalloc/stack.h>
#include <umalloc/track.h>
#include <umalloc/umalloc.h>

#include <pthread.h>
#include <stdbool.h>
#include <sys/wait.h>

#define NOWHERE UM_NODE(1000)

static const char *stage;
static bool last_round; /* the thread's hooks ran for the last time: it keeps nothing any more */

#define GIVES(call) CHECK(call, "%s: error %d", stage, errno)
#define FAILS(call, error)                                                                                   \
    do {                                                                                                     \
        errno = 0;                                                                                           \
        CHECK(!(call) && errno == (error), "%s: error %d", stage, errno);                                    \
    } while (0)

static bool is_aligned(const void *p, size_t align) {
    return p && (uintptr_t)p % align == 0;
}

static void explicit_allocation(void) {
    void *p, *many[40];
    um_stats stats = {.size = 0};
    GIVES(p = um_malloc(0, 0));
    um_free(p);
    FAILS(um_malloc(SIZE_MAX, 0), ENOMEM);
    FAILS(um_malloc(SIZE_MAX - 4000, UM_ALIGN(65536)), ENOMEM);
    FAILS(um_malloc(SIZE_MAX, UM_HUGE), ENOMEM);
    FAILS(um_calloc(SIZE_MAX / 2, 3, 0), ENOMEM);
    FAILS(um_malloc(8, NOWHERE), EINVAL);
    FAILS(um_malloc(8, UM_ALIGN_LOG2(60)), EINVAL);
    GIVES(is_aligned(p = um_malloc(100, UM_ALIGN(1 << 21) | UM_ZERO), 1 << 21));
    FAILS(um_realloc(p, SIZE_MAX, 0), ENOMEM);
    GIVES(p = um_realloc(p, 0, 0));
    um_free(p);
    GIVES(um_malloc_batch(0, 0, many, 40) == 40);
    um_free_batch(many, 40);
    um_free_batch(NULL, 0);
    FAILS(um_malloc_batch(SIZE_MAX, 0, many, 3), ENOMEM);
    CHECK(um_usable_size(NULL) == 0 && um_size_class(SIZE_MAX) == -1 && um_size_class_bytes(-1) == 0, "%s",
          stage);
    um_thread_flush();
    um_thread_idle();
    (void)um_trim(0);
    CHECK(um_stats_get(&stats) == -1, "%s: statistics of no size", stage);
    CHECK(um_node_intended(NULL) == -1 && um_node_actual(NULL) == -1, "%s: nodes of NULL", stage);
    CHECK(um_option_get(NULL, NULL, 0) == -1 && um_option_set("limit", NULL) == -1, "%s: options", stage);
}

static void arenas(void) {
    static char tiny[64];
    um_arena *a;
    void *p, *q;
    FAILS(um_arena_new(&(um_arena_options){.first_bytes = SIZE_MAX}), ENOMEM);
    FAILS(um_arena_new(&(um_arena_options){.limit_bytes = 1}), ENOMEM);
    FAILS(um_arena_new(&(um_arena_options){.flags = 64}), EINVAL);
    FAILS(um_arena_new(&(um_arena_options){.buffer = tiny, .buffer_bytes = sizeof tiny}), EINVAL);
    FAILS(um_arena_new(&(um_arena_options){.buffer = (void *)-32, .buffer_bytes = 64}), EINVAL);
    GIVES(a = um_arena_new(&(um_arena_options){.flags = UM_ARENA_GUARD | UM_ARENA_CHECKED | UM_ARENA_REUSE}));
    GIVES((p = um_arena_alloc(a, 0)) && (q = um_arena_alloc(a, 0)) && p != q);
    um_arena_free(a, p, 0);
    CHECK(um_arena_alloc(a, 0) == p, "%s: a block of no bytes serves again", stage);
    FAILS(um_arena_alloc(a, SIZE_MAX), ENOMEM);
    FAILS(um_arena_alloc(a, SIZE_MAX - 15), ENOMEM);
    FAILS(um_arena_zalloc(a, SIZE_MAX, 2), ENOMEM);
    FAILS(um_arena_push(a, SIZE_MAX), ENOMEM);
    FAILS(um_arena_alloc_aligned(a, SIZE_MAX, 4096), ENOMEM);
    FAILS(um_arena_alloc_aligned(a, 10, 0), EINVAL);
    FAILS(um_arena_alloc_aligned(a, 10, 48), EINVAL);
    GIVES(is_aligned(um_arena_alloc_aligned(a, 0, 65536), 65536));
    GIVES(is_aligned(um_arena_alloc_aligned(a, 10, 1 << 17), 1 << 17));
    um_arena_delete(a);
    um_arena_delete(NULL);
    a = um_arena_scratch(NULL);
    CHECK(a || last_round, "%s: error %d", stage, errno);
    CHECK(!a || (um_arena_scratch(a) && um_arena_scratch(a) != a), "%s: the other scratch arena", stage);
}

static void pools(void) {
    um_pool *pool;
    um_pool_buffers *buffers;
    void *p;
    FAILS(um_pool_new(NULL), EINVAL);
    FAILS(um_pool_new(&(um_pool_options){.bytes = 0}), EINVAL);
    FAILS(um_pool_new(&(um_pool_options){.bytes = SIZE_MAX}), EINVAL);
    FAILS(um_pool_new(&(um_pool_options){.bytes = 8, .align = 3}), EINVAL);
    FAILS(um_pool_new(&(um_pool_options){.bytes = 8, .magazine = 257}), EINVAL);
    FAILS(um_pool_new(&(um_pool_options){.bytes = 8, .ready_objects = SIZE_MAX}), ENOMEM);
    FAILS(um_pool_new(&(um_pool_options){.bytes = 8, .ready_objects = 1, .ready_threads = ~0u}), ENOMEM);
    GIVES(pool = um_pool_new(&(um_pool_options){.bytes = 70000, .align = 65536, .max_objects = 1}));
    GIVES(is_aligned(p = um_pool_alloc(pool), 65536));
    FAILS(um_pool_alloc(pool), ENOMEM);
    um_pool_free(pool, p);
    CHECK(um_pool_alloc(pool) == p, "%s: the object serves again", stage);
    um_pool_flush(pool);
    um_pool_delete(pool);
    um_pool_delete(NULL);
    GIVES(buffers = um_pool_buffers_new(NULL));
    GIVES(p = um_pool_buffers_get(buffers, 0));
    um_pool_buffers_put(buffers, p);
    FAILS(um_pool_buffers_get(buffers, SIZE_MAX), EINVAL);
    um_pool_buffers_delete(buffers);
    um_pool_buffers_delete(NULL);
}

static void regions(void) {
    um_buddy *b;
    void *p;
    FAILS(um_buddy_new(&(um_buddy_options){.bytes = 0}), EINVAL);
    FAILS(um_buddy_new(&(um_buddy_options){.bytes = SIZE_MAX, .block_bytes = (size_t)1 << 40}), ENOMEM);
    GIVES(b = um_buddy_new(&(um_buddy_options){.bytes = 16, .block_bytes = 16}));
    FAILS(um_buddy_alloc(b, SIZE_MAX), ENOMEM);
    GIVES(p = um_buddy_alloc(b, 0));
    FAILS(um_buddy_alloc(b, 0), ENOMEM);
    um_buddy_free(b, p);
    um_buddy_free(b, NULL);
    um_buddy_delete(b);
    um_buddy_delete(NULL);
}

static void heaps(void) {
    void *p, *q;
    FAILS(um_heap_create(UM_HEAP_SHARED, NOWHERE), EINVAL);
    for (int kind = UM_HEAP_ONE_THREAD; kind <= UM_HEAP_SHARED; kind++) {
        um_heap *h = um_heap_create((um_heap_kind)kind, UM_LOCAL);
        GIVES(h);
        GIVES((p = um_heap_malloc(h, 0)) && (q = um_heap_malloc(h, 0)) && p != q);
        FAILS(um_heap_malloc(h, SIZE_MAX), ENOMEM);
        FAILS(um_heap_alloc(h, SIZE_MAX, UM_ALIGN(1 << 20)), ENOMEM);
        FAILS(um_heap_alloc(h, 1, UM_NODE(0)), EINVAL);
        FAILS(um_heap_realloc(h, p, SIZE_MAX, 0), ENOMEM);
        GIVES(p = um_heap_realloc(h, p, 0, 0));
        um_heap_free(h, p);
        um_heap_free_any(h, q);
        GIVES(is_aligned(um_heap_alloc(h, 1, UM_ALIGN(1 << 24)), 1 << 24));
        um_heap_reset(h);
        GIVES(um_heap_malloc(h, 100));
        um_heap_trim(h);
        um_heap_destroy(h);
    }
}

static void stacks_and_maps(void) {
    um_stack *s;
    um_map *m;
    char text[20];
    FAILS(um_stack_take(0), EINVAL);
    FAILS(um_stack_take(SIZE_MAX), EINVAL);
    FAILS(um_stack_take_at(4096, UM_ALIGN(64)), EINVAL);
    GIVES(s = um_stack_take(1));
    memset(um_stack_base(s), 1, um_stack_bytes(s));
    CHECK(um_stack_used(s) == um_stack_bytes(s), "%s: all of a stack was used", stage);
    um_stack_give(s);
    um_stack_give(NULL);
    FAILS(um_map_file("", UM_MAP_READ), ENOENT);
    FAILS(um_map_fd_open(-1, 0, 0, UM_MAP_READ), EBADF);
    FAILS(um_map_named("/a/b", 1, UM_MAP_CREATE), EINVAL);
    GIVES(m = um_map_shared(10, 0));
    CHECK(um_map_read(m, 0, text, sizeof text) == 10, "%s: a map has its bytes", stage);
    CHECK(um_map_read(m, SIZE_MAX, text, 1) == 0, "%s: and none beyond", stage);
    CHECK(!um_map_resize(m, SIZE_MAX), "%s: it has limits", stage);
    um_map_close(m);
    um_map_close(NULL);
}

static void nodes(void) {
    void *p;
    CHECK(um_numa_nodes(NULL, 0) >= 1 && um_numa_cpus(~0u, NULL, 0) == 0, "%s: nodes", stage);
    FAILS(um_numa_policy_new(NULL), EINVAL);
    FAILS(um_numa_policy_new("bind:1023"), EINVAL);
    FAILS(um_numa_alloc(NULL, SIZE_MAX), ENOMEM);
    FAILS(um_numa_alloc_aligned(NULL, 0, 1), EINVAL);
    FAILS(um_numa_alloc_aligned(NULL, (size_t)1 << 63, 1), ENOMEM);
    GIVES(p = um_numa_alloc(NULL, 0));
    um_numa_free(p);
    um_numa_free(NULL);
    um_numa_policy_delete(NULL);
}

static void reclamation(void) {
    um_hazard *h = um_hazard_take();
    CHECK(h || last_round, "%s: error %d", stage, errno);
    if (h)
        um_hazard_give(h);
    um_epoch_enter();
    um_epoch_enter();
    GIVES(um_retire(malloc(10), NULL));
    um_epoch_leave();
    um_epoch_leave();
    GIVES(um_retire(NULL, NULL) && um_hazard_retire(malloc(10), NULL));
    um_reclaim_flush();
    um_epoch_synchronize();
    CHECK(!um_track_find(NULL, NULL), "%s: NULL is no block", stage);
}

static void all_families(const char *now) {
    stage = now;
    explicit_allocation();
    arenas();
    pools();
    regions();
    heaps();
    stacks_and_maps();
    nodes();
    reclamation();
}

/* Before the constructors of the program and of all libraries, ours too. */
static void before_all(int argc, char **argv, char **envp) {
    (void)argc;
    (void)argv;
    (void)envp;
    all_families("before constructors");
}

__attribute__((section(".preinit_array"), used)) static void (*first)(int, char **, char **) = before_all;

__attribute__((constructor)) static void begin(void) {
    all_families("constructor");
}

__attribute__((destructor)) static void end(void) {
    all_families("destructor");
    dprintf(1, "passed\n");
}

static void at_exit(void) {
    all_families("at exit");
}

static pthread_key_t key;

/* In each round that libc grants, and then no more. */
static void key_ends(void *rounds) {
    uintptr_t left = (uintptr_t)rounds - 1;
    last_round = left == 0;
    all_families("destructor of a key");
    last_round = false;
    if (left)
        pthread_setspecific(key, (void *)left);
}

static void *thread(void *unused) {
    all_families("thread");
    pthread_setspecific(key, (void *)(uintptr_t)PTHREAD_DESTRUCTOR_ITERATIONS);
    return unused;
}

static void one_thread(void) {
    pthread_t t;
    CHECK(pthread_create(&t, NULL, thread, NULL) == 0 && pthread_join(t, NULL) == 0, "a thread");
}

int main(void) {
    int status;
    pid_t child;
    check_watchdog(100);
    CHECK(atexit(at_exit) == 0 && pthread_key_create(&key, key_ends) == 0, "hooks");
    all_families("main");
    one_thread();
    one_thread();
    child = fork();
    if (child == 0) {
        all_families("child");
        one_thread();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", (unsigned)status);
    return 0;
}
