/* Containers that are not ours, over a memory resource and over an allocator: each is filled, changed,
   compared with what it must hold, and emptied. Those of Boost only where it is installed. */
#ifndef UM_TEST_CONTAINERS_H
#define UM_TEST_CONTAINERS_H

#include "../../lib/check.h"

#include <deque>
#include <list>
#include <map>
#include <memory_resource>
#include <numeric>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#if __has_include(<boost/container/small_vector.hpp>)
#define HAVE_BOOST 1
#include <boost/circular_buffer.hpp>
#include <boost/container/flat_map.hpp>
#include <boost/container/small_vector.hpp>
#include <boost/container/stable_vector.hpp>
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#else
#define HAVE_BOOST 0
#endif

namespace containers {

constexpr int count = 2000;
constexpr long sum = long(count) * (count - 1) / 2;

inline std::string text(int i) {
    return "a text that no string keeps within itself: " + std::to_string(i);
}

/* What is to be said of any container: it holds 0 to count - 1. */
template <class C> void holds_all(const C &c, const char *what) {
    CHECK(std::accumulate(c.begin(), c.end(), 0L) == sum, "%s holds what was put in", what);
}

/* The standard library's, each by the allocator A<T> that make<T>() gives. */
template <template <class> class A, class Make> void of_std(const Make &make) {
    using string = std::basic_string<char, std::char_traits<char>, A<char>>;
    std::vector<int, A<int>> vector(make.template get<int>());
    std::deque<int, A<int>> deque(make.template get<int>());
    std::list<int, A<int>> list(make.template get<int>());
    std::map<int, string, std::less<int>, A<std::pair<const int, string>>> map(
        make.template get<std::pair<const int, string>>());
    std::unordered_map<int, int, std::hash<int>, std::equal_to<int>, A<std::pair<const int, int>>> table(
        make.template get<std::pair<const int, int>>());
    for (int i = 0; i < count; i++) {
        vector.push_back(i);
        deque.push_front(i);
        list.push_back(i);
        map.emplace(i, string(text(i).c_str(), make.template get<char>()));
        table[i] = -i;
    }
    holds_all(vector, "vector");
    holds_all(deque, "deque");
    holds_all(list, "list");
    for (int i = 0; i < count; i++) {
        CHECK(map.at(i) == text(i).c_str(), "map has the text of %d", i);
        CHECK(table.at(i) == -i, "unordered_map has %d", i);
    }
    for (int i = 0; i < count; i += 2) {
        map.erase(i);
        table.erase(i);
    }
    list.remove_if([](int i) { return i % 2 == 0; });
    CHECK(map.size() == count / 2 && table.size() == count / 2 && list.size() == count / 2,
          "the odd ones are left");
    auto moved = std::move(vector);
    holds_all(moved, "a vector that was moved");
    auto copied = moved;
    CHECK(copied == moved, "a copy is equal");
}

#if HAVE_BOOST

struct node : boost::intrusive::list_base_hook<>, boost::intrusive::set_base_hook<> {
    int key;
    explicit node(int k) : key(k) {}
    bool operator<(const node &other) const {
        return key < other.key;
    }
};

/* Intrusive containers hold no memory: their nodes are what is allocated. */
template <template <class> class A, class Make> void of_boost_intrusive(const Make &make) {
    A<node> nodes = make.template get<node>();
    boost::intrusive::list<node> list;
    boost::intrusive::set<node> set;
    for (int i = 0; i < count; i++) {
        node *n = nodes.allocate(1);
        new (n) node((i * 7) % count);
        list.push_back(*n);
        set.insert(*n);
    }
    int expected = 0;
    for (const node &n : set)
        CHECK(n.key == expected++, "the set is in order");
    CHECK(expected == count, "the set has all");
    set.clear();
    list.clear_and_dispose([&](node *n) {
        n->~node();
        nodes.deallocate(n, 1);
    });
}

/* An allocator that is a resource's has no default, so it is given to each. */
template <template <class> class A, class Make> void of_boost(const Make &make) {
    using small_vector = boost::container::small_vector<int, 8, A<int>>;
    small_vector small(typename small_vector::allocator_type(make.template get<int>()));
    boost::container::stable_vector<int, A<int>> stable(make.template get<int>());
    boost::container::flat_map<int, int, std::less<int>, A<std::pair<int, int>>> flat(
        make.template get<std::pair<int, int>>());
    boost::circular_buffer<int, A<int>> ring(count / 2, make.template get<int>());
    for (int i = 0; i < count; i++) {
        small.push_back(i);
        stable.push_back(i);
        flat[count - 1 - i] = i;
        ring.push_back(i);
        CHECK(stable[0] == 0 && &stable[0] == &*stable.begin(), "what a stable_vector holds stays in place");
    }
    holds_all(small, "small_vector");
    holds_all(stable, "stable_vector");
    CHECK(flat.size() == size_t(count) && flat.begin()->second == count - 1, "flat_map is in order");
    CHECK(ring.front() == count / 2 && ring.back() == count - 1, "circular_buffer keeps the last");
    of_boost_intrusive<A>(make);
}

#else

template <template <class> class A, class Make> void of_boost(const Make &) {}

#endif

template <template <class> class A, class Make> void all(const Make &make) {
    of_std<A>(make);
    of_boost<A>(make);
}

struct from_resource {
    std::pmr::memory_resource *resource;
    template <class T> std::pmr::polymorphic_allocator<T> get() const {
        return resource;
    }
};

template <class T> using polymorphic = std::pmr::polymorphic_allocator<T>;

inline void over(std::pmr::memory_resource *resource) {
    all<polymorphic>(from_resource{resource});
}

} // namespace containers

#endif
