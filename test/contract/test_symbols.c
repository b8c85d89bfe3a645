/* Every entry of the malloc family comes from the library, glibc's own spellings included, and all of them
   share one heap: what one made another frees. */
#include "contract.h"

Test(symbols, all_come_from_the_library) {
    static const char *const names[] = {
        "malloc",
        "calloc",
        "realloc",
        "reallocarray",
        "free",
        "cfree",
        "posix_memalign",
        "aligned_alloc",
        "memalign",
        "valloc",
        "pvalloc",
        "malloc_usable_size",
        "free_sized",
        "free_aligned_sized",
        "__libc_malloc",
        "__libc_calloc",
        "__libc_realloc",
        "__libc_free",
        "__libc_memalign",
        "__libc_valloc",
        "__libc_pvalloc",
        "mallinfo",
        "mallinfo2",
        "mallopt",
        "malloc_trim",
        "malloc_stats",
        "malloc_info",
        /* operator new and new[] */
        "_Znwm",
        "_Znam",
        "_ZnwmRKSt9nothrow_t",
        "_ZnamRKSt9nothrow_t",
        "_ZnwmSt11align_val_t",
        "_ZnamSt11align_val_t",
        "_ZnwmSt11align_val_tRKSt9nothrow_t",
        "_ZnamSt11align_val_tRKSt9nothrow_t",
        /* operator delete and delete[] */
        "_ZdlPv",
        "_ZdaPv",
        "_ZdlPvRKSt9nothrow_t",
        "_ZdaPvRKSt9nothrow_t",
        "_ZdlPvm",
        "_ZdaPvm",
        "_ZdlPvSt11align_val_t",
        "_ZdaPvSt11align_val_t",
        "_ZdlPvSt11align_val_tRKSt9nothrow_t",
        "_ZdaPvSt11align_val_tRKSt9nothrow_t",
        "_ZdlPvmSt11align_val_t",
        "_ZdaPvmSt11align_val_t",
    };
    if (!check_names_library())
        cr_skip_test("a promise of the library alone");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        cr_assert(!check_is_foreign(dlsym(RTLD_DEFAULT, names[i])), "%s comes from elsewhere", names[i]);
}

typedef void *(*one_size_fn)(size_t);
typedef void *(*two_sizes_fn)(size_t, size_t);
typedef void *(*realloc_fn)(void *, size_t);
typedef void (*free_fn)(void *);

Test(symbols, twins_share_the_heap) {
    one_size_fn twin_malloc = (one_size_fn)contract_symbol("__libc_malloc");
    one_size_fn twin_valloc = (one_size_fn)contract_symbol("__libc_valloc");
    one_size_fn twin_pvalloc = (one_size_fn)contract_symbol("__libc_pvalloc");
    two_sizes_fn twin_calloc = (two_sizes_fn)contract_symbol("__libc_calloc");
    two_sizes_fn twin_memalign = (two_sizes_fn)contract_symbol("__libc_memalign");
    realloc_fn twin_realloc = (realloc_fn)contract_symbol("__libc_realloc");
    free_fn twin_free = (free_fn)contract_symbol("__libc_free");
    for (size_t i = 0; i < CONTRACT_SIZES; i++) {
        size_t n = contract_sizes[i];
        void *made[] = {twin_malloc(n), twin_calloc(1, n), twin_memalign(64, n),
                        twin_valloc(n), twin_pvalloc(n),   twin_realloc(NULL, n)};
        cr_assert(contract_aligned(made[2], 64));
        cr_assert(contract_aligned(made[3], check_page()) && contract_aligned(made[4], check_page()));
        cr_assert_eq(check_zero(made[1], n), n);
        for (size_t k = 0; k < 6; k++) {
            cr_assert_not_null(made[k]);
            cr_assert_geq(malloc_usable_size(made[k]), n);
            check_fill(made[k], n, k);
        }
        for (size_t k = 0; k < 6; k++) {
            made[k] = realloc(made[k], n + 100);
            cr_assert_eq(check_pattern(made[k], n, n, k), n, "kind %zu size %zu", k, n);
            free(made[k]);
        }
        void *p = malloc(n);
        check_fill(p, n, 9);
        p = twin_realloc(p, n * 2);
        cr_assert_eq(check_pattern(p, n, n, 9), n);
        twin_free(p);
    }
    twin_free(NULL);
}
