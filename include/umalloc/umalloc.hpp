/* umalloc.hpp: the families for C++17, header-only.

   Containers are the standard library's, or Boost's; this makes them allocate from umalloc: `um::allocator`
   is a template argument, the resources are for std::pmr. The rest are guards, whose destructors end what
   their constructors began. What fails for lack of memory (ENOMEM) throws std::bad_alloc. What fails for
   another reason, such as options that make no sense, throws std::system_error with the errno value. Where
   exceptions are off, both abort. Nothing here may be copied unless it says so, and threads may use it as
   they may the family underneath.

       std::vector<float, um::allocator<float, UM_ALIGN(64)>> column;

       um::arena frame;
       std::pmr::vector<event> events(&frame);

       {
           um::epoch_guard reading;
           use(head.load());
       }
       um::retire(unlinked);

       um::pool<order> orders;
       auto o = orders.make(side, price);

       um::map table = um::map::file("table.bin");
       um::numa_policy prefer_1("prefer:1");
       um::numa_scope near(prefer_1);

   Costs nothing beyond the C functions: what is not a template is inline. */
#ifndef UMALLOC_HPP
#define UMALLOC_HPP

#include <umalloc/arena.h>
#include <umalloc/buddy.h>
#include <umalloc/heap.h>
#include <umalloc/map.h>
#include <umalloc/numa.h>
#include <umalloc/pool.h>
#include <umalloc/reclaim.h>
#include <umalloc/stack.h>
#include <umalloc/track.h>
#include <umalloc/umalloc.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <memory>
#include <memory_resource>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

namespace um {

/* Private. */
namespace detail {

[[noreturn]] inline void no_memory() {
#ifdef __cpp_exceptions
    throw std::bad_alloc();
#else
    std::abort();
#endif
}

/* errno says what was missing. */
[[noreturn]] inline void failed() {
#ifdef __cpp_exceptions
    if (errno != ENOMEM)
        throw std::system_error(errno, std::generic_category());
#endif
    no_memory();
}

template <class P> P *checked(P *p) {
    if (!p)
        failed();
    return p;
}

/* The flags, with the larger of their alignment and the one that is needed. */
constexpr um_flags aligned(um_flags flags, std::size_t align) {
    um_flags log2 = 0;
    while ((std::size_t{1} << log2) < align)
        log2++;
    return (flags & 63) >= log2 || log2 <= 4 ? flags : (flags & ~um_flags{63}) | log2;
}

/* Ends what a C function made. */
template <auto End> struct ends {
    template <class T> void operator()(T *own) const noexcept {
        End(own);
    }
};
template <class T, auto End> using owned = std::unique_ptr<T, ends<End>>;

/* What the resources have in common: they stay where they are, and equal themselves alone. */
class resource : public std::pmr::memory_resource {
  public:
    resource() noexcept = default;
    resource(const resource &) = delete;
    resource &operator=(const resource &) = delete;

  private:
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
        return this == &other;
    }
};

} // namespace detail

/* An allocator for containers: blocks of um_malloc with these flags, aligned for T or as the flags say. All
   with the same flags are equal, whatever their T: containers move and swap without a copy. A block may be
   given to free(). */
template <class T, um_flags Flags = 0> class allocator {
  public:
    using value_type = T;
    using propagate_on_container_move_assignment = std::true_type;
    using is_always_equal = std::true_type;
    template <class U> struct rebind { using other = allocator<U, Flags>; };

    constexpr allocator() noexcept = default;
    template <class U> constexpr allocator(const allocator<U, Flags> &) noexcept {}

    [[nodiscard]] T *allocate(std::size_t n) {
        if (n > std::numeric_limits<std::size_t>::max() / sizeof(T))
            detail::no_memory();
        return static_cast<T *>(detail::checked(um_malloc(n * sizeof(T), flags)));
    }
    void deallocate(T *p, std::size_t n) noexcept {
        um_free_sized(p, n * sizeof(T), flags);
    }

  private:
    static constexpr um_flags flags = detail::aligned(Flags, alignof(T));
};

/* Private: always. */
template <class T, class U, um_flags Flags>
constexpr bool operator==(const allocator<T, Flags> &, const allocator<U, Flags> &) noexcept {
    return true;
}

/* Private: never. */
template <class T, class U, um_flags Flags>
constexpr bool operator!=(const allocator<T, Flags> &, const allocator<U, Flags> &) noexcept {
    return false;
}

/* A memory resource over um_malloc, with flags that may be chosen at run time: a node, zeroes, huge pages.
   Any thread. Holds nothing, so it may end before its blocks do. */
class malloc_resource final : public detail::resource {
  public:
    explicit malloc_resource(um_flags flags = 0) noexcept : flags_(flags) {}

  private:
    void *do_allocate(std::size_t bytes, std::size_t align) override {
        return detail::checked(um_malloc(bytes, detail::aligned(flags_, align)));
    }
    void do_deallocate(void *p, std::size_t bytes, std::size_t align) override {
        um_free_sized(p, bytes, detail::aligned(flags_, align));
    }

    um_flags flags_;
};

/* A heap that ends with the object, and with it all blocks, as a memory resource. Which threads may use it,
   its kind says; blocks go back by the thread that may use it then. */
class heap final : public detail::resource {
  public:
    explicit heap(um_heap_kind kind = UM_HEAP_ONE_THREAD, um_flags place = 0)
        : own_(detail::checked(um_heap_create(kind, place))) {}
    /* The heap, for the functions of heap.h. */
    um_heap *get() const noexcept {
        return own_.get();
    }
    /* Frees all blocks; no container may use one any more. */
    void reset() noexcept {
        um_heap_reset(get());
    }

  private:
    void *do_allocate(std::size_t bytes, std::size_t align) override {
        return detail::checked(align <= 16 ? um_heap_malloc(get(), bytes)
                                           : um_heap_alloc(get(), bytes, detail::aligned(0, align)));
    }
    void do_deallocate(void *p, std::size_t, std::size_t) override {
        um_heap_free(get(), p);
    }

    detail::owned<um_heap, um_heap_destroy> own_;
};

/* A memory resource over an arena that somebody else owns, such as one of um_arena_scratch: one thread at a
   time. Its blocks go when the arena drops them; what a container gives back before is used again only where
   the arena is one with UM_ARENA_REUSE, and `reuse` says so. */
class arena_resource : public detail::resource {
  public:
    explicit arena_resource(um_arena *arena, bool reuse = false) noexcept : arena_(arena), reuse_(reuse) {}
    /* The arena, for the functions of arena.h. */
    um_arena *get() const noexcept {
        return arena_;
    }
    /* A new object in the arena, whose destructor nobody runs: so it must have none that does anything. */
    template <class T, class... Args> T *make(Args &&...args) {
        static_assert(std::is_trivially_destructible_v<T>, "an arena runs no destructors");
        return new (allocate(sizeof(T), alignof(T))) T(std::forward<Args>(args)...);
    }

  private:
    void *do_allocate(std::size_t bytes, std::size_t align) override {
        return detail::checked(align <= 16 ? um_arena_alloc(arena_, bytes)
                                           : um_arena_alloc_aligned(arena_, bytes, align));
    }
    void do_deallocate(void *p, std::size_t bytes, std::size_t) override {
        if (reuse_)
            um_arena_free(arena_, p, bytes);
    }

    um_arena *arena_;
    bool reuse_;
};

/* An arena that ends with the object, as a memory resource: one thread at a time. */
class arena final : public arena_resource {
  public:
    explicit arena(const um_arena_options &options = {})
        : arena_resource(detail::checked(um_arena_new(&options)), options.flags & UM_ARENA_REUSE) {}
    ~arena() override {
        um_arena_delete(get());
    }
    /* Drops all blocks; no container may use one any more. */
    void reset() noexcept {
        um_arena_reset(get());
    }
};

/* What the arena gives within the life of this object is dropped at its end. Scopes nest. */
class arena_scope {
  public:
    explicit arena_scope(um_arena *arena) noexcept : arena_(arena), mark_(um_arena_save(arena)) {}
    explicit arena_scope(const arena_resource &arena) noexcept : arena_scope(arena.get()) {}
    ~arena_scope() {
        um_arena_rewind(arena_, mark_);
    }
    arena_scope(const arena_scope &) = delete;
    arena_scope &operator=(const arena_scope &) = delete;

  private:
    um_arena *arena_;
    um_arena_mark mark_;
};

/* One of the thread's scratch arenas as a memory resource; what it gave is dropped at the end. `other` is an
   arena that the caller was given for its result: the scratch arena is not that one. For one function call,
   on one thread. */
class scratch final : public arena_resource {
  public:
    explicit scratch(const um_arena *other = nullptr)
        : arena_resource(detail::checked(um_arena_scratch(other))), scope_(get()) {}

  private:
    arena_scope scope_;
};

/* A pool of objects of one type. Unlike in C each is constructed when it is taken and destroyed when it is
   given back: the pool's memory is what is used again. Any thread; all objects must be back before the pool
   ends. */
template <class T> class pool {
  public:
    /* Gives an object back to its pool. */
    class giver {
      public:
        explicit giver(um_pool *to = nullptr) noexcept : to_(to) {}
        void operator()(T *object) const noexcept {
            object->~T();
            um_pool_free(to_, object);
        }

      private:
        um_pool *to_;
    };
    /* Owns an object, and gives it back at its end. */
    using ptr = std::unique_ptr<T, giver>;

    /* The members bytes, construct and destroy are not used, and align is at least the type's. */
    explicit pool(um_pool_options options = {}) : own_(detail::checked(um_pool_new(&fitted(options)))) {}
    /* A new object. Throws std::bad_alloc where the pool can give none, or what its constructor throws. */
    template <class... Args> ptr make(Args &&...args) {
        std::unique_ptr<void, raw> room(detail::checked(um_pool_alloc(get())), raw{get()});
        T *object = new (room.get()) T(std::forward<Args>(args)...);
        room.release();
        return ptr(object, giver(get()));
    }
    /* The pool, for the functions of pool.h. */
    um_pool *get() const noexcept {
        return own_.get();
    }

  private:
    struct raw {
        um_pool *to;
        void operator()(void *room) const noexcept {
            um_pool_free(to, room);
        }
    };
    static um_pool_options &fitted(um_pool_options &options) {
        options.bytes = sizeof(T);
        options.align = options.align > alignof(T) ? options.align : alignof(T);
        options.construct = options.destroy = nullptr;
        return options;
    }

    detail::owned<um_pool, um_pool_delete> own_;
};

/* A memory resource over buffers of seven sizes up to 4 KiB (um_pool_buffers); what is larger, or aligned to
   more than a cache line of 64 bytes, comes from um_malloc. Any thread. Buffers end with the resource. */
class pool_resource final : public detail::resource {
  public:
    explicit pool_resource(const um_pool_options &options = {})
        : own_(detail::checked(um_pool_buffers_new(&options))) {}
    /* The buffers, for the functions of pool.h. */
    um_pool_buffers *get() const noexcept {
        return own_.get();
    }

  private:
    static bool fits(std::size_t bytes, std::size_t align) {
        return bytes <= 4096 && align <= 64;
    }
    void *do_allocate(std::size_t bytes, std::size_t align) override {
        return detail::checked(fits(bytes, align) ? um_pool_buffers_get(get(), bytes)
                                                  : um_malloc(bytes, detail::aligned(0, align)));
    }
    void do_deallocate(void *p, std::size_t bytes, std::size_t align) override {
        if (fits(bytes, align))
            um_pool_buffers_put(get(), p);
        else
            um_free_sized(p, bytes, detail::aligned(0, align));
    }

    detail::owned<um_pool_buffers, um_pool_buffers_delete> own_;
};

/* A buddy region that ends with the object, as a memory resource: one thread at a time. A block takes the
   next power of two of its size or its alignment; more alignment than the region has throws std::bad_alloc.
 */
class buddy final : public detail::resource {
  public:
    explicit buddy(const um_buddy_options &options) : own_(detail::checked(um_buddy_new(&options))) {}
    /* The region, for the functions of buddy.h. */
    um_buddy *get() const noexcept {
        return own_.get();
    }
    /* Makes all of it free; no container may use a block any more. */
    void reset() noexcept {
        um_buddy_reset(get());
    }

  private:
    void *do_allocate(std::size_t bytes, std::size_t align) override {
        void *p = detail::checked(um_buddy_alloc(get(), bytes > align ? bytes : align));
        if (reinterpret_cast<std::uintptr_t>(p) & (align - 1)) {
            um_buddy_free(get(), p);
            detail::no_memory();
        }
        return p;
    }
    void do_deallocate(void *p, std::size_t, std::size_t) override {
        um_buddy_free(get(), p);
    }

    detail::owned<um_buddy, um_buddy_delete> own_;
};

/* A stack for a fiber, given back with the object, on which nothing may run then. Moves; a moved-from one has
   none. */
class stack {
  public:
    /* At least so many bytes, on the node that `place` names (um_stack_take_at). */
    explicit stack(std::size_t bytes, um_flags place = 0)
        : own_(detail::checked(um_stack_take_at(bytes, place))) {}
    /* The stack, for the functions of stack.h. */
    um_stack *get() const noexcept {
        return own_.get();
    }
    /* Its lowest address. */
    void *base() const noexcept {
        return um_stack_base(get());
    }
    /* The address behind its highest byte, where a stack that grows down begins. */
    void *top() const noexcept {
        return static_cast<char *>(base()) + bytes();
    }
    /* Its bytes, at least those asked for. */
    std::size_t bytes() const noexcept {
        return um_stack_bytes(get());
    }

  private:
    detail::owned<um_stack, um_stack_give> own_;
};

/* A mapped file, or shared memory, that is unmapped with the object. Moves; a moved-from one has none. */
class map {
  public:
    /* Owns a map that a function of map.h gave; NULL throws what errno says. */
    explicit map(um_map *m) : own_(detail::checked(m)) {}
    /* A whole file: um_map_file. */
    static map file(const char *path, int mode = UM_MAP_READ) {
        return map(um_map_file(path, mode));
    }
    /* Shared memory without a name: um_map_shared. */
    static map shared(std::size_t bytes, int mode = 0) {
        return map(um_map_shared(bytes, mode));
    }
    /* Shared memory with a name: um_map_named. */
    static map named(const char *name, std::size_t bytes, int mode) {
        return map(um_map_named(name, bytes, mode));
    }
    /* A further map of a range of it: um_map_view. */
    map view(std::size_t offset, std::size_t bytes, int mode = UM_MAP_READ) const {
        return map(um_map_view(get(), offset, bytes, mode));
    }
    /* Makes it so many bytes long; addresses in it are void afterwards. Throws what errno says. */
    void resize(std::size_t bytes) {
        if (!um_map_resize(get(), bytes))
            detail::failed();
    }
    /* The map, for the functions of map.h. */
    um_map *get() const noexcept {
        return own_.get();
    }
    /* Its first byte; nullptr if it has none. */
    char *data() const noexcept {
        return static_cast<char *>(um_map_base(get()));
    }
    /* Its bytes. */
    std::size_t size() const noexcept {
        return um_map_bytes(get());
    }
    /* So many T have room in it. */
    template <class T> std::size_t count() const noexcept {
        return size() / sizeof(T);
    }
    /* It as an array of T; for types that are their bytes. */
    template <class T> T *as() const noexcept {
        static_assert(std::is_trivially_copyable_v<T>, "a file has bytes alone");
        return reinterpret_cast<T *>(data());
    }

  private:
    detail::owned<um_map, um_map_close> own_;
};

/* A policy from its text (um_numa_policy_new), deleted with the object: no scope may use it any more then.
   Any thread. */
class numa_policy {
  public:
    explicit numa_policy(const char *text) : own_(detail::checked(um_numa_policy_new(text))) {}
    /* The policy, for the functions of numa.h. */
    um_numa_policy *get() const noexcept {
        return own_.get();
    }

  private:
    detail::owned<um_numa_policy, um_numa_policy_delete> own_;
};

/* The policy is the thread's default (um_numa_use) as long as the object lives; then what was it before is it
   again. Scopes nest. For one thread; the policy lives longer. */
class numa_scope {
  public:
    /* NULL: local. */
    explicit numa_scope(um_numa_policy *policy) : before_(um_numa_used()) {
        if (um_numa_use(policy))
            detail::failed();
    }
    explicit numa_scope(const numa_policy &policy) : numa_scope(policy.get()) {}
    numa_scope(const numa_policy &&) = delete;
    ~numa_scope() {
        um_numa_use(before_);
    }
    numa_scope(const numa_scope &) = delete;
    numa_scope &operator=(const numa_scope &) = delete;

  private:
    um_numa_policy *before_;
};

/* A memory resource over um_numa_alloc: units of 64 KiB, so for tables, and as what another resource takes
   its memory from. Any thread. Holds nothing but the policy, which lives longer; without one, the default of
   the thread that allocates. */
class numa_resource final : public detail::resource {
  public:
    explicit numa_resource(um_numa_policy *policy = nullptr) noexcept : policy_(policy) {}

  private:
    void *do_allocate(std::size_t bytes, std::size_t align) override {
        return detail::checked(um_numa_alloc_aligned(policy_, align, bytes));
    }
    void do_deallocate(void *p, std::size_t, std::size_t) override {
        um_numa_free(p);
    }

    um_numa_policy *policy_;
};

/* A part of the thread's work (um_track_begin) as long as the object lives. At its end `leaked` is told of
   the blocks that the thread allocated meanwhile and that are live, if there are any. Nothing where tracking
   is off. */
class track_scope {
  public:
    using listener = void (*)(const um_track_scope &ended);

    explicit track_scope(listener leaked) noexcept : leaked_(leaked) {
        um_track_begin(&scope_);
    }
    ~track_scope() {
        if (um_track_end(&scope_) > 0)
            leaked_(scope_);
    }
    track_scope(const track_scope &) = delete;
    track_scope &operator=(const track_scope &) = delete;

  private:
    um_track_scope scope_;
    listener leaked_;
};

/* A read section (um_epoch_enter) as long as the object lives. Nests. */
class epoch_guard {
  public:
    epoch_guard() noexcept {
        um_epoch_enter();
    }
    ~epoch_guard() {
        um_epoch_leave();
    }
    epoch_guard(const epoch_guard &) = delete;
    epoch_guard &operator=(const epoch_guard &) = delete;
};

/* Private. */
namespace detail {

template <class T> void destroy(void *object) {
    delete static_cast<T *>(object);
}

} // namespace detail

/* um_retire of an object that new made: it is deleted once no read section can hold it. Throws if there is no
   memory for a record, and then the object is still the caller's. */
template <class T> void retire(T *object) {
    if (object && !um_retire(const_cast<std::remove_cv_t<T> *>(object), detail::destroy<T>))
        detail::no_memory();
}

/* A hazard pointer (um_hazard_take) as long as the object lives: for the thread that made it. */
class hazard {
  public:
    hazard() : own_(detail::checked(um_hazard_take())) {}
    ~hazard() {
        um_hazard_give(own_);
    }
    hazard(const hazard &) = delete;
    hazard &operator=(const hazard &) = delete;

    /* What the source points to; it is not reclaimed until the next call on this hazard pointer, or its end.
     */
    template <class T> T *protect(const std::atomic<T *> &source) noexcept {
        static_assert(std::atomic<T *>::is_always_lock_free && sizeof source == sizeof(T *));
        return static_cast<T *>(um_hazard_protect(own_, &source));
    }
    void clear() noexcept {
        um_hazard_set(own_, nullptr);
    }

  private:
    um_hazard *own_;
};

/* um_hazard_retire of an object that new made. Throws as retire does. */
template <class T> void hazard_retire(T *object) {
    if (object && !um_hazard_retire(const_cast<std::remove_cv_t<T> *>(object), detail::destroy<T>))
        detail::no_memory();
}

} // namespace um

#endif
