/* umalloc.hpp: containers of the standard library and of Boost over the allocator and over each resource;
 * what guards begin and end; what failures throw. No Criterion: its C++ asserts would be most of the file's
 * lines. */
#include <umalloc/umalloc.hpp>

#include "containers.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <system_error>
#include <thread>

namespace {

template <class F> bool throws_bad_alloc(F f) {
    try {
        f();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

/* Of a std::system_error; 0: none. */
template <class F> int errno_thrown(F f) {
    try {
        f();
    } catch (const std::system_error &e) {
        return e.code().value();
    }
    return 0;
}

bool is_aligned(const void *p, std::size_t align) {
    return reinterpret_cast<std::uintptr_t>(p) % align == 0;
}

constexpr std::size_t impossible = std::size_t{1} << 60;

/* --- um::allocator --- */

template <class T> using plain = um::allocator<T>;

struct from_nothing {
    template <class T> plain<T> get() const {
        return {};
    }
};

struct alignas(256) wide {
    char bytes[256];
};

void test_allocator() {
    containers::all<plain>(from_nothing{});
    std::vector<float, um::allocator<float, UM_ALIGN(4096)>> page(10);
    CHECK(is_aligned(page.data(), 4096), "the flags' alignment holds");
    std::vector<wide, um::allocator<wide, UM_ALIGN(64)>> wides(3);
    CHECK(is_aligned(wides.data(), alignof(wide)), "a type's larger alignment holds");
    int *zeroes = um::allocator<int, UM_ZERO>().allocate(100000);
    CHECK(check_zero(zeroes, 100000 * sizeof(int)) == 100000 * sizeof(int), "UM_ZERO zeroes");
    um_free(zeroes);
    CHECK((um::allocator<int>() == um::allocator<wide>()), "all with the same flags are equal");
    CHECK(throws_bad_alloc([] { (void)plain<int>().allocate(impossible); }), "too many bytes throw");
    CHECK(throws_bad_alloc([] { (void)plain<int>().allocate(SIZE_MAX / sizeof(int) + 2); }),
          "a product without room throws");
}

/* --- resources --- */

void test_resource(std::pmr::memory_resource &r) {
    containers::over(&r);
    for (std::size_t align = 1; align <= 4096; align *= 2) {
        void *p = r.allocate(100, align);
        CHECK(is_aligned(p, align), "a block of alignment %zu has it", align);
        check_fill(p, 100, align);
        CHECK(check_pattern(p, 100, 100, align) == 100, "the block can be written");
        r.deallocate(p, 100, align);
    }
    CHECK(throws_bad_alloc([&] { (void)r.allocate(impossible); }), "too many bytes throw");
    CHECK(r.is_equal(r) && !r.is_equal(*std::pmr::new_delete_resource()), "a resource equals itself alone");
}

void test_malloc_resource() {
    um::malloc_resource r, zero(UM_ZERO);
    test_resource(r);
    test_resource(zero);
    char *p = static_cast<char *>(zero.allocate(50000, 8));
    CHECK(check_zero(p, 50000) == 50000, "UM_ZERO zeroes");
    zero.deallocate(p, 50000, 8);
}

um_heap_usage usage(const um::heap &h) {
    um_heap_usage now;
    um_heap_stats(h.get(), &now);
    return now;
}

void test_heap() {
    for (um_heap_kind kind : {UM_HEAP_ONE_THREAD, UM_HEAP_SHARED}) {
        um::heap h(kind);
        test_resource(h);
        CHECK(usage(h).live_blocks == 0, "what was given back is free");
        std::pmr::vector<std::pmr::string> lost(100, std::pmr::string(1000, 'x', &h), &h);
        CHECK(usage(h).live_blocks == 101 && usage(h).live_bytes > 100000, "the heap gave the blocks");
        new (h.allocate(sizeof lost)) std::pmr::vector<std::pmr::string>(std::move(lost));
        h.reset();
        CHECK(usage(h).live_blocks == 0, "a reset frees all, with its containers");
    }
    CHECK(errno_thrown([] { um::heap none(UM_HEAP_SHARED, UM_ZERO); }) == EINVAL,
          "a heap that cannot be throws");
}

std::size_t used(const um::arena_resource &a) {
    um_arena_stats stats;
    um_arena_read_stats(a.get(), &stats);
    return stats.used_bytes;
}

void test_arena() {
    um::arena plain, reusing({0, 0, 0, nullptr, 0, UM_ARENA_REUSE | UM_ARENA_CHECKED, 0});
    test_resource(plain);
    CHECK(used(plain) > 100000, "the arena gave the blocks: %zu bytes", used(plain));
    plain.reset();
    CHECK(used(plain) == 0, "a reset drops all");
    test_resource(reusing);
    void *p = reusing.allocate(100), *q;
    reusing.deallocate(p, 100);
    CHECK((q = reusing.allocate(100)) == p, "a block that was given back is used again");
    CHECK(*plain.make<double>(2.5) == 2.5 && is_aligned(plain.make<wide>(), alignof(wide)),
          "objects are made in the arena");
    um_arena_options fixed = {};
    fixed.first_bytes = 100000;
    fixed.flags = UM_ARENA_FIXED;
    CHECK(throws_bad_alloc([&] {
              um::arena small(fixed);
              std::pmr::vector<int> v(&small);
              v.resize(50000);
          }),
          "a full arena throws");
    fixed.flags = 1u << 31;
    CHECK(errno_thrown([&] { um::arena none(fixed); }) == EINVAL, "an arena that cannot be throws");
}

void test_arena_scopes() {
    um::arena a;
    int *kept = a.make<int>(1);
    std::size_t before = used(a);
    {
        um::arena_scope outer(a);
        std::pmr::string text(1000, 'x', &a);
        um::arena_scope inner(a.get());
        std::pmr::vector<int> numbers(1000, 7, &a);
        CHECK(used(a) >= before + 5000, "the scope's blocks count");
    }
    CHECK(used(a) == before && *kept == 1, "at its end they are dropped, and what was before is not");
    um_arena *first = um_arena_scratch(nullptr);
    {
        um::scratch s, other(s.get());
        CHECK(s.get() == first && other.get() != first, "there are two scratch arenas");
        test_resource(s);
        CHECK(used(s) > 100000, "the scratch arena gave the blocks");
    }
    CHECK(used(um::arena_resource(first)) == 0, "and has dropped them");
}

/* --- pools --- */

std::atomic<int> alive;

struct object {
    int value;
    explicit object(int v) : value(v) {
        if (v < 0)
            throw v;
        alive++;
    }
    ~object() {
        value = -1;
        alive--;
    }
};

std::size_t in_use(um_pool *p) {
    um_pool_stats stats;
    um_pool_flush(p);
    um_pool_read_stats(p, &stats);
    return stats.in_use;
}

void test_pool() {
    um_pool_options options = {};
    options.max_objects = 10;
    options.flags = UM_POOL_CHECKED;
    um::pool<object> few(options);
    {
        std::vector<um::pool<object>::ptr> all;
        for (int i = 0; i < 10; i++)
            all.push_back(few.make(i));
        CHECK(alive == 10 && all[7]->value == 7, "objects are constructed");
        CHECK(throws_bad_alloc([&] { few.make(11); }), "a pool without objects throws");
        std::thread([&] { all.resize(0); }).join();
    }
    CHECK(alive == 0 && in_use(few.get()) == 0, "objects are destroyed and given back");
    int thrown = 0;
    try {
        few.make(-5);
    } catch (int what) {
        thrown = what;
    }
    CHECK(thrown == -5 && alive == 0 && in_use(few.get()) == 0, "what a constructor throws leaves nothing");
    options.align = 3 * alignof(object);
    CHECK(errno_thrown([&] { um::pool<object> none(options); }) == EINVAL, "a pool that cannot be throws");
    um::pool<wide> wides;
    auto one = wides.make(), two = wides.make();
    CHECK(is_aligned(one.get(), alignof(wide)) && is_aligned(two.get(), alignof(wide)),
          "a type's alignment holds");
}

void test_pool_resource() {
    um::pool_resource r;
    test_resource(r);
    um_pool *small = um_pool_buffers_pool(r.get(), 64);
    void *p = r.allocate(60, 64), *q = r.allocate(5000, 128);
    CHECK(in_use(small) == 1, "a small block is the pool's");
    r.deallocate(p, 60, 64);
    r.deallocate(q, 5000, 128);
    CHECK(in_use(small) == 0, "and goes back to it");
}

/* --- regions, stacks, maps --- */

void test_buddy() {
    um_buddy_options options = {};
    options.bytes = 16 << 20;
    um::buddy region(options);
    um_buddy_stats stats;
    test_resource(region);
    um_buddy_read_stats(region.get(), &stats);
    CHECK(stats.blocks == 0 && stats.peak_bytes > 100000, "%zu blocks are out", stats.blocks);
    void *little = region.allocate(100), *half = region.allocate(options.bytes / 2);
    CHECK(little != half, "%p is given twice", half);
    region.reset();
    CHECK(region.allocate(options.bytes), "a reset frees all");
    alignas(4096) static char memory[8192];
    options.region = memory + 64; /* what lies in it is aligned to so much alone */
    options.bytes = 4096;
    um::buddy odd(options);
    CHECK(is_aligned(odd.allocate(64, 64), 64), "a region's own alignment holds");
    CHECK(throws_bad_alloc([&] { (void)odd.allocate(64, 4096); }), "more throws");
    um_buddy_read_stats(odd.get(), &stats);
    CHECK(stats.blocks == 1, "and takes nothing");
    options.block_bytes = 3;
    CHECK(errno_thrown([&] { um::buddy none(options); }) == EINVAL, "a region that cannot be throws");
}

std::uint64_t live_stacks() {
    um_stack_stats stats;
    um_stack_stat(&stats, sizeof stats);
    return stats.live;
}

void test_stack() {
    std::uint64_t before = live_stacks();
    {
        um::stack a(100000), b(std::move(a));
        CHECK(!a.get() && b.bytes() >= 100000, "it moves");
        check_fill(static_cast<char *>(b.top()) - 1000, 1000, 1);
        CHECK(static_cast<char *>(b.base()) + b.bytes() == b.top(), "its ends");
        CHECK(live_stacks() == before + 1, "one is live");
        a = um::stack(5000, UM_LOCAL);
        CHECK(live_stacks() == before + 2, "two are");
    }
    CHECK(live_stacks() == before, "both went back");
    CHECK(errno_thrown([] { um::stack none(impossible); }) == EINVAL, "a stack that cannot be throws");
}

void test_map() {
    um::map m = um::map::shared(100000);
    m.as<int>()[100000 / sizeof(int) - 1] = 7;
    um::map view = m.view(0, m.size());
    m = um::map::shared(10);
    CHECK(view.as<int>()[view.count<int>() - 1] == 7, "a view outlives its map");
    m.resize(5000);
    CHECK(m.size() == 5000 && m.data()[4999] == 0, "it grows");
    CHECK(errno_thrown([] { (void)um::map::file("/nonexistent/file"); }) == ENOENT, "no file throws");
    CHECK(errno_thrown([&] { view.resize(1 << 20); }) != 0, "so does more than the file has");
    um::map self = um::map::file("/proc/self/exe");
    CHECK(self.size() > 1000 && self.data()[1] == 'E', "a file");
}

void test_numa() {
    unsigned node;
    char text[32];
    um_numa_nodes(&node, 1);
    std::snprintf(text, sizeof text, "prefer:%u", node);
    um::numa_policy prefer(text), spread("interleave");
    {
        um::numa_scope outer(prefer);
        {
            um::numa_scope inner(spread);
            CHECK(um_numa_used() == spread.get(), "the inner policy holds");
            um::numa_scope none(nullptr);
            CHECK(!um_numa_used(), "local holds");
        }
        CHECK(um_numa_used() == prefer.get(), "the outer one holds again");
    }
    CHECK(!um_numa_used(), "and then none");
    um::numa_resource r(spread.get()), by_default;
    test_resource(r);
    void *p = by_default.allocate(100000, 1 << 20);
    CHECK(is_aligned(p, 1 << 20) && um_numa_bytes(p) >= 100000, "blocks of the default");
    by_default.deallocate(p, 100000, 1 << 20);
    CHECK(errno_thrown([] { um::numa_policy none("nonsense"); }) == EINVAL, "no such policy throws");
}

/* --- epochs and hazard pointers --- */

void test_epoch() {
    {
        um::epoch_guard outer;
        um::epoch_guard inner;
        std::atomic<object *> head{new object(1)};
        object *old = head.exchange(new object(2));
        std::thread([&] {
            um::retire(old);
            um::retire(static_cast<object *>(nullptr));
        }).join();
        CHECK(old->value == 1, "what is retired within a section stays");
        um::retire(const_cast<const object *>(head.load()));
        CHECK(alive == 2, "both are alive");
    }
    um_reclaim_flush();
    CHECK(alive == 0, "after the section all are deleted, %d left", alive.load());
}

void test_hazard() {
    std::atomic<object *> head{new object(1)};
    {
        um::hazard h;
        object *seen = h.protect(head);
        CHECK(seen == head, "the hazard pointer finds the object");
        std::thread([&] {
            um::hazard_retire(head.exchange(nullptr));
            um_reclaim_flush();
        }).join();
        CHECK(seen->value == 1, "what a hazard pointer names stays");
        CHECK(h.protect(head) == nullptr, "it follows the source");
        um_reclaim_flush();
        CHECK(alive == 0, "then it is deleted");
        head = new object(2);
        h.protect(head);
        um::hazard_retire(head.exchange(nullptr));
        um_reclaim_flush();
        CHECK(alive == 1, "the next one stays");
        h.clear();
        um_reclaim_flush();
        CHECK(alive == 0, "until it is no longer named");
    }
    CHECK(errno_thrown([] {
              um::hazard many[UM_HAZARDS_A_THREAD];
              um::hazard more;
          }) == ENOSPC,
          "one hazard pointer too many throws");
    um::hazard again;
}

/* --- tracking; the last, for the hardened allocator serves from then on --- */

uint64_t leaked_bytes;

void leaked(const um_track_scope &ended) {
    leaked_bytes += ended.leaked_bytes;
}

void test_track_scope() {
    void *kept;
    if (um_track_start(nullptr)) {
        std::printf("tracking is not to be had here: %s\n", strerror(errno));
        return;
    }
    {
        um::track_scope outer(leaked);
        um_free(um_malloc(1000, 0));
        um::track_scope inner(leaked);
        kept = um_malloc(100, 0);
    }
    CHECK(leaked_bytes == 200, "each scope is told of the block that stays, not of the other: %lu",
          leaked_bytes);
    um_free(kept);
    um_track_stop();
}

} // namespace

int main() {
    check_watchdog(240);
    test_allocator();
    test_malloc_resource();
    test_pool();
    test_pool_resource();
    test_heap();
    test_arena();
    test_arena_scopes();
    test_buddy();
    test_stack();
    test_map();
    test_numa();
    test_epoch();
    test_hazard();
    test_track_scope();
    std::printf("passed; Boost's containers were %s\n", HAVE_BOOST ? "tested" : "not installed");
    return 0;
}
