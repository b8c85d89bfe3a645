/* What the program can ask: mallinfo, mallinfo2, malloc_info, malloc_stats, mallopt, malloc_trim speak of the
   heap that serves, and glibc's own heap stays unused. */
#include "contract.h"

#include <locale.h>

#define LIVE (32 * CHECK_MIB)

enum { BLOCK = 1000, BLOCKS = LIVE / BLOCK };
static void *blocks[BLOCKS];

static void take_live(void) {
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(BLOCK);
        cr_assert_not_null(blocks[i]);
        memset(blocks[i], 1, BLOCK);
    }
}

static void drop_live(void) {
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

Test(info, mallinfo2_follows_live_small_blocks) {
    struct mallinfo2 before = mallinfo2();
    take_live();
    struct mallinfo2 with = mallinfo2();
    drop_live();
    struct mallinfo2 after = mallinfo2();
    size_t grown = with.uordblks - before.uordblks;
    cr_assert_geq(grown, LIVE / 100 * 98, "uordblks grew by %zu for %zu live", grown, LIVE);
    cr_assert_leq(grown, LIVE / 100 * 115, "uordblks grew by %zu for %zu live", grown, LIVE);
    cr_assert_leq(after.uordblks, before.uordblks + CHECK_MIB, "%zu before, %zu after", before.uordblks,
                  after.uordblks);
    cr_assert_geq(with.arena + with.hblkhd, with.uordblks, "less mapped than used");
}

/* One large block counts too, wherever it is listed (glibc lists mapped ones in hblkhd). */
Test(info, mallinfo2_follows_a_large_block) {
    struct mallinfo2 before = mallinfo2();
    void *p = malloc(LIVE);
    struct mallinfo2 with = mallinfo2();
    free(p);
    size_t grown = with.uordblks + with.hblkhd - before.uordblks - before.hblkhd;
    cr_assert_geq(grown, LIVE, "grew by %zu for %zu live", grown, LIVE);
    cr_assert_leq(grown, 2 * LIVE + CHECK_MIB);
    struct mallinfo2 after = mallinfo2();
    cr_assert_leq(after.uordblks, before.uordblks + CHECK_MIB);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
Test(info, mallinfo_agrees_with_mallinfo2) {
    take_live();
    struct mallinfo old = mallinfo();
    struct mallinfo2 now = mallinfo2();
    drop_live();
    long long apart = (long long)now.uordblks - old.uordblks;
    cr_assert(apart > -65536 && apart < 65536, "%d and %zu", old.uordblks, now.uordblks);
}
#pragma GCC diagnostic pop

Test(info, malloc_trim_lowers_rss) {
    size_t base = check_rss_kib();
    take_live();
    void *large = malloc(LIVE);
    memset(large, 1, LIVE);
    cr_assert_geq(check_rss_kib(), base + 2 * LIVE / 1024);
    drop_live();
    free(large);
    malloc_trim(0);
    size_t after = check_rss_kib();
    cr_assert_leq(after, base + 4096, "%zu KiB before, %zu after the trim", base, after);
    cr_assert_eq(malloc_trim(0), 0, "nothing was left to give back");
}

/* Caches, and what rests in the hardened allocator. */
Test(info, malloc_trim_ends_what_is_kept_of_freed_memory) {
    void *p[40];
    malloc_trim(0);
    size_t base = mallinfo2().fordblks;
    for (size_t i = 0; i < 40; i++)
        memset(p[i] = malloc(20000), 1, 20000);
    for (size_t i = 0; i < 40; i++)
        free(p[i]);
    malloc_trim(0);
    size_t after = mallinfo2().fordblks;
    cr_assert_leq(after, base + 256 * 1024, "%zu bytes before, %zu after", base, after);
}

/* Blocks that live on keep their pages only. */
Test(info, malloc_trim_keeps_live_blocks) {
    take_live();
    for (size_t i = 0; i < BLOCKS; i++)
        if (i % 1000) {
            free(blocks[i]);
            blocks[i] = NULL;
        }
    malloc_trim(0);
    for (size_t i = 0; i < BLOCKS; i += 1000)
        for (size_t k = 0; k < BLOCK; k++)
            cr_assert_eq(((char *)blocks[i])[k], 1);
    drop_live();
}

/* Other programs tune glibc with it: accepted or refused, never harmful. */
Test(info, mallopt_answers) {
    static const int params[] = {M_MXFAST,       M_TRIM_THRESHOLD, M_TOP_PAD,    M_MMAP_THRESHOLD, M_MMAP_MAX,
                                 M_CHECK_ACTION, M_PERTURB,        M_ARENA_TEST, M_ARENA_MAX,      12345};
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++) {
        int answer = mallopt(params[i], 64);
        cr_assert(answer == 0 || answer == 1, "parameter %d answered %d", params[i], answer);
    }
    unsigned char *p = calloc(1, 100);
    cr_assert_not_null(p);
    cr_assert_eq(check_zero(p, 100), 100);
    free(p);
}

Test(info, malloc_info_writes_xml) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    cr_assert_eq(malloc_info(0, f), 0);
    fclose(f);
    cr_assert_not_null(text);
    cr_assert_eq(strncmp(text, "<malloc version=", 16), 0, "begins with %.40s", text);
    cr_assert(n > 10 && strcmp(text + n - 10, "</malloc>\n") == 0, "ends with %s",
              n > 10 ? text + n - 10 : text);
    free(text);
    f = open_memstream(&text, &n);
    cr_assert_neq(malloc_info(1, f), 0, "options other than 0 are refused");
    fclose(f);
    free(text);
}

Test(info, malloc_stats_speaks_to_stderr) {
    int ends[2], saved = dup(2);
    char text[16384];
    cr_assert_eq(pipe(ends), 0);
    fflush(stderr);
    dup2(ends[1], 2);
    malloc_stats();
    fflush(stderr);
    dup2(saved, 2);
    close(ends[1]);
    size_t len = 0;
    ssize_t got;
    while (len < sizeof text - 1 && (got = read(ends[0], text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)got;
    text[len] = 0;
    cr_assert_gt(len, 20, "malloc_stats wrote %zu bytes", len);
    cr_assert(strpbrk(text, "123456789"), "malloc_stats names no figure");
    if (check_names_library())
        cr_assert_not_null(strstr(text, "umalloc"), "malloc_stats does not speak of umalloc: %s", text);
}

typedef struct mallinfo2 (*mallinfo2_fn)(void);

/* Calls into libc that allocate land in the serving heap; the one inside libc never starts. */
Test(info, heap_of_glibc_stays_unused) {
    if (!check_names_library())
        cr_skip_test("a promise of the library alone");
    setlocale(LC_ALL, "");
    FILE *f = fopen("/proc/self/maps", "r");
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, f) > 0) {
    }
    free(line);
    fclose(f);
    take_live();
    drop_live();
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    cr_assert_not_null(libc);
    void *theirs = dlsym(libc, "mallinfo2");
    cr_assert(theirs && check_is_foreign(theirs));
    struct mallinfo2 idle = ((mallinfo2_fn)theirs)();
    cr_assert(idle.arena == 0 && idle.hblkhd == 0 && idle.uordblks == 0, "libc's heap holds %zu + %zu bytes",
              idle.arena, idle.hblkhd);
}
