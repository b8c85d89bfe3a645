/* pool: objects of one size, made once and used again and again.

   For what a program takes and gives back at a high rate: orders, messages, connections, packet buffers. The
   memory of a pool comes in slabs and stays with the pool until its end. A constructor runs once for each
   object, when its memory is first used, and not at each allocation: an object comes back as it was freed.

       um_pool_options about = {.bytes = sizeof(struct order), .ready_objects = 10000};
       um_pool *orders = um_pool_new(&about);
       struct order *o = um_pool_alloc(orders);
       um_pool_free(orders, o);
       um_pool_delete(orders);

   Any thread may allocate and free at any time, and free what another thread allocated. Each thread has two
   magazines of objects for each pool it uses, and exchanges them, full for empty, through a depot without
   locks; at the thread's end they go back to the depot. A child of fork has the pool as it was, without the
   objects in the magazines of threads that it does not have. um_pool_delete is for when no other thread uses
   the pool any more.

   Costs: um_pool_alloc and um_pool_free together run 25 instructions; once in a magazine, some dozen more and
   a compare-and-swap. A pool never gives memory back before its end. A process may have 1024 pools at a time,
   and each thread that uses any takes 64 KiB of addresses, of which 12 KiB are touched. */
#ifndef UMALLOC_POOL_H
#define UMALLOC_POOL_H

#include "umalloc.h"

UM_BEGIN

/* A pool of objects of one size. */
typedef struct um_pool um_pool;

/* What um_pool_options.flags may hold. */
typedef enum um_pool_flag {
    UM_POOL_CHECKED = 1,   /* each free is checked: an object of this pool, its start, not freed already */
    UM_POOL_CACHE_LINE = 2 /* no two objects share a cache line: align and size are multiples of it */
} um_pool_flag;

/* How a pool is to be. All but bytes may be 0. */
typedef struct um_pool_options {
    size_t bytes;           /* of an object, 1 to 256 MiB */
    size_t align;           /* of each object; 0: 16; at most 64 KiB */
    size_t max_objects;     /* never more than so many; 0: no bound */
    size_t ready_objects;   /* made at once, in memory; so many allocations make no system call */
    unsigned ready_threads; /* threads for which there are magazines at once, beside the caller */
    unsigned magazine;      /* objects in a magazine, 1 to 256; 0: up to 64, as many as have room in 64 KiB */
    unsigned sample_every;  /* one allocation in so many is timed; 0: none. Every call is slower then */
    unsigned flags;         /* of um_pool_flag */
    void (*construct)(void *object, void *context); /* NULL, or called in the thread that allocates */
    void (*destroy)(void *object, void *context);   /* NULL, or called by um_pool_delete for each object */
    void *context;                                  /* what they are given */
    um_flags place; /* where slabs come from: 0, the node of the thread that needs one; UM_LOCAL; UM_SPREAD,
                       slab by slab in turn; UM_NODE(id) */
} um_pool_options;

/* What a pool does. While other threads use it, the figures are near the truth, not of one moment. */
typedef struct um_pool_stats {
    size_t object_bytes;     /* from one object to the next */
    size_t made;             /* objects there are */
    size_t in_use;           /* of them, allocated */
    size_t cached;           /* in magazines of threads, to be had by those only */
    size_t peak;             /* the most that were out of the depot, in use or in magazines */
    size_t held_bytes;       /* memory of the pool */
    uint64_t fetched;        /* objects that magazines were filled with */
    uint64_t reused;         /* of them, objects that were freed before: the rest were made then */
    uint64_t failures;       /* allocations answered with NULL */
    uint64_t samples;        /* allocations timed */
    uint64_t sampled_ns;     /* together */
    uint64_t sampled_max_ns; /* the longest */
} um_pool_stats;

/* A new pool. NULL: ENOMEM; EINVAL, sizes, flags or a place that make no sense; EAGAIN, there are 1024
 * already. */
UM_API um_pool *um_pool_new(const um_pool_options *options) UM_NOTHROW;

/* Destroys all objects, those in use too, and gives the memory back. No other thread may use the pool now, or
   later. NULL is nothing to do. A pool that was deleted before aborts the program, unless its memory serves
   again. */
UM_API void um_pool_delete(um_pool *pool) UM_NOTHROW;

/* An object: one that was freed, as it was left, or a new one. NULL, ENOMEM: no memory, or the bound is
   reached; objects in magazines of other threads are not to be had. Never waits for another thread, but a
   pool that grows takes memory as malloc does. */
UM_API void *um_pool_alloc(um_pool *pool) UM_NOTHROW;

/* Gives an object back; NULL is not allowed. An object of another pool ends the process when its magazine is
   exchanged; so does one freed twice in a row. With UM_POOL_CHECKED any misuse ends the process at once. */
UM_API void um_pool_free(um_pool *pool, void *object) UM_NOTHROW;

/* Gets the calling thread's magazines ready, and one filled: its next calls make no system call while there
   are objects in the depot. 0, or ENOMEM. */
UM_API int um_pool_warm(um_pool *pool) UM_NOTHROW;

/* Puts the objects in the calling thread's magazines into the depot, for other threads. */
UM_API void um_pool_flush(um_pool *pool) UM_NOTHROW;

/* What the pool does now. Takes a lock that um_pool_alloc and um_pool_free do not know. */
UM_API void um_pool_read_stats(um_pool *pool, um_pool_stats *out) UM_NOTHROW;

/* Buffers of seven sizes, the powers of two from 64 bytes to 4 KiB: a pool for each. */
typedef struct um_pool_buffers um_pool_buffers;

/* Buffers aligned to 64 bytes. `options` is for each of the pools; its bytes and align are not used. NULL:
   as for um_pool_new. */
UM_API um_pool_buffers *um_pool_buffers_new(const um_pool_options *options) UM_NOTHROW;

/* Ends all of its pools; as um_pool_delete. */
UM_API void um_pool_buffers_delete(um_pool_buffers *buffers) UM_NOTHROW;

/* A buffer of at least so many bytes, up to 4096. NULL: as for um_pool_alloc; EINVAL, more than that. */
UM_API void *um_pool_buffers_get(um_pool_buffers *buffers, size_t bytes) UM_NOTHROW;

/* Gives a buffer back, of any size. Ends the process where p is no buffer of these. */
UM_API void um_pool_buffers_put(um_pool_buffers *buffers, void *p) UM_NOTHROW;

/* The pool that serves so many bytes, for its figures; NULL: none does. */
UM_API um_pool *um_pool_buffers_pool(um_pool_buffers *buffers, size_t bytes) UM_NOTHROW;

UM_END

#endif
