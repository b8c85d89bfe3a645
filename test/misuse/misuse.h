/* What the programs of the corpus share: how one ends, and what an ordinary program does with its heap in the
   meantime. main.cpp tells how they are run. */
#ifndef UM_TEST_MISUSE_H
#define UM_TEST_MISUSE_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

enum outcome { HARMLESS = 0, GOT_AWAY = 3 };
enum sizes { ONE, ALL, LARGE }; /* one program; small, medium and large; 64 KiB, 1 MiB and 64 MiB */

struct family {
    const char *name;
    outcome (*run)(size_t n);
    sizes which;
};

#define FAMILY(name, which)                                                                                  \
    { #name, name, which }

/* Each ends with a row without name. */
extern const family wrong_pointers[], wrong_contents[], wrong_requests[];

constexpr size_t KIB = 1024, MIB = 1024 * KIB;
constexpr char MARK = 0x5c;

inline void *volatile sink;
inline char *volatile text_sink;

inline void armed() {
    if (write(1, "armed\n", 6) != 6)
        _exit(2);
}

inline char *block(size_t n) {
    char *p = static_cast<char *>(malloc(n));
    if (!p)
        _exit(2);
    memset(p, MARK, n);
    return p;
}

inline outcome away_if(bool seen) {
    return seen ? GOT_AWAY : HARMLESS;
}

inline size_t rounds(size_t n) {
    return n > 32 * KIB ? 40 : 3000;
}

/* What a program does with a size in the meantime. */
inline void churn(size_t n) {
    for (size_t i = 0; i < rounds(n); i++)
        free(malloc(n));
}

/* Many at once, so that all that is free is handed out. */
inline void fill_up(size_t n) {
    static void *all[3000];
    size_t most = n > 32 * KIB ? 20 : 3000;
    for (size_t i = 0; i < most; i++)
        all[i] = block(n);
    for (size_t i = 0; i < most; i++)
        free(all[i]);
}

inline void *free_it(void *p) {
    free(p);
    return nullptr;
}

inline void free_elsewhere(void *p) {
    pthread_t t;
    if (pthread_create(&t, nullptr, free_it, p))
        _exit(2);
    pthread_join(t, nullptr);
}

#endif
