/* Runs a fuzzed program without a fuzzer: each input of a corpus once, then seeded ones, half of them made of
   bytes from nowhere and half of corpus inputs that were cut, joined and changed. Any compiler and sanitizer
   will do; what it lacks is a view of the coverage. usage: PROGRAM [--runs=N] [--seed=N] [--seconds=N]
   FOLDER-OR-FILE... */
#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_MAX = 4096, INPUTS_MAX = 512 };

static struct input {
    size_t size;
    uint8_t bytes[INPUT_MAX];
} corpus[INPUTS_MAX], made;
static size_t corpus_count;
static uint64_t state;

/* splitmix64 */
static uint64_t next(void) {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* An input a line, in hexadecimal. */
static void read_corpus(const char *path) {
    FILE *f = fopen(path, "re");
    unsigned high, low;
    int c;
    if (!f) {
        dprintf(2, "driver: cannot read %s\n", path);
        _exit(2);
    }
    while ((c = fgetc(f)) != EOF && corpus_count < INPUTS_MAX) {
        struct input *in = &corpus[corpus_count];
        if (c == '\n') {
            corpus_count++;
            continue;
        }
        ungetc(c, f);
        if (fscanf(f, "%1x%1x", &high, &low) != 2) {
            dprintf(2, "driver: input %zu of %s is not hexadecimal\n", corpus_count, path);
            _exit(2);
        }
        if (in->size < INPUT_MAX)
            in->bytes[in->size++] = (uint8_t)(high << 4 | low);
    }
    fclose(f);
}

static void append(const uint8_t *bytes, size_t n) {
    if (n > INPUT_MAX - made.size)
        n = INPUT_MAX - made.size;
    memcpy(made.bytes + made.size, bytes, n);
    made.size += n;
}

static void make_input(void) {
    made.size = 0;
    if (corpus_count && next() % 2) {
        for (unsigned parts = 1 + (unsigned)(next() % 3); parts--;) {
            const struct input *in = &corpus[next() % corpus_count];
            size_t from = next() % (in->size + 1);
            append(in->bytes + from, next() % (in->size - from + 1));
        }
    } else {
        made.size = next() % (next() % 4 ? 1024 : INPUT_MAX);
        for (size_t i = 0; i < made.size; i++)
            made.bytes[i] = (uint8_t)next();
    }
    for (uint64_t changes = next() % 8; made.size && changes--;)
        made.bytes[next() % made.size] = (uint8_t)next();
}

static int number(const char *arg, const char *name, uint64_t *out) {
    size_t n = strlen(name);
    if (strncmp(arg, name, n) != 0)
        return 0;
    *out = strtoull(arg + n, NULL, 0);
    return 1;
}

static const struct input *running;

static void run(const struct input *in) {
    running = in;
    LLVMFuzzerTestOneInput(in->bytes, in->size);
}

/* The input that failed is printed as a line of a corpus. */
static void show_input(int sig) {
    static const char digits[] = "0123456789abcdef";
    static char line[2 * INPUT_MAX];
    for (size_t i = 0; i < running->size; i++) {
        line[2 * i] = digits[running->bytes[i] >> 4];
        line[2 * i + 1] = digits[running->bytes[i] & 15];
    }
    dprintf(2, "driver: the input that failed:\n%.*s\n", (int)(2 * running->size), line);
    signal(sig, SIG_DFL);
    raise(sig);
}

int main(int argc, char **argv) {
    uint64_t runs = 0, seed = 1, seconds = 0, done = 0;
    time_t end;
    for (int i = 1; i < argc; i++)
        if (!number(argv[i], "--runs=", &runs) && !number(argv[i], "--seed=", &seed) &&
            !number(argv[i], "--seconds=", &seconds))
            read_corpus(argv[i]);
    dprintf(1, "driver: --seed=%llu --runs=%llu, %zu inputs of the corpus\n", (unsigned long long)seed,
            (unsigned long long)runs, corpus_count);
    signal(SIGABRT, show_input);
    for (size_t i = 0; i < corpus_count; i++)
        run(&corpus[i]);
    end = time(NULL) + (time_t)seconds;
    for (; done < runs || (seconds && time(NULL) < end); done++) {
        state = seed * 0x100000001B3u + done; /* so that --seed=N+K --runs=1 is run K alone, nearly */
        make_input();
        run(&made);
    }
    dprintf(1, "driver: %llu runs\n", (unsigned long long)done);
    return 0;
}
