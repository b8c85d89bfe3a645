/* Linked with another allocator, jemalloc or tcmalloc, statically or as a library: which of the two serves is
   the dynamic linker's to say, but all that is allocated must come from one of them and go back there.
   Argument `whose`: prints the object that malloc is of. */
#include "exercise.h"

#include <pthread.h>

static void *work(void *unused) {
    for (size_t i = 0; i < 20; i++)
        exercise();
    return unused;
}

int main(int argc, char **argv) {
    pthread_t t[4];
    Dl_info info;
    check_watchdog(60);
    for (size_t i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], NULL, work, NULL) == 0, "pthread_create");
    work(NULL);
    for (size_t i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    char *text = strdup("libc's strings"); /* libc's calls bind as ours do */
    free(text);
    char *line = NULL;
    size_t room = 0;
    FILE *f = fopen("/proc/self/status", "r");
    CHECK(f && getline(&line, &room, f) > 0, "getline");
    free(line);
    fclose(f);
    CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) && info.dli_fname, "dladdr");
    if (argc > 1 && strcmp(argv[1], "whose") == 0)
        printf("%s\n", info.dli_fname);
    return 0;
}
