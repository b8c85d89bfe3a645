/* The names that umalloc takes over, declared here because the headers of libc 2.36 do not know them all and
   tell the compiler things (malloc's result aliases nothing) that their definition must not be told. */
#ifndef UM_FAMILY_H
#define UM_FAMILY_H

#include "base/base.h"

void *malloc(size_t bytes);
void free(void *p);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t bytes);
void *reallocarray(void *p, size_t n, size_t size);
void *memalign(size_t align, size_t bytes);
void *aligned_alloc(size_t align, size_t bytes);
int posix_memalign(void **out, size_t align, size_t bytes);
void *valloc(size_t bytes);
void *pvalloc(size_t bytes);
size_t malloc_usable_size(void *p);
void free_sized(void *p, size_t bytes);
void free_aligned_sized(void *p, size_t align, size_t bytes);
_Noreturn void _exit(int status);
_Noreturn void _Exit(int status);

#endif
