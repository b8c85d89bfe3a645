/* The plugin of deepbind_host. */
#include <stdlib.h>

void *plugin_make(size_t n);
void plugin_drop(void *p);

void *plugin_make(size_t n) {
    return malloc(n);
}

void plugin_drop(void *p) {
    free(p);
}
