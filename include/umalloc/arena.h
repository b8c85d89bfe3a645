/* arena: memory that is taken by moving a pointer, and given back all at once.

   For the many small things of one request, frame, parse or transaction. An arena takes its memory in chunks;
   an allocation moves a pointer within the last of them, and a reset moves it back to the start. A mark
   remembers a place to go back to, so what a function needs only inside can be dropped at its end.

       um_arena *a = um_arena_new(NULL);
       struct node *n = um_arena_alloc(a, sizeof *n);
       um_arena_mark before = um_arena_save(a);
       char *line = um_arena_alloc_aligned(a, 4096, 64);
       um_arena_rewind(a, before);                       // line is gone, n is not
       um_arena_delete(a);

   Beside that, an arena serves as a stack (um_arena_push, um_arena_pop), and with UM_ARENA_REUSE single
   blocks go back and are used again (um_arena_free). um_arena_scratch is an arena that the thread has anyway.

   One thread at a time uses an arena; different arenas do not know of each other. Costs: um_arena_alloc is
   compiled into the caller, 12 instructions at most. A chunk that is full costs a call, and a new one is
   twice as large as the last, so there are few. */
#ifndef UMALLOC_ARENA_H
#define UMALLOC_ARENA_H

#include "umalloc.h"

UM_BEGIN

/* Private: the form of the struct below and of um_arena_options; a library that has another refuses it. */
#define UM_ARENA_FORM 2

/* Private but for its name: what the inline functions work on. From `at` to `end` may be handed out here. */
typedef struct um_arena {
    char *at, *end;
} um_arena;

/* What um_arena_options.flags may hold, or'ed together. */
typedef enum um_arena_flag {
    UM_ARENA_FIXED = 1,   /* no further chunk: ENOMEM when the first is full */
    UM_ARENA_GUARD = 2,   /* a page without access before and behind each chunk (not over a buffer): four
                             mappings a chunk, of vm.max_map_count that the process may have */
    UM_ARENA_CHECKED = 4, /* a canary before and behind each block; 48 to 63 bytes a block, and slower */
    UM_ARENA_REUSE = 8    /* um_arena_free may be used; slower */
} um_arena_flag;

/* How an arena is to be. All members may be 0. */
typedef struct um_arena_options {
    size_t first_bytes; /* of the first chunk; 0: 64 KiB less what the arena needs itself */
    size_t limit_bytes; /* most that its chunks may hold together; 0: no limit */
    size_t keep_bytes;  /* of its chunks um_arena_reset keeps the first ones up to here, and always the very
                           first; 0: all */
    void *buffer; /* the first chunk and the arena itself lie here: the caller's, until um_arena_delete */
    size_t buffer_bytes;
    unsigned flags; /* of um_arena_flag */
    um_flags place; /* where chunks come from: 0, the node of the thread that needs one; UM_LOCAL; UM_SPREAD,
                       chunk by chunk in turn; UM_NODE(id) */
} um_arena_options;

/* What an arena holds, in bytes. */
typedef struct um_arena_stats {
    size_t used_bytes; /* handed out, with what alignment and canaries cost */
    size_t peak_bytes; /* the most it ever was, as seen where a chunk began or something was given back */
    size_t held_bytes; /* in chunks, a buffer of the caller's among them */
    size_t chunks;
} um_arena_stats;

/* A place to go back to. Its members are private. */
typedef struct um_arena_mark {
    void *at, *last;
} um_arena_mark;

/* For um_arena_new, which says what form the program was compiled with. */
UM_API um_arena *um_arena_make(const um_arena_options *options, unsigned form) UM_NOTHROW;

/* A new arena; options NULL: all 0. NULL: ENOMEM; EINVAL, unknown flags, no such place, a buffer that is too
   small (the arena itself takes less than 512 bytes of it, and 1 KiB more with UM_ARENA_REUSE), or guards
   over a buffer.
 */
static inline um_arena *um_arena_new(const um_arena_options *options) {
    return um_arena_make(options, UM_ARENA_FORM);
}

/* Gives all its memory back; NULL is nothing to do. One that was deleted before aborts the program, unless
   its memory serves again or was the caller's. */
UM_API void um_arena_delete(um_arena *arena) UM_NOTHROW;

/* For the inline functions below, where the chunk has no room. Call those. */
UM_API void *um_arena_alloc_slow(um_arena *arena, size_t bytes, size_t align) UM_NOTHROW;

/* So many bytes from a multiple of 16; 0 bytes are a block of its own too. */
static inline void *um_arena_alloc(um_arena *arena, size_t bytes) {
    char *p = arena->at;
    if (__builtin_expect(bytes - 1 < (size_t)(arena->end - p), 1)) {
        arena->at = p + ((bytes + 15) & ~(size_t)15); /* both ends are multiples of 16 */
        return p;
    }
    return um_arena_alloc_slow(arena, bytes, 16);
}

/* From a multiple of `align`, which is any power of two: a vector register's size or a page's, for instance.
   A large one costs as much addresses. NULL with EINVAL: it is none. */
static inline void *um_arena_alloc_aligned(um_arena *arena, size_t bytes, size_t align) {
    size_t gap = (0 - (uintptr_t)arena->at) & (align - 1), room = (size_t)(arena->end - arena->at);
    if (__builtin_expect(!(align & (align - 1)) && bytes - 1 < room && gap <= room - bytes, 1)) {
        char *p = arena->at + gap;
        arena->at = p + ((bytes + 15) & ~(size_t)15);
        return p;
    }
    return um_arena_alloc_slow(arena, bytes, align);
}

/* As um_arena_alloc, n times `size` bytes that read as zero; ENOMEM where that is more than a size_t holds.
 */
UM_API void *um_arena_zalloc(um_arena *arena, size_t n, size_t size) UM_NOTHROW;

/* Drops all that was allocated, and all marks. The first chunks stay for what comes (keep_bytes), so this
   takes the same time however much there was; each chunk that is not kept costs a call more. */
UM_API void um_arena_reset(um_arena *arena) UM_NOTHROW;

/* Remembers how much is allocated now. Any number of marks may be open, one within the other. */
UM_API um_arena_mark um_arena_save(const um_arena *arena) UM_NOTHROW;

/* Drops what was allocated since the mark, and the marks made since. The mark itself stays good. Ends the
   process where the mark lies beyond what is allocated now, because the arena was reset or went back further
   since; where it has grown that far again, only UM_ARENA_CHECKED sees it. */
UM_API void um_arena_rewind(um_arena *arena, um_arena_mark mark) UM_NOTHROW;

/* The stack mode: as um_arena_alloc, of a block that um_arena_pop takes off again. 32 bytes more. */
UM_API void *um_arena_push(um_arena *arena, size_t bytes) UM_NOTHROW;

/* Takes the last pushed block off, and what was allocated after it. Ends the process where p is another. */
UM_API void um_arena_pop(um_arena *arena, void *p) UM_NOTHROW;

/* Gives a block of `bytes`, as it was asked for, back for allocations of about its size (to 1 KiB the same
   multiple of 16, to 1 MiB the same quarter of a doubling; larger ones wait for the reset). NULL is nothing
   to do. um_arena_rewind forgets what waits here. Ends the process where the arena is without UM_ARENA_REUSE,
   and with UM_ARENA_CHECKED also where p is no block, has another size or was freed already. */
UM_API void um_arena_free(um_arena *arena, void *p, size_t bytes) UM_NOTHROW;

/* With UM_ARENA_CHECKED: looks at the canaries of all blocks, and ends the process at a broken one. Where
   blocks are dropped, theirs are looked at anyway. */
UM_API void um_arena_check(const um_arena *arena) UM_NOTHROW;

/* What the arena holds now. */
UM_API void um_arena_read_stats(const um_arena *arena, um_arena_stats *out) UM_NOTHROW;

/* One of two arenas that the calling thread has for its own passing needs; it ends with the thread. Save it
   before and rewind it after. `other`, which may be NULL, is an arena that the caller was given to put its
   result into: the answer is not that one. NULL, ENOMEM: also in the last destructors of a thread. */
UM_API um_arena *um_arena_scratch(const um_arena *other) UM_NOTHROW;

/* Private: what UM_ARENA_SCOPE keeps. */
typedef struct um_arena_scope {
    um_arena *arena;
    um_arena_mark mark;
} um_arena_scope;

/* Private: its begin. */
static inline um_arena_scope um_arena_enter(um_arena *arena) {
    um_arena_scope scope;
    scope.arena = arena;
    scope.mark = um_arena_save(arena);
    return scope;
}

/* Private: its end. */
static inline void um_arena_leave(const um_arena_scope *scope) {
    um_arena_rewind(scope->arena, scope->mark);
}

#define UM_ARENA_NAME_(line) um_arena_scope_##line
#define UM_ARENA_NAME(line)  UM_ARENA_NAME_(line)
/* A declaration: whatever is allocated from here to the end of the enclosing block is dropped there, however
   the block is left (return, break, an exception; not longjmp). */
#define UM_ARENA_SCOPE(arena)                                                                                \
    um_arena_scope UM_ARENA_NAME(__LINE__) __attribute__((cleanup(um_arena_leave), unused)) =                \
        um_arena_enter(arena)

UM_END

#endif
