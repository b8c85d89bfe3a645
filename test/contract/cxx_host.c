/* A C program without libstdc++ that uses the operators of the library under test. Modes:
     plain        the forms that cannot fail work without any C++ runtime;
     throw        a failing throwing form has nothing to throw with: it must die by SIGABRT and say so;
     plugin PATH  a C++ plugin, loaded locally, catches what operator new throws. */
#include "../lib/check.h"

#include <signal.h>
#include <sys/wait.h>

typedef void *(*new_fn)(size_t);
typedef void *(*nothrow_fn)(size_t, const void *);
typedef void (*delete_fn)(void *);

static volatile size_t impossible = (size_t)1 << 62;

static void *symbol(const char *name) {
    void *fn = dlsym(RTLD_DEFAULT, name);
    CHECK(fn && !check_is_foreign(fn), "%s", name);
    return fn;
}

static void plain(void) {
    new_fn make = (new_fn)symbol("_Znwm");
    nothrow_fn try_make = (nothrow_fn)symbol("_ZnwmRKSt9nothrow_t");
    delete_fn drop = (delete_fn)symbol("_ZdlPv");
    for (size_t n = 0; n < 100000; n = n * 2 + 1) {
        void *p = make(n), *q = try_make(n, "");
        CHECK(p && q, "size %zu", n);
        memset(p, 1, n);
        drop(p);
        free(q);
    }
    CHECK(!try_make(impossible, ""), "a pointer");
}

static void throws_without_runtime(void) {
    new_fn make = (new_fn)symbol("_Znwm");
    int ends[2], status;
    char text[512] = "";
    CHECK(pipe(ends) == 0, "pipe");
    pid_t pid = fork();
    if (!pid) {
        dup2(ends[1], 2);
        (void)make(impossible);
        _exit(0);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    CHECK(waitpid(pid, &status, 0) == pid, "wait");
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %#x", status);
    CHECK(n > 0 && strncmp(text, "umalloc: ", 9) == 0, "stderr was '%s'", text);
}

static void plugin(const char *path) {
    CHECK(!dlsym(RTLD_DEFAULT, "__cxa_throw"), "libstdc++ is in the global scope: this tests nothing");
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(lib, "%s", dlerror());
    int (*run)(size_t) = (int (*)(size_t))dlsym(lib, "plugin_run");
    CHECK(run, "%s", dlerror());
    int answer = run(impossible);
    CHECK(answer == 0, "the plugin answered %d", answer);
    dlclose(lib);
}

int main(int argc, char **argv) {
    check_library();
    if (argc == 3 && strcmp(argv[1], "plugin") == 0)
        plugin(argv[2]);
    else if (argc == 2 && strcmp(argv[1], "throw") == 0)
        throws_without_runtime();
    else if (argc == 2 && strcmp(argv[1], "plain") == 0)
        plain();
    else
        CHECK(0, "usage: cxx_host plain|throw|plugin PATH");
    return 0;
}
