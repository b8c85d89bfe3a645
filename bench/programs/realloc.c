/* Blocks that grow by realloc, as strings, vectors and read buffers do.
 *
 *   realloc PATTERN BYTES MILLISECONDS
 *
 * append   one block from 1 KiB to BYTES in 256 equal steps, or in fewer of 1 KiB, then freed
 * vectors  64 blocks from 16 to BYTES, grown by half of their size in turn: neighbours grow as well
 * shrink   one block of BYTES, halved down to 16, as a buffer is cut to its content
 *
 * Each repeats until the time is over, and at least once. New bytes are written, one word a page; before each
 * step the first and the last word of the old content are checked, and when a block is done all that was
 * written. Prints ns a realloc. */
#include "program.h"

#define VECTORS 64
#define STEPS   256

typedef struct vector {
    unsigned char *at;
    size_t bytes;
} vector;

static uint64_t calls;

static uint64_t word_of(size_t offset) {
    return offset ^ 0x5bd1e995u;
}

static void check_word(const vector *v, size_t offset) {
    if (*(volatile uint64_t *)(v->at + offset) != word_of(offset))
        stop(STATUS_BROKEN, "realloc lost what a block held");
}

/* The offset of the last word that is written in so many bytes: one a page, and the last. */
static size_t last_word(size_t bytes) {
    return (bytes / sizeof(uint64_t) - 1) * sizeof(uint64_t);
}

static void write_from(vector *v, size_t from) {
    for (size_t at = (from + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1); at + sizeof(uint64_t) <= v->bytes;
         at += PAGE_BYTES)
        *(volatile uint64_t *)(v->at + at) = word_of(at);
    *(volatile uint64_t *)(v->at + last_word(v->bytes)) = word_of(last_word(v->bytes));
}

static void resize(vector *v, size_t bytes) {
    size_t old = v->bytes;
    if (old) {
        check_word(v, 0);
        check_word(v, last_word(old));
    }
    unsigned char *at = realloc(v->at, bytes);
    if (!at)
        stop(STATUS_NO_MEMORY, "no memory");
    *v = (vector){at, bytes};
    calls++;
    if (bytes > old) {
        if (old)
            check_word(v, last_word(old));
        write_from(v, old);
    } else {
        check_word(v, 0);
        *(volatile uint64_t *)(at + last_word(bytes)) = word_of(last_word(bytes));
    }
}

static void end(vector *v) {
    for (size_t at = 0; at + sizeof(uint64_t) <= v->bytes; at += PAGE_BYTES)
        check_word(v, at);
    free(v->at);
    *v = (vector){NULL, 0};
}

static void append(size_t bytes) {
    size_t step = bytes / STEPS > 1024 ? bytes / STEPS : 1024;
    vector v = {NULL, 0};
    for (size_t at = 1024; at < bytes; at += step)
        resize(&v, at);
    resize(&v, bytes);
    end(&v);
}

static void vectors(size_t bytes) {
    vector all[VECTORS] = {{NULL, 0}};
    for (size_t size = 16; size <= bytes; size += (size / 2 + 7) & ~(size_t)7)
        for (size_t i = 0; i < VECTORS; i++)
            resize(&all[i], size);
    for (size_t i = 0; i < VECTORS; i++)
        end(&all[i]);
}

static void shrink(size_t bytes) {
    vector v = {NULL, 0};
    for (; bytes >= 16; bytes /= 2)
        resize(&v, bytes);
    end(&v);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*grow)(size_t bytes);
    } patterns[] = {{"append", append}, {"vectors", vectors}, {"shrink", shrink}};
    size_t bytes = argument(argv, argc, 2, 1024), at = 0;
    uint64_t span = argument(argv, argc, 3, 1) * NS_PER_MS, start = now_ns();
    while (strcmp(argv[1], patterns[at].name))
        if (++at == LENGTH(patterns))
            stop(STATUS_USAGE, "no such pattern");
    do
        patterns[at].grow(bytes);
    while (now_ns() - start < span);
    report((double)(now_ns() - start), calls);
    return 0;
}
