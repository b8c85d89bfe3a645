/* Large blocks: a span each. Its first pages and its last have no access, and the block ends where those
   begin, as near as its alignment allows; what is left of the block's pages before and behind it is 0, but
   for the seal, and checked. How many pages go before is random. A freed block loses its memory and its
   addresses stay without access for a while, so that each later use is a fault. A block aligned to a slot or
   more starts its span: the end of the neighbour before it is its guard. A block that realloc resizes by less
   than a factor of two keeps its pages, where it is or by moving them, and so its place in its first page: it
   may then end up to a page before its guard, and the zeros between are checked. */
#include "hard/internal.h"
#include "conf/counters.h"
#include "os/os.h"
#include "space/place.h"
#include "space/space.h"

#define BYTES_MAX ((size_t)1 << 46)
#define MAPPINGS  4u /* that a block between guards costs, where its neighbours have none */
#define QUEUE_MAX 256u

um_lock um_hard_large_lock; /* rank: after the shards' */

/* Under the lock. */
static um_span *resting[QUEUE_MAX];
static uint32_t first, count;
static size_t resting_bytes;
um_hard_random um_hard_large_random;
static uint64_t live_bytes, live_count;

static size_t span_bytes(const um_span *s) {
    return (size_t)s->slots << UM_SLOT_SHIFT;
}

/* Of the span: the pages of the block. */
static char *pages_of(const um_span *s) {
    return (char *)um_round_down((uintptr_t)s->hard, um_os_page_bytes);
}

static char *pages_end(const um_span *s) {
    return (char *)um_round_up((uintptr_t)s->hard + um_max(s->bytes, 1), um_os_page_bytes);
}

static size_t slots_for(size_t offset, size_t bytes) {
    size_t page = um_os_page_bytes;
    return (um_round_up(offset + bytes, page) + page + UM_SLOT_BYTES - 1) >> UM_SLOT_SHIFT;
}

/* A random number of pages before the block's first, so that its address still leads to the record. */
static size_t draw_lead(void) {
    size_t page = um_os_page_bytes, most = um_min(UM_SLOT_BYTES / page / 2, 8), lead = 0;
    um_lock_take(&um_hard_large_lock);
    if (most)
        lead = page * (1 + um_hard_below(&um_hard_large_random, (uint32_t)most));
    um_lock_drop(&um_hard_large_lock);
    return lead;
}

/* Distance of the block from its span's start, less than a slot so that its address leads to the record. */
static size_t offset_for(size_t bytes, size_t align) {
    size_t page = um_os_page_bytes;
    if (align >= UM_SLOT_BYTES)
        return 0;
    if (align > page)
        return align;
    return draw_lead() + (um_round_up(bytes, page) - um_round_up(bytes, align));
}

/* Without it the seal and the zeros are left. */
static void forbid_around(um_span *s) {
    char *start = um_span_start(s), *from = pages_of(s), *to = pages_end(s);
    s->guarded = um_hard_guards_take(MAPPINGS);
    if (!s->guarded)
        return;
    if (from > start)
        (void)um_os_protect((uintptr_t)start, (size_t)(from - start), false);
    (void)um_os_protect((uintptr_t)to, (size_t)(start + span_bytes(s) - to), false);
}

static void clear_pages(char *from, char *to) {
    if (um_os_purge((uintptr_t)from, (size_t)(to - from)) != 0)
        __builtin_memset(from, 0, (size_t)(to - from));
}

static void begin_life(um_span *s) {
    um_lock_take(&um_hard_large_lock);
    live_bytes += s->bytes;
    live_count++;
    um_span_set_kind(s, UM_SPAN_HARD_LARGE);
    um_lock_drop(&um_hard_large_lock);
}

static void end_life_locked(um_span *s) {
    live_bytes -= s->bytes;
    live_count--;
    um_span_set_kind(s, UM_SPAN_HARD_FREED);
}

/* A span that reads as zero, for a block at that distance from its start. */
static um_span *open_span(size_t offset, size_t bytes, size_t align_slots) {
    bool zeroed = true;
    um_span *s = um_space_alloc(um_place_here(), slots_for(offset, bytes), align_slots, &zeroed);
    if (s && !zeroed)
        clear_pages(um_span_start(s), um_span_start(s) + span_bytes(s));
    return s;
}

static void *serve(um_span *s, char *p, size_t bytes, uint8_t tag) {
    s->hard = p;
    s->bytes = bytes;
    s->class_id = tag;
    um_hard_seal(p, bytes, (size_t)(pages_end(s) - p) - bytes);
    forbid_around(s);
    begin_life(s);
    return p;
}

void *um_hard_large_alloc(size_t bytes, size_t align, uint8_t tag) {
    size_t offset;
    um_span *s;
    if (bytes > BYTES_MAX || align > BYTES_MAX)
        return NULL;
    offset = offset_for(bytes, align);
    s = open_span(offset, bytes, um_max(1, align >> UM_SLOT_SHIFT));
    if (!s)
        return NULL;
    UM_COUNT_ADD(large_allocs, 1);
    return serve(s, um_span_start(s) + offset, bytes, tag);
}

static um_hard_finding check_around(const um_span *s) {
    const char *p = s->hard, *from = pages_of(s);
    if (!um_hard_sealed(p, s->bytes, (size_t)(pages_end(s) - p) - s->bytes))
        return (um_hard_finding){"block was written beyond its end", p, s->bytes,
                                 "the seal behind it is broken"};
    if (!um_hard_is_zero(from, (size_t)(p - from)))
        return (um_hard_finding){"block was written before its start", p, s->bytes, NULL};
    return um_hard_fine();
}

/* The oldest, if more than that rest. */
static um_span *leave_locked(uint32_t keep, size_t keep_bytes) {
    um_span *s = resting[first];
    if (count <= keep && resting_bytes <= keep_bytes)
        return NULL;
    first = (first + 1) % QUEUE_MAX;
    count--;
    resting_bytes -= span_bytes(s);
    return s;
}

static void give_back(um_span *s) {
    if (um_os_protect((uintptr_t)um_span_start(s), span_bytes(s), true) != 0)
        s->moved = 1; /* it is mapped anew */
    if (s->guarded)
        um_hard_guards_give(MAPPINGS);
    um_space_free(s, s->state == UM_DIRTY ? span_bytes(s) : 0);
}

/* Ends the rest of the oldest until no more than that are left. */
static void shorten(uint32_t keep, size_t keep_bytes) {
    um_span *out;
    do {
        um_lock_take(&um_hard_large_lock);
        out = leave_locked(keep, keep_bytes);
        um_lock_drop(&um_hard_large_lock);
        if (out)
            give_back(out);
    } while (out);
}

static void rest(um_span *s) {
    uintptr_t start = (uintptr_t)um_span_start(s);
    um_span *out;
    s->state = UM_DIRTY;
    if (!s->guarded)
        s->guarded = um_hard_guards_take(MAPPINGS);
    /* Where mappings are scarce it stays accessible and reads as zero. */
    if (s->guarded ? um_hard_forbid(start, span_bytes(s)) : um_os_purge(start, span_bytes(s)) == 0)
        s->state = UM_CLEAN;
    um_lock_take(&um_hard_large_lock);
    out = leave_locked(um_hard_setting.large_queue - 1, SIZE_MAX); /* makes room */
    resting[(first + count++) % QUEUE_MAX] = s;
    resting_bytes += span_bytes(s);
    um_lock_drop(&um_hard_large_lock);
    if (out)
        give_back(out);
    shorten(um_hard_setting.large_queue, um_hard_setting.large_bytes);
}

void um_hard_large_flush(void) {
    shorten(0, 0);
}

void um_hard_large_add_stats(um_snapshot *out) {
    um_lock_take(&um_hard_large_lock);
    out->large_live_bytes += live_bytes;
    out->large_live_count += live_count;
    out->allocated += live_bytes;
    um_lock_drop(&um_hard_large_lock);
}

/* The caller holds the lock. */
static um_hard_finding find_live(const um_span *s, const void *p, const char *what) {
    if (um_span_kind_of(s) != UM_SPAN_HARD_LARGE)
        return um_hard_not_live(what, p, 0, UM_HARD_FREE);
    if (p != s->hard)
        return (um_hard_finding){what, p, s->bytes, "not the start of the block"};
    return um_hard_fine();
}

void um_hard_large_free(um_span *s, void *p, const um_hard_claim *claim) {
    um_hard_finding f;
    um_lock_take(&um_hard_large_lock);
    f = find_live(s, p, claim->what);
    if (!f.kind)
        f = um_hard_judge(claim, p, s->bytes, s->class_id);
    if (!f.kind)
        f = check_around(s);
    if (!f.kind)
        end_life_locked(s);
    um_lock_drop(&um_hard_large_lock);
    um_hard_say(&f);
    UM_COUNT_ADD(large_frees, 1);
    rest(s);
}

/* Whether a block at p of so many bytes would end where its last page does. */
static bool ends_with_page(const char *p, size_t bytes) {
    return um_round_up((uintptr_t)p + bytes, UM_HARD_ALIGN_MIN) % um_os_page_bytes == 0;
}

/* What is left of the last page of a block of so many bytes. */
static void clear_behind(char *p, size_t bytes) {
    __builtin_memset(p + bytes, 0,
                     um_round_up((uintptr_t)p + bytes, um_os_page_bytes) - (uintptr_t)(p + bytes));
}

/* Of a block in use, of which the pages of both lengths are accessible; no old content is left behind it. */
static void set_length(um_span *s, size_t bytes) {
    char *p = s->hard;
    um_lock_take(&um_hard_large_lock);
    clear_behind(p, um_min(bytes, s->bytes));
    live_bytes += bytes - s->bytes;
    s->bytes = bytes;
    um_hard_seal(p, bytes, (size_t)(pages_end(s) - p) - bytes);
    um_lock_drop(&um_hard_large_lock);
}

static bool resize_in_place(um_span *s, size_t bytes) {
    char *p = s->hard, *start = um_span_start(s), *before = pages_end(s), *end = start + span_bytes(s);
    char *after = (char *)um_round_up((uintptr_t)p + bytes, um_os_page_bytes);
    size_t slots = slots_for((size_t)(p - start), bytes);
    if (slots > s->slots) {
        bool zeroed;
        if (!um_space_extend(s, slots, &zeroed))
            return false;
        if (!zeroed)
            clear_pages(end, start + span_bytes(s));
    }
    if (after > before && s->guarded && um_os_protect((uintptr_t)before, (size_t)(after - before), true) != 0)
        return false;
    set_length(s, bytes);
    if (after < before)
        clear_pages(after, before);
    if (s->guarded && (after < before || start + span_bytes(s) > end))
        (void)um_os_protect((uintptr_t)after, (size_t)(start + span_bytes(s) - after), false);
    return true;
}

/* The block at another address with the same pages; the old one rests. All that it may grow into there is one
   mapping with them, so that they can be moved again. */
static void *move(um_span *s, size_t bytes) {
    char *from = pages_of(s), *p = s->hard, *to, *q;
    size_t keep = um_min(bytes, s->bytes), lead = draw_lead();
    uint8_t tag = s->class_id;
    size_t pages = um_round_up((size_t)(p - from) + keep, um_os_page_bytes);
    um_span *t;
    if (um_place.strict || um_space_setting.rigid || !(t = open_span(lead + (size_t)(p - from), bytes, 1)))
        return NULL;
    t->moved = 1; /* its mappings merge with no neighbour's, and may be gone after a failure */
    to = um_span_start(t) + lead;
    q = to + (p - from);
    um_lock_take(&um_hard_large_lock);
    end_life_locked(s); /* who checks all blocks meanwhile passes it over */
    um_lock_drop(&um_hard_large_lock);
    if (um_os_move((uintptr_t)from, pages, (uintptr_t)to, span_bytes(t) - lead) != 0) {
        um_space_free(t, 0);
        begin_life(s);
        return NULL;
    }
    if (um_os_remap_zero((uintptr_t)from, pages) == 0)
        rest(s);
    else
        give_back(s);
    clear_behind(q, keep);
    return serve(t, q, bytes, tag);
}

void *um_hard_large_resize(um_span *s, size_t bytes, const um_hard_claim *claim) {
    char *p = s->hard;
    size_t old = s->bytes;
    um_hard_finding f = um_hard_judge(claim, p, old, s->class_id);
    um_hard_say(&f);
    if (bytes <= UM_HARD_SMALL_MAX || bytes > BYTES_MAX || 2 * slots_for(um_os_page_bytes, bytes) < s->slots)
        return NULL;
    /* At a doubling a copy is cheap, and its end is at a guard again. */
    if (bytes / 2 >= old && !ends_with_page(p, bytes))
        return NULL;
    if (um_hard_level != UM_HARD_FULL && resize_in_place(s, bytes)) {
        UM_COUNT_ADD(realloc_in_place, 1);
        return p;
    }
    p = move(s, bytes);
    if (p)
        UM_COUNT_ADD(realloc_moved, 1);
    return p;
}

size_t um_hard_large_usable(const um_span *s, const void *p, const char *what) {
    um_hard_finding f;
    size_t bytes;
    um_lock_take(&um_hard_large_lock);
    f = find_live(s, p, what);
    if (!f.kind)
        f = check_around(s);
    bytes = s->bytes;
    um_lock_drop(&um_hard_large_lock);
    um_hard_say(&f);
    return bytes;
}

static void check_one(const um_span *s, void *found) {
    um_hard_finding *f = found;
    if (!f->kind && um_span_kind_of(s) == UM_SPAN_HARD_LARGE)
        *f = check_around(s);
}

um_hard_finding um_hard_large_check_locked(void) {
    um_hard_finding f = um_hard_fine();
    for (unsigned node = 0; node < UM_NODES_MAX; node++)
        um_space_each(node, check_one, &f);
    return f;
}

um_hard_finding um_hard_large_explain(const um_span *s, uintptr_t address) {
    s = um_space_around(s);
    if (!s)
        return um_hard_fine();
    if (um_span_kind_of(s) == UM_SPAN_HARD_FREED)
        return (um_hard_finding){"use after free", s->hard, s->bytes, NULL};
    if (um_span_kind_of(s) == UM_SPAN_HARD_LARGE)
        return (um_hard_finding){"access out of bounds", s->hard, s->bytes, NULL};
    if (um_span_kind_of(s) == UM_SPAN_HARD) {
        const um_hard_slab *b = s->hard;
        if (b->class_id == UM_HARD_EMPTY_CLASS)
            return (um_hard_finding){"access out of bounds",
                                     (void *)um_round_down(address, UM_HARD_ALIGN_MIN), 0,
                                     "block of no bytes"};
        return (um_hard_finding){"access out of bounds", (void *)address, 0,
                                 "behind the last block of a slab"};
    }
    return um_hard_fine();
}

unsigned um_hard_large_live(size_t *at, um_hard_block *out, unsigned most) {
    /* relaxed: what is opened later is not seen */
    size_t end = atomic_load_explicit(&um_space_window.opened_bytes, memory_order_relaxed) >> UM_SLOT_SHIFT;
    unsigned n = 0;
    um_lock_take(&um_hard_large_lock);
    for (; *at < end && n < most; ++*at) {
        const um_span *s = um_space_window.table + *at;
        if (um_span_kind_of(s) == UM_SPAN_HARD_LARGE)
            out[n++] = (um_hard_block){s->hard, s->bytes};
    }
    um_lock_drop(&um_hard_large_lock);
    return n;
}
