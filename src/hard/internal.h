/* Shared by the files of this layer only. */
#ifndef UM_HARD_INTERNAL_H
#define UM_HARD_INTERNAL_H

#include "hard/hard.h"
#include "os/lock.h"
#include "slab/classes.h"

#define UM_HARD_SHARDS      16u
#define UM_HARD_SEAL_BYTES  8u
#define UM_HARD_ALIGN_MIN   16u
#define UM_HARD_SMALL_MAX   (UM_MEDIUM_MAX - UM_HARD_SEAL_BYTES)
#define UM_HARD_EMPTY_CLASS UM_CLASSES /* of blocks of no bytes */
#define UM_HARD_CLASSES     (UM_CLASSES + 1)
#define UM_HARD_SHUFFLE_MAX 256u
#define UM_HARD_QUEUE_MAX   2048u

/* What the levels differ in. */
typedef struct um_hard_settings {
    uint32_t candidates;    /* free blocks of a class, at least, to choose among at random */
    uint32_t shuffle;       /* freed blocks of a shard that rest in random order, then ... */
    uint32_t queue;         /* ... in a queue, ... */
    size_t queue_bytes;     /* ... of so many bytes at most */
    uint32_t large_queue;   /* freed large blocks that rest without memory */
    size_t large_bytes;     /* their addresses, at most */
    uint32_t first_guarded; /* the first small blocks get a page of their own ... */
    uint32_t sample;        /* ... and then one in so many, on average */
    uint32_t guarded;       /* such pages */
    uint32_t reuse_check;   /* bytes of a freed block that are checked before it is used again */
} um_hard_settings;
extern UM_HIDDEN um_hard_settings um_hard_setting; /* const after um_hard_start */

/* Random numbers that are cheap, and seeded anew by the kernel now and then. */
typedef struct um_hard_random {
    uint64_t state;
    uint32_t left;
} um_hard_random;
UM_HIDDEN uint64_t um_hard_draw(um_hard_random *r);
/* 0 ... n - 1; n is not 0 and below 2^32. */
UM_INLINE uint32_t um_hard_below(um_hard_random *r, uint32_t n) {
    return (uint32_t)((um_hard_draw(r) >> 32) * n >> 32);
}

/* --- hard.c --- */

typedef enum um_hard_state {
    UM_HARD_UNUSED,  /* never handed out */
    UM_HARD_LIVE,    /* the program's */
    UM_HARD_RESTING, /* freed, not to be used again yet */
    UM_HARD_FREE,    /* freed, may be handed out */
} um_hard_state;

/* State, family and whether an alignment was asked of operator new, in a byte. */
UM_INLINE uint8_t um_hard_tag(um_hard_state state, um_family family, bool aligned) {
    return (uint8_t)((unsigned)state | (unsigned)family << 2 | (unsigned)aligned << 4);
}
UM_INLINE um_hard_state um_hard_state_of(uint8_t tag) {
    return (um_hard_state)(tag & 3);
}
UM_INLINE uint8_t um_hard_tag_with(uint8_t tag, um_hard_state state) {
    return (uint8_t)((tag & ~3u) | (unsigned)state);
}

/* A misuse: what um_fatal will say. Found under a lock, said without it, for the program's handler of SIGABRT
   may allocate. kind NULL: none. */
typedef struct um_hard_finding {
    const char *kind;
    const void *address;
    size_t bytes;
    const char *detail;
} um_hard_finding;
UM_INLINE um_hard_finding um_hard_fine(void) {
    return (um_hard_finding){NULL, NULL, 0, NULL};
}
UM_HIDDEN void um_hard_say(const um_hard_finding *f);
/* p is no live block's start; state and size are of the block it points to. */
UM_HIDDEN um_hard_finding um_hard_not_live(const char *what, const void *p, size_t bytes,
                                           um_hard_state state);
/* What the caller of free said against what is known of the live block. */
UM_HIDDEN um_hard_finding um_hard_judge(const um_hard_claim *claim, const void *p, size_t bytes, uint8_t tag);

/* Guards cost the kernel mappings, of which a process has few; false: no more. */
UM_HIDDEN bool um_hard_guards_take(unsigned mappings);
UM_HIDDEN void um_hard_guards_give(unsigned mappings);

/* Gives the pages back and takes access to them away. False: they still hold what they held, and may be
   accessible; locked memory is not given back. */
UM_HIDDEN bool um_hard_forbid(uintptr_t at, size_t bytes);

/* --- seal.c: what lies behind a block --- */

/* Behind the `bytes` at p are `room` more: a word that only we know, as far as it fits, then zeros. */
UM_HIDDEN void um_hard_seal(char *p, size_t bytes, size_t room);
UM_HIDDEN bool um_hard_sealed(const char *p, size_t bytes, size_t room);
UM_HIDDEN bool um_hard_is_zero(const char *p, size_t bytes);
UM_HIDDEN void um_hard_seal_init(void);

/* --- slab.c: small blocks --- */

typedef struct um_hard_slab {
    um_span *span;                      /* NULL: without memory, on its class's spare list */
    struct um_hard_shard *shard;        /* const */
    struct um_hard_slab *next, *prev;   /* of those of its class with blocks to give, or spare */
    struct um_hard_slab *next_in_shard; /* const: all that were ever made */
    uint32_t class_id;                  /* const */
    uint32_t block_bytes, capacity;     /* const */
    uint32_t carved;                    /* blocks that may be handed out, or were */
    uint32_t free_count;                /* of `free` */
    uint32_t used;                      /* live and resting */
    bool listed, zeroed, guarded;
    uint16_t *bytes; /* of each block: asked for */
    uint16_t *free;  /* numbers of the blocks that may be handed out, in no order */
    uint8_t *tags;
} um_hard_slab;

typedef struct um_hard_class {
    um_hard_slab *avail; /* circular, NULL if empty */
    um_hard_slab *spare; /* by next */
    uint64_t frees;
    uint64_t live;
} um_hard_class;

/* All under `lock`, but what is const. */
typedef struct um_hard_shard {
    um_lock lock;
    um_hard_random random;
    uint32_t until_guarded; /* small blocks until the next that gets a page */
    uint32_t ticks;
    um_hard_slab *slabs;
    uint64_t live_bytes;
    um_hard_class classes[UM_HARD_CLASSES];
    uint32_t queue_first, queue_count, shuffled;
    size_t queue_bytes;
    void *shuffle[UM_HARD_SHUFFLE_MAX];
    void *queue[UM_HARD_QUEUE_MAX];
} um_hard_shard;

/* Under the shard's lock; NULL: no memory. The finding is of the block that was to be used again. */
UM_HIDDEN void *um_hard_slab_alloc_locked(um_hard_shard *shard, size_t bytes, size_t align, uint8_t tag,
                                          um_hard_finding *found);
UM_HIDDEN void um_hard_slab_free(um_span *s, void *p, const um_hard_claim *claim);
UM_HIDDEN size_t um_hard_slab_usable(const um_span *s, const void *p, const char *what);
/* In place; false: it must move. The block is live and of the malloc family. */
UM_HIDDEN bool um_hard_slab_resize(um_span *s, void *p, size_t bytes);
UM_HIDDEN um_hard_finding um_hard_slab_check_locked(um_hard_shard *shard);
UM_HIDDEN um_hard_finding um_hard_slab_flush_locked(um_hard_shard *shard);
/* Gives back the slabs of which no block is in use or rests, the last ones of their classes too. */
UM_HIDDEN void um_hard_slab_close_locked(um_hard_shard *shard);
/* From the block *at on, which moves on; fewer than `most`: that was all of the slab. Under its shard's lock.
 */
UM_HIDDEN unsigned um_hard_slab_live_locked(const um_hard_slab *b, size_t *at, um_hard_block *out,
                                            unsigned most);
UM_HIDDEN unsigned um_hard_class_for(size_t bytes, size_t align);
UM_HIDDEN void *um_hard_meta(size_t bytes);
extern UM_HIDDEN um_lock um_hard_meta_lock;

/* --- large.c --- */

UM_HIDDEN void *um_hard_large_alloc(size_t bytes, size_t align, uint8_t tag);
UM_HIDDEN void um_hard_large_free(um_span *s, void *p, const um_hard_claim *claim);
UM_HIDDEN size_t um_hard_large_usable(const um_span *s, const void *p, const char *what);
/* Without a copy; NULL: that cannot be, or is not worth it. The block is live. In the full level it moves. */
UM_HIDDEN void *um_hard_large_resize(um_span *s, size_t bytes, const um_hard_claim *claim);
UM_HIDDEN um_hard_finding um_hard_large_check_locked(void);
UM_HIDDEN void um_hard_large_flush(void);
UM_HIDDEN void um_hard_large_add_stats(um_snapshot *out);
/* What an access to this address was, if a large block or a slab is there; kind NULL: none. */
UM_HIDDEN um_hard_finding um_hard_large_explain(const um_span *s, uintptr_t address);
/* From slot *at on; as of slabs. */
UM_HIDDEN unsigned um_hard_large_live(size_t *at, um_hard_block *out, unsigned most);
extern UM_HIDDEN um_lock um_hard_large_lock;
extern UM_HIDDEN um_hard_random um_hard_large_random; /* um_hard_large_lock */

/* --- guard.c: small blocks with a page of their own --- */

/* Without memory there are none. */
UM_HIDDEN void um_hard_guard_init(void);
/* NULL: no page is left, or the block does not fit one. */
UM_HIDDEN void *um_hard_guard_alloc(size_t bytes, size_t align, uint8_t tag, void *frame);
UM_HIDDEN void um_hard_guard_free(void *p, const um_hard_claim *claim, void *frame);
UM_HIDDEN size_t um_hard_guard_usable(const void *p, const char *what);
UM_HIDDEN um_hard_finding um_hard_guard_check_locked(void);
UM_HIDDEN void um_hard_guard_add_stats(um_snapshot *out);
UM_HIDDEN um_hard_finding um_hard_guard_explain(uintptr_t address);
/* Where the block at or near the address was allocated and freed, on stderr. */
UM_HIDDEN void um_hard_guard_tell(const void *address);
/* From page *at on; as of slabs. */
UM_HIDDEN unsigned um_hard_guard_live(size_t *at, um_hard_block *out, unsigned most);
extern UM_HIDDEN um_lock um_hard_guard_lock;
extern UM_HIDDEN um_hard_random um_hard_guard_random; /* um_hard_guard_lock */

/* --- trace.c --- */

/* One line on stderr: `umalloc:   WHAT by thread N: 0x... 0x...`. Nothing where it is empty. */
UM_HIDDEN void um_hard_trace_say(const um_hard_trace *t, const char *what);
/* Makes faults in memory of this layer findings. */
UM_HIDDEN void um_hard_fault_init(void);

#endif
