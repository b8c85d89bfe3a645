/* os: every system call of the library, each with its contract. Results are 0 or an errno value; errno itself
   is never changed by this layer. All functions are async-signal-safe. */
#ifndef UM_OS_H
#define UM_OS_H

#include "base/base.h"

/* const after init: bytes of an OS page, read from the auxiliary vector by um_os_init (idempotent). */
extern UM_HIDDEN size_t um_os_page_bytes;
/* const after init: RLIMIT_AS was finite at start, so address space is worth giving back. */
extern UM_HIDDEN bool um_os_space_limited;
UM_HIDDEN void um_os_init(void);

/* Calls made since the start; relaxed counters, read by the report. */
typedef struct um_os_call_counts {
    _Atomic(uint64_t) mmap_calls, munmap_calls, mremap_calls, madvise_calls;
} um_os_call_counts;
extern UM_HIDDEN um_os_call_counts um_os_calls;

/* An address where windows of `bytes` are likely free, aligned to 1 GiB; nothing is mapped. `attempt` counts
   from 0 and gives other places. */
UM_HIDDEN uintptr_t um_os_window_hint(size_t bytes, unsigned attempt);
/* Highest user address plus one, a power of two. */
UM_HIDDEN uintptr_t um_os_address_span(void);

/* Maps zeroed private read-write memory at exactly `at`; EEXIST where something is mapped there already. */
UM_HIDDEN int um_os_map_at(uintptr_t at, size_t bytes);
/* As um_os_map_at, from the pool of huge pages of 2^shift bytes, reserved there. ENOMEM: it has too few. */
UM_HIDDEN int um_os_map_pool_at(uintptr_t at, size_t bytes, unsigned shift);
/* More than all memory and swap, and the kernel would not map it as memory that counts: it judges each
   mapping by itself unless told to overcommit always (vm.overcommit_memory). It does not judge ours, whose
   addresses are used again and again. */
UM_HIDDEN bool um_os_refuses(size_t bytes);
/* Something is mapped in all of the range. */
UM_HIDDEN bool um_os_is_mapped(uintptr_t at, size_t bytes);
/* Copies within the process, without a signal where pages are missing: *done bytes; less than all: EFAULT, or
   another errno value where the kernel refuses each way to copy. */
UM_HIDDEN int um_os_copy(uintptr_t to, uintptr_t from, size_t bytes, size_t *done);
/* Whether nothing is mapped in the range now; nobody keeps it so. True where the kernel will not say: it
   refuses a range of this length for its own limits. */
UM_HIDDEN bool um_os_seems_free(uintptr_t at, size_t bytes);
/* As um_os_map_at, where the kernel chooses. */
UM_HIDDEN int um_os_map(size_t bytes, uintptr_t *out);
/* Reserves address space without access where the kernel chooses. */
UM_HIDDEN int um_os_reserve(size_t bytes, uintptr_t *out);
/* Replaces what is mapped there (the caller owns it) by zeroed private read-write memory. */
UM_HIDDEN int um_os_remap_zero(uintptr_t at, size_t bytes);
UM_HIDDEN int um_os_unmap(uintptr_t at, size_t bytes);
/* Gives the pages back. On 0 they read as zero next. EINVAL where they are locked: contents unchanged. */
UM_HIDDEN int um_os_purge(uintptr_t at, size_t bytes);
/* Puts pages into memory, where they stay (mlock). ENOMEM, EPERM: the process may not lock so much. */
UM_HIDDEN int um_os_lock(uintptr_t at, size_t bytes);
/* Takes access to pages away, or gives it back; contents stay. */
UM_HIDDEN int um_os_protect(uintptr_t at, size_t bytes, bool access);
/* Moves pages without copying; [to, to + room) is replaced, and reads as zero beyond the first `bytes`;
   [from, from + bytes) is unmapped after. Where room is larger, pages that several mappings hold do not move
   (EFAULT). */
UM_HIDDEN int um_os_move(uintptr_t from, size_t bytes, uintptr_t to, size_t room);
/* Moves pages without copying into [to, to + bytes), which is replaced; [from, from + bytes) stays mapped and
   reads as zero. Not 0: nothing was moved, but [to, to + bytes) may be unmapped; EPERM: locked in memory. */
UM_HIDDEN int um_os_pull(uintptr_t from, size_t bytes, uintptr_t to);
/* Advice only: failure is harmless. */
UM_HIDDEN void um_os_hugepage(uintptr_t at, size_t bytes, bool want);
/* Makes one huge page of the small ones there, contents kept. EINVAL: the kernel cannot (before Linux 6.1),
   or the range is exempted; else a lack of memory. */
UM_HIDDEN int um_os_collapse(uintptr_t at, size_t bytes);

/* Monotonic nanoseconds; 0 where there is no clock. */
UM_HIDDEN uint64_t um_os_now_ns(void);
/* Monotonic milliseconds (coarse, some ms), never 0. */
UM_HIDDEN uint64_t um_os_now_ms(void);
UM_HIDDEN uint32_t um_os_pid(void);
UM_HIDDEN uint32_t um_os_tid(void);
UM_HIDDEN bool um_os_secure(void); /* AT_SECURE */

/* Random bits from the kernel; where it has none yet or refuses, from the auxiliary vector and the clock. */
UM_HIDDEN uint64_t um_os_random(void);
/* Whether the eight bytes there can be read now. */
UM_HIDDEN bool um_os_readable(uintptr_t at);
/* What the program did when it met memory without access. */
typedef struct um_os_fault {
    uintptr_t address, pc, frame; /* frame: the frame pointer's register, which may hold anything */
    enum { UM_OS_ACCESS, UM_OS_READ, UM_OS_WRITE } access;
} um_os_fault;
/* Calls `handler` at each SIGSEGV; where it returns, what the signal did before happens. */
UM_HIDDEN int um_os_catch_faults(void (*handler)(const um_os_fault *fault));

/* Writes all bytes, retrying EINTR. No signal comes of it: EPIPE and EFBIG are results like others. */
UM_HIDDEN int um_os_write(int fd, const char *bytes, size_t n);
/* To stderr, with no other system call: a filter may allow no more to a program that is about to die. */
UM_HIDDEN void um_os_last_words(void *ctx, const char *bytes, size_t n);
/* To stderr: what texts (um_text_sink) flow into. There is nowhere to report an error to. */
UM_HIDDEN void um_os_to_stderr(void *ctx, const char *bytes, size_t n);
/* fd >= 0, or a negated errno value. Truncates or creates (0644), close-on-exec, never follows into a tty. */
UM_HIDDEN int um_os_create(const char *path);
/* fd >= 0, or a negated errno value. For reading, close-on-exec. */
UM_HIDDEN int um_os_open(const char *path);
/* Bytes read, 0 at the end, or a negated errno value; retries EINTR. */
UM_HIDDEN long um_os_read(int fd, char *into, size_t n);
/* Duplicate with close-on-exec and a high number; or a negated errno value. */
UM_HIDDEN int um_os_dup_high(int fd);
UM_HIDDEN void um_os_close(int fd);
/* Two ends that are joined, close-on-exec. Sending and receiving is whole or an error, EPIPE where nobody has
   the other end open any more; no signal. */
UM_HIDDEN int um_os_socket_pair(int fds[2]);
UM_HIDDEN int um_os_send(int fd, const void *from, size_t bytes);
UM_HIDDEN int um_os_receive(int fd, void *into, size_t bytes);
/* Names the file behind fd; 0 or an errno value. */
UM_HIDDEN int um_os_file_id(int fd, uint64_t id[2]);
/* Resident bytes of the process as the kernel counts them (/proc/self/statm), 0 if unreadable. */
UM_HIDDEN size_t um_os_resident(void);
/* Bytes: the tightest memory limit of the process's control groups; 0: none that can be read. */
UM_HIDDEN uint64_t um_os_memory_limit(void);
/* Base name of the program, from AT_EXECFN; never NULL. */
UM_HIDDEN const char *um_os_program(void);

/* Sleeps while *word == seen; spurious returns happen. */
UM_HIDDEN void um_os_wait(_Atomic(uint32_t) *word, uint32_t seen);
UM_HIDDEN void um_os_wake_one(_Atomic(uint32_t) *word);

/* SIGABRT, even where it is blocked or ignored. The program's handler runs first, if it has one. */
UM_HIDDEN _Noreturn void um_os_abort(void);
/* The same without the handler. */
UM_HIDDEN _Noreturn void um_os_kill(void);
UM_HIDDEN _Noreturn void um_os_exit(int status); /* exit_group: no handlers run */

#endif
