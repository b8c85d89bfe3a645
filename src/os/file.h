/* A reader of the kernel's text files: a character at a time, from a small buffer. errno stays,
   async-signal-safe. */
#ifndef UM_FILE_H
#define UM_FILE_H

#include "base/base.h"

typedef struct um_file {
    int fd;
    unsigned at, len;
    char buf[256];
} um_file;

/* 0 or an errno value; only an open file may be read, and must be closed. */
UM_HIDDEN int um_file_open(um_file *f, const char *path);
UM_HIDDEN void um_file_close(um_file *f);
/* The next character without taking it; -1 at the end, and where reading fails. */
UM_HIDDEN int um_file_peek(um_file *f);
UM_HIDDEN int um_file_next(um_file *f);
/* A number that stands right here, base 10 or 16; saturates. */
UM_HIDDEN bool um_file_number(um_file *f, unsigned base, uint64_t *out);
UM_HIDDEN void um_file_skip_blanks(um_file *f);
/* Whether `word` stands right here; takes what of it does. */
UM_HIDDEN bool um_file_word(um_file *f, const char *word);
/* Goes behind the next `word` that stands behind the character `after`. */
UM_HIDDEN bool um_file_find(um_file *f, char after, const char *word);

#endif
