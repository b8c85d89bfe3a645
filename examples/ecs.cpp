/* ecs: entity-component storage, and what its layout costs.
 *
 * A game steps many entities sixty times a second. A step needs a few fields of each (where it is, how fast
 * it moves: hot), and seldom the rest (its name, where it came from: cold). Four worlds hold the same
 * entities:
 *
 *   objects   each entity is an object of its own, found by a pointer, in the order that a long play leaves
 *   records   one array of structs, hot beside cold
 *   columns   an array for each hot field, as std::vector makes it; the cold ones elsewhere
 *   chunks    blocks of 16 KiB that start at a cache line; in each the hot fields stand in columns, which
 *             start at a cache line too; the cold ones elsewhere
 *
 * All run the same steps and must end in the same state. Printed are the cache lines that a step visits an
 * entity and those that two threads would both write to if they took jobs of entities in turn (chunks, in the
 * last world), counted from the addresses; and the time of a step on one thread. What a step reports
 * (entities that met a wall) goes to an arena, which every step empties at once. */
#include <umalloc/umalloc.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <memory_resource>
#include <random>
#include <unordered_set>
#include <vector>

namespace {

constexpr std::size_t entities = 100000, steps = 20, line_bytes = 64, chunk_bytes = 16384, job = 250;
constexpr float wall = 100, step_seconds = 1.0f / 60;

struct hot {
    float x, y, z, vx, vy, vz;
};

struct cold {
    char name[32];
    std::uint32_t spawned_at, owner, inventory[14];
};

struct entity {
    hot h;
    cold c;
};

using hits = std::pmr::vector<std::uint32_t>; /* entities that met a wall in this step */

inline bool move(float &at, float &speed) {
    at += speed * step_seconds;
    if (std::fabs(at) <= wall)
        return false;
    speed = -speed;
    return true;
}

inline void step_one(hot &h, std::uint32_t id, hits &found) {
    bool hit = move(h.x, h.vx);
    hit |= move(h.y, h.vy);
    hit |= move(h.z, h.vz);
    if (hit)
        found.push_back(id);
}

void step_columns(float *x, float *y, float *z, float *vx, float *vy, float *vz, std::size_t n,
                  std::size_t first, hits &found) {
    for (std::size_t i = 0; i < n; i++) {
        bool hit = move(x[i], vx[i]);
        hit |= move(y[i], vy[i]);
        hit |= move(z[i], vz[i]);
        if (hit)
            found.push_back(static_cast<std::uint32_t>(first + i));
    }
}

struct line_count {
    std::unordered_set<std::uintptr_t> seen;
    void add(const void *p, std::size_t bytes) {
        auto from = reinterpret_cast<std::uintptr_t>(p) / line_bytes;
        auto to = (reinterpret_cast<std::uintptr_t>(p) + bytes - 1) / line_bytes;
        for (; from <= to; from++)
            seen.insert(from);
    }
};

/* Each world has: step, the state of an entity, the lines of it that a step writes, and the length of a job.
 */

struct objects {
    std::vector<std::unique_ptr<entity>> all;
    explicit objects(const std::vector<entity> &from) : all(from.size()) {
        std::vector<std::uint32_t> order(from.size());
        for (std::uint32_t i = 0; i < order.size(); i++)
            order[i] = i;
        std::shuffle(order.begin(), order.end(), std::mt19937(2));
        for (std::uint32_t i : order)
            all[i] = std::make_unique<entity>(from[i]);
    }
    void step(hits &found) {
        for (std::uint32_t i = 0; i < all.size(); i++)
            step_one(all[i]->h, i, found);
    }
    hot at(std::size_t i) const {
        return all[i]->h;
    }
    void lines(std::size_t i, line_count &count) const {
        count.add(&all[i]->h, sizeof(hot));
    }
    static constexpr std::size_t job_length = job;
};

struct records {
    std::vector<entity> all;
    explicit records(const std::vector<entity> &from) : all(from) {}
    void step(hits &found) {
        for (std::uint32_t i = 0; i < all.size(); i++)
            step_one(all[i].h, i, found);
    }
    hot at(std::size_t i) const {
        return all[i].h;
    }
    void lines(std::size_t i, line_count &count) const {
        count.add(&all[i].h, sizeof(hot));
    }
    static constexpr std::size_t job_length = job;
};

struct columns {
    std::vector<float> x, y, z, vx, vy, vz;
    std::vector<cold> rest;
    explicit columns(const std::vector<entity> &from) {
        for (const entity &e : from) {
            x.push_back(e.h.x), y.push_back(e.h.y), z.push_back(e.h.z);
            vx.push_back(e.h.vx), vy.push_back(e.h.vy), vz.push_back(e.h.vz);
            rest.push_back(e.c);
        }
    }
    void step(hits &found) {
        step_columns(x.data(), y.data(), z.data(), vx.data(), vy.data(), vz.data(), x.size(), 0, found);
    }
    hot at(std::size_t i) const {
        return {x[i], y[i], z[i], vx[i], vy[i], vz[i]};
    }
    void lines(std::size_t i, line_count &count) const {
        for (auto *column : {&x, &y, &z, &vx, &vy, &vz})
            count.add(&(*column)[i], sizeof(float));
    }
    static constexpr std::size_t job_length = job;
};

/* The columns are as long as whole cache lines, so each starts at one because the chunk does. */
struct chunk {
    static constexpr std::size_t length = chunk_bytes / sizeof(hot) / 16 * 16;
    float x[length], y[length], z[length], vx[length], vy[length], vz[length];
};
static_assert(sizeof(chunk) <= chunk_bytes && sizeof(chunk::x) % line_bytes == 0);

struct chunks {
    struct give {
        void operator()(chunk *c) const {
            um_free(c);
        }
    };
    std::vector<std::unique_ptr<chunk, give>> all;
    std::vector<cold, um::allocator<cold, UM_ALIGN(line_bytes)>> rest;
    std::size_t count;
    explicit chunks(const std::vector<entity> &from) : count(from.size()) {
        for (std::size_t i = 0; i < count; i++) {
            if (i % chunk::length == 0)
                all.emplace_back(static_cast<chunk *>(um_malloc(chunk_bytes, UM_ALIGN(line_bytes))));
            if (!all.back())
                throw std::bad_alloc();
            chunk &c = *all.back();
            const hot &h = from[i].h;
            std::size_t at = i % chunk::length;
            c.x[at] = h.x, c.y[at] = h.y, c.z[at] = h.z;
            c.vx[at] = h.vx, c.vy[at] = h.vy, c.vz[at] = h.vz;
            rest.push_back(from[i].c);
        }
    }
    std::size_t in_chunk(std::size_t k) const {
        return std::min(chunk::length, count - k * chunk::length);
    }
    void step(hits &found) {
        for (std::size_t k = 0; k < all.size(); k++) {
            chunk &c = *all[k];
            step_columns(c.x, c.y, c.z, c.vx, c.vy, c.vz, in_chunk(k), k * chunk::length, found);
        }
    }
    hot at(std::size_t i) const {
        const chunk &c = *all[i / chunk::length];
        i %= chunk::length;
        return {c.x[i], c.y[i], c.z[i], c.vx[i], c.vy[i], c.vz[i]};
    }
    void lines(std::size_t i, line_count &lines) const {
        const chunk &c = *all[i / chunk::length];
        for (const float *column : {c.x, c.y, c.z, c.vx, c.vy, c.vz})
            lines.add(column + i % chunk::length, sizeof(float));
    }
    static constexpr std::size_t job_length = chunk::length;
};

std::vector<entity> make_entities() {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> place(-wall, wall), speed(-50, 50);
    std::vector<entity> made(entities);
    for (std::uint32_t i = 0; i < entities; i++) {
        made[i].h = {place(random), place(random), place(random),
                     speed(random), speed(random), speed(random)};
        std::snprintf(made[i].c.name, sizeof made[i].c.name, "entity %u", i);
        made[i].c.spawned_at = i;
    }
    return made;
}

struct outcome {
    double sum = 0;
    std::size_t hits = 0;
};

template <class World> void print_lines(const char *name, const World &world, double ns) {
    line_count count[2];
    for (std::size_t i = 0; i < entities; i++)
        world.lines(i, count[i / World::job_length % 2]);
    std::size_t both = 0;
    for (std::uintptr_t line : count[0].seen)
        both += count[1].seen.count(line);
    std::size_t all = count[0].seen.size() + count[1].seen.size() - both;
    std::printf("%-8s %.2f cache lines an entity, %4zu written by both of two threads, %5.1f ns an entity\n",
                name, static_cast<double>(all) / entities, both, ns);
}

template <class World> outcome play(const char *name, const std::vector<entity> &from) {
    using clock = std::chrono::steady_clock;
    World world(from);
    um::arena frame;
    outcome out;
    clock::duration best = clock::duration::max();
    for (std::size_t s = 0; s < steps; s++) {
        auto begin = clock::now();
        {
            hits found(&frame);
            world.step(found);
            out.hits += found.size();
        }
        frame.reset();
        best = std::min(best, clock::now() - begin);
    }
    print_lines(name, world, std::chrono::duration<double, std::nano>(best).count() / entities);
    for (std::size_t i = 0; i < entities; i++) {
        hot h = world.at(i);
        out.sum += h.x + h.y + h.z;
    }
    return out;
}

} // namespace

int main() {
    std::vector<entity> from = make_entities();
    std::printf("%zu entities of %zu bytes hot and %zu cold, %zu steps\n", entities, sizeof(hot),
                sizeof(cold), steps);
    outcome first = play<objects>("objects", from);
    bool same = true;
    for (outcome next :
         {play<records>("records", from), play<columns>("columns", from), play<chunks>("chunks", from)})
        same &= next.sum == first.sum && next.hits == first.hits;
    std::printf("%zu hits in each world; the worlds %s\n", first.hits, same ? "agree" : "differ");
    return same ? 0 : 1;
}
