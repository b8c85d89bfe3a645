/* Every access of the library and the program to memory, as caches would see it.
 *
 * The compiler's thread sanitizer puts a call before each access and in place of each atomic one; the
 * functions that it calls are these, not its own runtime. Nothing in the library's sources knows of it.
 *
 * A line is in the caches of the cores that its mask names (MESI, without a limit of size): a core that reads
 * a line which others have and it has not, or writes one that others have, transfers it, and waits until
 * transfers of the same line before it are over. The first touch of a line by any core is none. Counted for
 * each place in the code (its return address): accesses, atomic read-modify-writes, failed compare-and-swaps,
 * transfers; for each line: transfers; for each lock: takes, contended ones, and the time held.
 *
 * A lock is a 32-bit word that a compare-and-swap takes from 0 to 1, or an exchange with 2 finds 0, and a
 * subtraction of 1 leaves: um_lock is the only one like it (scaling.py checks that the places are um_lock's).
 *
 * Not seen: what libc does (memcpy, memset, thread start), the kernel, the size and sharing of real caches,
 * and stores that a store buffer hides. */
#include "program.h"

#include "simulated.h"
#include <stdatomic.h>

#define LINES_MAX   ((size_t)1 << 21)
#define PLACES_MAX  4096u
#define LOCKS_MAX   64u
#define SHOWN_LINES 8

typedef unsigned __int128 core_mask;

typedef struct line {
    core_mask cores;  /* that have it */
    uintptr_t number; /* address / 64; 0: unused */
    uint64_t free_at; /* end of its last transfer */
    uint64_t transfers;
    uintptr_t place; /* of the last transfer */
} line;

typedef struct place {
    uintptr_t at; /* 0: unused */
    uint64_t accesses, atomics, failed, transfers;
} place;

typedef struct lock {
    uintptr_t at;                               /* 0: unused */
    uint64_t takes, contended, held, transfers; /* the latter two while it was held */
    uint64_t taken_at, taken_transfers;
} lock;

static line *lines;
static size_t lines_used;
static place places[PLACES_MAX];
static lock locks[LOCKS_MAX];

static size_t hash(uintptr_t key) {
    return (size_t)(key * 0x9e3779b97f4a7c15u >> 32);
}

static line *line_of(uintptr_t number) {
    size_t i = hash(number) % LINES_MAX;
    while (lines[i].number != number) {
        if (!lines[i].number) {
            if (++lines_used > LINES_MAX / 2)
                stop(STATUS_BROKEN, "more memory is touched than there are lines to count");
            lines[i].number = number;
            break;
        }
        i = (i + 1) % LINES_MAX;
    }
    return &lines[i];
}

static place *place_of(const void *pc) {
    uintptr_t at = (uintptr_t)pc;
    size_t i = hash(at) % PLACES_MAX;
    for (size_t tries = 0; places[i].at && places[i].at != at; tries++, i = (i + 1) % PLACES_MAX)
        if (tries == PLACES_MAX)
            stop(STATUS_BROKEN, "too many places");
    places[i].at = at;
    return &places[i];
}

static lock *lock_of(const void *word) {
    uintptr_t at = (uintptr_t)word;
    size_t i = 0;
    while (locks[i].at && locks[i].at != at)
        if (++i == LOCKS_MAX)
            stop(STATUS_BROKEN, "too many locks");
    locks[i].at = at;
    return &locks[i];
}

static void transfer(line *l, place *by) {
    uint64_t from = sim_self->clock > l->free_at ? sim_self->clock : l->free_at;
    sim_self->waited += from - sim_self->clock;
    sim_self->clock = l->free_at = from + sim_cost.transfer;
    if (!sim_counting)
        return;
    sim_self->transfers++;
    l->transfers++;
    l->place = by->at;
    by->transfers++;
}

static void touch_line(uintptr_t number, bool writes, place *by) {
    core_mask own = (core_mask)1 << sim_self->core;
    line *l = line_of(number);
    if (l->cores & ~own)
        sim_turn(); /* others may touch it first */
    if (l->cores && (writes ? l->cores != own : !(l->cores & own)))
        transfer(l, by);
    l->cores = writes ? own : l->cores | own;
}

static void touch(const volatile void *p, size_t bytes, bool writes, const void *pc) {
    uintptr_t first = (uintptr_t)p / LINE_BYTES, last = ((uintptr_t)p + bytes - 1) / LINE_BYTES;
    place *by;
    if (!sim_self)
        return;
    by = place_of(pc);
    by->accesses += sim_counting;
    sim_self->clock += sim_cost.access;
    for (uintptr_t n = first; n <= last; n++)
        touch_line(n, writes, by);
}

/* Atomic accesses are where threads meet, so all that are behind go first, also where the line is only ours.
 */
static void atomic_turn(void) {
    if (sim_self)
        sim_turn();
}

static void changed(const volatile void *p, size_t bytes, bool failed, const void *pc) {
    if (!sim_self)
        return;
    touch(p, bytes, true, pc);
    sim_self->clock += sim_cost.locked;
    place_of(pc)->atomics += sim_counting;
    place_of(pc)->failed += sim_counting && failed;
}

static void lock_tried(const volatile void *word, bool taken) {
    lock *l = lock_of((const void *)(uintptr_t)word);
    if (taken) {
        l->taken_at = sim_self->clock;
        l->taken_transfers = sim_self->transfers;
    }
    l->takes += sim_counting && taken;
    l->contended += sim_counting && !taken;
}

static void lock_left(const volatile void *word) {
    lock *l = lock_of((const void *)(uintptr_t)word);
    if (!sim_counting || !l->taken_at)
        return;
    l->held += sim_self->clock - l->taken_at;
    l->transfers += sim_self->transfers - l->taken_transfers;
}

void sim_reset_counts(void) {
    memset(places, 0, sizeof places);
    memset(locks, 0, sizeof locks);
    for (size_t i = 0; i < LINES_MAX; i++)
        lines[i].transfers = 0;
}

void sim_print_counts(void) {
    for (size_t i = 0; i < PLACES_MAX; i++)
        if (places[i].at)
            say("place %#zx %zu %zu %zu %zu\n", places[i].at, places[i].accesses, places[i].atomics,
                places[i].failed, places[i].transfers);
    for (size_t i = 0; i < LOCKS_MAX && locks[i].at; i++)
        if (locks[i].takes)
            say("lock %#zx %zu %zu %zu %zu\n", locks[i].at, locks[i].takes, locks[i].contended, locks[i].held,
                locks[i].transfers);
    for (size_t shown = 0; shown < SHOWN_LINES; shown++) {
        line *most = &lines[0];
        for (size_t i = 1; i < LINES_MAX; i++)
            if (lines[i].transfers > most->transfers)
                most = &lines[i];
        if (!most->transfers)
            break;
        say("line %#zx %zu %#zx\n", most->number * LINE_BYTES, most->transfers, most->place);
        most->transfers = 0;
    }
}

static __attribute__((constructor(101))) void prepare(void) {
    lines = books(LINES_MAX * sizeof *lines);
}

/* --- what the compiler calls --- */

#define CALLER __builtin_return_address(0)

void __tsan_init(void) {}
void __tsan_func_entry(void *caller) {
    (void)caller;
}
void __tsan_func_exit(void) {}
void __tsan_atomic_thread_fence(int order) {
    atomic_thread_fence(order);
}
void __tsan_atomic_signal_fence(int order) {
    (void)order;
    atomic_signal_fence(memory_order_seq_cst);
}

#define PLAIN(name, bytes, writes)                                                                           \
    void __tsan_##name(void *p) {                                                                            \
        touch(p, bytes, writes, CALLER);                                                                     \
    }
#define PLAINS(bytes)                                                                                        \
    PLAIN(read##bytes, bytes, false)                                                                         \
    PLAIN(write##bytes, bytes, true)                                                                         \
    PLAIN(unaligned_read##bytes, bytes, false) PLAIN(unaligned_write##bytes, bytes, true)
PLAINS(1)
PLAINS(2)
PLAINS(4)
PLAINS(8)
PLAINS(16)

void __tsan_read_range(void *p, size_t bytes) {
    touch(p, bytes, false, CALLER);
}
void __tsan_write_range(void *p, size_t bytes) {
    touch(p, bytes, true, CALLER);
}

static bool is_lock_order(size_t bytes, int order) {
    return sim_self && bytes == sizeof(uint32_t) && (order == __ATOMIC_ACQUIRE || order == __ATOMIC_RELEASE);
}

#define FETCH(bits, type, op, may_leave)                                                                     \
    type __tsan_atomic##bits##_fetch_##op(volatile type *p, type value, int order) {                         \
        atomic_turn();                                                                                       \
        if ((may_leave) && value == 1 && order == __ATOMIC_RELEASE && is_lock_order(sizeof *p, order))       \
            lock_left(p);                                                                                    \
        type was = __atomic_fetch_##op(p, value, __ATOMIC_SEQ_CST);                                          \
        changed(p, sizeof *p, false, CALLER);                                                                \
        return was;                                                                                          \
    }
#define SWAP(bits, type, strength)                                                                           \
    bool __tsan_atomic##bits##_compare_exchange_##strength(volatile type *p, type *expected, type value,     \
                                                           int order, int failed_order) {                    \
        (void)failed_order;                                                                                  \
        atomic_turn();                                                                                       \
        bool done =                                                                                          \
            __atomic_compare_exchange_n(p, expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);      \
        changed(p, sizeof *p, !done, CALLER);                                                                \
        if (is_lock_order(sizeof *p, order))                                                                 \
            lock_tried(p, done);                                                                             \
        return done;                                                                                         \
    }
#define ATOMICS(bits, type)                                                                                  \
    type __tsan_atomic##bits##_load(const volatile type *p, int order) {                                     \
        (void)order;                                                                                         \
        atomic_turn();                                                                                       \
        type value = __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                   \
        touch(p, sizeof *p, false, CALLER);                                                                  \
        return value;                                                                                        \
    }                                                                                                        \
    void __tsan_atomic##bits##_store(volatile type *p, type value, int order) {                              \
        (void)order;                                                                                         \
        atomic_turn();                                                                                       \
        __atomic_store_n(p, value, __ATOMIC_SEQ_CST);                                                        \
        touch(p, sizeof *p, true, CALLER);                                                                   \
    }                                                                                                        \
    type __tsan_atomic##bits##_exchange(volatile type *p, type value, int order) {                           \
        atomic_turn();                                                                                       \
        type was = __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);                                          \
        changed(p, sizeof *p, false, CALLER);                                                                \
        if (value == 2 && was == 0 && is_lock_order(sizeof *p, order))                                       \
            lock_tried(p, true);                                                                             \
        return was;                                                                                          \
    }                                                                                                        \
    FETCH(bits, type, add, false)                                                                            \
    FETCH(bits, type, sub, true)                                                                             \
    FETCH(bits, type, and, false)                                                                            \
    FETCH(bits, type, or, false)                                                                             \
    FETCH(bits, type, xor, false) SWAP(bits, type, strong) SWAP(bits, type, weak)
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
