/* Where the window lies: far from where the kernel puts executables, stacks and mappings (os picks the
   place). Its length is a fraction of the address space, at most 16 TiB, and bounds only addresses, not
   memory. Where no free place can be chosen (sanitizers dictate their own layout), a smaller window is
   reserved where the kernel likes. */
#include "space/window.h"
#include "os/os.h"

#include <errno.h>

#define WINDOW_BYTES_MAX  ((size_t)16 << 40)
#define RESERVE_BYTES_MAX ((size_t)256 << 30)
#define RESERVE_BYTES_MIN ((size_t)512 << 20)
#define REGION_BYTES      (UM_REGION_SLOTS << UM_SLOT_SHIFT)
#define REGION_RECORDS    (UM_REGION_SLOTS << UM_SPAN_SHIFT)
#define REGION_HOMES      (UM_REGION_SLOTS * sizeof(uintptr_t))
#define PLACES            3
#define ALIGNED_TO        (2 * UM_MIB) /* the window's start: a huge page is slots of a multiple of 32 */

#define FIXED_LAYOUT UM_TSAN /* its shadow covers only where the kernel usually maps */

um_window um_space_window;

/* Guarded by the window lock after init. */
static size_t regions_max;
static size_t regions_claimed;
static bool reserved; /* const after init: the range is ours already, mapping replaces the reservation */

static size_t table_bytes_for(size_t window_bytes) {
    return window_bytes >> (UM_SLOT_SHIFT - UM_SPAN_SHIFT);
}

/* With room for the home of nobody's before them. */
static size_t homes_bytes_for(size_t window_bytes) {
    return window_bytes / REGION_BYTES * REGION_HOMES + UM_SLOT_BYTES;
}

static size_t tables_bytes_for(size_t window_bytes) {
    return table_bytes_for(window_bytes) + homes_bytes_for(window_bytes);
}

static int map_ours(uintptr_t at, size_t bytes) {
    return reserved ? um_os_remap_zero(at, bytes) : um_os_map_at(at, bytes);
}

/* Both or none. */
static int map_tables(uintptr_t records, size_t record_bytes, uintptr_t homes, size_t home_bytes) {
    int err = map_ours(records, record_bytes);
    if (err)
        return err;
    err = map_ours(homes, home_bytes);
    if (err && !reserved)
        (void)um_os_unmap(records, record_bytes); /* to be found free again */
    return err;
}

/* A place is good if nobody has anything in all of it: a window with a large foreign mapping ahead would
   end there. What others map later is gone around (open_locked's callers). */
static int try_place(uintptr_t base, size_t bytes) {
    uintptr_t table = base - table_bytes_for(bytes), homes = base - tables_bytes_for(bytes) + UM_SLOT_BYTES;
    uintptr_t nobody = um_round_down(homes - UM_HOME_OF_NOBODY_BYTES, um_os_page_bytes);
    int err;
    if (!reserved && !um_os_seems_free(nobody, base + bytes - nobody))
        return EEXIST;
    err = map_tables(table, REGION_RECORDS, nobody, homes + REGION_HOMES - nobody);
    if (err)
        return err;
    um_space_window.base = base;
    um_space_window.homes = (char *)(homes - UM_HOME_OF_NOBODY_BYTES);
    um_space_window.table = (um_span *)table;
    regions_max = bytes / REGION_BYTES;
    return 0;
}

static int reserve_place(void) {
    uintptr_t at;
    size_t bytes;
    for (bytes = RESERVE_BYTES_MAX; bytes >= RESERVE_BYTES_MIN; bytes /= 2) {
        size_t tables = um_round_up(tables_bytes_for(bytes), UM_SLOT_BYTES);
        if (um_os_reserve(bytes + tables + ALIGNED_TO, &at) == 0) {
            reserved = true;
            return try_place(um_round_up(at + tables, ALIGNED_TO), bytes);
        }
    }
    return ENOMEM;
}

int um_window_init(void) {
    size_t bytes = um_min(um_os_address_span() / 8, WINDOW_BYTES_MAX);
    if (um_space_window.table)
        return 0;
    for (unsigned i = 0; i < PLACES && !FIXED_LAYOUT; i++)
        if (try_place(um_os_window_hint(bytes, i), bytes) == 0)
            return 0;
    return reserve_place();
}

int um_window_claim(unsigned node, size_t slots, size_t *first, size_t *count) {
    size_t n = (slots + UM_REGION_SLOTS - 1) / UM_REGION_SLOTS, from = regions_claimed;
    int err = 0;
    if (n > regions_max - from)
        return ENOMEM;
    if (from + n > 1) { /* the first region's records and homes came with the window */
        size_t skip = from == 0;
        uintptr_t homes = (uintptr_t)um_space_window.homes + UM_HOME_OF_NOBODY_BYTES;
        uintptr_t records = (uintptr_t)um_space_window.table + (from + skip) * REGION_RECORDS;
        err = map_tables(records, (n - skip) * REGION_RECORDS, homes + (from + skip) * REGION_HOMES,
                         (n - skip) * REGION_HOMES);
        if (!err) /* few are touched: several nodes, or a gap, leave most regions' for later */
            um_os_hugepage(records, (n - skip) * REGION_RECORDS, false);
    }
    if (err)
        return err;
    regions_claimed += n;
    *first = from * UM_REGION_SLOTS;
    *count = n * UM_REGION_SLOTS;
    for (size_t i = 0; node && i < n; i++) /* fresh records say 0 */
        um_space_window.table[*first + i * UM_REGION_SLOTS].node = (uint8_t)node;
    /* relaxed: whoever asks about an address got it after this */
    atomic_store_explicit(&um_space_window.opened_bytes, regions_claimed * REGION_BYTES,
                          memory_order_relaxed);
    return 0;
}

int um_window_map(size_t first, size_t slots) {
    return map_ours(um_space_window.base + (first << UM_SLOT_SHIFT), slots << UM_SLOT_SHIFT);
}

size_t um_window_table_bytes(void) {
    return um_max(regions_claimed, 1) * (REGION_RECORDS + REGION_HOMES) + UM_HOME_OF_NOBODY_BYTES;
}
