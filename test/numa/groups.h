/* cgroup v2, in the lab: this process goes to a group of its own, whose nodes and limits can be set. */
#ifndef UM_TEST_GROUPS_H
#define UM_TEST_GROUPS_H

#include "check.h"

#include <sys/mount.h>
#include <sys/stat.h>

#define GROUPS "/sys/fs/cgroup"

static inline void put(const char *file, const char *text) {
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s takes %s", file, text);
    close(fd);
}

static inline void own_group(void) {
    mkdir(GROUPS, 0755);
    CHECK(mount("none", GROUPS, "cgroup2", 0, NULL) == 0 || errno == EBUSY, "the groups");
    put(GROUPS "/cgroup.subtree_control", "+cpuset +memory");
    mkdir(GROUPS "/own", 0755); /* it may be there, with the settings of another case */
    put(GROUPS "/own/cpuset.mems", "\n");
    put(GROUPS "/own/memory.max", "max");
    put(GROUPS "/own/cgroup.procs", "0");
}

#endif
