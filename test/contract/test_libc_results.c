/* Blocks that libc made for the program free cleanly, and libc's own users of malloc run to their end. */
#include "contract.h"

#include <dirent.h>
#include <glob.h>
#include <iconv.h>
#include <netdb.h>
#include <regex.h>
#include <search.h>
#include <stdarg.h>
#include <wchar.h>

/* Ours to free: it knows its size, lies 16-aligned, can be written whole. */
static void own_and_free(void *p, size_t least) {
    cr_assert_not_null(p);
    cr_assert(contract_aligned(p, 16));
    cr_assert_geq(malloc_usable_size(p), least);
    memset(p, 0xee, malloc_usable_size(p));
    free(p);
}

Test(libc, strings) {
    char long_text[70000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    for (size_t n = 0; n < sizeof long_text; n = n < 300 ? n + 1 : n * 2) {
        char *p = strndup(long_text, n);
        cr_assert_eq(strlen(p), n);
        own_and_free(p, n + 1);
    }
    own_and_free(strdup(long_text), sizeof long_text);
    own_and_free(wcsdup(L"wide"), 5 * sizeof(wchar_t));
}

static char *print_both(const char *format, ...) {
    char *p = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&p, format, args);
    va_end(args);
    cr_assert_geq(n, 0);
    return p;
}

Test(libc, printing) {
    char *p = NULL;
    for (int width = 1; width < 100000; width *= 3) {
        cr_assert_eq(asprintf(&p, "%*d", width, 7), width);
        own_and_free(p, (size_t)width + 1);
        own_and_free(print_both("%*d|", width, 7), (size_t)width + 2);
    }
}

Test(libc, streams) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    cr_assert_not_null(f);
    for (int i = 0; i < 20000; i++)
        fprintf(f, "line %d\n", i);
    fclose(f);
    f = fmemopen(text, n, "r");
    char *line = NULL;
    size_t cap = 0;
    int lines = 0;
    while (getline(&line, &cap, f) > 0)
        lines++;
    cr_assert_eq(lines, 20000);
    own_and_free(line, cap);
    rewind(f);
    line = NULL;
    cap = 0;
    cr_assert_eq((size_t)getdelim(&line, &cap, 0, f), n);
    own_and_free(line, n + 1);
    fclose(f);
    own_and_free(text, n);
    wchar_t *wide = NULL;
    f = open_wmemstream(&wide, &n);
    fwprintf(f, L"%5000d", 1);
    fclose(f);
    own_and_free(wide, 5001 * sizeof(wchar_t));
}

Test(libc, paths) {
    own_and_free(realpath("/proc/self/..", NULL), 6);
    own_and_free(getcwd(NULL, 0), 2);
    own_and_free(get_current_dir_name(), 2);
    own_and_free(canonicalize_file_name("/usr"), 2);
    struct dirent **names = NULL;
    int n = scandir("/etc", &names, NULL, alphasort);
    cr_assert_gt(n, 2);
    for (int i = 0; i < n; i++)
        own_and_free(names[i], offsetof(struct dirent, d_name) + 2);
    own_and_free(names, (size_t)n * sizeof *names);
    DIR *d = opendir("/etc");
    cr_assert_not_null(d);
    while (readdir(d)) {
    }
    closedir(d);
    glob_t found;
    cr_assert_eq(glob("/etc/*", 0, NULL, &found), 0);
    globfree(&found);
}

static int compare_ints(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static void free_node(void *node) {
    own_and_free(node, sizeof(int));
}

Test(libc, containers) {
    enum { N = 5000 };
    void *tree = NULL;
    for (int i = 0; i < N; i++) {
        int *key = malloc(sizeof *key);
        *key = i * 7919 % N;
        cr_assert_not_null(tsearch(key, &tree, compare_ints));
    }
    tdestroy(tree, free_node);
    struct hsearch_data table = {0};
    cr_assert_neq(hcreate_r(N, &table), 0);
    hdestroy_r(&table);
    int *many = malloc(200000 * sizeof *many);
    for (int i = 0; i < 200000; i++)
        many[i] = (int)((i * 2654435761u) >> 8);
    qsort(many, 200000, sizeof *many, compare_ints);
    for (int i = 1; i < 200000; i++)
        cr_assert_leq(many[i - 1], many[i]);
    free(many);
}

Test(libc, services) {
    regex_t re;
    cr_assert_eq(regcomp(&re, "^([a-z]+)-(.*)(x|y)+$", REG_EXTENDED), 0);
    cr_assert_eq(regexec(&re, "abc-defxyx", 0, NULL, 0), 0);
    regfree(&re);
    struct addrinfo *found = NULL;
    cr_assert_eq(getaddrinfo("127.0.0.1", "80", &(struct addrinfo){.ai_flags = AI_NUMERICHOST}, &found), 0);
    freeaddrinfo(found);
    iconv_t cd = iconv_open("UTF-16", "UTF-8");
    cr_assert_neq((intptr_t)cd, -1);
    iconv_close(cd);
    for (int i = 0; i < 500; i++) {
        char name[32];
        snprintf(name, sizeof name, "UMTEST_%d", i);
        cr_assert_eq(setenv(name, name, 1), 0);
    }
    cr_assert_eq(clearenv(), 0);
}
