/* fork while another thread holds libc's lock of the list of streams, as fflush(NULL) does, and allocates
   under it, as streams do: libc's fork takes that lock after all prepare handlers, so the allocator's must
   not be held by one that still waits for it. The other thread allocates once the forking one sleeps, be it
   in a handler or in libc. Hangs, and is ended by the watchdog, if the order is wrong. */
#include "exercise.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>

static FILE *stream;
static atomic_bool flushing, forking, over;
static char forker[64]; /* the file that tells the state of the thread that forks */

static void fork_begins(void) {
    forking = true;
}

static bool sleeps(void) {
    char text[512];
    int file = open(forker, O_RDONLY);
    CHECK(file >= 0, "%s", forker);
    ssize_t n = read(file, text, sizeof text - 1);
    close(file);
    CHECK(n > 0, "%s", forker);
    text[n] = 0;
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[2] == 'S';
}

/* Under the lock of the list, and the stream's. */
static ssize_t write_stream(void *unused, const char *text, size_t n) {
    (void)unused;
    (void)text;
    if (over)
        return (ssize_t)n;
    flushing = true;
    while (!forking || !sleeps())
        sched_yield();
    exercise();
    return (ssize_t)n;
}

static void *flush(void *unused) {
    CHECK(fflush(NULL) == 0, "fflush");
    return unused;
}

static void flush_in_thread(void) {
    pthread_t t;
    CHECK(pthread_create(&t, NULL, flush, NULL) == 0, "pthread_create");
    pthread_join(t, NULL);
}

/* The lock of the list is free again, for this thread and others. */
static void use_streams(void) {
    FILE *f = fopen("/dev/null", "w");
    CHECK(f, "fopen");
    fclose(f);
    flush(NULL);
    flush_in_thread();
}

static void fork_beside_flush(void) {
    pthread_t t;
    int status;
    flushing = forking = over = false;
    CHECK(fputc('x', stream) == 'x', "fputc");
    CHECK(pthread_create(&t, NULL, flush, NULL) == 0, "pthread_create");
    while (!flushing)
        sched_yield();
    pid_t child = fork();
    CHECK(child >= 0, "fork");
    over = true;
    if (child == 0) {
        exercise();
        use_streams();
        _exit(0);
    }
    pthread_join(t, NULL);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x",
          (unsigned)status);
    use_streams();
}

int main(int argc, char **argv) {
    check_library();
    check_watchdog(60);
    size_t forks = exercise_number(argc, argv, 1, 100);
    (void)snprintf(forker, sizeof forker, "/proc/self/task/%d/stat", (int)getpid());
    stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_stream});
    CHECK(stream, "fopencookie");
    CHECK(pthread_atfork(fork_begins, NULL, NULL) == 0, "pthread_atfork");
    for (size_t i = 0; i < forks; i++)
        fork_beside_flush();
    over = true;
    return 0;
}
