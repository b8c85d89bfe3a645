/* A plugin loaded with RTLD_DEEPBIND calls libc's malloc and free, not the preloaded ones. Modes:
     own PLUGIN            what the plugin allocates it frees itself: must work;
     plugin-frees PLUGIN   the plugin frees a string that libc made for the program;
     host-frees PLUGIN     the program frees a block that the plugin allocated.
   The last two mix two heaps: they either work or end with a message; the caller judges. */
#include "exercise.h"

int main(int argc, char **argv) {
    check_library();
    CHECK(argc == 3, "usage: deepbind_host MODE PLUGIN");
    void *lib = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    CHECK(lib, "%s", dlerror());
    void *(*make)(size_t) = (void *(*)(size_t))dlsym(lib, "plugin_make");
    void (*drop)(void *) = (void (*)(void *))dlsym(lib, "plugin_drop");
    CHECK(make && drop, "%s", dlerror());
    for (size_t i = 0; i < 20; i++) {
        size_t n = 20 + i * 100;
        if (strcmp(argv[1], "own") == 0) {
            void *p = make(n);
            check_fill(p, n, i);
            exercise();
            CHECK(check_pattern(p, n, n, i) == n, "the plugin's block changed");
            drop(p);
        } else if (strcmp(argv[1], "plugin-frees") == 0) {
            char text[2100];
            memset(text, 'x', n);
            text[n] = 0;
            drop(strdup(text));
        } else {
            free(make(n));
        }
        exercise();
    }
    return 0;
}
