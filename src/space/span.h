/* A span is a run of 64 KiB slots; the record of its first slot describes it. Records are out of line, in one
   dense table beside the window of memory they describe: the record of an address is found by a shift and an
   add (um_span_of). The kind tells which layer owns the rest of the record. */
#ifndef UM_SPAN_H
#define UM_SPAN_H

#include "base/base.h"

#define UM_SLOT_SHIFT 16u
#define UM_SLOT_BYTES ((size_t)1 << UM_SLOT_SHIFT)
#define UM_SPAN_SHIFT 7u /* bytes of a record: two cache lines */
#define UM_ID_NOBODY  ((uintptr_t)0)
#define UM_ID_SHARED  ((uintptr_t)1) /* the heap of threads past their exit */

typedef enum um_span_kind {
    UM_SPAN_NONE = 0,   /* inside a span, or never opened */
    UM_SPAN_FREE,       /* head of a free span: state tells which */
    UM_SPAN_FREE_TAIL,  /* last slot of a free span of two or more: `slots` leads back to its head */
    UM_SPAN_BUSY,       /* being purged, moved or opened: nobody may merge with it */
    UM_SPAN_SLAB,       /* one slot cut into equal blocks */
    UM_SPAN_LARGE,      /* one block */
    UM_SPAN_CACHED,     /* a large span that a thread keeps for reuse */
    UM_SPAN_META,       /* the allocator's own records */
    UM_SPAN_EXT,        /* of a module of ext: class_id tells which */
    UM_SPAN_HARD,       /* of the hardened allocator, as all that follow: a slab */
    UM_SPAN_HARD_LARGE, /* one block between pages without access */
    UM_SPAN_HARD_FREED, /* such a one, freed */
    UM_SPAN_HARD_POOL, /* pages that blocks have to themselves; each slot's record says so, `slots` to the end
                        */
} um_span_kind;

typedef enum um_span_state {
    UM_DIRTY,    /* may hold old contents in memory */
    UM_CLEAN,    /* mapped, reads as zero, costs no memory */
    UM_UNMAPPED, /* address space given back */
    UM_STATES
} um_span_state;

/* A free block of a slab. `self` holds the block's own address while it is free, and is cleared when it is
   handed out: a block taken without it was handed out twice, or written to after its free. */
typedef struct um_block {
    struct um_block *next;
    uintptr_t self;
} um_block;

/* Takes the mark off. One instruction tells and clears, so it costs what the mere test would; where it fails,
   self holds garbage after. The last block of every list is its slab's `end`, whose self is never its
   address, so the test for an empty list is the same. */
UM_INLINE bool um_block_take(um_block *b) {
#if UM_TSAN /* the end of um_span_none is everybody's; what it holds never matters */
    if (b->self != (uintptr_t)b)
        return false;
    b->self = 0;
    return true;
#else
    return (b->self -= (uintptr_t)b) == 0;
#endif
}

struct um_theap;

/* Where the owner's frees of a slot go: the slab's own list, or the cache that its heap keeps for the class.
   The owner's id lies UM_CACHE_LINE_BYTES behind either (um_home_owner), in a line that frees do not write.
 */
#define UM_HOME_FIELDS                                                                                       \
    um_block *list;     /* free blocks, last in first out; ends in the list's own `end` */                   \
    uint32_t countdown; /* local frees until the owner has to look (um_theap_event) */                       \
    uint32_t mark;      /* countdown when the frees were last counted */                                     \
    uint8_t place;      /* um_slab_place */

typedef struct um_home {
    UM_HOME_FIELDS
} um_home;

typedef struct um_span {
    /* Line 0 is private: to the owning thread while a slab has one, else to the holder of the lock named
     * below. */
    union {
        um_home home;
        struct {
            UM_HOME_FIELDS
            uint8_t state;  /* um_span_state: free, or a hardened block that rests; of ext: as it was taken */
            uint8_t moved;  /* large: its pages came by mremap, so its mapping merges with no neighbour */
            uint8_t listed; /* slab: on the list of orphans with free blocks; orphan lock */
            union {
                uint16_t capacity;    /* slab: blocks that fit */
                uint16_t slack_pages; /* large: at its end, not asked for (um_space_note_slack) */
            };
            uint16_t carved; /* slab: blocks cut so far, from the start */
        };
    };
    uint32_t slots; /* length; in a tail of a free span too */
    uint16_t wake;  /* slab: local frees after which a full one is worth using again; const while a slab */
    uint8_t full;   /* slab: all its blocks were in use, so its memory counts as such (um_space_note_full) */
    union {
        uint8_t cut; /* large: its end was given back; not cached when freed, so that the two join again */
        uint8_t guarded; /* hardened, large: there are pages without access */
    };
    struct um_span *next, *prev; /* heap's queue, orphan list, or the space's bin */
    union {
        struct {
            struct um_span *age_next, *age_prev; /* free and dirty, or empty slab of a heap: oldest first;
                                                   free, dirty and kept: in no order */
        };
        um_block end; /* slab: what its lists end in. age_prev lies at self: a record's address, or NULL, is
                         never its */
    };

    /* Line 1 is what other threads read; the owner writes it only when a slab changes hands. */
    _Alignas(64) _Atomic(uintptr_t) owner; /* slab: thread id of the owner, UM_ID_NOBODY otherwise. Relaxed: a
                                 thread can only find its own id there if it wrote it */
    _Atomic(uint64_t) remote;              /* slab: see slab/remote.h */
    _Atomic(struct um_theap *) heap;
    union {
        struct um_span *pending_next; /* slab: written by the holder of its PENDING token */
        void *holder;                 /* of a module of ext: its own, NULL when it is taken */
        void *hard; /* hardened: its record of the slab, or the large block; see hard/internal.h */
    };
    uint32_t block_bytes;  /* slab: const while a slab; of ext: the module\'s own word */
    uint32_t reciprocal;   /* slab: 2^32 / block_bytes, rounded up; const while a slab */
    uint8_t class_id;      /* slab: const while a slab */
    _Atomic(uint8_t) kind; /* um_span_kind. Relaxed: read with a pointer to a block, which orders it */
    uint8_t
        node; /* of a span's first slot, and of a region's: whose space; const after the slot was opened */
    uint8_t transit;           /* slab: blocks a remote thread may batch */
    uint8_t kept;              /* free and dirty: not to be purged by age, so on the list of these instead */
    _Atomic(uint8_t) migrated; /* active: its pages were sent to another node, so they do not stay for reuse.
                                  Relaxed: who frees the span got its last block from whoever set it */
    uint8_t seam; /* of each slot, whatever it is: a mapping of the kernel's may begin here (gather.c) */
    size_t bytes; /* large: usable bytes; free: bytes that may be in memory; slab: such bytes from an earlier
                     use */
    uint64_t freed_ms; /* free and dirty: when */
} um_span;

_Static_assert(sizeof(um_span) == (size_t)1 << UM_SPAN_SHIFT, "a record is two cache lines");
_Static_assert(offsetof(um_span, owner) == UM_CACHE_LINE_BYTES, "line 1 starts at owner");
_Static_assert(offsetof(um_span, slots) == sizeof(um_home), "the home's fields are the record's first");

/* The window: address range that all memory of umalloc lies in. Opened from its start, never closed. */
typedef struct um_window {
    uintptr_t base;               /* const after init */
    _Atomic(size_t) opened_bytes; /* grows; relaxed: who holds a block's address has seen it */
    /* const after init: a home of nobody's, then the distance from here to its home for each slot. A slot
       without one has 0, as fresh memory reads, and so leads to the home of nobody's. */
    char *homes;
    um_span *table; /* const after init */
} um_window;

#define UM_HOME_OF_NOBODY_BYTES ((size_t)2 * UM_CACHE_LINE_BYTES)

extern UM_HIDDEN um_window um_space_window;

/* Distance of p from the window's start; beyond its opened part for NULL and every address that is not
 * umalloc's. */
UM_INLINE size_t um_window_offset(const void *p) {
    return (uintptr_t)p - um_space_window.base;
}

UM_INLINE bool um_window_holds(size_t offset) {
    return offset < UM_PEEK(size_t, um_space_window.opened_bytes);
}

/* Where the home of the slot at an offset stands. Relaxed: a thread takes an entry for its own only where its
   own id stands behind it, and then it wrote the entry itself. */
UM_INLINE _Atomic(uintptr_t) *um_home_entry(size_t offset) {
    char *first = um_space_window.homes + UM_HOME_OF_NOBODY_BYTES;
    return (_Atomic(uintptr_t) *)(void *)(first + (offset >> UM_SLOT_SHIFT) * sizeof(uintptr_t));
}

/* Home of the slot at an offset that the window holds; of nobody's where nobody owns blocks in it. */
UM_INLINE um_home *um_home_at(size_t offset) {
    return (um_home *)(void *)(um_space_window.homes + UM_PEEK(uintptr_t, *um_home_entry(offset)));
}

/* The owner's id. Relaxed: a thread can only find its own id there if it wrote it. */
UM_INLINE _Atomic(uintptr_t) *um_home_owner(um_home *m) {
    return (_Atomic(uintptr_t) *)(void *)((char *)m + UM_CACHE_LINE_BYTES);
}

/* Record of the slot at an offset that the window holds. */
UM_INLINE um_span *um_span_at(size_t offset) {
    size_t at = (offset >> (UM_SLOT_SHIFT - UM_SPAN_SHIFT)) & ~(sizeof(um_span) - 1);
    return (um_span *)((char *)um_space_window.table + at);
}

/* Record of the slot that holds p, or NULL where p is not umalloc's. */
UM_INLINE um_span *um_span_of(const void *p) {
    size_t offset = um_window_offset(p);
    return um_likely(um_window_holds(offset)) ? um_span_at(offset) : NULL;
}

UM_INLINE size_t um_span_index(const um_span *s) {
    return (size_t)(s - um_space_window.table);
}

UM_INLINE char *um_span_start(const um_span *s) {
    uintptr_t at = (uintptr_t)s - (uintptr_t)um_space_window.table;
    return (char *)(um_space_window.base + (at << (UM_SLOT_SHIFT - UM_SPAN_SHIFT)));
}

/* m is NULL when the owner lets go of the slab. */
UM_INLINE void um_home_set(const um_span *s, um_home *m) {
    uintptr_t to = m ? (uintptr_t)m - (uintptr_t)um_space_window.homes : 0;
    atomic_store_explicit(um_home_entry(um_span_index(s) << UM_SLOT_SHIFT), to, memory_order_relaxed);
}

UM_INLINE um_span_kind um_span_kind_of(const um_span *s) {
    return (um_span_kind)atomic_load_explicit(&s->kind, memory_order_relaxed);
}

UM_INLINE bool um_span_migrated(const um_span *s) {
    return atomic_load_explicit(&s->migrated, memory_order_relaxed);
}

UM_INLINE void um_span_set_migrated(um_span *s, bool yes) {
    atomic_store_explicit(&s->migrated, yes, memory_order_relaxed);
}

UM_INLINE void um_span_set_kind(um_span *s, um_span_kind k) {
    atomic_store_explicit(&s->kind, (uint8_t)k, memory_order_relaxed);
}

#endif
