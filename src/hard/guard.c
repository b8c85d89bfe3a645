/* Small blocks with a page of their own, between pages without access: the first ones of a process in the
   full level, and a random choice later. A block ends where its page ends, as near as its alignment allows,
   or in one of four cases, once the first ones are given out, starts where it starts. What is left of the
   page is filled and checked. A freed page has no memory and no access, and is the last to be used again. Of
   each block the stacks of its allocation and of its free are kept. All under one lock, but the calls to the
   kernel; the holder of a block may read its page's record. */
#include "hard/internal.h"
#include "os/os.h"
#include "space/place.h"
#include "space/space.h"

#define FILL  0xA5
#define NONE  (~0u)
#define PAGES 2048u

typedef struct um_hard_page {
    char *block;
    uint32_t bytes;
    uint8_t tag;
    um_hard_trace allocated, freed;
} um_hard_page;

um_lock um_hard_guard_lock; /* rank: after the shards' */

static uintptr_t base; /* const after init, like the next two; 0: there is no pool */
static um_hard_page *pages;
static uint32_t total;
static uint16_t idle[PAGES]; /* circular: the page that is idle for the longest comes first */
static uint32_t idle_first, idle_count;
static uint32_t given; /* blocks so far */
static uint64_t live_bytes, frees;
um_hard_random um_hard_guard_random;

void um_hard_guard_init(void) {
    size_t page = um_os_page_bytes, n = um_hard_setting.guarded;
    size_t slots = ((2 * n + 1) * page + UM_SLOT_BYTES - 1) >> UM_SLOT_SHIFT;
    um_span *s = um_space_alloc(um_place_here(), slots, 1, NULL);
    if (!s)
        return;
    pages = um_hard_meta(n * sizeof *pages);
    if (!pages || !um_hard_forbid((uintptr_t)um_span_start(s), slots << UM_SLOT_SHIFT)) {
        um_space_free(s, 1);
        return;
    }
    for (size_t i = 0; i < slots; i++) {
        s[i].slots = (uint32_t)(slots - i); /* who walks the spans of a part of the window may begin inside */
        um_span_set_kind(s + i, UM_SPAN_HARD_POOL);
    }
    base = (uintptr_t)um_span_start(s);
    total = idle_count = (uint32_t)n;
    for (uint32_t i = 0; i < total; i++)
        idle[i] = (uint16_t)i;
}

static char *page_start(uint32_t i) {
    return (char *)base + (2 * i + 1) * um_os_page_bytes;
}

/* Number of the block's page, or of the one nearest to an address between two. */
static uint32_t page_of(uintptr_t address) {
    size_t n = (address - base) / um_os_page_bytes;
    uint32_t i = (uint32_t)(n / 2);
    if (n % 2 == 0 && i && (i == total || (address - base) % um_os_page_bytes < um_os_page_bytes / 2))
        i--;
    return i < total ? i : total - 1;
}

static bool in_pool(uintptr_t address) {
    return base && address - base < (2 * (size_t)total + 1) * um_os_page_bytes;
}

static uint32_t take_idle(bool *left) {
    uint32_t i = NONE;
    um_lock_take(&um_hard_guard_lock);
    if (idle_count && um_hard_guards_take(2)) {
        i = idle[idle_first];
        idle_first = (idle_first + 1) % total;
        idle_count--;
        *left = given++ >= um_hard_setting.first_guarded && um_hard_below(&um_hard_guard_random, 4) == 0;
    }
    um_lock_drop(&um_hard_guard_lock);
    return i;
}

static void put_idle(uint32_t i) {
    um_lock_take(&um_hard_guard_lock);
    idle[(idle_first + idle_count++) % total] = (uint16_t)i;
    um_hard_guards_give(2);
    um_lock_drop(&um_hard_guard_lock);
}

static size_t room_behind(uint32_t i) {
    return (size_t)(page_start(i) + um_os_page_bytes - pages[i].block) - pages[i].bytes;
}

void *um_hard_guard_alloc(size_t bytes, size_t align, uint8_t tag, void *frame) {
    size_t page = um_os_page_bytes;
    bool left = false;
    uint32_t i;
    char *p;
    if (!total || bytes > page || align > page || (i = take_idle(&left)) == NONE)
        return NULL;
    if (um_os_protect((uintptr_t)page_start(i), page, true) != 0) {
        put_idle(i);
        return NULL;
    }
    p = left ? page_start(i) : (char *)um_round_down((uintptr_t)page_start(i) + page - bytes, align);
    um_hard_trace_take(&pages[i].allocated, frame);
    um_lock_take(&um_hard_guard_lock);
    pages[i].block = p;
    pages[i].bytes = (uint32_t)bytes;
    pages[i].freed.depth = 0;
    __builtin_memset(p + bytes, FILL, room_behind(i));
    pages[i].tag = tag;
    live_bytes += bytes;
    um_lock_drop(&um_hard_guard_lock);
    return p;
}

static um_hard_finding check_page(uint32_t i) {
    const um_hard_page *g = &pages[i];
    const unsigned char *behind = (const unsigned char *)g->block + g->bytes;
    for (size_t k = 0; k < room_behind(i); k++)
        if (behind[k] != FILL)
            return (um_hard_finding){"block was written beyond its end", g->block, g->bytes,
                                     "seen on its page"};
    if (!um_hard_is_zero(page_start(i), (size_t)(g->block - page_start(i))))
        return (um_hard_finding){"block was written before its start", g->block, g->bytes,
                                 "seen on its page"};
    return um_hard_fine();
}

/* The caller holds the lock. */
static um_hard_finding find_live(uint32_t i, const void *p, const char *what) {
    const um_hard_page *g = &pages[i];
    um_hard_state state = um_hard_state_of(g->tag);
    if (p != g->block)
        return (um_hard_finding){what, p, state == UM_HARD_LIVE ? g->bytes : 0, "not the start of a block"};
    if (state != UM_HARD_LIVE)
        return um_hard_not_live(what, p, g->bytes, state);
    return check_page(i);
}

void um_hard_guard_free(void *p, const um_hard_claim *claim, void *frame) {
    uint32_t i = page_of((uintptr_t)p);
    um_hard_page *g = &pages[i];
    um_hard_finding f;
    um_lock_take(&um_hard_guard_lock);
    f = find_live(i, p, claim->what);
    if (!f.kind)
        f = um_hard_judge(claim, p, g->bytes, g->tag);
    if (!f.kind) {
        g->tag = um_hard_tag_with(g->tag, UM_HARD_FREE);
        live_bytes -= g->bytes;
        frees++;
    }
    um_lock_drop(&um_hard_guard_lock);
    um_hard_say(&f);
    um_hard_trace_take(&g->freed, frame);
    if (!um_hard_forbid((uintptr_t)page_start(i), um_os_page_bytes))
        return; /* it is not used again */
    put_idle(i);
}

size_t um_hard_guard_usable(const void *p, const char *what) {
    uint32_t i = page_of((uintptr_t)p);
    um_hard_finding f;
    um_lock_take(&um_hard_guard_lock);
    f = find_live(i, p, what);
    um_lock_drop(&um_hard_guard_lock);
    um_hard_say(&f);
    return pages[i].bytes;
}

um_hard_finding um_hard_guard_check_locked(void) {
    um_hard_finding f = um_hard_fine();
    for (uint32_t i = 0; i < total && !f.kind; i++)
        if (um_hard_state_of(pages[i].tag) == UM_HARD_LIVE)
            f = check_page(i);
    return f;
}

void um_hard_guard_add_stats(um_snapshot *out) {
    um_lock_take(&um_hard_guard_lock);
    for (uint32_t i = 0; i < total; i++)
        if (um_hard_state_of(pages[i].tag) == UM_HARD_LIVE)
            out->classes[um_class_of(pages[i].bytes)].live++;
    out->classes[0].frees += frees; /* of which sizes they were is not counted */
    out->allocated += live_bytes;
    um_lock_drop(&um_hard_guard_lock);
}

um_hard_finding um_hard_guard_explain(uintptr_t address) {
    const um_hard_page *g;
    if (!in_pool(address))
        return um_hard_fine();
    g = &pages[page_of(address)];
    switch (um_hard_state_of(g->tag)) {
    case UM_HARD_UNUSED:
        return (um_hard_finding){"access out of bounds", (void *)address, 0, "no block was ever here"};
    case UM_HARD_LIVE:
        return (um_hard_finding){"access out of bounds", g->block, g->bytes, NULL};
    default:
        return (um_hard_finding){"use after free", g->block, g->bytes, NULL};
    }
}

void um_hard_guard_tell(const void *address) {
    const um_hard_page *g;
    if (!in_pool((uintptr_t)address))
        return;
    g = &pages[page_of((uintptr_t)address)];
    um_hard_trace_say(&g->allocated, "allocated");
    um_hard_trace_say(&g->freed, "freed");
}

unsigned um_hard_guard_live(size_t *at, um_hard_block *out, unsigned most) {
    unsigned n = 0;
    um_lock_take(&um_hard_guard_lock);
    for (; *at < total && n < most; ++*at)
        if (um_hard_state_of(pages[*at].tag) == UM_HARD_LIVE)
            out[n++] = (um_hard_block){pages[*at].block, pages[*at].bytes};
    um_lock_drop(&um_hard_guard_lock);
    return n;
}
