/* Exceptions that carry heap memory across many frames and threads, containers handed between threads,
 * thread_local destructors that allocate, over-aligned new, an allocation too large to serve. Prints figures
 * that do not depend on scheduling. */
#include <cstdint>
#include <cstdio>
#include <exception>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

std::mutex lock;
std::map<int, std::string> last_words; /* guarded by lock */

struct goodbye {
    int thread;
    std::string words;
    ~goodbye() {
        std::vector<std::string> parts(50, words);
        std::lock_guard<std::mutex> guard(lock);
        last_words[thread] = std::accumulate(parts.begin(), parts.end(), std::string());
    }
};

thread_local std::unique_ptr<goodbye> leaving;

struct failure : std::runtime_error {
    std::vector<int> trail;
    failure(const std::string &what, std::vector<int> at) : std::runtime_error(what), trail(std::move(at)) {}
};

struct alignas(256) wide {
    char bytes[300];
};

int descend(int depth, std::vector<int> trail) {
    std::string here(static_cast<size_t>(depth % 90), 'd');
    std::unique_ptr<int[]> ballast(new int[static_cast<size_t>(depth) + 1]);
    trail.push_back(depth);
    if (depth == 0)
        throw failure("bottom " + std::string(100, 'b'), trail);
    return descend(depth - 1, trail) + static_cast<int>(here.size()) + ballast[0];
}

uint64_t throw_and_catch(int thread) {
    uint64_t sum = 0;
    for (int i = 0; i < 400; i++) {
        try {
            try {
                descend(i % 40, {});
            } catch (const failure &) {
                std::throw_with_nested(std::logic_error("outer " + std::to_string(thread * 1000 + i)));
            }
        } catch (const std::logic_error &outer) {
            sum += std::string(outer.what()).size();
            try {
                std::rethrow_if_nested(outer);
            } catch (const failure &inner) {
                sum += inner.trail.size() + std::string(inner.what()).size();
            }
        }
    }
    return sum;
}

uint64_t work(int thread, std::map<std::string, std::vector<int>> given) {
    leaving = std::make_unique<goodbye>(goodbye{thread, "thread " + std::to_string(thread) + " leaves"});
    uint64_t sum = throw_and_catch(thread);
    for (auto &[name, numbers] : given)
        sum += name.size() + static_cast<uint64_t>(std::accumulate(numbers.begin(), numbers.end(), 0));
    for (int i = 0; i < 200; i++) {
        auto aligned = std::make_unique<wide[]>(static_cast<size_t>(i % 7) + 1);
        sum += reinterpret_cast<uintptr_t>(aligned.get()) % 256;
    }
    return sum;
}

std::map<std::string, std::vector<int>> gift(int thread) {
    std::map<std::string, std::vector<int>> m;
    for (int i = 0; i < 500; i++)
        m[std::string(static_cast<size_t>(i % 60), 'k') + std::to_string(i)].assign(
            static_cast<size_t>(i % 80), thread);
    return m;
}

const char *ask_for_too_much() {
    volatile size_t too_much = SIZE_MAX / 4;
    try {
        char *volatile p = new char[too_much]; /* volatile: else the pair may be optimised away */
        delete[] p;
    } catch (const std::bad_alloc &e) {
        return e.what();
    }
    return "no exception";
}

} // namespace

int main() {
    for (int round = 0; round < 6; round++) {
        std::vector<std::future<uint64_t>> futures;
        for (int t = 0; t < 8; t++)
            futures.push_back(std::async(std::launch::async, work, t, gift(t)));
        uint64_t sum = 0;
        for (auto &f : futures)
            sum += f.get();
        std::printf("round %d: %llu\n", round, static_cast<unsigned long long>(sum));
    }
    std::exception_ptr carried;
    std::thread([&] {
        try {
            descend(30, {});
        } catch (...) {
            carried = std::current_exception();
        }
    }).join();
    try {
        std::rethrow_exception(carried);
    } catch (const failure &f) {
        std::printf("carried: %s, %zu frames\n", f.what(), f.trail.size());
    }
    for (auto &[thread, words] : last_words)
        std::printf("%d: %zu\n", thread, words.size());
    std::printf("too much: %s\n", ask_for_too_much());
    std::puts("done");
}
