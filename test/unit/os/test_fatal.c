/* The last words, verbatim, and the way the process ends. */
#include "os/fatal.h"

#include "dies.h"

static void plain(void *arg) {
    um_fatal("invalid free", arg, 0, NULL);
}

static void sized(void *arg) {
    um_fatal("double free", arg, 48, NULL);
}

static void detailed(void *arg) {
    um_fatal("invalid free", arg, 0, "not allocated by umalloc");
}

static void full(void *arg) {
    um_fatal("double free", arg, 32768, "the memory is free");
}

Test(fatal, one_line_in_four_forms) {
    expect_death(plain, (void *)0x1234, "umalloc: invalid free: 0x1234\n");
    expect_death(sized, (void *)0xdeadbeef0, "umalloc: double free: 0xdeadbeef0 (48-byte block)\n");
    expect_death(detailed, NULL, "umalloc: invalid free: 0x0 (not allocated by umalloc)\n");
    expect_death(full, (void *)UINTPTR_MAX,
                 "umalloc: double free: 0xffffffffffffffff (32768-byte block, the memory is free)\n");
}

static void closed_stderr(void *arg) {
    close(2);
    um_fatal("invalid free", arg, 0, NULL);
}

Test(fatal, dies_even_where_nobody_hears_it) {
    expect_death(closed_stderr, NULL, "%s", "");
}
