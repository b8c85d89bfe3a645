// What C++ programs ask of malloc through the standard containers: nodes of map, set and list, buckets and
// nodes of unordered_map, buffers of string, vector and deque that grow, move and are freed in another order
// than they were made. One thread. Every part keeps a live set and replaces it at random; the sums that are
// printed do not depend on addresses.
//
// Usage: containers ROUNDS
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

std::mt19937_64 engine(7); // its numbers are fixed by the C++ standard; those of distributions are not

uint64_t below(uint64_t limit) {
    return engine() % limit;
}

// Short ones fit the object itself, most others need one block, a few need a large one.
std::string text() {
    uint64_t kind = below(100);
    size_t length = kind < 40 ? below(16) : kind < 98 ? 16 + below(100) : 1000 + below(4000);
    return std::string(length, static_cast<char>('a' + below(26)));
}

// Over what was stored, so that a block that was handed out twice shows.
uint64_t digest(const std::string &text) {
    return std::accumulate(text.begin(), text.end(), text.size(),
                           [](uint64_t sum, char c) { return sum * 31 + c; });
}

uint64_t ordered(int rounds) {
    std::map<std::string, std::vector<int>> index;
    for (int i = 0; i < rounds; i++) {
        std::string key = "key " + std::to_string(below(20000)) + " of a table";
        if (below(4))
            index[key].push_back(i);
        else
            index.erase(key);
    }
    uint64_t sum = index.size();
    for (const auto &[key, list] : index)
        sum += digest(key) + std::accumulate(list.begin(), list.end(), 0u);
    return sum;
}

uint64_t hashed(int rounds) {
    std::unordered_map<uint64_t, std::string> table;
    for (int i = 0; i < rounds; i++) {
        uint64_t key = below(30000);
        if (below(3))
            table[key] = text();
        else
            table.erase(key);
    }
    uint64_t sum = table.size();
    for (const auto &[key, value] : table)
        sum += key ^ digest(value);
    return sum;
}

struct shape {
    virtual ~shape() = default;
    virtual uint64_t area() const = 0;
};

template <size_t N> struct polygon : shape {
    std::array<uint32_t, N> sides;
    std::string name = text();
    polygon() {
        sides.fill(N);
    }
    uint64_t area() const override {
        return std::accumulate(sides.begin(), sides.end(), digest(name));
    }
};

uint64_t objects(int rounds) {
    std::vector<std::unique_ptr<shape>> live(10000);
    uint64_t sum = 0;
    for (int i = 0; i < rounds; i++) {
        auto &place = live[below(live.size())];
        if (place)
            sum += place->area();
        switch (below(3)) {
        case 0:
            place = std::make_unique<polygon<3>>();
            break;
        case 1:
            place = std::make_unique<polygon<20>>();
            break;
        default:
            place = std::make_unique<polygon<100>>();
        }
    }
    return sum;
}

uint64_t sorted_lines(int rounds) {
    std::vector<std::string> lines;
    std::set<std::string> distinct;
    for (int i = 0; i < rounds / 4; i++)
        lines.push_back(text() + std::to_string(below(1000)));
    std::sort(lines.begin(), lines.end());
    distinct.insert(lines.begin(), lines.end());
    std::string all;
    for (const auto &line : distinct)
        all += line.substr(0, 20) + ";";
    return digest(all) + distinct.size();
}

uint64_t queues(int rounds) {
    std::deque<std::shared_ptr<std::list<uint64_t>>> waiting;
    uint64_t sum = 0;
    for (int i = 0; i < rounds; i++) {
        auto job = std::make_shared<std::list<uint64_t>>();
        for (uint64_t k = below(6); k; k--)
            job->push_back(below(100));
        waiting.push_back(job);
        if (waiting.size() < 2000 || below(2))
            continue;
        for (uint64_t value : *waiting.front())
            sum += value;
        waiting.pop_front();
        waiting.pop_front();
    }
    return sum + waiting.size();
}

} // namespace

int main(int argc, char **argv) {
    int rounds = argc > 1 ? std::atoi(argv[1]) : 100000;
    std::printf("ordered %ju\n", static_cast<uintmax_t>(ordered(rounds)));
    std::printf("hashed %ju\n", static_cast<uintmax_t>(hashed(rounds)));
    std::printf("objects %ju\n", static_cast<uintmax_t>(objects(rounds)));
    std::printf("sorted %ju\n", static_cast<uintmax_t>(sorted_lines(rounds)));
    std::printf("queues %ju\n", static_cast<uintmax_t>(queues(rounds)));
    return 0;
}
