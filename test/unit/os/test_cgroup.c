/* The limit of the control groups, read from a tree of files made here: opening a path opens it below the
 * tree. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/os.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[] = "/tmp/umalloc-cgroup-XXXXXX";

int __real_um_os_open(const char *path);
int __wrap_um_os_open(const char *path);
int __wrap_um_os_open(const char *path) {
    char below[2048];
    snprintf(below, sizeof below, "%s%s", root, path);
    return __real_um_os_open(below);
}

static void put(const char *path, const char *text) {
    char below[2048];
    FILE *f;
    snprintf(below, sizeof below, "%s%s", root, path);
    for (char *slash = strchr(below + sizeof root, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(below, 0700); /* may be there */
        *slash = '/';
    }
    f = fopen(below, "w");
    cr_assert(f, "%s", below);
    fputs(text, f);
    fclose(f);
}

static void begin(void) {
    cr_assert(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void end(void) {
    (void)nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(cgroup, .init = begin, .fini = end);

Test(cgroup, none_without_files) {
    cr_expect_eq(um_os_memory_limit(), 0);
    put("/proc/self/cgroup", "0::/\n");
    cr_expect_eq(um_os_memory_limit(), 0);
}

Test(cgroup, version_2_takes_the_least_on_the_way_up) {
    put("/proc/self/cgroup", "0::/a/b/c\n");
    put("/sys/fs/cgroup/a/b/c/memory.max", "max\n");
    cr_expect_eq(um_os_memory_limit(), 0);
    put("/sys/fs/cgroup/a/b/memory.max", "3000\n");
    cr_expect_eq(um_os_memory_limit(), 3000);
    put("/sys/fs/cgroup/a/memory.max", "2000\n");
    cr_expect_eq(um_os_memory_limit(), 2000);
    put("/sys/fs/cgroup/a/b/c/memory.max", "1000\n");
    cr_expect_eq(um_os_memory_limit(), 1000);
    put("/sys/fs/cgroup/a/bb/memory.max", "10\n"); /* not on the way */
    cr_expect_eq(um_os_memory_limit(), 1000);
}

Test(cgroup, a_container_sees_its_own_group_as_the_root) {
    put("/proc/self/cgroup", "0::/docker/0123\n");
    put("/sys/fs/cgroup/memory.max", "4096\n");
    cr_expect_eq(um_os_memory_limit(), 4096);
}

Test(cgroup, version_1) {
    put("/proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory:/job\n3:memoryless:/y\n0::/\n");
    put("/sys/fs/cgroup/memory/y/memory.limit_in_bytes", "5\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    cr_expect_eq(um_os_memory_limit(), 0);
    put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "314572800\n");
    cr_expect_eq(um_os_memory_limit(), 314572800);
}

Test(cgroup, nonsense_sets_no_limit) {
    char line[1200] = "0::";
    static const char *const lines[] = {"",    "\n",  "0",         "0:",         "0:memory",
                                        ":::", "0::", "4:memory:", "\n\n0::/a\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        put("/proc/self/cgroup", lines[i]);
        cr_expect_eq(um_os_memory_limit(), 0, "%s", lines[i]);
    }
    memset(line + 3, '/', sizeof line - 4); /* longer than a path may be */
    put("/proc/self/cgroup", line);
    put("/sys/fs/cgroup/memory.max", "77");
    cr_expect_eq(um_os_memory_limit(), 77);
    put("/proc/self/cgroup", "0::/a");
    put("/sys/fs/cgroup/memory.max", "-5\n");
    put("/sys/fs/cgroup/a/memory.max", "99999999999999999999999999\n");
    cr_expect_eq(um_os_memory_limit(), 0);
}
