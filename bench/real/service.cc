// A server's inside in C++: a thread that parses requests into messages of strings, vectors and maps, and
// workers that take them from a queue, keep part of them in a shared table, and free what the first thread
// allocated. Much of what is freed was allocated by another thread, as in most servers. The sums that are
// printed do not depend on who did what.
//
// Usage: service REQUESTS WORKERS
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

struct message {
    uint64_t id = 0;
    std::string session;
    std::map<std::string, std::string> headers;
    std::vector<std::string> parts;
};

using batch = std::vector<std::unique_ptr<message>>;

// A queue of batches: bounded, so that the parser waits for slow workers and memory stays what it is.
class queue {
  public:
    void put(batch b) {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [this] { return waiting_.size() < most; });
        waiting_.push_back(std::move(b));
        work_.notify_one();
    }

    // An empty batch is the end.
    batch take() {
        std::unique_lock lock(mutex_);
        work_.wait(lock, [this] { return !waiting_.empty(); });
        batch b = std::move(waiting_.front());
        waiting_.pop_front();
        room_.notify_one();
        return b;
    }

  private:
    static constexpr size_t most = 32;
    std::mutex mutex_;
    std::condition_variable work_, room_;
    std::deque<batch> waiting_;
};

// What the workers keep: the latest message of each session. The message that was there is freed by who
// replaces it.
class table {
  public:
    void keep(std::unique_ptr<message> m) {
        shard &s = shards_[m->id % shards];
        std::unique_lock lock(s.mutex);
        auto &place = s.sessions[m->session];
        if (!place || place->id < m->id)
            place.swap(m);
        lock.unlock(); // m, whatever it is now, is freed outside of the lock
    }

    uint64_t sum() const {
        uint64_t sum = 0;
        for (const auto &s : shards_)
            for (const auto &[name, m] : s.sessions)
                sum += m->id + name.size() + m->parts.size();
        return sum;
    }

  private:
    static constexpr size_t shards = 16;
    struct shard {
        std::mutex mutex;
        std::unordered_map<std::string, std::unique_ptr<message>> sessions;
    };
    shard shards_[shards];
};

std::unique_ptr<message> parse(std::mt19937_64 &engine, uint64_t id) {
    auto m = std::make_unique<message>();
    m->id = id;
    m->session = "session-" + std::to_string(id * 2654435761u % 4096);
    for (uint64_t k = engine() % 6; k; k--)
        m->headers["x-header-" + std::to_string(k)] = std::string(8 + engine() % 60, 'h');
    for (uint64_t k = engine() % 4; k; k--)
        m->parts.emplace_back(20 + engine() % 1500, 'p');
    return m;
}

std::string answer(const message &m) {
    std::string text = "id=" + std::to_string(m.id) + "\r\n";
    for (const auto &[name, value] : m.headers)
        text += name + ": " + value + "\r\n";
    return text;
}

} // namespace

int main(int argc, char **argv) {
    uint64_t requests = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100000;
    size_t workers = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
    queue waiting;
    table sessions;
    std::vector<uint64_t> sent(workers);
    std::vector<std::thread> threads;
    for (size_t w = 0; w < workers; w++)
        threads.emplace_back([&, w] {
            for (batch b = waiting.take(); !b.empty(); b = waiting.take())
                for (auto &m : b) {
                    sent[w] += answer(*m).size();
                    sessions.keep(std::move(m));
                }
        });
    std::mt19937_64 engine(11);
    for (uint64_t id = 0; id < requests;) {
        batch b;
        for (; b.size() < 50 && id < requests; id++)
            b.push_back(parse(engine, id));
        waiting.put(std::move(b));
    }
    for (size_t w = 0; w < workers; w++)
        waiting.put({});
    uint64_t bytes = 0;
    for (size_t w = 0; w < workers; w++) {
        threads[w].join();
        bytes += sent[w];
    }
    std::printf("sent %ju\nkept %ju\n", static_cast<uintmax_t>(bytes),
                static_cast<uintmax_t>(sessions.sum()));
    return 0;
}
