/* A system that fails by plan. The functions of src/os that can fail are wrapped by the linker (-Wl,--wrap,
   see test/meson.build), so the shipped library knows nothing of this. A wrapped call that the plan names
   fails before it does anything, as the kernel's refusals do. The clock is the plan's too: it stands still
   until it is moved. */
#ifndef UM_TEST_OS_FAULTS_H
#define UM_TEST_OS_FAULTS_H

#include "os/fence.h"
#include "os/guard.h"
#include "os/map.h"
#include "os/numa.h"
#include "os/os.h"
#include "os/pagemap.h"

/* X(function, its type, parameters, arguments, result from an errno value): all that return one, or its
   negation. test/rules/check_faults.py compares the list with src/os. */
#define OS_FAULT_POINTS(X)                                                                                   \
    X(um_os_map_at, int, (uintptr_t a, size_t n), (a, n), +)                                                 \
    X(um_os_map_pool_at, int, (uintptr_t a, size_t n, unsigned shift), (a, n, shift), +)                     \
    X(um_os_copy, int, (uintptr_t to, uintptr_t from, size_t n, size_t * done), (to, from, n, done), +)      \
    X(um_os_pull, int, (uintptr_t from, size_t n, uintptr_t to), (from, n, to), +)                           \
    X(um_os_socket_pair, int, (int fds[2]), (fds), +)                                                        \
    X(um_os_send, int, (int fd, const void *from, size_t n), (fd, from, n), +)                               \
    X(um_os_receive, int, (int fd, void *into, size_t n), (fd, into, n), +)                                  \
    X(um_os_huge_bytes, int, (uintptr_t a, size_t n, uint64_t * out), (a, n, out), +)                        \
    X(um_os_map, int, (size_t n, uintptr_t * out), (n, out), +)                                              \
    X(um_os_reserve, int, (size_t n, uintptr_t * out), (n, out), +)                                          \
    X(um_os_remap_zero, int, (uintptr_t a, size_t n), (a, n), +)                                             \
    X(um_os_unmap, int, (uintptr_t a, size_t n), (a, n), +)                                                  \
    X(um_os_protect, int, (uintptr_t a, size_t n, bool access), (a, n, access), +)                           \
    X(um_os_catch_faults, int, (void (*handler)(const um_os_fault *fault)), (handler), +)                    \
    X(um_os_purge, int, (uintptr_t a, size_t n), (a, n), +)                                                  \
    X(um_os_collapse, int, (uintptr_t a, size_t n), (a, n), +)                                               \
    X(um_os_lock, int, (uintptr_t a, size_t n), (a, n), +)                                                   \
    X(um_os_move, int, (uintptr_t from, size_t n, uintptr_t to, size_t room), (from, n, to, room), +)        \
    X(um_os_write, int, (int fd, const char *bytes, size_t n), (fd, bytes, n), +)                            \
    X(um_os_create, int, (const char *path), (path), -)                                                      \
    X(um_os_open, int, (const char *path), (path), -)                                                        \
    X(um_os_read, long, (int fd, char *into, size_t n), (fd, into, n), -)                                    \
    X(um_os_dup_high, int, (int fd), (fd), -)                                                                \
    X(um_os_file_id, int, (int fd, uint64_t id[2]), (fd, id), +)                                             \
    X(um_os_nodes_allowed, int, (um_node_set * out), (out), +)                                               \
    X(um_os_task_policy, int, (int *mode), (mode), +)                                                        \
    X(um_os_policy, int, (uintptr_t a, size_t n, int mode, const um_node_set *nodes, unsigned flags),        \
      (a, n, mode, nodes, flags), +)                                                                         \
    X(um_os_home_node, int, (uintptr_t a, size_t n, unsigned node), (a, n, node), +)                         \
    X(um_os_populate, int, (uintptr_t a, size_t n), (a, n), +)                                               \
    X(um_os_page_nodes, int, (uintptr_t a, size_t pages, int *node_of), (a, pages, node_of), +)              \
    X(um_os_nodes_of, int, (const uintptr_t *a, size_t pages, int *node_of), (a, pages, node_of), +)         \
    X(um_os_move_pages, int, (uintptr_t a, size_t pages, unsigned node, um_os_moved *out),                   \
      (a, pages, node, out), +)                                                                              \
    X(um_os_fence_join, int, (void), (), +)                                                                  \
    X(um_os_fence_all, int, (void), (), +)                                                                   \
    X(um_os_guard, int, (uintptr_t a, size_t n, bool guarded), (a, n, guarded), +)                           \
    X(um_os_in_core, int, (uintptr_t a, size_t pages, unsigned char *in_core), (a, pages, in_core), +)       \
    X(um_os_file_open, int, (const char *path, um_os_file_mode mode, bool plain), (path, mode, plain), -)    \
    X(um_os_file_remove, int, (const char *path), (path), +)                                                 \
    X(um_os_memfd, int, (unsigned shift), (shift), -)                                                        \
    X(um_os_file_bytes, int, (int fd, uint64_t *out), (fd, out), +)                                          \
    X(um_os_file_cut, int, (int fd, uint64_t bytes), (fd, bytes), +)                                         \
    X(um_os_file_seal, int, (int fd, bool fixed), (fd, fixed), +)                                            \
    X(um_os_file_map_in, int, (int fd, uint64_t offset, size_t n, um_os_file_map how, uintptr_t *out),       \
      (fd, offset, n, how, out), +)                                                                          \
    X(um_os_file_map_resize, int, (uintptr_t a, size_t n, size_t new_n, uintptr_t * out),                    \
      (a, n, new_n, out), +)                                                                                 \
    X(um_os_advise, int, (uintptr_t a, size_t n, um_os_advice advice), (a, n, advice), +)                    \
    X(um_os_file_prefault, int, (uintptr_t a, size_t n, bool write), (a, n, write), +)                       \
    X(um_os_unlock, int, (uintptr_t a, size_t n), (a, n), +)                                                 \
    X(um_os_file_flush, int, (uintptr_t a, size_t n), (a, n), +)

enum os_fault_point {
#define X(name, type, parameters, arguments, sign) OS_FAULT_AT_##name,
    OS_FAULT_POINTS(X)
#undef X
        OS_FAULT_POINT_COUNT
};

/* Calls to the points in `points` (a bit each) are counted from 0; those from `first` on, `count` of them,
   fail with `error`. count 0: nothing fails, but calls are counted still. */
struct os_fault_plan {
    uint64_t points;
    uint64_t first, count;
    int error;
};
#define OS_FAULT_EVERYWHERE (((uint64_t)1 << OS_FAULT_POINT_COUNT) - 1)

/* Not while other threads are inside of the library. */
void os_faults_set(struct os_fault_plan plan);
/* Since the plan was set: calls to its points, and how many failed. */
uint64_t os_faults_calls(void);
uint64_t os_faults_failed(void);
/* The most that any plan so far made fail one after the other. */
uint64_t os_faults_in_a_row(void);
const char *os_fault_point_name(unsigned point);
void os_clock_advance(uint64_t ms);

#endif
