/* An ordinary program, for odd surroundings. It allocates in several threads, maps and unmaps a file of its
   own and ends through exit. Argument `fds`: the caller closed 0, 1 and 2; the library must hold none of
   them, and what is opened as 2 must stay empty. */
#include "exercise.h"

#include <pthread.h>
#include <sys/mman.h>

static void *work(void *unused) {
    (void)unused;
    for (size_t i = 0; i < 50; i++)
        exercise();
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t t[4];
    check_library();
    check_watchdog(120);
    if (argc == 3 && strcmp(argv[1], "fds") == 0) {
        if (open("/dev/null", O_RDONLY) != 0 || open("/dev/null", O_WRONLY) != 1)
            return 10; /* somebody sits on these numbers */
        if (open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600) != 2)
            return 11;
    }
    for (size_t i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, work, NULL) == 0, "pthread_create");
    work(NULL);
    for (size_t i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED, "mmap");
    CHECK(madvise(p, 1 << 20, MADV_DONTNEED) == 0 && munmap(p, 1 << 20) == 0, "munmap");
    exit(argc == 2 && strcmp(argv[1], "status") == 0 ? 5 : 0);
}
