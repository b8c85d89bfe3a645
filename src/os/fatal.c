/* Misuse of the allocator ends the program with one line. No allocation, no locks: the heap may be in any
   state. The program's handler of SIGABRT runs once; if it allocates and meets the same damage, the process
   ends there without a further line. */
#include "os/fatal.h"
#include "os/os.h"
#include "base/text.h"

static __thread bool dying __attribute__((tls_model("initial-exec")));
void (*um_fatal_tell)(const void *address);

void um_fatal(const char *kind, const void *address, size_t block_bytes, const char *detail) {
    um_text t;
    if (dying)
        um_os_kill();
    dying = true;
    um_text_init(&t, um_os_last_words, NULL);
    um_text_str(&t, "umalloc: ");
    um_text_str(&t, kind);
    um_text_str(&t, ": ");
    um_text_hex(&t, (uintptr_t)address);
    if (block_bytes || detail) {
        um_text_str(&t, " (");
        if (block_bytes) {
            um_text_u64(&t, block_bytes);
            um_text_str(&t, "-byte block");
        }
        if (block_bytes && detail)
            um_text_str(&t, ", ");
        if (detail)
            um_text_str(&t, detail);
        um_text_char(&t, ')');
    }
    um_text_str(&t, " in thread ");
    um_text_u64(&t, um_os_tid());
    um_text_char(&t, '\n');
    um_text_flush(&t);
    if (um_fatal_tell)
        um_fatal_tell(address);
    um_os_abort();
}
