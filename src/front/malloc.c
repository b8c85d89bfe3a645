/* The malloc family. malloc and free are the fast paths of front.h and nothing else; what is rare lives below
   in functions of its own, so that the fast ones stay in a few cache lines. errno changes on failure only;
   free keeps it always, for no layer below touches it. */
#include "front/aside.h"
#include "front/family.h"
#include "front/front.h"
#include "os/fatal.h"
#include "os/os.h"
#include "space/space.h"

#include <errno.h>
#include <string.h>

#define ALIGN_MIN       16u
#define EARLY_FREES_MAX 16u
#define INLINE_ZERO     256u /* bytes cleared by plain stores; beyond, memset is faster */

typedef long long zero_vec __attribute__((vector_size(16), may_alias));

static UM_COLD void *out_of_memory(void) {
    UM_COUNT_ADD(failed_allocs, 1);
    errno = ENOMEM;
    return NULL;
}

/* The class that a request is served from: see um_front_aligned. Neither exceeds UM_MEDIUM_MAX. */
static unsigned class_for(size_t bytes, size_t align) {
    return um_class_of(um_round_up(bytes, align));
}

static void *alloc_from(um_theap *h, size_t bytes, size_t align, bool *zeroed) {
    bytes = um_max(bytes, 1);
    if (um_max(bytes, align) > UM_MEDIUM_MAX)
        return um_large_alloc(h, bytes, align, zeroed);
    *zeroed = false;
    return um_theap_alloc(h, class_for(bytes, align));
}

/* Any size, any thread. */
static void *alloc(size_t bytes, size_t align, bool *zeroed) {
    um_theap *h;
    void *p;
    if (um_unlikely(bytes > PTRDIFF_MAX))
        return out_of_memory();
    h = um_front_heap();
    if (um_likely(h != NULL)) {
        p = alloc_from(h, bytes, align, zeroed);
        if (um_unlikely(!p)) { /* what this thread or an ended one keeps may be what is missing */
            um_theap_flush(h);
            um_theap_retire_parked();
            p = alloc_from(h, bytes, align, zeroed);
        }
    } else if (um_unlikely(um_aside())) {
        return um_aside_next.malloc(bytes);
    } else {
        h = um_theap_shared_lock();
        p = h ? alloc_from(h, bytes, align, zeroed) : NULL;
        um_theap_shared_unlock();
    }
    return um_likely(p != NULL) ? p : out_of_memory();
}

UM_NOINLINE void *um_front_alloc(size_t bytes) {
    bool zeroed;
    um_theap *h = um_tls.heap;
    if (um_likely(h && bytes - 1 < UM_MEDIUM_MAX)) {
        unsigned c = um_class_of(bytes);
        /* A small size comes here because its bin is empty. */
        void *p = bytes <= UM_SMALL_MAX ? um_theap_refill(h, c) : um_theap_alloc(h, c);
        if (um_likely(p != NULL))
            return p;
    }
    if (um_unlikely(um_hard_level))
        return um_front_hard_alloc(bytes, 0, UM_FAMILY_MALLOC);
    return alloc(bytes, ALIGN_MIN, &zeroed);
}

UM_NOINLINE void *um_front_alloc_zeroed(size_t bytes) {
    bool zeroed = false;
    um_theap *h = um_tls.heap;
    void *p;
    if (um_unlikely(um_hard_level))
        return um_front_hard_alloc(bytes, 0, UM_FAMILY_MALLOC); /* its blocks read as zero */
    if (h)
        h->untouched = NULL;
    else if (um_unlikely(um_aside()))
        return um_aside_next.calloc(1, bytes);
    p = alloc(bytes, ALIGN_MIN, &zeroed);
    if (p && !zeroed) {
        /* A block just cut from untouched memory has its list links only to clear. */
        if (h && h->untouched == p)
            memset(p, 0, sizeof(um_block));
        else if (bytes <= UM_MEDIUM_MAX || !um_large_zero(p))
            memset(p, 0, bytes);
    }
    return p;
}

UM_NOINLINE void *um_front_alloc_aligned(size_t align, size_t bytes) {
    size_t whole = um_round_up(bytes, align);
    bool zeroed;
    if (um_unlikely(um_hard_level))
        return um_front_hard_alloc(bytes, align, UM_FAMILY_MALLOC);
    if (um_unlikely(!um_tls.heap) && um_aside()) /* whose blocks are not aligned by their size */
        return um_aside_next.memalign(align, bytes);
    if (um_likely(align <= UM_MEDIUM_MAX && whole - 1 < UM_MEDIUM_MAX))
        return um_front_alloc(whole);
    return alloc(bytes, align, &zeroed);
}

bool um_front_placeable(void) {
    return !um_hard_level && (um_tls.heap || um_front_heap() || !um_aside());
}

void *um_front_alloc_at(unsigned place, size_t align, size_t bytes, bool zero) {
    bool zeroed = false;
    void *p = NULL;
    um_theap *h = um_theap_placed_lock(place);
    if (um_likely(h && bytes <= PTRDIFF_MAX))
        p = alloc_from(h, bytes, um_max(align, ALIGN_MIN), &zeroed);
    um_theap_shared_unlock();
    if (um_unlikely(!p))
        return out_of_memory();
    if (zero && !zeroed)
        memset(p, 0, bytes);
    return p;
}

static UM_COLD _Noreturn void foreign_pointer(const void *p, const char *what) {
    um_fatal(what, p, 0, "not allocated by umalloc");
}

static UM_COLD _Noreturn void bad_pointer(const void *p, const um_span *s, const char *what) {
    const um_span *around = um_space_around(s);
    switch (around ? um_span_kind_of(around) : UM_SPAN_NONE) {
    case UM_SPAN_FREE:
    case UM_SPAN_FREE_TAIL:
    case UM_SPAN_CACHED:
        /* Large blocks start at slots; the span may have merged with the one before. */
        if (__builtin_strcmp(what, "invalid free") == 0 && p == um_span_start(s))
            what = "double free";
        __attribute__((fallthrough));
    case UM_SPAN_HARD_FREED:
        um_fatal(what, p, 0, "the memory is free");
    case UM_SPAN_SLAB:
        um_fatal(what, p, around->block_bytes, "not the start of a block");
    case UM_SPAN_LARGE:
    case UM_SPAN_HARD_LARGE:
        um_fatal(what, p, around->bytes, "not the start of the block");
    case UM_SPAN_EXT:
        um_fatal(what, p, 0, "it belongs to an arena, a pool or the like");
    default:
        um_fatal(what, p, 0, "no block starts here");
    }
}

/* p is not NULL and not ours: it may be that nothing is. */
static UM_COLD void free_foreign(void *p) {
    if (!um_aside())
        foreign_pointer(p, "invalid free");
    um_aside_next.free(p);
}

static UM_COLD void *realloc_foreign(void *p, size_t bytes) {
    if (!um_aside())
        foreign_pointer(p, "invalid realloc");
    return um_aside_next.realloc(p, bytes);
}

static UM_COLD size_t usable_foreign(const void *p, const char *what) {
    if (!um_aside() || !um_aside_next.malloc_usable_size)
        foreign_pointer(p, what);
    return um_aside_next.malloc_usable_size((void *)(uintptr_t)p);
}

/* A slab's block and no heap to buffer it. */
static UM_COLD void free_late(um_span *s, um_block *b) {
    b->self = (uintptr_t)b;
    um_remote_push(s, b, b, 1);
}

/* A thread that only frees gets a heap too, for its chains and ticks; but not for a few: what a thread of C++
   was started with, or what libc frees of a thread when it is too late for a hand-over. */
static UM_NOINLINE um_theap *heap_for_free(void) {
    return um_tls.exited || um_tls.early_frees++ < EARLY_FREES_MAX ? NULL : um_front_heap();
}

UM_NOINLINE void um_front_free_rare(void *p, um_span *s) {
    um_theap *h = um_tls.heap;
    if (um_unlikely(!s)) {
        if (p)
            free_foreign(p);
        return;
    }
    if (um_unlikely(um_hard_level) && um_hard_owns(s)) {
        um_front_hard_free(p, s, UM_FAMILY_MALLOC, UM_HARD_UNSAID, 0);
        return;
    }
    if (um_unlikely(!h))
        h = heap_for_free();
    if (um_likely(um_span_kind_of(s) == UM_SPAN_SLAB)) {
        if (um_likely(h != NULL))
            um_remote_start(h, s, p);
        else
            free_late(s, p);
        return;
    }
    if (um_unlikely(um_span_kind_of(s) != UM_SPAN_LARGE || p != um_span_start(s)))
        bad_pointer(p, s, "invalid free");
    um_large_free(h, s);
}

UM_NOINLINE void um_front_free_other(void *p) {
    if (um_unlikely(!um_remote_join(p)))
        um_front_free_rare(p, um_span_of(p));
}

size_t um_front_usable(const void *p, const char *what) {
    const um_span *s = um_span_of(p);
    if (um_unlikely(!s))
        return usable_foreign(p, what);
    if (um_span_kind_of(s) == UM_SPAN_SLAB && um_slab_is_block(s, p)) {
        /* A block in use may hold its own address there too: lists and rings of the program's do. */
        if (um_unlikely(((const um_block *)p)->self == (uintptr_t)p) && um_theap_is_free(s, p))
            um_fatal(what, p, s->block_bytes, "it is free");
        return s->block_bytes;
    }
    if (um_span_kind_of(s) == UM_SPAN_LARGE && p == um_span_start(s))
        return s->bytes;
    if (um_hard_owns(s))
        return um_hard_usable(p, s, what);
    bad_pointer(p, s, what);
}

UM_EXPORT void *malloc(size_t bytes) {
    return um_front_malloc(bytes);
}

UM_EXPORT void free(void *p) {
    um_front_free(p);
}

/* bytes is 1 ... INLINE_ZERO; the block's size is a multiple of 16. */
UM_INLINE void zero_small(void *p, size_t bytes) {
    char *at = p, *end = at + bytes;
    for (; end - at >= 64; at += 64) {
        zero_vec *v = (zero_vec *)at;
        v[0] = v[1] = v[2] = v[3] = (zero_vec){0, 0};
        __asm__("" : "+r"(at)); /* keeps the compiler from making this a call of memset */
    }
    if (at >= end)
        return;
    do {
        *(zero_vec *)at = (zero_vec){0, 0};
        at += sizeof(zero_vec);
        __asm__("" : "+r"(at)); /* keeps the compiler from making this a call of memset */
    } while (at < end);
}

UM_EXPORT void *calloc(size_t n, size_t size) {
    size_t bytes;
    if (um_unlikely(__builtin_mul_overflow(n, size, &bytes)))
        return out_of_memory();
    if (um_likely(bytes - 1 < INLINE_ZERO)) {
        void *p = um_front_take(bytes);
        if (um_likely(p != NULL)) {
            zero_small(p, bytes);
            return p;
        }
    }
    return um_front_alloc_zeroed(bytes);
}

/* A block that grows a little is likely to grow again, and classes are a sixteenth of a doubling apart: room
   for a quarter more saves most of the copies. Below GROWS_FROM a copy costs no more than the rest of the
   call. */
#define GROWS_FROM 1024u

static size_t grown(size_t old, size_t bytes) {
    size_t room = old + old / 4;
    return old >= GROWS_FROM && bytes > old && bytes < room && room <= UM_MEDIUM_MAX ? room : bytes;
}

static UM_NOINLINE void *resize_by_copy(void *p, size_t old, size_t bytes) {
    int before = errno;
    void *q = um_front_malloc(grown(old, bytes));
    if (!q && bytes <= old) { /* a shrink cannot fail */
        errno = before;
        return p;
    }
    if (q) {
        memcpy(q, p, um_min(old, bytes));
        um_front_free(p);
    }
    return q;
}

UM_EXPORT void *realloc(void *p, size_t bytes) {
    size_t old;
    um_span *s;
    if (!p)
        return um_front_malloc(bytes);
    s = um_span_of(p);
    if (um_unlikely(!s))
        return realloc_foreign(p, bytes);
    if (um_unlikely(um_hard_level) && um_hard_owns(s))
        return um_front_hard_realloc(p, s, bytes);
    old = um_front_usable(p, "invalid realloc");
    if (bytes == 0) { /* as glibc does */
        um_front_free(p);
        return NULL;
    }
    /* A shrink to more than half stays: the memory is little and the copy is not. */
    if (bytes <= old && bytes > old / 2 && old <= UM_MEDIUM_MAX)
        return p;
    if (um_span_kind_of(s) == UM_SPAN_LARGE) {
        um_theap *h = um_front_heap();
        void *q = h ? um_large_resize(h, s, bytes) : NULL;
        if (q)
            return q;
    }
    return resize_by_copy(p, old, bytes);
}

UM_EXPORT void *reallocarray(void *p, size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return out_of_memory();
    return realloc(p, bytes);
}

static void *no_alignment(void) {
    errno = EINVAL;
    return NULL;
}

UM_EXPORT void *memalign(size_t align, size_t bytes) {
    if (!um_is_pow2(align)) { /* as glibc: the next power of two, if there is one */
        if (align > PTRDIFF_MAX)
            return no_alignment();
        align = align < 2 ? 1 : (size_t)2 << um_log2_floor(align);
    }
    return um_front_aligned(align, bytes);
}

UM_EXPORT void *aligned_alloc(size_t align, size_t bytes) {
    if (!um_is_pow2(align))
        return no_alignment();
    return um_front_aligned(align, bytes);
}

UM_EXPORT int posix_memalign(void **out, size_t align, size_t bytes) {
    void *p;
    if (!um_is_pow2(align) || align % sizeof(void *))
        return EINVAL;
    p = um_front_take(um_round_up(bytes, align)); /* see um_front_aligned */
    if (um_unlikely(!p)) {
        p = um_front_alloc_aligned(align, bytes);
        if (!p)
            return ENOMEM; /* errno says so too, as glibc's: programs print it */
    }
    *out = p;
    return 0;
}

UM_EXPORT void *valloc(size_t bytes) {
    um_os_init();
    return um_front_aligned(um_os_page_bytes, bytes);
}

UM_EXPORT void *pvalloc(size_t bytes) {
    um_os_init();
    if (bytes > PTRDIFF_MAX)
        return out_of_memory();
    return um_front_aligned(um_os_page_bytes, um_max(um_round_up(bytes, um_os_page_bytes), um_os_page_bytes));
}

UM_EXPORT size_t malloc_usable_size(void *p) {
    return p ? um_front_usable(p, "invalid malloc_usable_size") : 0;
}

static bool size_agrees(const um_span *s, size_t bytes, size_t align) {
    bytes = um_max(bytes, 1);
    if (um_span_kind_of(s) == UM_SPAN_LARGE)
        return um_round_up(bytes, um_os_page_bytes) == s->bytes;
    return um_max(bytes, align) <= UM_MEDIUM_MAX && class_for(bytes, align) == s->class_id;
}

/* Where there is no block, free tells. */
static bool has_block(const um_span *s, const void *p) {
    return s && (um_span_kind_of(s) == UM_SPAN_LARGE || um_span_kind_of(s) == UM_SPAN_SLAB) &&
           um_front_usable(p, "invalid free");
}

static UM_COLD _Noreturn void wrong_size(const void *p, const um_span *s) {
    um_fatal("mismatched sized free", p, um_span_kind_of(s) == UM_SPAN_LARGE ? s->bytes : s->block_bytes,
             "allocated with another size or alignment");
}

/* p is a block of that size and alignment in the slab of a chain that it would join. Neither the slab's
   record nor the block is looked at: both may be in another processor's cache, and what is only written is
   not waited for. */
UM_INLINE bool joins_as_claimed(const void *p, size_t bytes, size_t align) {
    uintptr_t slot = um_round_down((uintptr_t)p, UM_SLOT_BYTES);
    const um_out *o = um_remote_chain(um_tls.out, slot);
    size_t offset = (uintptr_t)p - slot, block;
    /* NULL's is 0, and so is that of a chain not in use */
    if (!slot || o->slot != slot || bytes - 1 >= UM_MEDIUM_MAX || align > ALIGN_MIN ||
        um_class_of(bytes) != o->class_id)
        return false;
    block = um_class_bytes(o->class_id);
    /* What is left behind the last block is shorter than a block. */
    return offset + block <= UM_SLOT_BYTES && um_slab_index_by(o->reciprocal, p) * block == offset;
}

UM_NOINLINE void um_front_free_claimed(void *p, size_t bytes, size_t align) {
    const um_span *s;
    if (um_likely(joins_as_claimed(p, bytes, align)) && um_likely(um_remote_join(p)))
        return;
    s = um_span_of(p);
    if (um_unlikely(has_block(s, p) &&
                    (!size_agrees(s, bytes, um_max(align, ALIGN_MIN)) || (uintptr_t)p % align)))
        wrong_size(p, s);
    um_front_free(p);
}

/* C23: the size is that of the request, which may have been one of realloc: then the block may be larger. */
UM_EXPORT void free_sized(void *p, size_t bytes) {
    const um_span *s = um_span_of(p);
    if (um_unlikely(um_hard_level)) {
        um_front_free_sized_as(p, UM_FAMILY_MALLOC, bytes, 0);
        return;
    }
    if (um_unlikely(has_block(s, p) && um_front_usable(p, "invalid free") < bytes))
        wrong_size(p, s);
    um_front_free(p);
}

UM_EXPORT void free_aligned_sized(void *p, size_t align, size_t bytes) {
    um_front_free_sized_as(p, UM_FAMILY_MALLOC, bytes, align);
}

#define HIDDEN_TWIN(name) __attribute__((alias(#name), visibility("hidden")))
void *um_front_realloc(void *p, size_t bytes) HIDDEN_TWIN(realloc);
void um_front_free_sized(void *p, size_t bytes) HIDDEN_TWIN(free_sized);

#define TWIN(name) __attribute__((alias(#name), visibility("default")))
UM_EXPORT void cfree(void *p) TWIN(free);
UM_EXPORT void *__libc_malloc(size_t bytes) TWIN(malloc);
UM_EXPORT void __libc_free(void *p) TWIN(free);
UM_EXPORT void __libc_cfree(void *p) TWIN(free);
UM_EXPORT void *__libc_calloc(size_t n, size_t size) TWIN(calloc);
UM_EXPORT void *__libc_realloc(void *p, size_t bytes) TWIN(realloc);
UM_EXPORT void *__libc_memalign(size_t align, size_t bytes) TWIN(memalign);
UM_EXPORT void *__libc_valloc(size_t bytes) TWIN(valloc);
UM_EXPORT void *__libc_pvalloc(size_t bytes) TWIN(pvalloc);
