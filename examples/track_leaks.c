/* Finds its own leaks: a small server of requests, in which one kind of request forgets a block. Tracking
 * says how many blocks each request left behind, by scopes, and from where, by a report. */
#include <umalloc/track.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS 300

static char *copy_of(const char *text) {
    char *copy = malloc(strlen(text) + 1);
    if (copy)
        strcpy(copy, text);
    return copy;
}

/* Every tenth request fails, and that path forgets the name. */
static int serve(int number) {
    char *volatile name = copy_of("a request's name"), *volatile answer; /* or compilers leave them out */
    if (!name)
        return -1;
    answer = malloc(1000);
    if (number % 10 == 0) {
        free(answer);
        return -1;
    }
    free(answer);
    free(name);
    return 0;
}

int main(void) {
    um_track_mark start;
    unsigned leaky = 0;
    unsigned long long bytes = 0;
    if (um_track_start(NULL) != 0) {
        perror("tracking does not start");
        return 1;
    }
    start = um_track_now();
    for (int i = 0; i < REQUESTS; i++) {
        um_track_scope scope;
        um_track_begin(&scope);
        (void)serve(i);
        if (um_track_end(&scope) > 0) {
            leaky++;
            bytes += scope.leaked_bytes;
        }
    }
    um_track_mark end = um_track_now();
    printf("%llu allocations, %llu frees\n", (unsigned long long)(end.serial - start.serial),
           (unsigned long long)(end.frees - start.frees));
    printf("%u of %d requests left blocks behind, %llu bytes in all; from:\n", leaky, REQUESTS, bytes);
    fflush(stdout);
    (void)um_track_report(1, &start, &end);
    um_track_stop();
    return leaky == REQUESTS / 10 ? 0 : 1;
}
