/* Stacks: they are walked along frame pointers, end where those lead nowhere, and are said in one line. */
#include "hard_calls.h"

TestSuite(hard_trace, .init = start_on);

static void take(um_hard_trace *t, const void *frame) {
    um_hard_trace_take(t, frame);
}

/* A chain of frames as the compiler lays them: the caller's frame, and where it goes on. */
static uintptr_t far[12 * UM_MIB][2];
static uintptr_t (*const frames)[2] = far;

static void chain(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        frames[i][0] = i + 1 < n ? (uintptr_t)frames[i + 1] : 0;
        frames[i][1] = 0x400000 + i;
    }
}

Test(hard_trace, frames_are_followed) {
    um_hard_trace t;
    chain(5);
    take(&t, frames);
    cr_expect_eq(t.thread, um_os_tid());
    cr_assert_eq(t.depth, 5);
    for (unsigned i = 0; i < 5; i++)
        cr_expect_eq(t.pc[i], 0x400000 + i);
    chain(64);
    take(&t, frames);
    cr_expect_eq(t.depth, UM_HARD_FRAMES);
}

Test(hard_trace, wild_frames_end_the_walk) {
    um_hard_trace t;
    const char *no_access = um_hard_alloc(0, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME);
    chain(5);
    frames[2][0] = (uintptr_t)frames[1]; /* backwards */
    take(&t, frames);
    cr_expect_eq(t.depth, 3);
    chain(5);
    frames[2][0] = (uintptr_t)frames[3] + 1; /* no frame starts there */
    take(&t, frames);
    cr_expect_eq(t.depth, 3);
    chain(5);
    frames[2][0] = (uintptr_t)frames[2]; /* itself */
    take(&t, frames);
    cr_expect_eq(t.depth, 3);
    chain(5);
    frames[2][0] = (uintptr_t)&frames[2] + sizeof far / 2; /* too far, though it can be read */
    frames[2 + UM_COUNT(far) / 2][1] = 0x400000;
    take(&t, frames);
    cr_expect_eq(t.depth, 3);
    chain(5);
    frames[2][1] = 5; /* no code is there */
    take(&t, frames);
    cr_expect_eq(t.depth, 2);
    take(&t, no_access);
    cr_expect_eq(t.depth, 0);
    take(&t, NULL);
    cr_expect_eq(t.depth, 0);
}

Test(hard_trace, a_frame_that_leads_where_no_access_is) {
    um_hard_trace t;
    char *p = um_hard_alloc(UM_SLOT_BYTES, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME);
    uintptr_t *last = (uintptr_t *)(void *)(p + UM_SLOT_BYTES - 16);
    last[0] = (uintptr_t)p + UM_SLOT_BYTES;
    last[1] = 0x400000;
    take(&t, last);
    cr_expect_eq(t.depth, 1);
}

static void say(void *t) {
    um_hard_trace_say(t, "allocated");
    um_os_abort();
}

Test(hard_trace, is_said_in_one_line) {
    um_hard_trace t = {.thread = 77, .depth = 2, .pc = {0x1234, 0x5678}};
    expect_words(say, &t, "umalloc:   allocated by thread 77: 0x1234 0x5678\n");
    t.depth = 0;
    char got[64];
    (void)dies_status(say, &t, got, sizeof got);
    cr_expect_str_eq(got, "");
}

Test(hard_trace, faults_that_are_not_ours_stay_faults) {
    char got[256];
    int status = dies_status(read_at, (void *)16, got, sizeof got);
    cr_expect(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : WEXITSTATUS(status) != 0);
    cr_expect_null(strstr(got, "umalloc:"), "%s", got);
}

static void send_fault(void (*before)(int)) {
    (void)signal(SIGSEGV, before);
    um_hard_fault_init();
    (void)raise(SIGSEGV);
}

static void send_to_default(void *unused) {
    (void)unused;
    send_fault(SIG_DFL);
}

static void send_to_nobody_then_fault(void *block) {
    send_fault(SIG_IGN);
    spoil(block);
}

static void say_signal(int number) {
    dprintf(2, "signal %d\n", number);
}

static void send_to_handler(void *unused) {
    (void)unused;
    send_fault(say_signal);
}

Test(hard_trace, signals_that_are_sent_go_where_they_went) {
    char got[256];
    void *no_access = um_hard_alloc(0, 0, UM_FAMILY_MALLOC, UM_HARD_FRAME);
    int status = dies_status(send_to_default, NULL, got, sizeof got);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "%#x", status);
    cr_expect_str_eq(got, "");
    expect_words(send_to_nobody_then_fault, no_access, "umalloc: access out of bounds: ");
    if (UM_TSAN)
        return; /* it hands signals to handlers later */
    cr_expect_eq(dies_status(send_to_handler, NULL, got, sizeof got), 0);
    cr_expect_str_eq(got, "signal 11\n");
}
