/* The hardened allocator as the entry points use it, for tests below them. */
#ifndef UM_TEST_HARD_CALLS_H
#define UM_TEST_HARD_CALLS_H

#include "hard/internal.h"
#include "os/os.h"
#include "space/space.h"

#include "dies.h"

#include <criterion/criterion.h>
#include <string.h>

/* No small block gets a page of its own by chance. */
static inline void start_at(int level) {
    cr_assert_eq(um_hard_start(level), 0);
    um_hard_setting.first_guarded = 0;
    um_hard_setting.sample = INT32_MAX;
    (void)um_hard_alloc(1, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME); /* the first of a shard always gets one */
}

static inline void start_on(void) {
    start_at(UM_HARD_ON);
}

static inline void start_full(void) {
    start_at(UM_HARD_FULL);
}

static inline void *give(size_t bytes) {
    char *p = um_hard_alloc(bytes, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME);
    cr_assert_not_null(p);
    cr_assert_eq((uintptr_t)p % UM_HARD_ALIGN_MIN, 0);
    return p;
}

static inline const um_hard_claim *claim_of_free(void) {
    static const um_hard_claim claim = {"invalid free", UM_FAMILY_MALLOC, UM_HARD_UNSAID, 0};
    return &claim;
}

static inline void take_back(void *p) {
    um_hard_free(p, um_span_of(p), claim_of_free(), UM_HARD_FRAME);
}

static inline size_t usable(const void *p) {
    return um_hard_usable(p, um_span_of(p), "invalid malloc_usable_size");
}

static inline bool readable(const void *p) {
    return um_os_readable(um_round_down((uintptr_t)p, sizeof(uint64_t)));
}

static inline um_span_kind kind_of(const void *p) {
    return um_span_kind_of(um_span_of(p));
}

/* Changes a byte of a block, or of what lies near it, behind the compiler's and the sanitizers' backs. */
static inline void spoil(void *at) {
    *(volatile unsigned char *)at ^= 0x55;
}

/* In a child that is to die: a fault must come to us, not to the runner of the tests. */
static inline void catch_faults(void) {
    (void)signal(SIGSEGV, SIG_DFL); /* what comes after us */
    um_hard_fault_init();
}

static inline void read_at(void *at) {
    char *volatile where = at; /* unknown to the compiler, which warns about what it sees */
    catch_faults();
    (void)*(volatile char *)where;
}

static inline void write_at(void *at) {
    catch_faults();
    spoil(at);
}

/* f dies with a line that begins so. */
static inline void expect_words(void (*f)(void *arg), void *arg, const char *words) {
    char got[4096];
    int status = dies_status(f, arg, got, sizeof got);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: died otherwise: %#x %s", words, status,
              got);
    cr_expect(strncmp(got, words, strlen(words)) == 0, "said: %s wanted: %s", got, words);
}

#endif
