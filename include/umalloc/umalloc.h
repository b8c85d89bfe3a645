/* umalloc: malloc with more to say, and questions to the allocator.

   A block of um_malloc is a block of malloc: free() takes it, and um_free and um_realloc take malloc's.
   What malloc cannot express goes into a word of flags: an alignment, zeroes, a NUMA node, huge pages. Many
   blocks of one size are had and given back in one call. The rest asks and steers: what a block's size will
   be, where its memory is, which blocks are live, what the allocator holds, options that may change while the
   program runs.

       double *v = um_malloc(n * sizeof *v, UM_ALIGN(64) | UM_ZERO);
       void *nodes[256];
       size_t got = um_malloc_batch(48, 0, nodes, 256);
       um_free_batch(nodes, got);
       um_free_sized(v, n * sizeof *v, UM_ALIGN(64));

   Any thread may call any function at any time, but those about options: one thread at a time. Nothing is
   needed before the first call.

   Costs: um_malloc without flags is malloc and a jump. A place (UM_NODE and the like) that is not the
   thread's own costs a lock. Where UMALLOC_HARDEN is on, places and huge pages are ignored and a batch is as
   many single calls; where umalloc steps aside (UMALLOC_EXCLUDE, a sanitizer), the next allocator serves, and
   what only umalloc can answer fails with ENOTSUP. */
#ifndef UMALLOC_UMALLOC_H
#define UMALLOC_UMALLOC_H

#include "common.h"

UM_BEGIN

/* How a block is asked for: 0, or some of the macros below or'ed together, at most one of each kind. */
typedef uint32_t um_flags;

/* The block starts at a multiple of this: a power of two, in bytes, at most 64 GiB. Without it, 16. */
#define UM_ALIGN(bytes) ((um_flags)__builtin_ctzll(bytes))
/* The same by its binary logarithm, 0 to 36. */
#define UM_ALIGN_LOG2(n) ((um_flags)(n))
/* The block reads as zero. */
#define UM_ZERO ((um_flags)1 << 6)
/* The block gets huge pages of its own where the system has transparent ones: it starts at a multiple of 2
   MiB and takes as many whole ones. For blocks of megabytes that stay; the memory stays eligible for huge
   pages after the block was freed. */
#define UM_HUGE ((um_flags)1 << 7)
/* The block is of this size class (um_size_class) or of the one that its size asks for, whichever is larger:
   for blocks that will grow, and to keep blocks of several sizes in the same slabs. */
#define UM_CLASS(c) ((um_flags)((c) + 1) << 8)
/* The block's memory comes from the node that the calling thread runs on now. A wish, like the next two:
   when that node is full, or the kernel takes no policy, memory comes from elsewhere. */
#define UM_LOCAL ((um_flags)1 << 16)
/* From all nodes in turn, block by block. */
#define UM_SPREAD ((um_flags)2 << 16)
/* From the node of this number, which is the kernel's, 0 to 1023. A node whose memory the process may not use
   is EINVAL. Where UMALLOC_NUMA spreads the pages of all memory (interleave, weighted, none), it does so here
   too. */
#define UM_NODE(id) ((um_flags)((id) + 16) << 16)

/* A block of so many bytes (0: a block that must not be accessed). NULL: ENOMEM; EINVAL, the flags make no
   sense. */
UM_API void *um_malloc(size_t bytes, um_flags flags) UM_NOTHROW;
/* A block of n objects of `size` bytes that reads as zero. ENOMEM too where the product has no room in a
   size_t. */
UM_API void *um_calloc(size_t n, size_t size, um_flags flags) UM_NOTHROW;
/* The block at its new size, contents kept, perhaps elsewhere; NULL, and the block as it was: as for
   um_malloc. p NULL: um_malloc. bytes 0 gives a block of no bytes, other than realloc. What the flags say
   holds for the result: its alignment; with UM_ZERO, bytes beyond um_usable_size of the old block read as
   zero; a place or UM_HUGE only where the block must move. */
UM_API void *um_realloc(void *p, size_t bytes, um_flags flags) UM_NOTHROW;
/* As free: NULL is nothing to do. */
UM_API void um_free(void *p) UM_NOTHROW;
/* The same, quicker, of a block whose size and flags the caller knows: those that it was asked for with. Ends
   the process where the block has fewer bytes and that is seen. */
UM_API void um_free_sized(void *p, size_t bytes, um_flags flags) UM_NOTHROW;

/* n blocks of so many bytes into `blocks`, in less time than n calls. How many there are now: fewer than n
   only without memory (errno ENOMEM, what there is stays the caller's), 0 with EINVAL for bad flags. */
UM_API size_t um_malloc_batch(size_t bytes, um_flags flags, void **blocks, size_t n) UM_NOTHROW;
/* Frees n blocks of any sizes, NULL among them, in less time than n calls; least for blocks that lie near
   each other in the array and in memory. */
UM_API void um_free_batch(void *const *blocks, size_t n) UM_NOTHROW;

/* Bytes that a block of this request would have: asking for so many costs no more memory. Never 0, not even
   for bytes 0, but where there is none so large or the flags make no sense. */
UM_API size_t um_good_size(size_t bytes, um_flags flags) UM_NOTHROW;
/* Bytes that a live block of malloc or um_malloc has, at least those asked for; 0 for NULL. Ends the process
   where no block starts at p. */
UM_API size_t um_usable_size(const void *p) UM_NOTHROW;
/* The size class that serves so many bytes, for UM_CLASS; -1: it is larger than any class. */
UM_API int um_size_class(size_t bytes) UM_NOTHROW;
/* Bytes of a block of the class; 0: there is no such class. */
UM_API size_t um_size_class_bytes(int size_class) UM_NOTHROW;

/* Gives freed memory back to the system, but for so many bytes: first the heaps that were destroyed and are
   kept for new ones, then what the calling thread keeps, what ended threads left, and what all keep for
   reuse. Whether any went. */
UM_API bool um_trim(size_t keep_bytes) UM_NOTHROW;
/* Hands what the calling thread keeps for itself to all: its cached blocks, empty slabs and spans, and the
   blocks of other threads that it has freed and not handed over yet. Its next calls are slower for it. */
UM_API void um_thread_flush(void) UM_NOTHROW;
/* For a thread that will not allocate for a while: the same, and slabs that hold blocks in use are left for
   other threads to use, as if the thread had ended. It may go on at any time. */
UM_API void um_thread_idle(void) UM_NOTHROW;

/* --- questions --- */

/* The NUMA node, by the kernel's number, that memory at the address is meant to come from. -1: EINVAL, it is
   not umalloc's; ENODATA, the kernel chooses, as UMALLOC_NUMA asks; ENOTSUP. */
UM_API int um_node_intended(const void *p) UM_NOTHROW;
/* The node that the page at the address lies on now; asks the kernel. Any address of the process. -1: ENOENT,
   the page is not in memory; EFAULT, nothing is mapped there; EPERM or ENOSYS, the kernel does not tell. */
UM_API int um_node_actual(const void *p) UM_NOTHROW;

/* What um_walk tells of a live block. */
typedef struct um_block_info {
    void *start;
    size_t bytes;   /* usable ones; where UMALLOC_HARDEN is on, those asked for */
    int size_class; /* -1: larger than any, or of the hardened allocator */
} um_block_info;

/* Calls `visit` for each live block of malloc and um_malloc, in no order, until it returns false. It may
   allocate and free; blocks that come or go meanwhile are seen or not. So are those of other threads that
   allocate and free at the time; what all hold still is seen exactly once, and nothing else is. Takes memory
   for a list of the blocks that threads keep for reuse. How many were visited; -1: ENOMEM, ENOTSUP. */
UM_API int64_t um_walk(bool (*visit)(const um_block_info *block, void *ctx), void *ctx);

/* The version of um_stats that this header describes: later ones add fields at the end. */
#define UM_STATS_VERSION 1u

/* What the allocator holds and did. All sizes are bytes. */
typedef struct um_stats {
    uint32_t size;            /* set by the caller: sizeof(um_stats); then what of it was filled */
    uint32_t version;         /* UM_STATS_VERSION of the library */
    uint64_t allocated;       /* in blocks that the program holds */
    uint64_t active;          /* in spans that hold such blocks, or are cut for them, or are a module's */
    uint64_t dirty;           /* free, kept in memory for reuse */
    uint64_t metadata;        /* records of the allocator's own */
    uint64_t resident;        /* the sum of the last three: the most it has in memory */
    uint64_t mapped;          /* address space */
    uint64_t retained;        /* of that, given back: costs no memory */
    uint64_t peak;            /* the most that was active and dirty, ever */
    uint64_t kernel_resident; /* of the whole process, as the kernel says; 0: unknown */
    uint64_t large_blocks, large_bytes; /* live blocks over 32 KiB */
    uint64_t threads;                   /* that have a heap */
    /* Since the start: */
    uint64_t purges, purged_bytes; /* given back to the system */
    uint64_t remote_frees,
        remote_batches;     /* frees by another thread than the block's, and hand-overs of such */
    uint64_t failed_allocs; /* answered with NULL */
    uint64_t soft_limit_hits;
    uint64_t heap_moves; /* heaps that followed their thread to another node */
    uint64_t mmap_calls, munmap_calls, mremap_calls, madvise_calls;
} um_stats;

/* Fills out, whose size the caller has set. Figures of running threads are as of their last slow path. Takes
   microseconds to milliseconds, by how much there is. 0; -1: EINVAL, the size is none; ENOTSUP. */
UM_API int um_stats_get(um_stats *out) UM_NOTHROW;

/* A size class, now and since the start. */
typedef struct um_class_usage {
    uint64_t block_bytes, live_blocks, allocs, frees, slabs, slab_bytes;
} um_class_usage;

/* Rows of all size classes, by um_size_class, n at most. How many classes there are; 0: ENOTSUP. */
UM_API size_t um_stats_classes(um_class_usage *rows, size_t n) UM_NOTHROW;

/* Memory of a node, now. */
typedef struct um_node_usage {
    uint64_t node; /* the kernel's number */
    uint64_t mapped_bytes, active_bytes, dirty_bytes;
} um_node_usage;

/* Rows of the nodes that memory was taken for, n at most. How many there are; 0: ENOTSUP. */
UM_API size_t um_stats_nodes(um_node_usage *rows, size_t n) UM_NOTHROW;

/* --- options at run time --- */

/* The value of an option, as text that um_option_set takes. Names are those of docs/options.md, with or
   without UMALLOC_, whatever the case. As snprintf: at most room - 1 bytes and a zero go to text, and the
   result is how long the whole is. -1: ENOENT, there is no such option. */
UM_API int um_option_get(const char *name, char *text, size_t room) UM_NOTHROW;
/* Changes an option from now on: those that docs/options.md says may change, such as limit, soft_limit,
   decay_ms, dirty_max, thread_cache and stats. What is there is not given back by that: um_trim does. 0; -1:
   ENOENT; EPERM, only the start can set it; EINVAL, no such value (um_option_forms tells which there are);
   ENOTSUP. */
UM_API int um_option_set(const char *name, const char *value) UM_NOTHROW;
/* The accepted forms of an option, as text: "a size from 0 to 64T (suffixes K, M, G, T)". As um_option_get.
 */
UM_API int um_option_forms(const char *name, char *text, size_t room) UM_NOTHROW;

UM_END

#endif
