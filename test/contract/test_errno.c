/* errno survives free on every path: local and remote, small to huge, cached, purged and unmapped. */
#include "contract.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#define SENTINEL 4711

static void free_and_look(void *p, size_t n) {
    errno = SENTINEL;
    free(p);
    cr_assert_eq(errno, SENTINEL, "free of a block of %zu set errno to %d", n, errno);
}

Test(errno_kept, survives_free_of_every_size) {
    for (size_t round = 0; round < 3; round++)
        for (size_t i = 0; i < CONTRACT_SIZES; i++) {
            free_and_look(malloc(contract_sizes[i]), contract_sizes[i]);
            free_and_look(calloc(1, contract_sizes[i]), contract_sizes[i]);
            free_and_look(memalign(65536, contract_sizes[i]), contract_sizes[i]);
        }
    for (size_t mib = 1; mib <= 256; mib *= 2)
        free_and_look(malloc(mib * CHECK_MIB), mib * CHECK_MIB);
    free_and_look(memalign(CHECK_GIB, 5000), 5000);
    free_and_look(NULL, 0);
}

/* A burst large enough that memory goes back to the system on the way. */
Test(errno_kept, survives_a_burst) {
    enum { SMALL = 200000, LARGE = 1500 };
    static void *kept[SMALL];
    for (size_t i = 0; i < SMALL; i++) {
        kept[i] = malloc(300);
        memset(kept[i], 1, 300);
    }
    for (size_t i = 0; i < SMALL; i++)
        free_and_look(kept[i], 300);
    for (size_t i = 0; i < LARGE; i++) {
        kept[i] = malloc(100000);
        memset(kept[i], 1, 100000);
    }
    for (size_t i = 0; i < LARGE; i++)
        free_and_look(kept[i], 100000);
    errno = SENTINEL;
    malloc_trim(0);
    free_and_look(malloc(10), 10);
}

enum { REMOTE = 20000 };
static void *remote_blocks[REMOTE];

static void *free_remotely(void *unused) {
    (void)unused;
    for (size_t i = 0; i < REMOTE; i++)
        free_and_look(remote_blocks[i], i);
    return NULL;
}

Test(errno_kept, survives_a_remote_free) {
    for (size_t i = 0; i < REMOTE; i++)
        remote_blocks[i] = malloc(i % 100 ? 1 + i % 3000 : 300000);
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, free_remotely, NULL), 0);
    pthread_join(t, NULL);
}

/* Not promised by C, but programs lean on it: success leaves errno alone. */
Test(errno_kept, is_left_alone_by_success) {
    for (size_t i = 0; i < CONTRACT_SIZES; i++) {
        errno = SENTINEL;
        void *p = malloc(contract_sizes[i]);
        p = realloc(p, contract_sizes[i] * 2);
        cr_assert_not_null(p);
        cr_assert_eq(errno, SENTINEL, "size %zu: errno %d", contract_sizes[i], errno);
        free(p);
    }
}

/* What libc's malloc does: the kernel judges a mapping by itself, and says no to what is more than there is.
   Told to overcommit always, it says yes. */
Test(errno_set, by_what_no_machine_of_this_size_can_give) {
    struct sysinfo all;
    cr_assert_eq(sysinfo(&all), 0);
    size_t too_much = (all.totalram + all.totalswap) * all.mem_unit + CHECK_GIB, kept = 100 * CHECK_MIB;
    void *map = mmap(NULL, too_much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;
    bool given = map != MAP_FAILED;
    char *block = malloc(kept);
    if (given)
        munmap(map, too_much);
    cr_assert_not_null(block);
    block[0] = block[kept - 1] = 'x';
    for (unsigned way = 0; way < 4; way++) {
        errno = 0;
        p = way == 0   ? malloc(too_much)
            : way == 1 ? calloc(too_much / 16, 16)
            : way == 2 ? memalign(4096, too_much)
                       : realloc(block, too_much);
        cr_expect_eq(p != NULL, given, "way %u", way);
        cr_expect_eq(errno, given ? 0 : ENOMEM, "way %u: errno %d", way, errno);
        if (way == 3)
            block = p ? p : block;
        else
            free(p);
    }
    cr_expect(block[0] == 'x' && block[kept - 1] == 'x');
    free(block);
}
