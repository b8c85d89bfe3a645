// The C++ side of the contract: every form of operator new and delete, the new_handler, std::bad_alloc thrown
// and caught, and the standard containers. Plain program: status 0 is success. Runs linked, preloaded, and
// with a static libstdc++; the library must not need libstdc++ for any of it.
#include "../lib/check.h"

#include <cxxabi.h>
#include <malloc.h>

#include <deque>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <thread>
#include <typeinfo>
#include <unordered_map>
#include <vector>

namespace {

const size_t sizes[] = {0, 1, 8, 16, 17, 100, 1000, 1024, 5000, 32768, 40000, 100000, 1 << 20, 5 << 20};
// Through a volatile, so that no compiler sees the size or pairs new with delete.
volatile size_t opaque;

size_t hide(size_t n) {
    opaque = n;
    return opaque;
}

bool aligned(void *p, size_t alignment) {
    return (reinterpret_cast<uintptr_t>(p) & (alignment - 1)) == 0;
}

void *use(void *p, size_t n, size_t alignment) {
    CHECK(p, "size %zu", n);
    CHECK(aligned(p, alignment), "size %zu alignment %zu gave %p", n, alignment, p);
    CHECK(malloc_usable_size(p) >= n, "size %zu", n);
    check_fill(p, n, n);
    return p;
}

void plain_forms() {
    for (size_t raw : sizes) {
        size_t n = hide(raw);
        ::operator delete(use(::operator new(n), n, 16));
        ::operator delete(use(::operator new(n), n, 16), n);
        ::operator delete(use(::operator new(n, std::nothrow), n, 16), std::nothrow);
        ::operator delete[](use(::operator new[](n), n, 16));
        ::operator delete[](use(::operator new[](n), n, 16), n);
        ::operator delete[](use(::operator new[](n, std::nothrow), n, 16), std::nothrow);
        free(use(::operator new(n), n, 16));
        ::operator delete(use(malloc(n), n, 16));
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    ::operator delete(nullptr, hide(8));
    ::operator delete(nullptr, std::nothrow);
}

void aligned_forms() {
    for (size_t shift = 0; shift <= 24; shift++)
        for (size_t raw : sizes) {
            size_t n = hide(raw), a = size_t(1) << shift;
            std::align_val_t v = std::align_val_t(a);
            ::operator delete(use(::operator new(n, v), n, a), v);
            ::operator delete(use(::operator new(n, v), n, a), n, v);
            ::operator delete(use(::operator new(n, v, std::nothrow), n, a), v, std::nothrow);
            ::operator delete[](use(::operator new[](n, v), n, a), v);
            ::operator delete[](use(::operator new[](n, v), n, a), n, v);
            ::operator delete[](use(::operator new[](n, v, std::nothrow), n, a), v, std::nothrow);
        }
    ::operator delete(nullptr, std::align_val_t(64));
    ::operator delete[](nullptr, hide(8), std::align_val_t(64));
}

void unique_empty_objects() {
    void *kept[100];
    for (auto &p : kept)
        p = ::operator new(hide(0));
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < i; k++)
            CHECK(kept[i] != kept[k], "%d and %d", i, k);
    for (auto *p : kept)
        ::operator delete(p);
}

// How often new_handler ran; it gives up at the third call.
int handled;

void three_times() {
    if (++handled == 3)
        std::set_new_handler(nullptr);
}

struct own_error : std::bad_alloc {};

void throws_own() {
    handled++;
    throw own_error();
}

template <class F> void must_throw(const char *what, F attempt) {
    bool caught = false;
    try {
        attempt();
    } catch (const std::bad_alloc &e) {
        caught = e.what()[0] != 0;
    }
    CHECK(caught, "%s threw nothing", what);
}

void *volatile sink; // volatile: an allocation that nobody looks at may be left out

void failure_throws() {
    const std::align_val_t v = std::align_val_t(256);
    for (size_t raw : {SIZE_MAX, SIZE_MAX - 4096, size_t(PTRDIFF_MAX) + 1, size_t(1) << 62}) {
        size_t n = hide(raw);
#ifdef STATIC_RUNTIME // the aligned new of libstdc++ 12 lets a size this near to SIZE_MAX wrap to a small one
        if (n > SIZE_MAX - 4096 - 1)
            continue;
#endif
        must_throw("new", [&] { sink = ::operator new(n); });
        must_throw("new[]", [&] { sink = ::operator new[](n); });
        must_throw("aligned new", [&] { sink = ::operator new(n, v); });
        must_throw("aligned new[]", [&] { sink = ::operator new[](n, v); });
        CHECK(!::operator new(n, std::nothrow), "%zu", n);
        CHECK(!::operator new[](n, std::nothrow), "%zu", n);
        CHECK(!::operator new(n, v, std::nothrow), "%zu", n);
        CHECK(!::operator new[](n, v, std::nothrow), "%zu", n);
    }
    must_throw("vector", [] { std::vector<char> big(hide(size_t(1) << 62)); });
    must_throw("array new", [] { sink = new char[hide(size_t(1) << 62)]; });
}

void failure_calls_the_handler() {
    const size_t n = hide(size_t(1) << 62);
    const std::align_val_t v = std::align_val_t(64);
    const std::function<void()> throwing[] = {
        [&] { sink = ::operator new(n); },
        [&] { sink = ::operator new[](n); },
        [&] { sink = ::operator new(n, v); },
        [&] { sink = ::operator new[](n, v); },
    };
    for (const auto &attempt : throwing) {
        handled = 0;
        std::set_new_handler(three_times);
        must_throw("new under a handler", attempt);
        CHECK(handled == 3, "the handler ran %d times", handled);
    }
    const std::function<void *()> quiet[] = {
        [&] { return ::operator new(n, std::nothrow); },
        [&] { return ::operator new[](n, std::nothrow); },
        [&] { return ::operator new(n, v, std::nothrow); },
        [&] { return ::operator new[](n, v, std::nothrow); },
    };
    for (const auto &attempt : quiet) {
        handled = 0;
        std::set_new_handler(three_times);
        CHECK(!attempt(), "gave a pointer");
        CHECK(handled == 3, "the handler ran %d times", handled);
        handled = 0;
        std::set_new_handler(throws_own); // a nothrow form swallows it
        CHECK(!attempt(), "gave a pointer");
        CHECK(handled == 1, "the handler ran %d times", handled);
    }
    bool own = false;
    std::set_new_handler(throws_own);
    try {
        sink = ::operator new(n);
    } catch (const own_error &) {
        own = true;
    }
    std::set_new_handler(nullptr);
    CHECK(own, "the handler's own exception was lost");
}

// The handler frees a reserve, and the same call succeeds then.
void *reserve;

void frees_reserve() {
    handled++;
    free(reserve);
    reserve = nullptr;
    std::set_new_handler(nullptr);
}

// The same with small blocks of the size that is asked for: they lie on a list at hand when the call is
// retried.
struct link {
    link *next;
    char rest[56];
};
link *hoard;

void frees_hoard() {
    handled++;
    while (hoard) {
        link *first = hoard;
        hoard = first->next;
        free(first);
    }
    std::set_new_handler(nullptr);
}

void hoard_makes_room() {
    while (link *one = static_cast<link *>(malloc(sizeof(link)))) {
        one->next = hoard;
        hoard = one;
    }
    std::set_new_handler(frees_hoard);
    handled = 0;
    void *p = ::operator new(hide(sizeof(link)));
    CHECK(p && handled == 1, "the handler ran %d times", handled);
    ::operator delete(p);
}

struct alignas(64) wide {
    char bytes[192];
    wide() {
        CHECK(aligned(this, 64), "a wide object at %p", static_cast<void *>(this));
    }
};

struct node {
    virtual ~node() = default;
    std::string name;
    std::unique_ptr<node> next;
};

void containers() {
    std::map<std::string, std::vector<int>> by_name;
    std::unordered_map<int, std::string> by_number;
    std::list<std::deque<int>> queues(50);
    std::vector<wide> wides(100);
    for (int i = 0; i < 20000; i++) {
        by_name["key " + std::to_string(i % 700) + std::string(size_t(i % 90), '.')].push_back(i);
        by_number[i] = std::to_string(i);
        for (auto &q : queues)
            if (i % 50 == 0)
                q.push_front(i);
        if (i % 3 == 0)
            by_number.erase(i / 2);
    }
    size_t total = 0;
    for (auto &e : by_name)
        total += e.second.size();
    CHECK(total == 20000, "%zu", total);
    std::unique_ptr<node> head;
    for (int i = 0; i < 1000; i++) {
        auto n = std::make_unique<node>();
        n->name = std::string(size_t(i), 'n');
        n->next = std::move(head);
        head = std::move(n);
    }
    std::ostringstream text;
    for (int i = 0; i < 10000; i++)
        text << i << ' ';
    CHECK(text.str().size() == 48890, "%zu", text.str().size());
}

void threads_and_exceptions() {
    std::vector<std::future<size_t>> results;
    for (int t = 0; t < 4; t++)
        results.push_back(std::async(std::launch::async, [t] {
            size_t caught = 0;
            for (int i = 0; i < 2000; i++)
                try {
                    std::vector<std::string> junk(size_t(i % 50), std::string(size_t(i % 300), 'a'));
                    if (i % 2)
                        throw std::runtime_error("thread " + std::to_string(t));
                    sink = nullptr;
                    ::operator delete(::operator new(hide(i % 4 ? 64 : size_t(1) << 62)));
                } catch (const std::exception &) {
                    caught++;
                }
            return caught;
        }));
    for (auto &r : results)
        CHECK(r.get() == 1500, "a thread caught another number of exceptions");
}

void demangled_name_is_freeable() {
    int status = 0;
    char *name = abi::__cxa_demangle(typeid(std::map<int, std::string>).name(), nullptr, nullptr, &status);
    CHECK(name && status == 0 && strncmp(name, "std::map<", 9) == 0, "%s", name ? name : "(null)");
    CHECK(malloc_usable_size(name) > strlen(name), "its size is unknown");
    free(name);
}

} // namespace

int main() {
    check_library();
    plain_forms();
    aligned_forms();
    unique_empty_objects();
    failure_throws();
    failure_calls_the_handler();
    const char *limit = getenv("UMALLOC_LIMIT");
    if (limit) { // a real shortage: the reserve makes room
        reserve = malloc(40 * CHECK_MIB);
        CHECK(reserve, "the limit is %s", limit);
        std::set_new_handler(frees_reserve);
        handled = 0;
        void *p = ::operator new(hide(40 * CHECK_MIB));
        CHECK(p && handled == 1, "the handler ran %d times", handled);
        ::operator delete(p);
        hoard_makes_room();
    }
    containers();
    threads_and_exceptions();
    demangled_name_is_freeable();
    return 0;
}
