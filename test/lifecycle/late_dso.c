/* A shared object whose constructor and destructor allocate and free, across the life of the program that
 * loads it. */
#include "exercise.h"

void late_dso_keep(void *p);

static struct exercise from_constructor;
static void *kept;

void late_dso_keep(void *p) {
    kept = p;
}

__attribute__((constructor(101))) static void start(void) {
    exercise_take(&from_constructor);
}

__attribute__((destructor(101))) static void end(void) {
    exercise_drop(&from_constructor);
    free(kept);
    exercise();
    CHECK(write(1, "dso\n", 4) == 4, "write");
}
