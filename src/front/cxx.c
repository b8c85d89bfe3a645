/* Every operator new and delete. Failure calls the new-handler until memory comes or there is none, then
   throws std::bad_alloc or returns NULL (nothrow). The C++ runtime's functions for both are looked up only
   then, so the library needs no C++ runtime: a program that can catch the exception has brought one.
   Exceptions pass through these C frames, which therefore have unwind tables. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "front/front.h"
#include "os/fatal.h"

#include <dlfcn.h>
#include <errno.h>

typedef void (*new_handler)(void);

extern new_handler get_new_handler(void) __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
extern void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv") __attribute__((weak));

/* The runtime may have come by dlopen after the weak references were bound, and into a scope that is not
 * ours. */
static void *runtime_function(void *bound, const char *name) {
    static const char *const runtimes[] = {"libstdc++.so.6", "libc++.so.1"};
    void *f = bound ? bound : dlsym(RTLD_DEFAULT, name);
    for (unsigned i = 0; !f && i < UM_COUNT(runtimes); i++) {
        void *library = dlopen(runtimes[i], RTLD_LAZY | RTLD_NOLOAD);
        if (library)
            f = dlsym(library, name);
    }
    return f;
}

static new_handler handler_now(void) {
    void *get = runtime_function((void *)get_new_handler, "_ZSt15get_new_handlerv");
    return get ? ((new_handler(*)(void))get)() : NULL;
}

/* align 0: the default one. NULL only after the last handler gave up. */
static UM_COLD void *retry(size_t bytes, size_t align) {
    for (;;) {
        new_handler handler;
        /* from the start: the handler may have freed blocks of this class */
        void *p = align ? um_front_aligned(align, bytes) : um_front_malloc(bytes);
        if (p)
            return p;
        handler = handler_now();
        if (!handler)
            return NULL;
        handler();
    }
}

static UM_COLD _Noreturn void no_memory(size_t bytes) {
    void *f = runtime_function((void *)throw_bad_alloc, "_ZSt17__throw_bad_allocv");
    if (f)
        ((void (*)(void))f)();
    um_fatal("operator new out of memory without a C++ runtime to throw", NULL, bytes, NULL);
}

static UM_NOINLINE void *new_slow(size_t bytes) {
    void *p = um_front_alloc(bytes);
    if (um_unlikely(!p) && !(p = retry(bytes, 0)))
        no_memory(bytes);
    return p;
}

UM_EXPORT void *new_plain(size_t bytes) __asm__("_Znwm");
UM_EXPORT void *new_plain(size_t bytes) {
    void *p = um_front_take(bytes);
    return um_likely(p != NULL) ? p : new_slow(bytes);
}

/* A handler may throw, and nothrow must catch that, which C cannot: the runtime's own nothrow form can, and
   calls our throwing form in its turn. Without one, nobody throws. */
static UM_COLD void *retry_nothrow(size_t bytes, size_t align, const void *tag) {
    void *f;
    if (!handler_now())
        return NULL;
    f = dlsym(RTLD_NEXT, align ? "_ZnwmSt11align_val_tRKSt9nothrow_t" : "_ZnwmRKSt9nothrow_t");
    if (!f)
        return retry(bytes, align);
    return align ? ((void *(*)(size_t, size_t, const void *))f)(bytes, align, tag)
                 : ((void *(*)(size_t, const void *))f)(bytes, tag);
}

static UM_NOINLINE void *new_nothrow_slow(size_t bytes, const void *tag) {
    void *p = um_front_alloc(bytes);
    return um_likely(p != NULL) ? p : retry_nothrow(bytes, 0, tag);
}

UM_EXPORT void *new_nothrow(size_t bytes, const void *tag) __asm__("_ZnwmRKSt9nothrow_t");
UM_EXPORT void *new_nothrow(size_t bytes, const void *tag) {
    void *p = um_front_take(bytes);
    return um_likely(p != NULL) ? p : new_nothrow_slow(bytes, tag);
}

UM_EXPORT void *new_aligned(size_t bytes, size_t align) __asm__("_ZnwmSt11align_val_t");
UM_EXPORT void *new_aligned(size_t bytes, size_t align) {
    void *p = um_front_aligned(align, bytes);
    if (um_unlikely(!p) && !(p = retry(bytes, align)))
        no_memory(bytes);
    return p;
}

UM_EXPORT void *new_aligned_nothrow(size_t bytes, size_t align,
                                    const void *tag) __asm__("_ZnwmSt11align_val_tRKSt9nothrow_t");
UM_EXPORT void *new_aligned_nothrow(size_t bytes, size_t align, const void *tag) {
    void *p = um_front_aligned(align, bytes);
    return um_likely(p != NULL) ? p : retry_nothrow(bytes, align, tag);
}

UM_EXPORT void delete_plain(void *p) __asm__("_ZdlPv");
UM_EXPORT void delete_plain(void *p) {
    um_front_free(p);
}

/* Where the block's home is the one that malloc takes such sizes from, the size is right and the home is
 * ours. */
UM_EXPORT void delete_sized(void *p, size_t bytes) __asm__("_ZdlPvm");
UM_EXPORT void delete_sized(void *p, size_t bytes) {
    size_t offset = um_window_offset(p);
    if (um_likely(bytes - 1 < UM_SMALL_MAX && um_window_holds(offset))) {
        um_home *m = um_home_at(offset);
        if (um_likely(m == um_tls.bins[(bytes - 1) >> 4])) {
            um_heap_free(m, p);
            return;
        }
    }
    um_front_free_claimed(p, bytes, 1);
}

UM_EXPORT void delete_sized_aligned(void *p, size_t bytes, size_t align) __asm__("_ZdlPvmSt11align_val_t");
UM_EXPORT void delete_sized_aligned(void *p, size_t bytes, size_t align) {
    um_front_free_claimed(p, bytes, align);
}

/* The array forms are the plain ones, and a delete without a size is free. */
#define TWIN(name) __attribute__((alias(name), visibility("default")))
UM_EXPORT void *new_array(size_t) __asm__("_Znam") TWIN("_Znwm");
UM_EXPORT void *new_array_nothrow(size_t, const void *) __asm__("_ZnamRKSt9nothrow_t")
    TWIN("_ZnwmRKSt9nothrow_t");
UM_EXPORT void *new_array_aligned(size_t, size_t) __asm__("_ZnamSt11align_val_t")
    TWIN("_ZnwmSt11align_val_t");
UM_EXPORT void *new_array_aligned_nothrow(size_t, size_t,
                                          const void *) __asm__("_ZnamSt11align_val_tRKSt9nothrow_t")
    TWIN("_ZnwmSt11align_val_tRKSt9nothrow_t");

#define DELETE(id, symbol) UM_EXPORT void id(void *) __asm__(symbol) TWIN("_ZdlPv")
DELETE(delete_array, "_ZdaPv");
DELETE(delete_nothrow, "_ZdlPvRKSt9nothrow_t");
DELETE(delete_array_nothrow, "_ZdaPvRKSt9nothrow_t");
DELETE(delete_aligned, "_ZdlPvSt11align_val_t");
DELETE(delete_array_aligned, "_ZdaPvSt11align_val_t");
DELETE(delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t");
DELETE(delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t");
UM_EXPORT void delete_array_sized(void *, size_t) __asm__("_ZdaPvm") TWIN("_ZdlPvm");
UM_EXPORT void delete_array_sized_aligned(void *, size_t, size_t) __asm__("_ZdaPvmSt11align_val_t")
    TWIN("_ZdlPvmSt11align_val_t");
