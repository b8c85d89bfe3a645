/* An LD_AUDIT library that does nothing but be there: it brings a second libc into the process and uses up
   some of the reserve of thread-local storage. */
#define _GNU_SOURCE
#include <link.h>

unsigned la_version(unsigned version) {
    return version;
}

unsigned la_objopen(struct link_map *map, Lmid_t id, uintptr_t *cookie) {
    (void)map;
    (void)id;
    (void)cookie;
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}
