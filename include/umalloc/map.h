/* map: files and shared memory as memory.

       um_map *m = um_map_file("table.bin", UM_MAP_READ);       int fd = um_map_fd(um_map_shared(1 << 20, 0));
       const char *p = um_map_base(m);  size_t n = um_map_bytes(m);      give fd to another process,
       ... read p[0] to p[n - 1], nothing is copied ...                  which calls um_map_fd_open(fd, ...)
       um_map_close(m);

   A map is of a whole file or of a range of it, for reading, for writing, or copy-on-write. Shared memory is
   a file without a name (memfd) or with one (in /dev/shm); both may lie in huge pages. Views are further maps
   of the same file.

   What truncation does: if the file gets shorter than the map, by whomever, memory behind its end is gone,
   and touching it there is SIGBUS, as it is where the disk fails. So no function of this family touches
   mapped memory by itself: um_map_read and um_map_write are system calls that copy and tell with an errno
   value, and um_map_recheck tells how much of the map is still backed. A memfd that um_map_seal sealed cannot
   shrink. Memory behind the last whole page's end of file reads as zero, and what is written there is lost.

   A range that does not lie in its map is EINVAL, but for um_map_read and um_map_write, which stop at its
   end. What is no map ends the process with one line, and so does NULL but for um_map_close.

   One thread at a time may change a map (resize, close), while no other uses it; everything else may be
   called by any thread at any time. Maps are inherited over fork. They are the system's memory, not the
   allocator's: they do not count against UMALLOC_LIMIT, nor do the pages of a UM_MAP_COPY that were written
   to. */
#ifndef UMALLOC_MAP_H
#define UMALLOC_MAP_H

#include <umalloc/common.h>

UM_BEGIN

/* A map. */
typedef struct um_map um_map;

/* How a map may be used; one of the first three, with any of the others. */
typedef enum um_map_mode {
    UM_MAP_READ = 0,     /* read only; a write is SIGSEGV */
    UM_MAP_WRITE = 1,    /* writes go to the file and are seen by all other maps of it */
    UM_MAP_COPY = 2,     /* writes are seen by this map alone and go nowhere */
    UM_MAP_CREATE = 4,   /* with WRITE: makes the file where there is none (mode 0600) */
    UM_MAP_PREFAULT = 8, /* all pages are there from the start, as far as memory allows */
    UM_MAP_HUGE_2M =
        16,             /* shared memory: of the pool of 2 MiB pages, if it has enough, else ordinary pages */
    UM_MAP_HUGE_1G = 32 /* the same with 1 GiB pages */
} um_map_mode;

/* Maps a whole file. An empty one is a map of 0 bytes, which may grow (um_map_resize). NULL: errno says why,
   as from open and mmap (ENOENT, EACCES, EISDIR, ENODEV, ENOMEM ...); EINVAL: modes that do not go together.
 */
UM_API um_map *um_map_file(const char *path, int mode) UM_NOTHROW;

/* Maps `bytes` of an open file from `offset`, a multiple of the page size, on; bytes 0: to its end. The map
   keeps a descriptor of its own. NULL: as above; EOVERFLOW: the range reaches beyond the end of the file. */
UM_API um_map *um_map_fd_open(int fd, uint64_t offset, size_t bytes, int mode) UM_NOTHROW;

/* Shared memory without a name: `bytes` that read as zero, writable. Other processes get it by the descriptor
   (um_map_fd), or over fork. mode: UM_MAP_PREFAULT and the huge pages, or 0. */
UM_API um_map *um_map_shared(size_t bytes, int mode) UM_NOTHROW;

/* Shared memory with a name, "/NAME" without a further slash. With UM_MAP_CREATE it is made, or made longer,
   if need be; else it must be there (ENOENT), and bytes 0 maps all of it. It lasts until um_map_remove. */
UM_API um_map *um_map_named(const char *name, size_t bytes, int mode) UM_NOTHROW;

/* Takes the name away; maps of it stay. False: errno says why. */
UM_API bool um_map_remove(const char *name) UM_NOTHROW;

/* A further map of the same file, a range of what m maps: from `offset`, a multiple of the page size, `bytes`
   long. It lives on when m is closed. mode: READ, WRITE (if m may, else EACCES) or COPY. bytes 0 is EINVAL.
 */
UM_API um_map *um_map_view(const um_map *m, size_t offset, size_t bytes, int mode) UM_NOTHROW;

/* Unmaps; what was written is in the file for all to see, and reaches the disk in time (um_map_flush to be
   sure). NULL is ignored. */
UM_API void um_map_close(um_map *m) UM_NOTHROW;

/* The first byte, at a multiple of the page size; NULL for a map of 0 bytes. */
UM_API void *um_map_base(const um_map *m) UM_NOTHROW;

/* Bytes of the map. */
UM_API size_t um_map_bytes(const um_map *m) UM_NOTHROW;

/* The map's descriptor, which stays the map's. */
UM_API int um_map_fd(const um_map *m) UM_NOTHROW;

/* Size of the pages it lies in: that of the system, or of huge pages. */
UM_API size_t um_map_page(const um_map *m) UM_NOTHROW;

/* What the program is about to do with a range. */
typedef enum um_map_advice {
    UM_MAP_NORMAL,     /* nothing special */
    UM_MAP_SEQUENTIAL, /* from front to back: reads ahead more */
    UM_MAP_RANDOM,     /* here and there: does not read ahead */
    UM_MAP_WILLNEED,   /* soon: begins to read now and does not wait */
    UM_MAP_DONTNEED,   /* not soon: takes the pages out of the map; of COPY, what was written is lost */
    UM_MAP_HUGEPAGE    /* transparent huge pages are welcome, where the file's system has them */
} um_map_advice;

/* Gives the advice for `bytes` from `offset`, a multiple of the page size, on. False: errno says why (EINVAL:
   the kernel has no such advice for this file). */
UM_API bool um_map_advise(const um_map *m, size_t offset, size_t bytes, um_map_advice advice) UM_NOTHROW;

/* Puts all pages of the range into memory now, for writing where the map is writable. False: EFAULT: some are
   behind the end of the file, which is an error here, not SIGBUS; ENOMEM. */
UM_API bool um_map_prefault(const um_map *m, size_t offset, size_t bytes) UM_NOTHROW;

/* Keeps the range in memory (mlock) or lets it go again. False: ENOMEM, EPERM: RLIMIT_MEMLOCK; EAGAIN: some
 * could not be read. */
UM_API bool um_map_lock(const um_map *m, size_t offset, size_t bytes, bool locked) UM_NOTHROW;

/* Waits until what was written in the range is on the disk. False: EIO and others: not all is. */
UM_API bool um_map_flush(const um_map *m, size_t offset, size_t bytes) UM_NOTHROW;

/* Makes the map `bytes` long, and of WRITE the file too: longer if it must be; shorter if the map is of the
   whole file, which is no view and not sealed. The map may move: addresses in it are void afterwards. Of READ
   and COPY, the file must have as many. False: errno says why, nothing changed. */
UM_API bool um_map_resize(um_map *m, size_t bytes) UM_NOTHROW;

/* How many bytes from the map's start are backed by the file now; less than um_map_bytes: it was truncated,
   and the memory behind is SIGBUS. Another process may truncate it right after. */
UM_API size_t um_map_recheck(const um_map *m) UM_NOTHROW;

/* Forbids everybody to make the file shorter or, if `fixed`, longer, from now on. For shared memory without a
   name. False: EPERM, EINVAL: the file knows no seals. */
UM_API bool um_map_seal(const um_map *m, bool fixed) UM_NOTHROW;

/* Copies out of the map, without SIGBUS. The number of bytes copied; less than `bytes`: the rest is behind
   the end of the map (errno unchanged) or of the file (EFAULT), or could not be read (EFAULT). Where a filter
   of system calls forbids process_vm_writev, a pipe serves, which needs two descriptors for the moment; with
   neither, nothing is copied and errno says why (EMFILE, EPERM). */
UM_API size_t um_map_read(const um_map *m, size_t offset, void *to, size_t bytes) UM_NOTHROW;

/* The same into the map. Of a map for reading: 0 and EACCES. */
UM_API size_t um_map_write(const um_map *m, size_t offset, const void *from, size_t bytes) UM_NOTHROW;

UM_END

#endif
