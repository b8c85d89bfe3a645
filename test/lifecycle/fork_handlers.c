/* fork in a program whose library waits, in its own fork handler, for a lock under which another thread
   allocates: the allocator's locks must be taken last. Argument: how many forks. Hangs, and is ended by the
   watchdog, if they are not. */
#include "exercise.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>

extern pthread_mutex_t handlers_lock;

static atomic_bool stop;

static void *allocate_under_lock(void *unused) {
    for (size_t i = 0; !stop; i++) {
        pthread_mutex_lock(&handlers_lock);
        free(malloc(100000 + i % 7 * 70000));
        pthread_mutex_unlock(&handlers_lock);
    }
    return unused;
}

int main(int argc, char **argv) {
    pthread_t t;
    check_library();
    check_watchdog(60);
    size_t forks = exercise_number(argc, argv, 1, 300);
    CHECK(pthread_create(&t, NULL, allocate_under_lock, NULL) == 0, "pthread_create");
    for (size_t i = 0; i < forks; i++) {
        int status;
        pid_t child = fork();
        CHECK(child >= 0, "fork");
        if (child == 0) {
            exercise();
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0,
              "status %#x", (unsigned)status);
    }
    stop = true;
    pthread_join(t, NULL);
    return 0;
}
