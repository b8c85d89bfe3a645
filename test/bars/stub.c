/* Functions of exactly one instruction, a `ret`, behind a PLT: what is left of an allocator when its work is
 * removed. The result is whatever the register held, so callers must not use it. */
#include <stddef.h>

__asm__(
    ".text\n"
    ".globl stub_malloc\n.type stub_malloc, %function\nstub_malloc: ret\n.size stub_malloc, .-stub_malloc\n"
    ".globl stub_calloc\n.type stub_calloc, %function\nstub_calloc: ret\n.size stub_calloc, .-stub_calloc\n"
    ".globl stub_free\n.type stub_free, %function\nstub_free: ret\n.size stub_free, .-stub_free\n");
