/* stack: stacks for fibers, coroutines and threads of the program's own.

       um_stack *s = um_stack_take(64 << 10);
       context.uc_stack.ss_sp = um_stack_base(s);         for makecontext, for example
       context.uc_stack.ss_size = um_stack_bytes(s);
       ... run on it ...
       um_stack_give(s);

   Memory is committed as it is touched, a page at a time, on the NUMA node of the thread that took the stack.
   Below and above each stack lies a guard page; neighbours share one. Stacks that are given back are kept
   with what they have touched and serve again, the last one first. Beyond 64 of a size and node, or more
   where more are wanted again, their memory goes back to the system and the addresses stay.

   How a guard page guards depends on the system, and um_stack_guarding tells for each stack:
   - UM_STACK_GUARDED: touching it ends in SIGSEGV. By lightweight guards of the kernel (Linux 6.13), which
   split no mapping: a hundred thousand live stacks take no more mappings than a few. Before that by mprotect,
   two mappings a stack, for as many stacks as a quarter of vm.max_map_count allows.
   - UM_STACK_WATCHED: beyond that, the page can be written to. um_stack_check and um_stack_give look whether
     it was; a frame that reaches across it, or a write of zeros, is not found.

   Take and give of a kept stack: a lock and about twenty instructions, no system call. A stack counts with
   its full size against UMALLOC_LIMIT, touched or not. All functions may be called by any thread; a stack may
   be given back by another one than took it. In a child of fork all stacks are there. */
#ifndef UMALLOC_STACK_H
#define UMALLOC_STACK_H

#include <umalloc/umalloc.h>

UM_BEGIN

/* A stack and what is known of it. */
typedef struct um_stack um_stack;

/* A stack of at least `bytes`, rounded up to one of two sizes a doubling, 16, 24, 32, 48, 64 KiB and so on,
   and to whole pages. Its contents are what the last user left, or zero. NULL: `bytes` is 0 or above
   UM_STACK_BYTES_MAX (errno EINVAL), or out of memory (ENOMEM). */
UM_API um_stack *um_stack_take(size_t bytes) UM_NOTHROW;

/* The same on the node that `place` names: 0 or UM_LOCAL, that of the calling thread; UM_SPREAD, the nodes in
   turn; UM_NODE(id). NULL with errno EINVAL: no such place. */
UM_API um_stack *um_stack_take_at(size_t bytes, um_flags place) UM_NOTHROW;

/* The largest stack, bytes. */
#define UM_STACK_BYTES_MAX ((size_t)1 << 30)

/* Gives the stack back; nothing may run on it. NULL is ignored. One that is no stack, is given back already,
   or whose watched guard was written to: ends the process with one line. */
UM_API void um_stack_give(um_stack *s) UM_NOTHROW;

/* The lowest address of the stack, a multiple of the page size. It is usable up to base + bytes, which is a
   multiple too: stacks that grow down start there. */
UM_API void *um_stack_base(const um_stack *s) UM_NOTHROW;

/* Its bytes, guard pages not counted: at least what was asked for. */
UM_API size_t um_stack_bytes(const um_stack *s) UM_NOTHROW;

/* The watermark: how deep the stack was used, in bytes from its upper end to the lowest byte that is not
   zero, since its memory was fresh; earlier users count, and what is swapped out does not. Walks over what
   was touched: not for hot paths. May be called while the stack is in use; then the result may be out of
   date. */
UM_API size_t um_stack_used(const um_stack *s) UM_NOTHROW;

/* Makes the watermark begin anew and gives memory back: all pages of the stack that lie wholly below `keep`
   bytes from its upper end are fresh afterwards. For a stack on which nothing runs, or whose frames lie
   within `keep`. False: the system keeps the memory where it is (UMALLOC_LOCK; errno EBUSY), nothing changed.
 */
UM_API bool um_stack_clean(um_stack *s, size_t keep) UM_NOTHROW;

/* How a stack's guard pages guard; the top of the page says more. */
typedef enum um_stack_guard {
    UM_STACK_GUARDED, /* SIGSEGV when they are touched */
    UM_STACK_WATCHED  /* found later that they were written to */
} um_stack_guard;

/* How this stack is guarded. Constant while it is taken. */
UM_API um_stack_guard um_stack_guarding(const um_stack *s) UM_NOTHROW;

/* False: a watched guard page below or above the stack was written to. True: it was not, or it is guarded. */
UM_API bool um_stack_check(const um_stack *s) UM_NOTHROW;

/* Gives the memory of all stacks that are kept back to the system, and addresses where all stacks around are
   kept ones. */
UM_API void um_stack_trim(void) UM_NOTHROW;

/* Counts of the process. */
typedef struct um_stack_stats {
    uint64_t live;         /* stacks that are taken */
    uint64_t peak;         /* the most of them at once */
    uint64_t kept;         /* given back, to serve again */
    uint64_t takes;        /* calls that got one */
    uint64_t reused;       /* of those, got a kept one */
    uint64_t watched;      /* live and kept ones whose guards are only watched */
    uint64_t split_guards; /* guard pages made by mprotect, which split mappings */
} um_stack_stats;

/* Fills the first `bytes` of *out; sizeof *out. */
UM_API void um_stack_stat(um_stack_stats *out, size_t bytes) UM_NOTHROW;

UM_END

#endif
