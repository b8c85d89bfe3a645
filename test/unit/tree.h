/* A tree of files made by a test: opening a path (um_os_open) opens it below the tree. The program must be
 * linked with --wrap=um_os_open. */
#ifndef UM_TEST_TREE_H
#define UM_TEST_TREE_H

#include "os/os.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char tree[] = "/tmp/umalloc-tree-XXXXXX";

int __real_um_os_open(const char *path);
int __wrap_um_os_open(const char *path);
int __wrap_um_os_open(const char *path) {
    char below[2048];
    snprintf(below, sizeof below, "%s%s", tree, path);
    return __real_um_os_open(below);
}

static void put(const char *path, const char *text) {
    char below[2048];
    FILE *f;
    snprintf(below, sizeof below, "%s%s", tree, path);
    for (char *slash = strchr(below + sizeof tree, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(below, 0700); /* may be there */
        *slash = '/';
    }
    f = fopen(below, "w");
    cr_assert(f, "%s", below);
    fputs(text, f);
    fclose(f);
}

static void tree_begin(void) {
    cr_assert(mkdtemp(tree));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void tree_end(void) {
    (void)nftw(tree, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
