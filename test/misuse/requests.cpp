/* Blocks given back by the wrong function or with the wrong size, impossible requests, blocks of no size, and
   code in a block. */
#include "misuse.h"

#include <dlfcn.h>
#include <new>
#include <string>
#include <thread>

namespace {

/* --- the wrong way to free --- */

struct wide {
    size_t words[40];
};

outcome new_then_free(size_t n) {
    void *p = operator new(n);
    armed();
    free(p);
    return GOT_AWAY;
}

outcome malloc_then_delete(size_t n) {
    char *p = block(n);
    armed();
    operator delete(p);
    return GOT_AWAY;
}

outcome new_array_then_delete(size_t n) {
    char *p = new char[n];
    armed();
    operator delete(p);
    return GOT_AWAY;
}

outcome new_then_delete_array(size_t n) {
    void *p = operator new(n);
    armed();
    operator delete[](p);
    return GOT_AWAY;
}

outcome delete_of_wrong_type(size_t) {
    void *p = operator new(1);
    armed();
    delete static_cast<wide *>(p);
    return GOT_AWAY;
}

outcome delete_of_strings(size_t) {
    std::string *p = new std::string[40];
    armed();
    delete p;
    return GOT_AWAY;
}

outcome delete_with_less(size_t n) {
    void *p = operator new(n);
    armed();
    operator delete(p, n / 2);
    return GOT_AWAY;
}

outcome delete_with_more(size_t n) {
    void *p = operator new(n);
    armed();
    operator delete(p, n * 4);
    return GOT_AWAY;
}

/* Another thread deletes some rightly before one wrongly: it may have blocks of the same size on their way.
 */
outcome delete_some_then(size_t n, void (*wrong)(void *p, size_t n)) {
    void *p[24];
    for (void *&q : p)
        q = operator new(n);
    std::thread([&] {
        for (unsigned i = 1; i < 24; i++)
            operator delete(p[i], n);
        armed();
        wrong(p[0], n);
    }).join();
    return GOT_AWAY;
}

outcome delete_with_less_elsewhere(size_t n) {
    return delete_some_then(n, [](void *p, size_t bytes) { operator delete(p, bytes / 2); });
}

outcome delete_inside_elsewhere(size_t n) {
    return delete_some_then(
        n, [](void *p, size_t bytes) { operator delete(static_cast<char *>(p) + 16, bytes); });
}

outcome delete_with_minus_one(size_t n) {
    void *p = operator new(n);
    armed();
    operator delete(p, SIZE_MAX);
    return GOT_AWAY;
}

outcome delete_array_with_more(size_t n) {
    char *p = new char[n];
    armed();
    operator delete[](p, n * 4);
    return GOT_AWAY;
}

outcome aligned_then_plain_delete(size_t n) {
    void *p = operator new(n, std::align_val_t(512));
    armed();
    operator delete(p, n);
    return GOT_AWAY;
}

outcome delete_with_wrong_alignment(size_t n) {
    void *p = operator new(n, std::align_val_t(64));
    for (size_t i = 0; i < 64 && reinterpret_cast<uintptr_t>(p) % 8192 == 0; i++)
        p = operator new(n, std::align_val_t(64)); /* one that is not aligned so by luck */
    armed();
    operator delete(p, n, std::align_val_t(8192));
    return GOT_AWAY;
}

outcome free_sized_with_more(size_t n) {
    auto free_sized = reinterpret_cast<void (*)(void *, size_t)>(dlsym(RTLD_DEFAULT, "free_sized"));
    char *p = block(n);
    armed();
    if (free_sized)
        free_sized(p, n * 4);
    else
        free(p); /* this libc does not know it: nothing is checked */
    return GOT_AWAY;
}

/* --- impossible requests --- */

outcome malloc_of_minus_two(size_t) {
    armed();
    return away_if(malloc(size_t(-2)) != nullptr);
}

outcome malloc_beyond_half(size_t) {
    armed();
    return away_if(malloc(size_t(PTRDIFF_MAX) + 1) != nullptr);
}

outcome calloc_that_wraps(size_t n) {
    armed();
    return away_if(calloc(SIZE_MAX / n + 2, n) != nullptr);
}

outcome reallocarray_that_wraps(size_t n) {
    char *p = block(n);
    armed();
    return away_if(reallocarray(p, SIZE_MAX / n + 2, n) != nullptr);
}

outcome aligned_that_wraps(size_t n) {
    armed();
    return away_if(memalign(4096, SIZE_MAX - n) != nullptr);
}

outcome new_array_that_wraps(size_t n) {
    size_t volatile count = SIZE_MAX / sizeof(wide) - n % 3;
    armed();
    try {
        sink = new wide[count];
    } catch (const std::bad_alloc &) {
        return HARMLESS;
    }
    return GOT_AWAY;
}

/* --- blocks of no size, and code in a block --- */

outcome write_to_size_0(size_t) {
    char *p = static_cast<char *>(malloc(0));
    armed();
    *p = 'z';
    return GOT_AWAY;
}

outcome write_to_size_0_free(size_t) {
    char *p = static_cast<char *>(malloc(0));
    armed();
    *p = 'z';
    free(p);
    return GOT_AWAY;
}

outcome read_of_size_0(size_t) {
    char *p = static_cast<char *>(malloc(0));
    armed();
    text_sink = p + *p;
    return GOT_AWAY;
}

outcome code_in_block(size_t n) {
    char *p = block(n);
#if defined(__x86_64__)
    p[0] = char(0xc3); /* ret */
#else
    const uint32_t ret = 0xd65f03c0;
    memcpy(p, &ret, sizeof ret);
#endif
    armed();
    reinterpret_cast<void (*)()>(p)();
    return GOT_AWAY;
}

} // namespace

const family wrong_requests[] = {
    FAMILY(new_then_free, ALL),
    FAMILY(malloc_then_delete, ALL),
    FAMILY(new_array_then_delete, ALL),
    FAMILY(new_then_delete_array, ALL),
    FAMILY(delete_of_wrong_type, ONE),
    FAMILY(delete_of_strings, ONE),
    FAMILY(delete_with_less, ALL),
    FAMILY(delete_with_more, ALL),
    FAMILY(delete_with_less_elsewhere, ALL),
    FAMILY(delete_inside_elsewhere, ALL),
    FAMILY(delete_with_minus_one, ALL),
    FAMILY(delete_array_with_more, ALL),
    FAMILY(aligned_then_plain_delete, ALL),
    FAMILY(delete_with_wrong_alignment, ALL),
    FAMILY(free_sized_with_more, ALL),
    FAMILY(malloc_of_minus_two, ONE),
    FAMILY(malloc_beyond_half, ONE),
    FAMILY(calloc_that_wraps, ALL),
    FAMILY(reallocarray_that_wraps, ALL),
    FAMILY(aligned_that_wraps, ALL),
    FAMILY(new_array_that_wraps, ONE),
    FAMILY(write_to_size_0, ONE),
    FAMILY(write_to_size_0_free, ONE),
    FAMILY(read_of_size_0, ONE),
    FAMILY(code_in_block, ALL),
    {nullptr, nullptr, ONE},
};
