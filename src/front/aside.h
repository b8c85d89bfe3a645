/* aside: programs named in UMALLOC_EXCLUDE run on the next allocator, as if umalloc were not there. */
#ifndef UM_ASIDE_H
#define UM_ASIDE_H

#include "base/base.h"

/* Of <malloc.h> and <stdio.h>, whose declarations of malloc and its kin malloc.c must not see: family.h. */
struct mallinfo2;
struct _IO_FILE;

/* The next definition of each name behind ours, in the order of the dynamic linker; NULL where there is none.
   X(type, name, parameters) */
#define UM_ASIDE_TABLE(X)                                                                                    \
    X(void *, malloc, (size_t))                                                                              \
    X(void, free, (void *))                                                                                  \
    X(void *, calloc, (size_t, size_t))                                                                      \
    X(void *, realloc, (void *, size_t))                                                                     \
    X(void *, memalign, (size_t, size_t))                                                                    \
    X(size_t, malloc_usable_size, (void *))                                                                  \
    X(int, malloc_trim, (size_t))                                                                            \
    X(int, mallopt, (int, int))                                                                              \
    X(struct mallinfo2, mallinfo2, (void))                                                                   \
    X(void, malloc_stats, (void))                                                                            \
    X(int, malloc_info, (int, struct _IO_FILE *))

typedef struct um_aside_functions {
#define X(type, name, parameters) type(*name) parameters;
    UM_ASIDE_TABLE(X)
#undef X
} um_aside_functions;

/* Const after the first call of um_aside. */
extern UM_HIDDEN um_aside_functions um_aside_next;

/* Whether this process is excluded; the first call, which is the first of all, decides. Allocates nothing. */
UM_HIDDEN bool um_aside(void);

/* The next definition of a name behind ours; NULL: there is none. Allocates nothing, async-signal-safe. */
UM_HIDDEN void *um_aside_find(const char *name);

#endif
