/* The kernel's files are read once from start to end, so a buffer smaller than a page does. An error of the
   kernel ends the file: what is missing then counts as not written. */
#include "os/file.h"
#include "os/os.h"

int um_file_open(um_file *f, const char *path) {
    f->fd = um_os_open(path);
    f->at = f->len = 0;
    return f->fd < 0 ? -f->fd : 0;
}

void um_file_close(um_file *f) {
    um_os_close(f->fd);
}

int um_file_peek(um_file *f) {
    if (f->at == f->len) {
        long n = um_os_read(f->fd, f->buf, sizeof f->buf);
        f->at = 0;
        f->len = n > 0 ? (unsigned)n : 0;
        if (!f->len)
            return -1;
    }
    return (unsigned char)f->buf[f->at];
}

int um_file_next(um_file *f) {
    int c = um_file_peek(f);
    if (c >= 0)
        f->at++;
    return c;
}

/* 16 where c is none; letters are small, as the kernel writes them. */
static unsigned digit_of(int c) {
    return c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

bool um_file_number(um_file *f, unsigned base, uint64_t *out) {
    unsigned digit = digit_of(um_file_peek(f));
    if (digit >= base)
        return false;
    for (*out = 0; digit < base; digit = digit_of(um_file_peek(f))) {
        *out = *out > (UINT64_MAX - digit) / base ? UINT64_MAX : *out * base + digit;
        (void)um_file_next(f);
    }
    return true;
}

void um_file_skip_blanks(um_file *f) {
    while (um_file_peek(f) == ' ' || um_file_peek(f) == '\t')
        (void)um_file_next(f);
}

bool um_file_word(um_file *f, const char *word) {
    while (*word && um_file_peek(f) == (unsigned char)*word) {
        (void)um_file_next(f);
        word++;
    }
    return !*word;
}

bool um_file_find(um_file *f, char after, const char *word) {
    for (int c = 0; c >= 0; c = um_file_next(f))
        if (c == after && um_file_word(f, word))
            return true;
    return false;
}
