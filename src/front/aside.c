/* Stepping aside: in the programs of UMALLOC_EXCLUDE, and beside a sanitizer that brings a malloc of its own,
   without which it finds nothing and may not even start. The first call that finds no heap asks whether the
   program is excluded; it may come from the dynamic linker, before any constructor, before libc has its
   environment and with locks of the linker held. So the environment is read where the kernel put it, and the
   next allocator is looked up in the linker's tables: dlsym may allocate. There is one answer for the
   process's life: a program that is excluded has no heap of ours from the first to the last call, so every
   call takes the slow paths, which ask here; and one that is not never asks again.

   The record that scripts/umalloc-active looks for in the memory of other processes is here too. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "front/aside.h"
#include "conf/options.h"
#include "os/os.h"
#include "space/span.h"

#include <elf.h>
#include <link.h>

#define VARIABLE "UMALLOC_EXCLUDE="

typedef enum aside_answer { NOT_ASKED, SERVES, STEPS_ASIDE } aside_answer;

/* Found by its name; the script knows the layout of version 1. */
static struct {
    char name[24];
    _Atomic(uint32_t) answer; /* aside_answer; release publishes um_aside_next to the acquire in um_aside */
    uint32_t pid;             /* of the process that asked */
    const um_window *window;
} active = {.name = "umalloc active record 1", .window = &um_space_window};

um_aside_functions um_aside_next;

/* argc of the process, then argv and the environment: the dynamic linker's, and static libc's. */
extern void *__libc_stack_end __attribute__((weak));
#pragma weak _r_debug
#pragma weak _DYNAMIC

static bool same(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static const char *after_prefix(const char *text, const char *prefix) {
    while (*prefix)
        if (*text++ != *prefix++)
            return NULL;
    return text;
}

static const char *base_name(const char *path) {
    const char *name = path;
    for (; *path; path++)
        if (*path == '/' && path[1])
            name = path + 1;
    return name;
}

static bool is_listed(const char *list, const char *name) {
    while (list && *name) {
        const char *rest = after_prefix(list, name);
        if (rest && (*rest == 0 || *rest == ','))
            return true;
        while (*list && *list != ',')
            list++;
        list = *list ? list + 1 : NULL;
    }
    return false;
}

/* By the name of the file that was executed, or by argv[0]: the interpreter's, where that file is a script.
 */
static bool is_excluded(void) {
    const char *const *at;
    uintptr_t argc;
    if (um_os_secure() || !&__libc_stack_end || !__libc_stack_end)
        return false;
    argc = *(const uintptr_t *)__libc_stack_end;
    at = (const char *const *)__libc_stack_end + 1;
    for (const char *const *env = at + argc + 1; *env; env++) {
        const char *list = um_option_begins(*env) ? after_prefix(*env, VARIABLE) : NULL;
        if (list)
            return is_listed(list, um_os_program()) || (argc && *at && is_listed(list, base_name(*at)));
    }
    return false;
}

/* ThreadSanitizer's and AddressSanitizer's runtimes; in ours, where the library itself is instrumented. */
#ifndef UM_STATIC
extern void __tsan_init(void) __attribute__((weak));
extern void __asan_init(void) __attribute__((weak));
#define BESIDE_SANITIZER (__tsan_init || __asan_init)
#else
#define BESIDE_SANITIZER false
#endif

/* --- the linker's tables --- */

typedef struct object {
    uintptr_t base;
    const Elf64_Sym *symbols;
    const char *strings;
    const uint32_t *hashes; /* DT_GNU_HASH */
} object;

/* The linker has relocated these addresses in place, as a rule. */
static const void *table(const object *o, Elf64_Addr address) {
    return (const void *)(address < o->base ? o->base + address : address);
}

static bool open_object(const struct link_map *map, object *o) {
    *o = (object){.base = map->l_addr};
    for (const Elf64_Dyn *d = map->l_ld; d && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_SYMTAB)
            o->symbols = table(o, d->d_un.d_ptr);
        else if (d->d_tag == DT_STRTAB)
            o->strings = table(o, d->d_un.d_ptr);
        else if (d->d_tag == DT_GNU_HASH)
            o->hashes = table(o, d->d_un.d_ptr);
    }
    return o->symbols && o->strings && o->hashes;
}

/* The hash function of DT_GNU_HASH: h * 33 + c from 5381. */
static uint32_t hash_of(const char *name) {
    uint32_t h = 5381;
    for (; *name; name++)
        h = h * 33 + (uint8_t)*name;
    return h;
}

/* DT_GNU_HASH: number of buckets, first symbol hashed, words of the filter, its shift; filter; buckets;
   chains, one word a symbol, whose lowest bit ends a chain. */
static void *find(const object *o, const char *name) {
    uint32_t count = o->hashes[0], first = o->hashes[1], h = hash_of(name), i;
    const uint32_t *buckets = o->hashes + 4 + o->hashes[2] * (sizeof(Elf64_Addr) / 4);
    const uint32_t *chains = buckets + count;
    for (i = count ? buckets[h % count] : 0; i >= first && i; i++) {
        const Elf64_Sym *s = &o->symbols[i];
        uint32_t word = chains[i - first];
        if ((word | 1) == (h | 1) && s->st_shndx != SHN_UNDEF && same(o->strings + s->st_name, name)) {
            uintptr_t at = o->base + s->st_value;
            if (ELF64_ST_TYPE(s->st_info) == STT_GNU_IFUNC)
                at = ((uintptr_t(*)(void))at)();
            return (void *)at;
        }
        if (word & 1)
            break;
    }
    return NULL;
}

/* Takes from an object what is not found yet. */
static void take_from(const object *o, um_aside_functions *found) {
#define X(type, name, parameters)                                                                            \
    if (!found->name)                                                                                        \
        found->name = (type(*) parameters)(uintptr_t)find(o, #name);
    UM_ASIDE_TABLE(X)
#undef X
}

/* Our own entry in the linker's list; NULL in a static program. The list is read without the linker's lock,
   which only dl_iterate_phdr takes, and sanitizers replace that. */
static const struct link_map *our_entry(void) {
    const struct link_map *map = &_r_debug ? _r_debug.r_map : NULL;
    const void *ours = _DYNAMIC;
    __asm__("" : "+r"(ours)); /* compilers take no address for NULL, but a static program has no _DYNAMIC */
    while (map && map->l_ld != ours)
        map = map->l_next;
    return ours ? map : NULL;
}

void *um_aside_find(const char *name) {
    const struct link_map *map = our_entry();
    void *found = NULL;
    object o;
    while (map && !found && (map = map->l_next))
        if (open_object(map, &o))
            found = find(&o, name);
    return found;
}

/* False where nobody else could serve: a static program. The first call of all has no company. */
static bool find_next(void) {
    um_aside_functions found = {0};
    const struct link_map *map = our_entry();
    object o;
    if (!map)
        return false;
    while ((map = map->l_next))
        if (open_object(map, &o))
            take_from(&o, &found);
    if (!found.malloc || !found.free || !found.calloc || !found.realloc || !found.memalign)
        return false;
    um_aside_next = found;
    return true;
}

/* Threads that ask at the same time get the same answer. */
static UM_COLD bool ask(void) {
    aside_answer answer = (BESIDE_SANITIZER || is_excluded()) && find_next() ? STEPS_ASIDE : SERVES;
    active.pid = um_os_pid();
    atomic_store_explicit(&active.answer, answer, memory_order_release);
    return answer == STEPS_ASIDE;
}

bool um_aside(void) {
    aside_answer answer = (aside_answer)atomic_load_explicit(&active.answer, memory_order_acquire);
    return um_unlikely(answer == NOT_ASKED) ? ask() : answer == STEPS_ASIDE;
}
