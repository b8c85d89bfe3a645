/* The calls about nodes, on whatever machine this is: node 0 exists everywhere that has NUMA at all, so
   policies that name it hold, and refusals pass through and are counted. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/numa.h"
#include "os/os.h"

#include "refuse.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t page;
static bool numa; /* the kernel has it, and lets us */
static unsigned some_node;

static void start(void) {
    um_node_set allowed;
    um_os_init();
    page = um_os_page_bytes;
    numa = um_os_nodes_allowed(&allowed) == 0;
    some_node = numa ? um_node_set_first(&allowed) : 0;
}

TestSuite(numa, .init = start);

static uintptr_t map(size_t bytes) {
    uintptr_t at = 0;
    cr_assert_eq(um_os_map(bytes, &at), 0);
    return at;
}

static uint64_t refused(void) {
    uint64_t sum = um_os_policies.refused_other;
#define X(name) sum += um_os_policies.refused_##name;
    UM_POLICY_ERRNOS(X)
#undef X
    return sum;
}

Test(numa, sets) {
    static const unsigned ids[] = {0, 2, 63, 64, 250, 1023};
    um_node_set s = {{0}};
    cr_expect_eq(um_node_set_count(&s), 0);
    cr_expect_eq(um_node_set_first(&s), UM_NODE_IDS);
    for (unsigned i = 0; i < UM_COUNT(ids); i++)
        um_node_set_add(&s, ids[i]);
    cr_expect_eq(um_node_set_count(&s), UM_COUNT(ids));
    unsigned i = 0;
    for (um_node_set_each(id, &s))
        cr_expect_eq(id, ids[i++]);
    cr_expect_eq(i, UM_COUNT(ids));
    cr_expect(um_node_set_has(&s, 63) && !um_node_set_has(&s, 62) && !um_node_set_has(&s, 65));
    cr_expect_eq(um_node_set_next(&s, 64), 64);
    cr_expect_eq(um_node_set_next(&s, 65), 250);
    cr_expect_eq(um_node_set_next(&s, 1024), UM_NODE_IDS);
    um_node_set other = um_node_set_of(250);
    um_node_set_add(&other, 251);
    um_node_set_keep(&s, &other);
    cr_expect_eq(um_node_set_count(&s), 1);
    cr_expect_eq(um_node_set_first(&s), 250);
}

Test(numa, allowed_nodes_are_those_of_the_status_file) {
    um_node_set allowed;
    char line[4096], *list = NULL;
    FILE *f = fopen("/proc/self/status", "r");
    cr_assert_not_null(f);
    while (!list && fgets(line, sizeof line, f))
        list = strncmp(line, "Mems_allowed_list:", 18) ? NULL : line + 18;
    fclose(f);
    if (!numa || !list)
        return; /* nothing to compare */
    cr_assert_eq(um_os_nodes_allowed(&allowed), 0);
    unsigned listed = 0, low, high;
    for (int n; sscanf(list, "%u%n", &low, &n) == 1; list += *list == ',') {
        list += n;
        high = low;
        if (sscanf(list, "-%u%n", &high, &n) == 1)
            list += n;
        for (; low <= high; low++, listed++)
            cr_expect(um_node_set_has(&allowed, low), "node %u", low);
    }
    cr_expect_eq(um_node_set_count(&allowed), listed);
}

Test(numa, refused_calls_pass_their_errno_through) {
    um_node_set allowed = um_node_set_of(5);
    uintptr_t at = map(page);
    errno = 123;
    cr_assert(refuse(SYS_get_mempolicy, EPERM));
    cr_expect_eq(um_os_nodes_allowed(&allowed), EPERM);
    cr_expect_eq(um_node_set_count(&allowed), 0);
    cr_assert(refuse(SYS_mbind, EPERM));
    cr_expect_eq(um_os_policy(at, page, UM_POLICY_LOCAL, NULL, 0), EPERM);
    cr_assert(refuse(SYS_mbind, ENOSYS)); /* of two filters the first errno counts: the later filter's */
    int err = um_os_policy(at, page, UM_POLICY_LOCAL, NULL, 0);
    cr_expect(err == ENOSYS || err == EPERM);
    cr_expect_eq(um_os_policies.calls, 2);
    cr_expect_eq(um_os_policies.refused_EPERM + um_os_policies.refused_ENOSYS, 2);
    cr_expect_geq(um_os_policies.refused_EPERM, 1);
    cr_expect_eq(refused(), 2);
    cr_expect_eq(errno, 123);
}

static void *node_of_thread(void *arg) {
    unsigned *mismatches = arg;
    for (unsigned i = 0; i < 1000; i++) {
        unsigned cpu, before, after;
        cr_assert_eq(getcpu(&cpu, &before), 0);
        unsigned node = um_os_node_now();
        cr_assert_eq(getcpu(&cpu, &after), 0);
        *mismatches += before == after && node != before;
    }
    return NULL;
}

/* A thread may move to another node and back between two looks; not often. */
Test(numa, node_now_is_that_of_getcpu_on_every_way) {
    unsigned mismatches = 0, cpu, node;
    pthread_t t;
    node_of_thread(&mismatches);
    cr_assert_eq(pthread_create(&t, NULL, node_of_thread, &mismatches), 0);
    pthread_join(t, NULL);
    cr_assert_eq(getcpu(&cpu, &node), 0);
    um_os_rseq_at = 0;
    node_of_thread(&mismatches);
    cr_expect_lt(mismatches, 30);
    errno = 123;
    cr_expect_lt(um_os_node_asked(), UM_NODE_IDS);
    cr_expect_eq(errno, 123);
}

/* A thread's area that glibc did not register, and one with nonsense in it, are not believed. */
Test(numa, node_now_asks_where_the_area_is_not_filled) {
    static um_rseq area;
    unsigned asked = um_os_node_asked();
    um_os_rseq_at = (ptrdiff_t)((uintptr_t)&area - um_thread_id());
    area = (um_rseq){.cpu_id = 3, .node_id = 77};
    cr_expect_eq(um_os_node_now(), 77);
    area.cpu_id = (uint32_t)-2;
    cr_expect_leq(um_os_node_now(), um_max(asked, 76));
    area = (um_rseq){.cpu_id = 3, .node_id = 5000};
    cr_expect_lt(um_os_node_now(), UM_NODE_IDS);
}

Test(numa, policies_hold) {
    static const int modes[] = {UM_POLICY_PREFERRED, UM_POLICY_BIND, UM_POLICY_INTERLEAVE};
    um_node_set nodes = um_node_set_of(some_node);
    if (!numa)
        return;
    for (unsigned i = 0; i < UM_COUNT(modes); i++) {
        uintptr_t at = map(4 * page);
        int mode = -1;
        um_node_set got = {{0}};
        cr_assert_eq(um_os_policy(at, 4 * page, modes[i] | UM_POLICY_STATIC_NODES, &nodes, 0), 0);
        cr_assert_eq(syscall(SYS_get_mempolicy, &mode, got.bits, (size_t)UM_NODE_IDS, at, 2 /* by address */),
                     0);
        cr_expect_eq(mode, modes[i] | UM_POLICY_STATIC_NODES);
        cr_expect_eq(memcmp(&got, &nodes, sizeof got), 0);
        memset((void *)at, 1, 4 * page);
        cr_expect_eq(um_os_policy(at, 4 * page, UM_POLICY_DEFAULT, NULL, 0), 0);
        cr_expect_eq(um_os_policy(at, 4 * page, UM_POLICY_LOCAL, NULL, 0), 0);
    }
    cr_expect_eq(refused(), 0);
    cr_expect_eq(um_os_policies.calls, 9);
}

Test(numa, impossible_policies_are_refused_and_counted) {
    um_node_set nowhere = um_node_set_of(UM_NODE_IDS - 1);
    uintptr_t at = map(page);
    if (!numa)
        return;
    errno = 123;
    cr_expect_eq(um_os_policy(at, page, UM_POLICY_BIND, &nowhere, 0), EINVAL);
    cr_expect_eq(um_os_policy(at + 1, page, UM_POLICY_LOCAL, NULL, 0), EINVAL);
    cr_assert_eq(um_os_unmap(at, page), 0);
    cr_expect_eq(um_os_policy(at, page, UM_POLICY_LOCAL, NULL, 0), EFAULT);
    cr_expect_eq(um_os_policies.refused_EINVAL, 2);
    cr_expect_eq(um_os_policies.refused_EFAULT, 1);
    cr_expect_eq(refused(), 3);
    cr_expect_eq(errno, 123);
}

Test(numa, home_node_goes_with_preferred_many) {
    um_node_set nodes = um_node_set_of(some_node);
    uintptr_t at = map(page);
    if (!numa || um_os_policy(at, page, UM_POLICY_PREFERRED_MANY, &nodes, 0) == EINVAL)
        return; /* before Linux 5.15 */
    int err = um_os_home_node(at, page, some_node);
    cr_expect(err == 0 || err == ENOSYS, "%d", err);
    if (!err)
        cr_expect_eq(um_os_home_node(at, page, UM_NODE_IDS - 1), EINVAL);
}

static size_t resident_pages(uintptr_t at, size_t pages) {
    unsigned char in[64];
    size_t n = 0;
    cr_assert_leq(pages, UM_COUNT(in));
    cr_assert_eq(mincore((void *)at, pages * page, in), 0);
    for (size_t i = 0; i < pages; i++)
        n += in[i] & 1;
    return n;
}

Test(numa, populate_touches_every_page_and_keeps_contents) {
    uintptr_t at = map(64 * page);
    *(char *)(at + 3 * page) = 7;
    int err = um_os_populate(at, 64 * page);
    cr_assert(err == 0 || err == EINVAL, "%d", err);
    if (err) /* before Linux 5.14 */
        return;
    cr_expect_eq(resident_pages(at, 64), 64);
    cr_expect_eq(*(char *)(at + 3 * page), 7);
    cr_expect_eq(*(char *)(at + 4 * page), 0);
    cr_assert_eq(um_os_unmap(at + page, page), 0);
    cr_expect_eq(um_os_populate(at, 64 * page), ENOMEM);
}

Test(numa, populate_gives_up_on_an_error_that_stays) {
    uintptr_t at = map(page);
    cr_assert(refuse(SYS_madvise, EAGAIN));
    cr_expect_eq(um_os_populate(at, page), EAGAIN);
}

Test(numa, page_nodes_tell_touched_from_untouched) {
    enum { PAGES = 150 }; /* more than go into one call */
    int node_of[PAGES + 1];
    uintptr_t at = map(PAGES * page), some[2] = {at, at + page};
    for (size_t i = 0; i < PAGES; i += 2)
        *(char *)(at + i * page) = 1;
    memset(node_of, 0x55, sizeof node_of);
    int err = um_os_page_nodes(at, PAGES, node_of);
    if (err == ENOSYS || err == EPERM)
        return;
    cr_assert_eq(err, 0);
    for (size_t i = 0; i < PAGES; i++)
        if (i % 2)
            cr_expect(node_of[i] == -ENOENT || node_of[i] == -EFAULT, "page %zu: %d", i, node_of[i]);
        else
            cr_expect(node_of[i] >= 0 && node_of[i] < (int)UM_NODE_IDS, "page %zu: %d", i, node_of[i]);
    cr_expect_eq(node_of[PAGES], 0x55555555);
    cr_expect_eq(um_os_nodes_of(some, 2, node_of), 0);
    cr_expect_geq(node_of[0], 0);
    cr_expect_lt(node_of[1], 0);
}

Test(numa, pages_move_to_where_they_are_already) {
    enum { PAGES = 100 };
    um_os_moved moved = {99, 99};
    uintptr_t at = map(PAGES * page);
    if (!numa)
        return;
    cr_expect_eq(um_os_move_pages(at, PAGES, some_node, &moved), 0);
    cr_expect(moved.there == 0 && moved.elsewhere == 0, "nothing is touched yet: %zu", moved.there);
    memset((void *)at, 5, 80 * page);
    cr_expect_eq(um_os_move_pages(at, PAGES, some_node, &moved), 0);
    cr_expect(moved.there == 80 && moved.elsewhere == 0, "%zu", moved.there);
    cr_expect_eq(*(char *)(at + 79 * page), 5);
    int err = um_os_move_pages(at, PAGES, UM_NODE_IDS - 1, &moved);
    cr_expect(err == ENODEV || err == EACCES, "%d", err);
    cr_expect_eq(moved.there, 0);
    cr_expect_eq(moved.elsewhere, 64, "the first call's: %zu", moved.elsewhere);
}
