/* Explicit allocation: what a request's flags say is taken apart here, and served by the front's functions,
   so that each block is one of malloc's. Without flags it is malloc.

   A batch takes blocks off the list that malloc would take them off, in one loop; when the list is empty, one
   block comes the slow way, which fills it. A batch of frees looks for the home of a slot once for all blocks
   in a row that lie in it, as long as it is the caller's own; an event may move the home, so the look is
   taken anew after one.

   A place that is not the thread's own is served by the heap of that place (um_theap_placed_lock): its slabs
   have an owner that is no thread, so that every free of a block of them goes the way of another thread's.

   Huge pages of a block's own are whole ones that start with it; the kernel is told of them. The advice stays
   when the block is freed: nobody knows then that it was given. */
#include "umalloc/umalloc.h"
#include "ext/heap.h"
#include "ext/place.h"
#include "front/aside.h"
#include "front/front.h"
#include "os/fatal.h"
#include "os/os.h"

#include <errno.h>
#include <string.h>

#define ALIGN_BITS  ((um_flags)63)
#define CLASS_SHIFT 8u
#define CLASS_BITS  ((um_flags)0xff << CLASS_SHIFT)
#define PLACE_BITS  ((um_flags)0xffff << UM_FLAGS_PLACE_SHIFT)
#define LOG2_MAX    36u
#define ALIGN_LEAST ((size_t)16)
#define HUGE_BYTES  (2 * UM_MIB)
#define BYTES_MAX   ((size_t)1 << 46) /* more than any window has */

_Static_assert(UM_CLASSES + 1 <= CLASS_BITS >> CLASS_SHIFT, "a class and one fit");

/* A request, taken apart. */
typedef struct request {
    size_t bytes, align; /* align is 1 where none was asked for */
    unsigned place;
    bool zero, huge;
} request;

static int take_apart(request *r, size_t bytes, um_flags flags) {
    unsigned class_and_1 = (flags & CLASS_BITS) >> CLASS_SHIFT;
    unsigned log2 = flags & ALIGN_BITS;
    int err = um_ext_place(flags >> UM_FLAGS_PLACE_SHIFT, &r->place);
    if (err || log2 > LOG2_MAX || class_and_1 > UM_CLASSES)
        return EINVAL;
    r->bytes = class_and_1 ? um_max(bytes, um_class_bytes(class_and_1 - 1)) : bytes;
    r->align = (size_t)1 << log2;
    r->zero = flags & UM_ZERO;
    r->huge = flags & UM_HUGE;
    if (r->huge) {
        if (r->bytes > PTRDIFF_MAX)
            return ENOMEM;
        r->bytes = um_round_up(um_max(r->bytes, 1), HUGE_BYTES);
        r->align = um_max(r->align, HUGE_BYTES);
    }
    return 0;
}

/* The thread's own heap draws from there as well. */
static bool is_own(unsigned place) {
    const um_theap *h = place == UM_PLACE_ANY ? NULL : um_front_heap();
    return place == UM_PLACE_ANY || (um_place.homing && h && h->node == place);
}

/* Zeroed blocks start at a multiple of a slot, or of their size, which is one of the alignment. */
static void *serve_here(const request *r) {
    size_t whole = um_round_up(r->bytes, r->align);
    void *p;
    if (!r->zero)
        return r->align <= ALIGN_LEAST ? um_front_malloc(r->bytes) : um_front_aligned(r->align, r->bytes);
    if (r->align <= ALIGN_LEAST)
        return um_front_alloc_zeroed(r->bytes);
    if (r->align <= UM_SLOT_BYTES && whole >= r->bytes && um_front_placeable())
        return um_front_alloc_zeroed(um_max(whole, r->align));
    p = um_front_aligned(r->align, r->bytes);
    return p ? memset(p, 0, r->bytes) : NULL;
}

static void *serve(const request *r) {
    void *p;
    if (is_own(r->place) || !um_front_placeable())
        p = serve_here(r);
    else
        p = um_front_alloc_at(r->place, r->align, r->bytes, r->zero);
    if (p && r->huge && um_front_placeable())
        um_os_hugepage((uintptr_t)p, r->bytes, true);
    return p;
}

static UM_NOINLINE void *with_flags(size_t bytes, um_flags flags) {
    request r;
    int err = take_apart(&r, bytes, flags);
    if (um_unlikely(err)) {
        errno = err;
        return NULL;
    }
    return serve(&r);
}

void *um_malloc(size_t bytes, um_flags flags) {
    return um_likely(flags == 0) ? um_front_malloc(bytes) : with_flags(bytes, flags);
}

void *um_calloc(size_t n, size_t size, um_flags flags) {
    size_t bytes;
    if (um_unlikely(__builtin_mul_overflow(n, size, &bytes))) {
        errno = ENOMEM;
        return NULL;
    }
    return with_flags(bytes, flags | UM_ZERO);
}

void um_free(void *p) {
    um_front_free(p);
}

/* The allocator knows the block by the size that the flags made of it. */
static UM_NOINLINE void free_sized_slow(void *p, size_t bytes, um_flags flags) {
    request r;
    if (!p)
        return;
    if (take_apart(&r, bytes, flags) == 0)
        um_front_free_sized(p, r.bytes);
    else
        um_front_free(p);
}

void um_free_sized(void *p, size_t bytes, um_flags flags) {
    if (um_unlikely(flags != 0) || um_unlikely(!um_front_free_sized_fast(p, bytes)))
        free_sized_slow(p, bytes, flags);
}

size_t um_usable_size(const void *p) {
    return p ? um_front_usable(p, "invalid um_usable_size") : 0;
}

/* --- realloc --- */

/* Nothing but the size changes, and realloc sees to that; a block of 0 bytes is none to it. */
static bool is_plain(const request *r) {
    return r->align <= ALIGN_LEAST && r->bytes;
}

static void *move(void *p, size_t old, const request *r) {
    void *q = serve(r);
    if (!q)
        return NULL;
    memcpy(q, p, um_min(old, r->bytes));
    um_front_free(p);
    return q;
}

void *um_realloc(void *p, size_t bytes, um_flags flags) {
    request r;
    size_t old;
    int err;
    if (!p)
        return um_malloc(bytes, flags);
    err = take_apart(&r, bytes, flags);
    if (um_unlikely(err)) {
        errno = err;
        return NULL;
    }
    old = um_front_usable(p, "invalid um_realloc");
    if (is_plain(&r) && !(r.zero && r.bytes > old))
        return um_front_realloc(p, r.bytes);
    if (um_front_placeable() && (uintptr_t)p % r.align == 0 && r.bytes <= old && r.bytes > old / 2)
        return p;
    return move(p, old, &r);
}

/* --- batches --- */

/* Blocks off malloc's list, as many as are there. */
static size_t take_listed(size_t bytes, void **blocks, size_t n) {
    um_home *m = um_tls.bins[(bytes - 1) >> 4];
    um_block *b = m->list;
    size_t i = 0;
    while (i < n && um_block_take(b)) {
        blocks[i++] = b;
        b = b->next;
        __builtin_prefetch(b);
    }
    m->list = b;
    return i;
}

static size_t take_plain(size_t bytes, void **blocks, size_t n) {
    size_t i = 0;
    while (i < n) {
        void *p;
        if (um_likely(bytes - 1 < UM_SMALL_MAX))
            i += take_listed(bytes, blocks + i, n - i);
        if (i == n)
            break;
        p = um_front_alloc(bytes);
        if (um_unlikely(!p))
            break;
        blocks[i++] = p;
    }
    return i;
}

size_t um_malloc_batch(size_t bytes, um_flags flags, void **blocks, size_t n) {
    request r;
    bool in_turn = (flags & PLACE_BITS) == UM_SPREAD;
    size_t i = 0;
    int err = take_apart(&r, bytes, flags);
    if (um_unlikely(err)) {
        errno = err;
        return 0;
    }
    if (!in_turn && is_own(r.place) && r.align <= ALIGN_LEAST && !r.huge && !r.zero)
        return take_plain(r.bytes, blocks, n);
    for (; i < n; i++) {
        blocks[i] = serve(&r);
        if (!blocks[i])
            break;
        if (in_turn)
            (void)um_ext_place(flags >> UM_FLAGS_PLACE_SHIFT, &r.place);
    }
    return i;
}

/* Frees blocks that lie in the slot of the first, whose home is m and the caller's; how many. The home's own
   fields are written back before an event looks at them. */
static size_t free_run(um_home *m, void *const *blocks, size_t n) {
    uintptr_t slot = (uintptr_t)blocks[0] >> UM_SLOT_SHIFT;
    um_block *list = m->list;
    uint32_t left = m->countdown;
    size_t i = 0;
    do {
        um_block *b = blocks[i++];
        b->next = list;
        b->self = (uintptr_t)b;
        list = b;
    } while (--left && i < n && (uintptr_t)blocks[i] >> UM_SLOT_SHIFT == slot);
    m->list = list;
    m->countdown = left;
    if (um_unlikely(left == 0))
        um_theap_event(m);
    return i;
}

void um_free_batch(void *const *blocks, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t offset = um_window_offset(blocks[i]);
        um_home *m = um_likely(um_window_holds(offset)) ? um_home_at(offset) : NULL;
        /* relaxed: only this thread stores its own id */
        if (um_likely(m && UM_PEEK(uintptr_t, *um_home_owner(m)) == um_thread_id()))
            i += free_run(m, blocks + i, n - i);
        else
            um_front_free(blocks[i++]);
    }
}

/* --- sizes --- */

size_t um_good_size(size_t bytes, um_flags flags) {
    request r;
    if (take_apart(&r, bytes, flags) != 0 || r.bytes > BYTES_MAX)
        return 0;
    if (!um_front_placeable()) /* what was asked for is all that may be used, or unknown */
        return um_max(r.bytes, 1);
    bytes = um_max(um_round_up(um_max(r.bytes, 1), r.align), r.align);
    if (bytes <= UM_MEDIUM_MAX)
        return um_class_bytes(um_class_of(bytes));
    return um_round_up(um_max(r.bytes, 1), um_os_page_bytes);
}

int um_size_class(size_t bytes) {
    return bytes <= UM_MEDIUM_MAX ? (int)um_class_of(um_max(bytes, 1)) : -1;
}

size_t um_size_class_bytes(int size_class) {
    return (unsigned)size_class < UM_CLASSES ? um_class_bytes(size_class) : 0;
}

/* --- threads --- */

bool um_trim(size_t keep_bytes) {
    bool ended = um_heap_drop_parked();
    return um_front_trim(keep_bytes) != 0 || ended;
}

/* Where the hardened allocator was started since, this is when the thread turns to it. */
static bool turn_to_hardened(void) {
    if (um_tls.heap && um_hard_level)
        um_theap_exit(um_tls.heap);
    return um_tls.heap == NULL;
}

void um_thread_flush(void) {
    if (!turn_to_hardened())
        um_theap_flush(um_tls.heap);
}

void um_thread_idle(void) {
    if (!turn_to_hardened())
        um_theap_idle(um_tls.heap);
}
