/* What threads that hardly call anything cost: no heap for a few frees. */
#include "heap/heap.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

enum { FEW = 16, MANY = 17, BIG = 100000 };

static void *blocks[MANY];

static uint64_t heaps_taken(void) {
    return um_count.heaps_created + um_count.heaps_reused;
}

static void *free_them(void *count) {
    for (size_t i = 0; i < (size_t)count; i++)
        free(blocks[i]);
    return um_tls.heap;
}

/* The heap of a thread that frees so many blocks of ours and does nothing else. */
static void *heap_of_who_frees(size_t count, size_t bytes) {
    pthread_t t;
    void *heap;
    for (size_t i = 0; i < count; i++)
        cr_assert_not_null(blocks[i] = malloc(bytes));
    cr_assert_eq(pthread_create(&t, NULL, free_them, (void *)count), 0);
    pthread_join(t, &heap);
    return heap;
}

/* A thread of C++ frees what it was started with. */
Test(malloc, a_thread_that_frees_little_gets_no_heap) {
    uint64_t before;
    free(malloc(1));
    before = heaps_taken();
    for (int i = 0; i < 20; i++) {
        cr_expect_null(heap_of_who_frees(FEW, 100));
        cr_expect_null(heap_of_who_frees(FEW, BIG));
    }
    cr_expect_eq(heaps_taken(), before);
}

Test(malloc, a_thread_that_frees_much_gets_a_heap) {
    cr_expect_not_null(heap_of_who_frees(MANY, 100));
    cr_expect_not_null(heap_of_who_frees(MANY, BIG));
}
