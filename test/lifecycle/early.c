/* Calls from before main: an ifunc resolver (the program is being relocated, and thread-local storage is set
   up anew after it), preinit_array (before any constructor), the earliest constructor. What was allocated
   then must live on, unchanged and apart from later blocks. */
#include "exercise.h"

static struct exercise from_ifunc, from_preinit, from_constructor;
static void *freed_later[64];

/* The calls that newer libcs make before any constructor ran. */
static void null_calls(void) {
    free(NULL);
    if (malloc_usable_size(NULL) != 0)
        abort();
    void *p = realloc(NULL, 100);
    p = realloc(p, 5000);
    free(p);
    free(calloc(3, 33));
    free(memalign(256, 100));
}

static int answer(void) {
    return 42;
}

static __attribute__((used)) int (*resolve(void))(void) {
    free(NULL);
    exercise_take(&from_ifunc);
    for (size_t i = 0; i < 64; i++)
        freed_later[i] = malloc(64);
    for (size_t i = 0; i < 64; i += 2) {
        free(freed_later[i]);
        freed_later[i] = NULL;
    }
    return answer;
}

int resolved(void) __attribute__((ifunc("resolve")));

static void at_preinit(int argc, char **argv, char **envp) {
    (void)argc;
    (void)argv;
    (void)envp;
    null_calls();
    exercise_verify(&from_ifunc);
    exercise_take(&from_preinit);
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit)(int, char **,
                                                                              char **) = at_preinit;

__attribute__((constructor(101))) static void earliest_constructor(void) {
    null_calls();
    exercise_verify(&from_preinit);
    exercise_take(&from_constructor);
}

int main(void) {
    struct exercise now[30];
    check_library();
    CHECK(resolved() == 42, "the ifunc");
    for (size_t i = 0; i < 30; i++)
        exercise_take(&now[i]);
    exercise_verify(&from_ifunc);
    exercise_verify(&from_preinit);
    exercise_drop(&from_ifunc);
    exercise_drop(&from_preinit);
    exercise_drop(&from_constructor);
    for (size_t i = 0; i < 64; i++)
        free(freed_later[i]);
    for (size_t i = 0; i < 30; i++)
        exercise_drop(&now[i]);
    for (size_t i = 0; i < 100; i++)
        exercise();
    return 0;
}
