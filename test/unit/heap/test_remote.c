/* Frees by other threads: they are chained, handed over, and come back to the owner; what is in transit is
   bounded; a stale push to a recycled heap is passed on; and misuse is named. */
#include "heap_calls.h"

#include "dies.h"

#include <sched.h>

enum { BLOCKS_MAX = 20000 };

static void *blocks[BLOCKS_MAX];
static unsigned block_count;

static void start(void) {
    cr_assert_not_null(um_theap_get());
}

TestSuite(remote, .init = start);

static um_theap *heap(void) {
    return um_tls.heap;
}

static void give_many(unsigned n, size_t bytes) {
    block_count = n;
    for (unsigned i = 0; i < n; i++)
        cr_assert_not_null(blocks[i] = give(bytes));
}

static unsigned in_transit(const um_theap *h, const um_span *s) {
    unsigned n = 0;
    for (unsigned i = 0; i < UM_OUT_SLOTS; i++) {
        const um_span *of = um_span_of((void *)h->out[i].slot);
        if (of && (!s || of == s)) {
            cr_assert_lt(h->out[i].room, h->out[i].most);
            cr_assert_leq(h->out[i].most, of->transit);
            n += h->out[i].most - h->out[i].room;
        }
    }
    return n;
}

static void *free_one_by_one(void *arg) {
    um_span *s = um_span_of(blocks[0]);
    (void)arg;
    cr_expect_not(um_remote_join(blocks[0]), "a thread without a heap has no chain");
    cr_assert_not_null(um_theap_get());
    for (unsigned i = 0; i < s->transit; i++) {
        cr_expect_eq(in_transit(heap(), s), i);
        cr_expect_eq(um_remote_count(s->remote), 0);
        take_back(blocks[i]);
    }
    cr_expect_eq(in_transit(heap(), s), 0);
    cr_expect_eq(um_remote_count(s->remote), s->transit, "handed over with the last that fits");
    cr_expect_eq(heap()->remote_frees, s->transit);
    cr_expect_eq(heap()->remote_batches, 1);
    take_back(blocks[s->transit]);
    cr_expect_eq(in_transit(heap(), s), 1);
    um_remote_flush(heap());
    cr_expect_eq(in_transit(heap(), NULL), 0);
    cr_expect_eq(um_remote_count(s->remote), s->transit + 1u);
    leave();
    return NULL;
}

Test(remote, blocks_travel_in_chains) {
    const um_span *s;
    give_many(100, 64);
    s = um_span_of(blocks[0]);
    cr_expect_eq(s->transit, 32);
    run_thread(free_one_by_one, NULL);
    cr_expect_eq(s->remote & UM_REMOTE_PENDING, UM_REMOTE_PENDING);
    cr_expect_eq(heap()->pending, s);
    cr_expect_eq(um_count.remote_frees, 33);
    cr_expect_eq(um_count.remote_batches, 2);
    check_heap(heap());
    const um_block *b = um_remote_head(s, s->remote);
    for (unsigned i = 0; i < 33; i++, b = b->next)
        cr_assert(um_slab_is_block(s, b) && b->self == (uintptr_t)b);
    cr_expect_eq(b, um_slab_end(s));
}

static void *free_all(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < block_count; i++)
        take_back(blocks[i]);
    leave();
    return NULL;
}

Test(remote, what_others_freed_is_given_again) {
    for (unsigned c = 0; c < UM_CLASSES; c += 5) {
        unsigned n = 3 * (unsigned)(UM_SLOT_BYTES / um_class_bytes(c)), slabs;
        give_many(n, um_class_bytes(c));
        slabs = count_slabs().slabs;
        for (int round = 0; round < 3; round++) {
            run_thread(free_all, NULL);
            check_heap(heap());
            give_many(n, um_class_bytes(c));
            check_heap(heap());
            cr_assert_eq(count_slabs().slabs, slabs, "class %u", c);
            for (unsigned i = 0; i < n; i++) /* distinct: each keeps what it was given */
                *(unsigned *)blocks[i] = i;
            for (unsigned i = 0; i < n; i++)
                cr_assert_eq(*(unsigned *)blocks[i], i);
        }
        for (unsigned i = 0; i < n; i++)
            take_back(blocks[i]);
        um_theap_flush(heap()); /* caches hold slabs of this class */
    }
    um_space_check();
}

Test(remote, flush_gives_back_what_others_emptied) {
    give_many(BLOCKS_MAX, 512);
    run_thread(free_all, NULL);
    um_theap_flush(heap());
    check_heap(heap());
    cr_expect_leq(count_slabs().slabs, 1);
    cr_expect_null(heap()->pending);
}

/* An owner that goes on with what it has takes them in all the same. */
Test(remote, what_others_emptied_goes_though_no_slab_is_wanted) {
    give_many(BLOCKS_MAX, 512);
    run_thread(free_all, NULL);
    cr_assert_not_null(heap()->pending);
    for (int i = 0; i < 1024; i++) /* slow paths that ask for nothing */
        um_theap_tick(heap());
    cr_expect_null(heap()->pending);
    check_heap(heap());
    cr_expect_leq(count_slabs().slabs, 1 + um_theap_cache_most() / UM_SLOT_BYTES);
}

/* A heap that is handed over ticks on the way. */
Test(remote, a_closed_stack_stays_closed) {
    atomic_store(&heap()->pending, UM_PENDING_CLOSED);
    for (int i = 0; i < 1024; i++)
        um_theap_tick(heap());
    cr_expect_eq(heap()->pending, UM_PENDING_CLOSED);
    atomic_store(&heap()->pending, NULL);
}

/* A slab that its owner has in a queue, not in use: the last block to come back frees it. */
Test(remote, available_slab_is_given_back_when_the_last_block_comes) {
    um_span *s;
    heap()->bins[um_class_of(1024)].heat = UM_HOT;
    give_many(64 + 64, 1024);
    s = um_span_of(blocks[0]);
    cr_assert_eq(s->place, UM_PLACE_FULL);
    for (unsigned i = 0; i < 32; i++)
        take_back(blocks[i]);
    cr_assert_eq(s->place, UM_PLACE_AVAIL);
    for (unsigned i = 32; i < 64; i++)
        blocks[i - 32] = blocks[i];
    block_count = 31;
    run_thread(free_all, NULL);
    um_theap_drain(heap(), atomic_exchange(&heap()->pending, NULL));
    cr_expect_eq(s->place, UM_PLACE_AVAIL);
    cr_expect_eq(um_remote_count(s->remote), 31, "they stay until they are needed");
    check_heap(heap());
    blocks[0] = blocks[31];
    block_count = 1;
    run_thread(free_all, NULL);
    cr_expect_eq(heap()->pending, s);
    um_theap_drain(heap(), atomic_exchange(&heap()->pending, NULL));
    cr_expect_neq(um_span_kind_of(s), UM_SPAN_SLAB);
    check_heap(heap());
    um_space_check();
}

static void *free_first_block_of_each_slab(void *arg) {
    unsigned per_slab = (unsigned)(UM_SLOT_BYTES / 1024), slabs = block_count / per_slab;
    (void)arg;
    for (unsigned round = 0; round < per_slab; round++)
        for (unsigned i = 0; i < slabs; i++) {
            take_back(blocks[i * per_slab + round]);
            cr_assert_leq(in_transit(heap(), NULL), UM_OUT_SLOTS * 16);
        }
    leave();
    return NULL;
}

Test(remote, transit_is_bounded_however_many_slabs) {
    give_many(100 * (unsigned)(UM_SLOT_BYTES / 1024), 1024);
    run_thread(free_first_block_of_each_slab, NULL);
    um_theap_flush(heap());
    cr_expect_leq(count_slabs().slabs, 1);
}

static void *free_by_twos(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < block_count; i++) {
        take_back(blocks[i]);
        cr_assert_leq(in_transit(heap(), NULL), 1, "two blocks are a chain that is full");
    }
    cr_expect_eq(heap()->remote_batches, block_count / 2);
    leave();
    return NULL;
}

static void *free_at_once(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < block_count; i++) {
        take_back(blocks[i]);
        cr_assert_eq(in_transit(heap(), NULL), 0);
    }
    leave();
    return NULL;
}

Test(remote, no_more_is_in_transit_than_may_be_cached) {
    um_theap_set_cache(UM_OUT_SLOTS * (size_t)2 * 64 + 63);
    give_many(100, 64);
    run_thread(free_by_twos, NULL);
    um_theap_set_cache(0);
    give_many(100, 64);
    run_thread(free_at_once, NULL);
}

/* blocks[0] is alone in its slab's chain; each of the others is a chain of its own, sent at once. */
static void *free_one_and_many(void *arg) {
    const um_span *s = um_span_of(blocks[0]);
    const um_out *first;
    unsigned begun = 0;
    (void)arg;
    cr_assert_not_null(um_theap_get());
    first = um_remote_chain(heap()->out, (uintptr_t)blocks[0]);
    take_back(blocks[0]);
    for (unsigned i = 1; i < block_count; i++) {
        if (um_remote_chain(heap()->out, (uintptr_t)blocks[i]) == first)
            continue; /* it would take the first one's place */
        take_back(blocks[i]);
        cr_assert(++begun >= UM_OUT_SLOTS || in_transit(heap(), s) == 1, "gone after %u", begun);
    }
    cr_assert_geq(begun, 2 * UM_OUT_SLOTS);
    cr_expect_eq(in_transit(heap(), s), 0, "the hand met it twice");
    leave();
    return NULL;
}

Test(remote, a_chain_that_grows_slowly_goes) {
    give_many(3 * UM_OUT_SLOTS, 16384);
    take_back(blocks[0]);
    cr_assert_not_null(blocks[0] = give(64));
    cr_assert_eq(um_span_of(blocks[1])->transit, 1);
    run_thread(free_one_and_many, NULL);
}

static void *give_and_leave(void *arg) {
    (void)arg;
    cr_assert_not_null(um_theap_get());
    give_many(UM_OUT_SLOTS * (unsigned)(UM_SLOT_BYTES / 1024), 1024);
    leave();
    return NULL;
}

Test(remote, the_last_block_of_a_slab_without_owner_does_not_wait) {
    unsigned per_slab = (unsigned)(UM_SLOT_BYTES / 1024), most = UM_TRANSIT_BYTES / 1024;
    run_thread(give_and_leave, NULL);
    for (unsigned first = 0; first < block_count; first += per_slab) {
        const um_span *s = um_span_of(blocks[first]);
        cr_assert_null(s->heap);
        for (unsigned i = 0; i < per_slab - 1; i++) {
            take_back(blocks[first + i]);
            cr_assert_eq(in_transit(heap(), s), (i + 1) % most);
        }
        cr_assert_eq(um_span_kind_of(s), UM_SPAN_SLAB);
        take_back(blocks[first + per_slab - 1]);
        cr_assert_neq(um_span_kind_of(s), UM_SPAN_SLAB);
    }
    give_many(1, 1024); /* of what is left nothing is lost */
    check_heap(heap());
    um_space_check();
}

/* An orphan with three blocks in use: the chain is as long. */
Test(remote, a_chain_is_no_longer_than_what_is_in_use) {
    unsigned per_slab = (unsigned)(UM_SLOT_BYTES / 1024);
    const um_span *s;
    run_thread(give_and_leave, NULL);
    s = um_span_of(blocks[0]);
    for (unsigned i = 3; i < per_slab; i++)
        take_back(blocks[i]);
    um_remote_flush(heap());
    take_back(blocks[0]);
    take_back(blocks[1]);
    cr_expect_eq(in_transit(heap(), s), 2);
    take_back(blocks[2]);
    cr_expect_neq(um_span_kind_of(s), UM_SPAN_SLAB);
}

static void *free_past_exit(void *arg) {
    cr_assert_not_null(um_theap_get());
    leave();
    cr_expect_null(um_theap_get());
    return free_all(arg);
}

Test(remote, frees_of_a_thread_past_its_exit_arrive) {
    give_many(1000, 128);
    run_thread(free_past_exit, NULL);
    um_theap_flush(heap());
    check_heap(heap());
    cr_expect_leq(count_slabs().slabs, 1);
}

static um_theap *stale; /* of a thread that has ended */

static void *be_stale(void *arg) {
    (void)arg;
    stale = um_theap_get();
    leave();
    return NULL;
}

/* A thread that held a token while the slab changed hands may push it to a heap that is another's by now. */
Test(remote, a_slab_on_the_wrong_stack_is_passed_on) {
    um_span *s;
    give_many(100, 64);
    s = um_span_of(blocks[0]);
    run_thread(be_stale, NULL);
    cr_assert_neq(stale, heap());
    atomic_fetch_or(&s->remote, UM_REMOTE_PENDING);
    s->pending_next = NULL;
    um_theap_drain(stale, s);
    cr_expect_eq(heap()->pending, s);
    um_theap_drain(heap(), atomic_exchange(&heap()->pending, NULL));
    cr_expect_eq(s->remote, 0);
    check_heap(heap());
}

/* The owner has closed its stack, but not let go of the slab: the token comes back with the blocks on it. */
Test(remote, blocks_for_an_owner_that_is_leaving_stay_on_the_slab) {
    um_span *s;
    give_many(100, 64);
    s = um_span_of(blocks[0]);
    block_count = 40;
    atomic_store(&heap()->pending, UM_PENDING_CLOSED);
    run_thread(free_all, NULL);
    cr_expect_eq(um_remote_count(s->remote), 40);
    cr_expect_eq(s->remote & (UM_REMOTE_PENDING | UM_REMOTE_ORPHAN), 0);
    cr_expect_eq(heap()->pending, UM_PENDING_CLOSED);
    atomic_store(&heap()->pending, NULL);
}

static void free_all_twice(void *arg) {
    run_thread(free_all, arg);
    run_thread(free_all, arg);
}

Test(remote, more_frees_than_blocks) {
    char text[256];
    give_many(64, 1024);
    int status = dies_status(free_all_twice, NULL, text, sizeof text);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    cr_expect_not_null(strstr(text, "umalloc: double free: 0x"), "%s", text);
    cr_expect_not_null(strstr(text, " (1024-byte block, more blocks came back than the slab has) in thread "),
                       "%s", text);
}

static void push_middle(void *arg) {
    um_block *b = (um_block *)((char *)arg + 16);
    b->self = (uintptr_t)b;
    um_remote_push(um_span_of(arg), b, b, 1);
}

Test(remote, push_of_what_is_no_block) {
    give_many(1, 64);
    expect_death(push_middle, blocks[0],
                 "umalloc: invalid free: 0x%zx (64-byte block, not the start of a block)\n",
                 (size_t)blocks[0] + 16);
}

/* Producers and consumers: every block is freed by another thread than its owner's. */
enum { PAIRS = 2, RING = 256, ROUNDS = 60000 };

static struct ring { _Atomic(void *) slot[RING]; } rings[PAIRS];

static void *produce(void *arg) {
    struct ring *r = arg;
    cr_assert_not_null(um_theap_get());
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t bytes = 16 + i % 40 * 50;
        uint64_t *p = give(bytes);
        cr_assert_not_null(p);
        p[0] = p[bytes / 8 - 1] = i;
        while (atomic_load_explicit(&r->slot[i % RING], memory_order_acquire))
            sched_yield();
        atomic_store_explicit(&r->slot[i % RING], p, memory_order_release);
    }
    leave();
    return NULL;
}

static void *consume(void *arg) {
    struct ring *r = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t bytes = 16 + i % 40 * 50;
        uint64_t *p;
        while (!(p = atomic_load_explicit(&r->slot[i % RING], memory_order_acquire)))
            sched_yield();
        cr_assert(p[0] == i && p[bytes / 8 - 1] == i);
        take_back(p);
        atomic_store_explicit(&r->slot[i % RING], NULL, memory_order_release);
    }
    leave();
    return NULL;
}

Test(remote, producers_and_consumers_lose_nothing) {
    pthread_t t[2 * PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        cr_assert_eq(pthread_create(&t[2 * i], NULL, produce, &rings[i]), 0);
        cr_assert_eq(pthread_create(&t[2 * i + 1], NULL, consume, &rings[i]), 0);
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        pthread_join(t[i], NULL);
    um_theap_flush(heap());
    cr_expect_eq(count_slabs().slabs, 0, "all came back, all was given back");
    um_space_check();
}
