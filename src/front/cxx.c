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
static UM_COLD void *retry(size_t bytes, size_t align, um_family family) {
    for (;;) {
        new_handler handler;
        /* from the start: the handler may have freed blocks of this class */
        void *p = um_hard_level ? um_front_hard_alloc(bytes, align, family)
                  : align       ? um_front_aligned(align, bytes)
                                : um_front_malloc(bytes);
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

/* While the hardened allocator serves; its frame is where the program's stack goes on from. */
static UM_NOINLINE void *new_hard(size_t bytes, size_t align, um_family family) {
    void *p = um_hard_alloc(bytes, align, family, UM_HARD_FRAME);
    if (um_unlikely(!p) && !(p = retry(bytes, align, family)))
        no_memory(bytes);
    return p;
}

static UM_NOINLINE void *new_slow(size_t bytes, um_family family) {
    void *p;
    if (um_unlikely(um_hard_level))
        return new_hard(bytes, 0, family);
    p = um_front_alloc(bytes);
    if (um_unlikely(!p) && !(p = retry(bytes, 0, family)))
        no_memory(bytes);
    return p;
}

static UM_NOINLINE void *new_aligned_slow(size_t bytes, size_t align, um_family family) {
    void *p;
    if (um_unlikely(um_hard_level))
        return new_hard(bytes, align, family);
    p = um_front_alloc_aligned(align, bytes);
    if (um_unlikely(!p) && !(p = retry(bytes, align, family)))
        no_memory(bytes);
    return p;
}

/* A handler may throw, and nothrow must catch that, which C cannot: the runtime's own nothrow form can, and
   calls our throwing form in its turn. Without one, nobody throws. */
static UM_COLD void *retry_nothrow(size_t bytes, size_t align, const void *tag, um_family family) {
    static const char *const names[2][2] = {
        {"_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t"},
        {"_ZnwmSt11align_val_tRKSt9nothrow_t", "_ZnamSt11align_val_tRKSt9nothrow_t"}};
    void *f;
    if (!handler_now())
        return NULL;
    f = dlsym(RTLD_NEXT, names[align != 0][family == UM_FAMILY_NEW_ARRAY]);
    if (!f)
        return retry(bytes, align, family);
    return align ? ((void *(*)(size_t, size_t, const void *))f)(bytes, align, tag)
                 : ((void *(*)(size_t, const void *))f)(bytes, tag);
}

static UM_NOINLINE void *new_nothrow_slow(size_t bytes, size_t align, const void *tag, um_family family) {
    void *p = um_hard_level ? um_hard_alloc(bytes, align, family, UM_HARD_FRAME)
              : align       ? um_front_alloc_aligned(align, bytes)
                            : um_front_alloc(bytes);
    return um_likely(p != NULL) ? p : retry_nothrow(bytes, align, tag, family);
}

/* The forms of new and delete. That arrays are freed as arrays only the hardened allocator checks. */
#define NEW_FORM(symbol, id, parameters, at_hand, slow)                                                      \
    UM_EXPORT void *id parameters __asm__(symbol);                                                           \
    UM_EXPORT void *id parameters {                                                                          \
        void *p = um_front_take_ahead(at_hand);                                                              \
        return um_likely(p != NULL) ? p : slow;                                                              \
    }

#define NEW(id, letters, family)                                                                             \
    NEW_FORM("_Zn" letters "m", id, (size_t bytes), bytes, new_slow(bytes, family))                          \
    NEW_FORM("_Zn" letters "mRKSt9nothrow_t", id##_nothrow, (size_t bytes, const void *tag), bytes,          \
             new_nothrow_slow(bytes, 0, tag, family))                                                        \
    NEW_FORM("_Zn" letters "mSt11align_val_t", id##_aligned, (size_t bytes, size_t align),                   \
             um_round_up(bytes, align), new_aligned_slow(bytes, align, family))                              \
    NEW_FORM("_Zn" letters "mSt11align_val_tRKSt9nothrow_t", id##_aligned_nothrow,                           \
             (size_t bytes, size_t align, const void *tag), um_round_up(bytes, align),                       \
             new_nothrow_slow(bytes, align, tag, family))

NEW(new_plain, "w", UM_FAMILY_NEW)
NEW(new_array, "a", UM_FAMILY_NEW_ARRAY)

#define DELETE_FORM(symbol, id, parameters, fast, slow)                                                      \
    UM_EXPORT void id parameters __asm__(symbol);                                                            \
    UM_EXPORT void id parameters {                                                                           \
        if (um_unlikely(!fast))                                                                              \
            slow;                                                                                            \
    }

#define TWIN(name) __attribute__((alias(name), visibility("default")))
#define DELETE(id, letters, family)                                                                          \
    DELETE_FORM("_Zd" letters "Pv", id, (void *p), um_front_free_fast(p),                                    \
                um_front_free_as(p, family, UM_HARD_UNSAID, 0))                                              \
    DELETE_FORM("_Zd" letters "Pvm", id##_sized, (void *p, size_t n), um_front_free_sized_fast(p, n),        \
                um_front_free_sized_as(p, family, n, 0))                                                     \
    DELETE_FORM("_Zd" letters "PvSt11align_val_t", id##_aligned, (void *p, size_t a), um_front_free_fast(p), \
                um_front_free_as(p, family, UM_HARD_UNSAID, a))                                              \
    DELETE_FORM("_Zd" letters "PvmSt11align_val_t", id##_sized_aligned, (void *p, size_t n, size_t a),       \
                false, um_front_free_sized_as(p, family, n, a))                                              \
    UM_EXPORT void id##_nothrow(void *) __asm__("_Zd" letters "PvRKSt9nothrow_t") TWIN("_Zd" letters "Pv");  \
    UM_EXPORT void id##_aligned_nothrow(void *, size_t) __asm__(                                             \
        "_Zd" letters "PvSt11align_val_tRKSt9nothrow_t") TWIN("_Zd" letters "PvSt11align_val_t");

DELETE(delete_plain, "l", UM_FAMILY_NEW)
DELETE(delete_array, "a", UM_FAMILY_NEW_ARRAY)
