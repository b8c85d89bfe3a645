// Calls while a thread ends: pthread-key destructors over all their rounds, C++ thread_local destructors, and
// what libc itself frees of a thread (the buffers of strerror and dlerror). Many threads in turn: whatever
// order the allocator's own thread exit has among these, nothing may leak. Argument: number of threads.
#include "exercise.h"

#include <climits>
#include <pthread.h>

#include <string>
#include <vector>

namespace {

pthread_key_t keys[3];

struct rounds {
    int left;
    struct exercise held;
};

// Sets its key again, so that it is called in every round that there is.
void in_round(void *arg) {
    rounds *r = static_cast<rounds *>(arg);
    exercise_drop(&r->held);
    int left = r->left - 1;
    free(r);
    if (left > 0) {
        rounds *again = static_cast<rounds *>(malloc(sizeof *again));
        again->left = left;
        exercise_take(&again->held);
        for (pthread_key_t key : keys)
            if (!pthread_getspecific(key)) {
                pthread_setspecific(key, again);
                return;
            }
        exercise_drop(&again->held);
        free(again);
    }
}

struct local_object {
    std::vector<std::string> words;
    ~local_object() {
        std::string all;
        for (auto &w : words)
            all += w;
        CHECK(all.size() == 4950, "%zu", all.size());
        words.clear();
        exercise();
    }
};

thread_local local_object object;

void *thread(void *) {
    for (size_t i = 0; i < 100; i++)
        object.words.emplace_back(i, 'w');
    for (pthread_key_t key : keys) {
        rounds *r = static_cast<rounds *>(malloc(sizeof *r));
        r->left = PTHREAD_DESTRUCTOR_ITERATIONS;
        exercise_take(&r->held);
        pthread_setspecific(key, r);
    }
    CHECK(strerror(123456)[0], "strerror");
    CHECK(!dlsym(RTLD_DEFAULT, "no_such_symbol_anywhere"), "dlsym");
    return nullptr;
}

// The thread's first call of all comes from a destructor.
void first_call(void *arg) {
    free(arg);
    free(malloc(100));
}

void *idle_thread(void *arg) {
    pthread_key_t *key = static_cast<pthread_key_t *>(arg);
    static char mark;
    pthread_setspecific(*key, &mark);
    return nullptr;
}

void first_call_from_key(void *) {
    first_call(nullptr);
    exercise();
}

void run(void *(*body)(void *), void *arg) {
    pthread_t t;
    CHECK(pthread_create(&t, nullptr, body, arg) == 0, "pthread_create");
    CHECK(pthread_join(t, nullptr) == 0, "pthread_join");
}

} // namespace

int main(int argc, char **argv) {
    check_library();
    check_watchdog(300);
    size_t threads = exercise_number(argc, argv, 1, 1000), rss = 0, vmas = 0;
    pthread_key_t late_key;
    for (pthread_key_t &key : keys)
        CHECK(pthread_key_create(&key, in_round) == 0, "key");
    CHECK(pthread_key_create(&late_key, first_call_from_key) == 0, "key");
    for (size_t i = 0; i < threads; i++) {
        run(thread, nullptr);
        run(idle_thread, &late_key);
        if (i == threads / 4) {
            rss = check_rss_kib();
            vmas = check_vmas();
        }
    }
    size_t rss_end = check_rss_kib(), vmas_end = check_vmas();
    CHECK(rss_end <= rss + 2048, "RSS went from %zu to %zu KiB", rss, rss_end);
    CHECK(vmas_end <= vmas + 16, "mappings went from %zu to %zu", vmas, vmas_end);
    return 0;
}
