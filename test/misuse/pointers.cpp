/* Frees of what is free or never was a block, and other calls with such pointers. */
#include "misuse.h"

#include <sys/mman.h>
#include <sys/wait.h>

namespace {

/* --- freed twice --- */

outcome twice(size_t n) {
    char *p = block(n);
    free(p);
    armed();
    free(p);
    return GOT_AWAY;
}

outcome twice_around_another(size_t n) {
    char *p = block(n), *q = block(n);
    free(p);
    free(q);
    armed();
    free(p);
    return GOT_AWAY;
}

outcome twice_among_live(size_t n) {
    char *before = block(n), *p = block(n), *after = block(n);
    free(p);
    armed();
    free(p);
    free(before);
    free(after);
    return GOT_AWAY;
}

outcome twice_after_churn(size_t n) {
    char *p = block(n);
    free(p);
    churn(n);
    armed();
    free(p);
    return GOT_AWAY;
}

outcome twice_then_churn(size_t n) {
    char *p = block(n);
    churn(n);
    free(p);
    armed();
    free(p);
    churn(n);
    return GOT_AWAY;
}

outcome twice_then_two_owners(size_t n) {
    char *p = block(n);
    fill_up(n);
    free(p);
    armed();
    free(p);
    void *a = malloc(n), *b = malloc(n);
    return away_if(a == b);
}

outcome twice_after_reuse(size_t n) {
    char *p = block(n);
    free(p);
    char *q = block(n);
    armed();
    free(p);
    free(q);
    return GOT_AWAY;
}

outcome twice(size_t n, void (*first)(void *), void (*second)(void *)) {
    char *p = block(n);
    first(p);
    armed();
    second(p);
    fill_up(n);
    return GOT_AWAY;
}

outcome twice_there_then_here(size_t n) {
    return twice(n, free_elsewhere, free);
}

outcome twice_here_then_there(size_t n) {
    return twice(n, free, free_elsewhere);
}

outcome twice_there_then_there(size_t n) {
    return twice(n, free_elsewhere, free_elsewhere);
}

void *allocate_it(void *n) {
    return block(*static_cast<size_t *>(n));
}

outcome twice_of_ended_thread(size_t n) {
    pthread_t t;
    void *p;
    if (pthread_create(&t, nullptr, allocate_it, &n) || pthread_join(t, &p))
        _exit(2);
    free(p);
    armed();
    free(p);
    fill_up(n);
    return GOT_AWAY;
}

outcome twice_aligned(size_t n) {
    void *p = memalign(256, n);
    free(p);
    armed();
    free(p);
    return GOT_AWAY;
}

outcome twice_by_realloc(size_t n) {
    char *p = block(n), *wall = block(n);
    char *q = static_cast<char *>(realloc(p, n * 8));
    if (q == p)
        return HARMLESS;
    armed();
    free(p);
    free(wall);
    free(q);
    return GOT_AWAY;
}

outcome twice_in_child(size_t n) {
    char *p = block(n);
    free(p);
    armed();
    pid_t child = fork();
    if (child == 0) {
        free(p);
        puts("child went on");
        fflush(stdout);
        _exit(GOT_AWAY);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return away_if(WIFEXITED(status) && WEXITSTATUS(status) == GOT_AWAY);
}

/* --- what was never a block --- */

outcome free_of_stack(size_t) {
    char local[256] __attribute__((aligned(64)));
    memset(local, 0, sizeof local);
    armed();
    free(local + 64);
    return GOT_AWAY;
}

outcome free_of_static(size_t) {
    static char global[256] __attribute__((aligned(64)));
    armed();
    free(global + 64);
    return GOT_AWAY;
}

outcome free_of_mapping(size_t n) {
    void *p = mmap(nullptr, n + 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        _exit(2);
    armed();
    free(static_cast<char *>(p) + 4096);
    return GOT_AWAY;
}

outcome free_of_number(size_t) {
    armed();
    free(reinterpret_cast<void *>(uintptr_t{0x10}));
    return GOT_AWAY;
}

outcome free_of_old_contents(size_t n) {
    void **p = reinterpret_cast<void **>(block(n));
    armed();
    free(p[1]); /* the fill pattern, taken for a pointer */
    return GOT_AWAY;
}

outcome free_off_by(size_t n, size_t off) {
    char *p = block(n);
    armed();
    free(p + off);
    return GOT_AWAY;
}

outcome free_unaligned(size_t n) {
    return free_off_by(n, 1);
}
outcome free_half_aligned(size_t n) {
    return free_off_by(n, 8);
}
outcome free_of_interior(size_t n) {
    return free_off_by(n, n / 2 / 16 * 16 ? n / 2 / 16 * 16 : 8);
}
outcome free_one_past(size_t n) {
    return free_off_by(n, (n + 15) / 16 * 16);
}
outcome free_near(size_t n) {
    return free_off_by(n, 12 * KIB);
}
outcome free_far(size_t n) {
    return free_off_by(n, size_t{1} << 30);
}

outcome free_interior_when_warm(size_t n) {
    fill_up(n);
    char *p = block(n);
    armed();
    free(p + 8);
    return GOT_AWAY;
}

/* --- other calls with wrong pointers --- */

outcome realloc_of_freed(size_t n) {
    char *p = block(n), *wall = block(n);
    free(p);
    armed();
    sink = realloc(p, n * 3);
    free(wall);
    return GOT_AWAY;
}

outcome realloc_of_interior(size_t n) {
    char *p = block(n);
    armed();
    sink = realloc(p + 8, n * 3);
    return GOT_AWAY;
}

outcome realloc_of_stack(size_t n) {
    char local[256] __attribute__((aligned(64)));
    memset(local, 0, sizeof local);
    armed();
    sink = realloc(local + 64, n);
    return GOT_AWAY;
}

outcome usable_size_of_freed(size_t n) {
    char *p = block(n);
    free(p);
    armed();
    return away_if(malloc_usable_size(p) != 0);
}

outcome usable_size_of_interior(size_t n) {
    char *p = block(n);
    armed();
    return away_if(malloc_usable_size(p + 8) != 0);
}

outcome usable_size_of_static(size_t) {
    static char global[256] __attribute__((aligned(64)));
    armed();
    return away_if(malloc_usable_size(global + 64) != 0);
}

} // namespace

const family wrong_pointers[] = {
    FAMILY(twice, ALL),
    FAMILY(twice, LARGE),
    FAMILY(twice_around_another, ALL),
    FAMILY(twice_around_another, LARGE),
    FAMILY(twice_among_live, ALL),
    FAMILY(twice_after_churn, ALL),
    FAMILY(twice_after_churn, LARGE),
    FAMILY(twice_then_churn, ALL),
    FAMILY(twice_then_two_owners, ALL),
    FAMILY(twice_after_reuse, ALL),
    FAMILY(twice_there_then_here, ALL),
    FAMILY(twice_here_then_there, ALL),
    FAMILY(twice_there_then_there, ALL),
    FAMILY(twice_of_ended_thread, ALL),
    FAMILY(twice_aligned, ALL),
    FAMILY(twice_by_realloc, ALL),
    FAMILY(twice_in_child, ALL),
    FAMILY(free_of_stack, ONE),
    FAMILY(free_of_static, ONE),
    FAMILY(free_of_mapping, ALL),
    FAMILY(free_of_number, ONE),
    FAMILY(free_of_old_contents, ALL),
    FAMILY(free_unaligned, ALL),
    FAMILY(free_half_aligned, ALL),
    FAMILY(free_of_interior, ALL),
    FAMILY(free_of_interior, LARGE),
    FAMILY(free_one_past, ALL),
    FAMILY(free_near, ALL),
    FAMILY(free_far, ALL),
    FAMILY(free_interior_when_warm, ALL),
    FAMILY(realloc_of_freed, ALL),
    FAMILY(realloc_of_interior, ALL),
    FAMILY(realloc_of_stack, ALL),
    FAMILY(usable_size_of_freed, ALL),
    FAMILY(usable_size_of_interior, ALL),
    FAMILY(usable_size_of_static, ONE),
    {nullptr, nullptr, ONE},
};
