/* The limit of the control groups and what is left of it, read from a tree of files made here. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/available.h"

#include "tree.h"

TestSuite(cgroup, .init = tree_begin, .fini = tree_end);

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

enum { MIB = 1 << 20 };

static void put_mib(const char *path, uint64_t mib) {
    char text[32];
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)mib * MIB);
    put(path, text);
}

/* Of a limit a 64th is left alone, at least 2 MiB. */
Test(cgroup, what_is_left_is_the_limit_less_what_cannot_be_reclaimed) {
    cr_expect_eq(um_os_memory_left(), UINT64_MAX);
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/memory.max", "max\n");
    put_mib("/sys/fs/cgroup/a/memory.current", 500);
    cr_expect_eq(um_os_memory_left(), UINT64_MAX);
    put_mib("/sys/fs/cgroup/a/b/memory.max", 64);
    cr_expect_eq(um_os_memory_left(), 64 * MIB, "the usage is not told");
    put_mib("/sys/fs/cgroup/a/b/memory.current", 40);
    cr_expect_eq(um_os_memory_left(), 22 * MIB);
    put("/sys/fs/cgroup/a/b/memory.stat",
        "anon 20971520\nfile 10485760\ninactive_anon 7\nactive_anon 8\ninactive_file 8388608\nactive_file "
        "2097152\n");
    cr_expect_eq(um_os_memory_left(), 32 * MIB);
    put_mib("/sys/fs/cgroup/a/b/memory.current", 80);
    cr_expect_eq(um_os_memory_left(), 0);
}

Test(cgroup, the_group_with_the_least_left_counts) {
    put("/proc/self/cgroup", "0::/a/b\n");
    put_mib("/sys/fs/cgroup/a/b/memory.max", 640);
    put_mib("/sys/fs/cgroup/a/b/memory.current", 30);
    put_mib("/sys/fs/cgroup/a/memory.max", 1280);
    put_mib("/sys/fs/cgroup/a/memory.current", 1160);
    cr_expect_eq(um_os_memory_left(), 100 * MIB);
    put_mib("/sys/fs/cgroup/a/b/memory.current", 580);
    cr_expect_eq(um_os_memory_left(), 50 * MIB);
}

Test(cgroup, what_is_left_in_version_1) {
    put("/proc/self/cgroup", "4:cpu,memory:/job\n");
    put_mib("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", 64);
    put_mib("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", 50);
    put("/sys/fs/cgroup/memory/job/memory.stat",
        "cache 9\ninactive_file 1048576\nactive_file 1048576\ntotal_cache 9\ntotal_inactive_file "
        "4194304\ntotal_active_file 2097152\n");
    cr_expect_eq(um_os_memory_left(), 18 * MIB);
}
