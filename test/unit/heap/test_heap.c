/* The owner's side, one thread: blocks are distinct and keep their contents, slabs move between their places
   as their countdowns say, little is kept, and misuse is named. */
#include "heap_calls.h"

#include "dies.h"
#include "seeded.h"
#include "os/numa.h"
#include "os/os.h"

enum { BLOCKS_MAX = 20000 };

static void *blocks[BLOCKS_MAX];

static void start(void) {
    cr_assert_not_null(um_theap_get());
}

TestSuite(heap, .init = start);

static um_theap *heap(void) {
    return um_tls.heap;
}

static um_bin *bin_of(size_t bytes) {
    return &heap()->bins[um_class_of(bytes)];
}

static void give_many(unsigned n, size_t bytes) {
    for (unsigned i = 0; i < n; i++)
        cr_assert_not_null(blocks[i] = give(bytes));
}

static void take_many(unsigned n) {
    for (unsigned i = 0; i < n; i++)
        take_back(blocks[i]);
}

Test(heap, every_class_gives_distinct_blocks) {
    for (unsigned c = 0; c < UM_CLASSES; c++) {
        unsigned n = 2 * (unsigned)(UM_SLOT_BYTES / um_class_bytes(c)) + 1;
        give_many(n, um_class_bytes(c));
        for (unsigned i = 0; i < n; i++) {
            const um_span *s = um_span_of(blocks[i]);
            cr_assert(s->class_id == c && um_slab_is_block(s, blocks[i]));
            cr_assert_eq((uintptr_t)blocks[i] % 16, 0);
            memset(blocks[i], (int)(i % 251), um_class_bytes(c));
        }
        for (unsigned i = 0; i < n; i++) {
            const unsigned char *p = blocks[i];
            cr_assert(p[0] == i % 251 && memcmp(p, p + 1, um_class_bytes(c) - 1u) == 0, "class %u", c);
        }
        check_heap(heap());
        take_many(n);
        check_heap(heap());
    }
    um_space_check();
}

Test(heap, last_freed_is_given_first) {
    give_many(3, 64);
    take_back(blocks[0]);
    take_back(blocks[2]);
    cr_expect_eq(give(64), blocks[2]);
    cr_expect_eq(give(64), blocks[0]);
}

Test(heap, a_slab_goes_from_current_to_full_to_available_to_empty) {
    um_span *s;
    unsigned n;
    um_theap_cache_bytes = UM_GIB;
    heap()->keep_bytes = UM_MIB; /* keeps the empty one */
    bin_of(64)->heat = UM_HOT;
    cr_assert_not_null(blocks[0] = give(64));
    s = um_span_of(blocks[0]);
    n = s->capacity;
    for (unsigned i = 1; i < n; i++)
        blocks[i] = give(64);
    cr_expect_eq(s->place, UM_PLACE_CURRENT);
    cr_assert_not_null(blocks[n] = give(64));
    cr_expect_eq(s->place, UM_PLACE_FULL);
    cr_expect_eq(bin_of(64)->full, s);
    for (unsigned i = 0; i + 1 < s->wake; i++)
        take_back(blocks[i]);
    cr_expect_eq(s->place, UM_PLACE_FULL, "too few to be worth it");
    take_back(blocks[s->wake - 1]);
    cr_expect_eq(s->place, UM_PLACE_AVAIL);
    check_heap(heap());
    for (unsigned i = s->wake; i + 1 < n; i++)
        take_back(blocks[i]);
    cr_expect_eq(s->place, UM_PLACE_AVAIL);
    check_heap(heap());
    take_back(blocks[n - 1]);
    cr_expect_eq(s->place, UM_PLACE_EMPTY);
    cr_expect_eq(heap()->oldest_empty, s);
    cr_expect_eq(heap()->empty_bytes, UM_SLOT_BYTES);
    check_heap(heap());
    cr_expect_not_null(give(2000));
    cr_expect_eq(bin_of(2000)->current, s, "another class takes it");
    check_heap(heap());
}

Test(heap, available_slabs_are_used_before_fresh_ones) {
    unsigned n = (unsigned)(UM_SLOT_BYTES / 1024), slabs;
    give_many(4 * n, 1024);
    slabs = count_slabs().slabs;
    for (unsigned i = 0; i < 4 * n; i += 2)
        take_back(blocks[i]);
    check_heap(heap());
    for (unsigned i = 0; i < 4 * n; i += 2)
        cr_assert_not_null(blocks[i] = give(1024));
    check_heap(heap());
    cr_expect_eq(count_slabs().slabs, slabs);
}

Test(heap, empty_slabs_are_kept_within_bounds) {
    for (int round = 0; round < 10; round++) {
        give_many(5000, 1024);
        take_many(5000);
        check_heap(heap());
        cr_assert_leq(heap()->empty_bytes, um_theap_cache_bytes);
    }
    um_theap_flush(heap());
    check_heap(heap());
    cr_expect_eq(heap()->empty_bytes, 0);
    cr_expect_leq(count_slabs().slabs, 1);
}

Test(heap, many_classes_touched_once_leave_little) {
    for (unsigned c = 0; c < UM_CLASSES; c++)
        take_back(give(um_class_bytes(c)));
    check_heap(heap());
    cr_expect_leq(heap()->empty_bytes, 64 * UM_KIB);
    cr_expect_leq(count_slabs().slabs, UM_KEEPERS_MAX + heap()->empty_bytes / um_os_page_bytes);
}

Test(heap, freed_blocks_are_counted) {
    um_bin *bin = bin_of(100);
    for (int round = 0; round < 3; round++) {
        give_many(3000, 100);
        take_many(3000);
    }
    um_theap_flush(heap());
    if (bin->current != &um_span_none) /* counted when it changes place */
        cr_expect_eq(bin->frees + (bin->current->mark - bin->current->countdown), 9000);
    else
        cr_expect_eq(bin->frees, 9000);
}

Test(heap, no_memory_is_an_answer_and_passes) {
    unsigned n = 0;
    um_space_setting.limit_bytes = 2 * UM_MIB;
    while (n < BLOCKS_MAX && (blocks[n] = give(1024)) != NULL)
        n++;
    cr_assert(n >= 1024 && n <= 2048, "%u", n);
    cr_expect_null(give(1024));
    cr_expect_null(give(16));
    check_heap(heap());
    take_many(32); /* a full slab is used again after a few frees */
    check_heap(heap());
    give_many(16, 1024);
    for (unsigned i = 0; i < 16; i++)
        take_back(blocks[i]);
    for (unsigned i = 32; i < n; i++)
        take_back(blocks[i]);
    check_heap(heap());
    cr_expect_not_null(give(1024));
    cr_expect_not_null(give(16));
    check_heap(heap());
}

static uint64_t hash_of(const void *p, size_t bytes) {
    return ((uintptr_t)p ^ bytes) * 0x9E3779B97F4A7C15ull | 1;
}

/* Sizes come in runs, so that classes get hot, cold and empty. */
Test(heap, random_operations) {
    static size_t size[4096];
    size_t most = 64;
    seeded_start(3);
    for (int round = 0; round < 300000; round++) {
        unsigned i = (unsigned)seeded_below(4096);
        if (round % 5000 == 0)
            most = (size_t)16 << seeded_below(12);
        if (!blocks[i]) {
            size[i] = um_max(8, 1 + seeded_below(most));
            cr_assert_not_null(blocks[i] = give(size[i]));
            memset(blocks[i], 0x5a, size[i]);
            *(uint64_t *)blocks[i] = hash_of(blocks[i], size[i]);
        } else {
            cr_assert_eq(*(uint64_t *)blocks[i], hash_of(blocks[i], size[i]));
            take_back(blocks[i]);
            blocks[i] = NULL;
        }
        if (round % 1000 == 0)
            check_heap(heap());
    }
    for (unsigned i = 0; i < 4096; i++)
        if (blocks[i])
            take_back(blocks[i]);
    check_heap(heap());
    um_theap_flush(heap());
    um_space_check();
}

Test(heap, blocks_of_untouched_pages_are_known) {
    size_t bytes = um_max(2 * um_os_page_bytes, 8192);
    um_block *b;
    if (bytes > UM_MEDIUM_MAX)
        return; /* no block has a page of its own */
    b = give(bytes);
    cr_expect_eq(heap()->untouched, b);
    memset(b, 0, sizeof *b);
    cr_expect(memcmp(b, (char *)b + 16, bytes - 16) == 0);
    memset(b, 0x5a, bytes);
    take_back(b);
    heap()->untouched = NULL;
    cr_expect_eq(give(bytes), b);
    cr_expect_neq(heap()->untouched, b);
}

static void free_twice(void *arg) {
    take_back(arg);
    take_back(arg);
}

Test(heap, double_free_in_a_cold_class) {
    give_many(4, 200);
    char text[256];
    int status = dies_status(free_twice, blocks[1], text, sizeof text);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    cr_expect_not_null(strstr(text, "umalloc: double free: 0x"), "%s", text);
    cr_expect_not_null(strstr(text, " (208-byte block, it is on the free list twice) in thread "), "%s",
                       text);
}

static void *free_and_flush(void *p) {
    take_back(p);
    um_remote_flush(um_tls.heap);
    return NULL;
}

static void free_here_too(void *arg) {
    take_back(arg);
}

Test(heap, double_free_here_of_what_another_thread_freed) {
    give_many(4, 200);
    run_thread(free_and_flush, blocks[1]);
    expect_death(free_here_too, blocks[1],
                 "umalloc: double free: 0x%zx (208-byte block, another thread freed it before)\n",
                 (size_t)blocks[1]);
}

static void give_again(void *arg) {
    (void)arg;
    (void)give(64);
}

Test(heap, write_after_free) {
    bin_of(64)->heat = UM_HOT; /* not walked at the free */
    give_many(4, 64);
    bin_of(64)->current->countdown = UM_COUNTDOWN_NEVER;
    take_back(blocks[2]);
    ((um_block *)blocks[2])->self = 1;
    expect_death(give_again, NULL, "umalloc: double free or write after free: 0x%zx (64-byte block)\n",
                 (size_t)blocks[2]);
}

static void check_lists(void *arg) {
    (void)arg;
    um_theap_check_lists(heap(), 1000);
}

Test(heap, check_of_lists_finds_a_double_free) {
    give_many(4, 64);
    take_back(blocks[1]);
    check_lists(NULL);
    ((um_block *)blocks[1])->next = blocks[1];
    um_theap_check_lists(heap(), 1); /* beyond what may be looked at */
    char text[256];
    int status = dies_status(check_lists, NULL, text, sizeof text);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    cr_expect_not_null(strstr(text, "it is on the free list twice) in thread "), "%s", text);
}

/* Two nodes that are not there: this thread runs on the one of `node_now`. */
static unsigned node_now;

unsigned __wrap_um_os_node_asked(void);
unsigned __wrap_um_os_node_asked(void) {
    return node_now;
}

int __wrap_um_os_nodes_allowed(um_node_set *out);
int __wrap_um_os_nodes_allowed(um_node_set *out) {
    *out = um_node_set_of(0);
    um_node_set_add(out, 1);
    return 0;
}

static void have_two_nodes(void) {
    static um_text nothing_is_said;
    um_placing_spec asked;
    um_os_rseq_at = 0;
    cr_assert(um_placing_parse("local", &asked));
    cr_assert_eq(um_place_init(&asked, true, &nothing_is_said), 0);
}

static unsigned place_of(const void *p) {
    return um_span_of(p)->node;
}

/* Frees and allocations in no order, so that the class has a cache of blocks of the old node. */
static void churn(unsigned n, size_t bytes) {
    for (unsigned i = 0; i < 4 * n; i++) {
        unsigned k = (unsigned)(i * 7919u) % n;
        take_back(blocks[k]);
        blocks[k] = give(bytes);
    }
}

Test(heap, follows_its_thread_to_another_node) {
    unsigned there = 0;
    have_two_nodes();
    give_many(4000, 64);
    churn(4000, 64);
    for (unsigned i = 0; i < 4000; i++)
        cr_assert_eq(place_of(blocks[i]), 0);
    node_now = 1;
    take_many(4000);
    give_many(4000, 64);
    for (unsigned i = 0; i < 4000; i++)
        there += place_of(blocks[i]) == 1;
    cr_expect_geq(there, 3900, "%u", there);
    cr_expect_eq(heap()->node, 1);
    check_heap(heap());
    um_space_check();
    take_many(4000);
}

Test(heap, a_short_visit_moves_nothing) {
    have_two_nodes();
    give_many(200, 64);
    for (unsigned i = 0; i < 100; i++) {
        node_now = i % UM_PATIENCE == 0;
        um_theap_tick(heap());
        um_theap_follow(heap());
    }
    cr_expect_eq(heap()->node, 0);
    take_many(200);
}

/* To and fro: each move makes it wait longer. */
Test(heap, does_not_follow_every_swing) {
    unsigned moves = 0, swings = 2000;
    have_two_nodes();
    for (unsigned i = 0; i < swings; i++) {
        unsigned before = heap()->node;
        node_now = (i / UM_PATIENCE) % 2;
        um_theap_tick(heap());
        um_theap_follow(heap());
        moves += heap()->node != before;
    }
    cr_expect_lt(moves, 10, "%u", moves);
}

Test(heap, large_blocks_are_near_at_once) {
    bool zeroed;
    void *a, *b;
    have_two_nodes();
    cr_assert_not_null(a = um_large_alloc(heap(), 100000, 16, &zeroed));
    um_large_free(heap(), um_span_of(a));
    node_now = 1;
    cr_assert_not_null(b = um_large_alloc(heap(), 100000, 16, &zeroed));
    cr_expect_eq(place_of(b), 1, "not the cached one of the other node");
    node_now = 0;
    um_large_free(heap(), um_span_of(b));
    cr_expect_eq(um_large_alloc(heap(), 100000, 16, &zeroed), a);
    um_theap_flush(heap());
    um_space_check();
}
