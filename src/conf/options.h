/* The options: ONE table. It generates the enum, the struct of values, the parser's range checks,
   docs/options.md and the dump of effective values with their source. */
#ifndef UM_OPTIONS_H
#define UM_OPTIONS_H

#include "base/base.h"
#include "base/text.h"
#include "conf/numa.h"

typedef enum um_stats_mode { UM_STATS_OFF, UM_STATS_TEXT, UM_STATS_JSON } um_stats_mode;
typedef enum um_hugepages_mode {
    UM_HUGEPAGES_AUTO,
    UM_HUGEPAGES_OFF,
    UM_HUGEPAGES_THP,
    UM_HUGEPAGES_ALWAYS,
    UM_HUGEPAGES_POOL_2M,
    UM_HUGEPAGES_POOL_1G
} um_hugepages_mode;

typedef enum um_harden_level { UM_HARDEN_OFF, UM_HARDEN_ON, UM_HARDEN_FULL } um_harden_level;

#define UM_OPTION_AUTO UINT64_MAX

#define UM_STATS_CHOICES     "off|text|json"
#define UM_HUGEPAGES_CHOICES "auto|off|thp|always|hugetlb:2M|hugetlb:1G"
#define UM_HARDEN_CHOICES    "off|on|full"

/* X(id, NAME, type, default, min, max, unit, stability, help)
   id: field of um_options.  NAME: the variable is UMALLOC_NAME.
   type: BOOL (0|1|on|off|yes|no|true|false), CHOICE (the min column holds the choices string, values count
   from 0 in its order), BYTES (K/M/G/T suffixes of 1024, optional trailing B or iB; case-insensitive), COUNT
   (a plain number), AUTO_BYTES (BYTES, or the word auto: UM_OPTION_AUTO), STRING (min and max are lengths,
   unit says what the text is), NUMA (the same, and um_placing_parse takes it).
   unit: for the page: bytes, ms, "" ...  stability: stable | evolving. */
#define UM_OPTION_TABLE(X)                                                                                   \
    X(stats, STATS, CHOICE, UM_STATS_OFF, UM_STATS_CHOICES, 0, "", "stable",                                 \
      "Report at exit what the allocator did, for people or as versioned JSON.")                             \
    X(stats_file, STATS_FILE, STRING, "", 1, 1023, "path", "stable",                                         \
      "Write the report to this file instead of stderr; %p is the process id, %n the program's name, %% a "  \
      "percent.")                                                                                            \
    X(stats_fork, STATS_FORK, BOOL, 0, 0, 1, "", "stable",                                                   \
      "Children of fork that did not exec report too, each only what it did itself.")                        \
    X(verbose, VERBOSE, BOOL, 0, 0, 1, "", "stable",                                                         \
      "Say on stderr at start which allocator serves and its options.")                                      \
    X(strict, STRICT, BOOL, 0, 0, 1, "", "stable",                                                           \
      "A bad option stops the program (status 2) instead of falling back.")                                  \
    X(decay_ms, DECAY_MS, COUNT, 1000, 0, 86400000, "ms", "stable",                                          \
      "Age at which freed memory goes back to the system; 0 gives it back at once.")                         \
    X(dirty_max, DIRTY_MAX, BYTES, 0, 0, 1ull << 46, "bytes", "stable",                                      \
      "Most freed memory kept for reuse whatever its age; 0 adapts it to the live peak.")                    \
    X(thread_cache, THREAD_CACHE, BYTES, 1ull << 20, 0, 1ull << 30, "bytes", "stable",                       \
      "Most empty slabs that a thread keeps for itself, and most of what it freed of other threads and has " \
      "not sent back; half as much bounds its free large spans and, for each size class in heavy use, the "  \
      "frees between two turns of its cache of blocks (twice that in a steady state).")                      \
    X(limit, LIMIT, BYTES, 0, 0, 1ull << 46, "bytes", "stable",                                              \
      "Hard limit on memory in use or kept for reuse; beyond it malloc answers NULL and ENOMEM. 0 means "    \
      "none.")                                                                                               \
    X(soft_limit, SOFT_LIMIT, AUTO_BYTES, 0, 0, 1ull << 46, "bytes", "evolving",                             \
      "Soft limit on the same: beyond it freed memory goes back to the system as soon as may be, and "       \
      "nothing "                                                                                             \
      "fails. auto is 90% of the tightest memory limit of the control groups that the program starts in. 0 " \
      "means none.")                                                                                         \
    X(harden, HARDEN, CHOICE, UM_HARDEN_OFF, UM_HARDEN_CHOICES, 0, "", "evolving",                           \
      "Serve from a hardened allocator that finds misuse and limits its harm, and costs time and memory; "   \
      "full checks most. It is fixed at the start, but for um_track_start, which turns it on.")              \
    X(track, TRACK, BOOL, 0, 0, 1, "", "evolving",                                                           \
      "Track all blocks from the start, served by the hardened allocator, and report on stderr at exit "     \
      "what is "                                                                                             \
      "still live, with stacks.")                                                                            \
    X(exclude, EXCLUDE, STRING, "", 1, 1023, "names", "stable",                                              \
      "Programs, by the last part of their path or of argv[0], separated by commas, in which umalloc steps " \
      "aside: the "                                                                                          \
      "next allocator serves them, as a rule libc's.")                                                       \
    X(hugepages, HUGEPAGES, CHOICE, UM_HUGEPAGES_AUTO, UM_HUGEPAGES_CHOICES, 0, "", "evolving",              \
      "Huge pages: auto asks for transparent ones once 32 MiB are in use in small blocks or 512 MiB in "     \
      "all, off never, thp from the start where that costs small programs nothing, always from the first "   \
      "byte on. hugetlb takes pages from the system's pool of that size, of the node that memory belongs "   \
      "on, and ordinary ones once it is empty there.")                                                       \
    X(numa, NUMA, NUMA, "local", 1, UM_PLACING_TEXT_MAX, "policy", "evolving",                               \
      "Which NUMA nodes memory comes from: that of the thread (local), only that (local-strict), only "      \
      "those named (bind) or first (prefer), page by page in turn (interleave, weighted), span by span in "  \
      "turn "                                                                                                \
      "(round-robin), or as the kernel likes (none).")                                                       \
    X(numa_strict, NUMA_STRICT, BOOL, 0, 0, 1, "", "evolving",                                               \
      "A NUMA policy that cannot be had stops the program (status 2) instead of degrading.")                 \
    X(prefault, PREFAULT, BYTES, 0, 0, 1ull << 46, "bytes", "evolving",                                      \
      "Memory to put into place at the start and never to give back: a program that needs no more meets no " \
      "page fault and no system call in malloc and free after its warm-up. With hugetlb it comes from the "  \
      "pool. On several nodes each has so much, once a thread runs there; where nodes take turns, its "      \
      "share. "                                                                                              \
      "What the system cannot give, or UMALLOC_LIMIT does not allow, is left out, which one line tells. "    \
      "The hardened allocator does not "                                                                     \
      "promise it.")                                                                                         \
    X(prefault_thread, PREFAULT_THREAD, BYTES, 0, 0, 1ull << 40, "bytes", "evolving",                        \
      "So much more for each thread that is alive at the same time, put into place at its first call.")      \
    X(lock, LOCK, BOOL, 0, 0, 1, "", "evolving",                                                             \
      "Lock all memory of the allocator (mlock): it is never swapped out and never given back. What "        \
      "RLIMIT_MEMLOCK refuses is put into place and kept, but not locked: one line tells, the report how "   \
      "much.")

/* Those that a program may change while it runs: X(id). No texts. */
#define UM_OPTIONS_LIVE(X)                                                                                   \
    X(stats) X(stats_fork) X(decay_ms) X(dirty_max) X(thread_cache) X(limit) X(soft_limit)

/* UMALLOC_LIB is the path of the library, for scripts that preload it. Not an option: neither read nor
   complained about. */
#define UM_NAME_OF_SCRIPTS "LIB"

#define UM_TYPE_BOOL       bool
#define UM_TYPE_CHOICE     int
#define UM_TYPE_BYTES      uint64_t
#define UM_TYPE_AUTO_BYTES uint64_t
#define UM_TYPE_COUNT      uint64_t
#define UM_TYPE_STRING     const char *
#define UM_TYPE_NUMA       const char *

typedef struct um_options {
#define X(id, NAME, type, def, min, max, unit, stability, help) UM_TYPE_##type id;
    UM_OPTION_TABLE(X)
#undef X
} um_options;

/* Whether an entry of the environment is ours to look at. Spelt out, so that a program that sets no option
   touches no page of our constants. */
UM_INLINE bool um_option_begins(const char *s) {
    return s[0] == 'U' && s[1] == 'M' && s[2] == 'A' && s[3] == 'L' && s[4] == 'L' && s[5] == 'O' &&
           s[6] == 'C' && s[7] == '_';
}

/* Holds the defaults until um_options_load ran; const after that, but for those of UM_OPTIONS_LIVE. */
extern UM_HIDDEN um_options um_option;

/* Reads UMALLOC_* from envp (nothing of it is referenced after). Each bad value, and each unknown UMALLOC_
   name, is one line in `complaints`: variable, value, accepted forms, fallback used (or the nearest name).
   Returns how many there were. */
UM_HIDDEN unsigned um_options_load(char *const *envp, um_text *complaints);
/* The value of this field of um_option came from the environment. */
UM_HIDDEN bool um_option_given(const void *field);
/* The environment had a value for it that is not accepted. */
UM_HIDDEN bool um_option_refused(const void *field);
/* Options one by one, by the number that um_option_find gives: for programs that ask at run time. One thread
   at a time. */
#define UM_OPTION_NONE (~0u)
/* By NAME or UMALLOC_NAME, whatever the case; UM_OPTION_NONE: there is none. */
UM_HIDDEN unsigned um_option_find(const char *name);
UM_HIDDEN bool um_option_is_live(unsigned option);
/* Of a live option; false, and no change, if it does not accept the value. */
UM_HIDDEN bool um_option_assign(unsigned option, const char *value);
/* The value in a form that it accepts; what it accepts. */
UM_HIDDEN void um_option_say(unsigned option, um_text *t);
UM_HIDDEN void um_option_say_accepted(unsigned option, um_text *t);
/* The effective values with their source (default or environment), as text lines or as the members of a JSON
 * object. */
UM_HIDDEN void um_options_dump_text(um_text *t);
UM_HIDDEN void um_options_dump_json(um_text *t);

#endif
