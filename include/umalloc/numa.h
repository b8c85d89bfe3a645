/* numa: the nodes of this machine, memory under a policy of its own, and memory sent to another node.

   On a machine with several NUMA nodes, memory of another node is slower to reach. malloc gives a thread
   memory of the node that it runs on (docs/numa.md); these functions are for what needs to lie elsewhere, or
   to be looked at. Nodes are the kernel's numbers, as numactl --hardware shows them; they may have gaps.

       um_numa_policy *spread = um_numa_policy_new("interleave");
       double *table = um_numa_alloc(spread, n * sizeof *table);
       ...
       um_numa_free(table);
       um_numa_policy_delete(spread);

   Memory of um_numa_alloc comes in units of 64 KiB: it is for tables and buffers, not for small objects. It
   costs what a large block of malloc costs; under local-strict and bind, a page fault for each page as well,
   and where its pages must be told where to lie (interleave, say), one or two system calls.

   On a machine with one node all this works: each policy means that node. Any thread may call these functions
   at any time, but not in a signal handler. After fork they go on in the child. */
#ifndef UMALLOC_NUMA_H
#define UMALLOC_NUMA_H

#include <umalloc/common.h>

UM_BEGIN

/* Writes the numbers of the nodes whose memory this process may use, ascending, at most `room` of them, and
   returns how many there are: at least 1. nodes may be NULL where room is 0. */
UM_API size_t um_numa_nodes(unsigned *nodes, size_t room) UM_NOTHROW;

/* Writes the numbers of the processors of a node that are online, ascending, at most `room` of them, and
   returns how many there are: 0 for a node of memory alone, as of CXL, and for one that does not exist.
   Processors from 1024 on are left out. cpus may be NULL where room is 0. Reads a file at each call. */
UM_API size_t um_numa_cpus(unsigned node, unsigned *cpus, size_t room) UM_NOTHROW;

/* The node of the processor that the calling thread runs on; old as soon as it is read, unless the thread is
   pinned. It may have no memory. Costs two loads. */
UM_API unsigned um_numa_here(void) UM_NOTHROW;

/* How far memory of node `to` is from node `from`, as the firmware says: 10 is a node to itself, 20 twice the
   time. 0: one of them is not known, or `to` has no memory for this process. */
UM_API unsigned um_numa_distance(unsigned from, unsigned to) UM_NOTHROW;

/* Whether the node has memory and no processor: it serves those who name it, and when others are full. */
UM_API bool um_numa_is_memory_only(unsigned node) UM_NOTHROW;

/* Bytes of memory that the node has, and those free now. 0, or -1 with errno: EINVAL, no such node with
   memory for this process; or what reading the kernel's file met. Either pointer may be NULL. Reads a file at
   each call. */
UM_API int um_numa_memory(unsigned node, uint64_t *total, uint64_t *unused) UM_NOTHROW;

/* Where memory is to come from. */
typedef struct um_numa_policy um_numa_policy;

/* A policy from its text, which is as in UMALLOC_NUMA:

       local                     the node that the calling thread runs on; others when it is full
       local-strict              that node, or NULL
       bind:NODES                these nodes, the nearest first, or NULL
       prefer:NODES              these nodes, the nearest first; others when they are full
       interleave[:NODES]        page by page
       weighted                  page by page in the kernel's proportion (Linux 6.9)
       weighted:NODE=W,...       one node for each block, the bytes in proportion of these weights (1 to 255)
       round-robin[:NODES]       one node for each block, as many bytes of each

   NODES is as 0,2-3. Where none are named, those with processors are meant. The last two count what the
   policy gave, whether it was freed since or not, where UMALLOC_NUMA counts what is in use. NULL with errno
   EINVAL: not of this form, or a node that has no memory for this process; ENOMEM. Many threads may use one
   policy at once. */
UM_API um_numa_policy *um_numa_policy_new(const char *text) UM_NOTHROW;

/* The policy must not be any thread's default any more; blocks that it placed stay. NULL is ignored. */
UM_API void um_numa_policy_delete(um_numa_policy *policy) UM_NOTHROW;

/* Makes the policy the calling thread's default, for um_numa_alloc(NULL, ...); NULL: local, as at the start.
   malloc goes along where the policy is prefer with one node and the process follows its nodes
   (UMALLOC_NUMA=local, the default): what the thread allocates then comes from that node, wherever it runs.
   0, or -1 with errno ENOMEM, and nothing changed. */
UM_API int um_numa_use(um_numa_policy *policy) UM_NOTHROW;

/* The calling thread's default; NULL: local. */
UM_API um_numa_policy *um_numa_used(void) UM_NOTHROW;

/* At least `bytes` under the policy, or, where it is NULL, under the calling thread's default; the start is
   a multiple of 64 KiB. To be given back by um_numa_free, by any thread. NULL with errno ENOMEM: out of
   memory, or the policy is local-strict or bind and its nodes have no room or cannot be had. Where the
   kernel refuses to place memory (EPERM in many containers), the other policies leave pages to where they
   are touched first. */
UM_API void *um_numa_alloc(um_numa_policy *policy, size_t bytes) UM_NOTHROW;

/* The same at a multiple of `align`. NULL with errno EINVAL: that is not a power of two. */
UM_API void *um_numa_alloc_aligned(um_numa_policy *policy, size_t align, size_t bytes) UM_NOTHROW;

/* Gives back what um_numa_alloc or um_numa_alloc_aligned gave; NULL is ignored. Another address ends the
   process with one line. */
UM_API void um_numa_free(void *block) UM_NOTHROW;

/* Bytes of such a block: at least those asked for. Another address ends the process with one line. */
UM_API size_t um_numa_bytes(const void *block) UM_NOTHROW;

/* The node that the block is meant to lie on; block: the start of one from malloc or um_numa_alloc. -1: on
   none of its own (of several nodes, say interleaved, or where the process leaves placement to the kernel),
   or the block is not umalloc's. */
UM_API int um_numa_intended(const void *block) UM_NOTHROW;

/* The node that the page at the address lies on, whoever's memory that is. -1 with errno: ENOENT, it is not
   in memory; EFAULT, nothing is mapped there; or what the kernel met (ENOSYS, EPERM). One system call. */
UM_API int um_numa_actual(const void *address) UM_NOTHROW;

/* Moves the memory of a block to a node, while others may use it: one from malloc or um_numa_alloc, by its
   start. Pages move whole, so other blocks of the same page, of a slab of 64 KiB where the block is small,
   and of the same transparent huge page come along. *there (may be NULL): bytes of the
   block's pages that lie on the node then. 0, or -1 with errno: EINVAL, not umalloc's memory, or no such
   node; ENOMEM, the node is full; EBUSY, pages stayed that a child of fork shares or somebody holds; EPERM,
   ENOSYS. What could be moved has moved, also on an error. An address of umalloc's where no block starts, or
   a freed one, ends the process with one line. When the block is freed its pages go back to the system, for
   its address belongs elsewhere. Some microseconds a page. */
UM_API int um_numa_migrate(void *block, unsigned node, size_t *there) UM_NOTHROW;

/* The same for all small and medium blocks (to 32 KiB) that the calling thread allocated and that are still
   in use; malloc then draws from that node until the thread has been running elsewhere for a while. Larger
   blocks are no thread's: move each. errno may be ENOTSUP too: malloc is not umalloc's, or hardened. */
UM_API int um_numa_migrate_heap(unsigned node, size_t *there) UM_NOTHROW;

/* What umalloc has in memory, seen from one node. */
typedef struct um_numa_usage {
    unsigned node;
    uint64_t intended_bytes; /* at addresses that are meant for this node; 0: addresses are meant for none */
    uint64_t home_bytes;     /* of these, on it */
    uint64_t actual_bytes;   /* on it, whatever the address */
} um_numa_usage;

/* Writes a row for each node, at most `room` of them, and returns how many there are, or -1 with errno where
   the kernel does not tell (EPERM, ENOSYS) or there is no memory to ask it (ENOMEM). Large heaps are
   measured by samples, 4096 pages or more. Blocks that were moved count where they are meant to be. Some
   milliseconds. */
UM_API int um_numa_measure(um_numa_usage *rows, size_t room) UM_NOTHROW;

/* Of a hundred bytes that umalloc has in memory, so many lie on a node that they are meant for; 100 where
   nothing is in memory or nothing is meant. -1 as um_numa_measure. */
UM_API double um_numa_locality(void) UM_NOTHROW;

UM_END

#endif
