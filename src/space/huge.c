/* Transparent huge pages. What is advised is fresh memory, a chunk at a time, so mappings stay few: 4 KiB
   pages while a heap is small, huge pages once enough of it is surely in use. (The kernel's own setting does
   not matter: where it is `always`, the first chunks are exempted.)

   Purging a part of a huge page breaks it up, and khugepaged would make it whole again, with the memory that
   was just given back. So:
   - a span in a huge page of which fifteen sixteenths are in use is kept: it costs less than the page is
   worth;
   - what is clean beside it in the same huge page got memory when that was touched: it is purged along;
   - any other huge page that is broken up is marked (MADV_NOHUGEPAGE) until it is that full again;
   - marks split mappings, so they are few: beyond MARKS_MAX in all spaces the space's runs are exempted as a
     whole, until the space must grow although it is full. Huge pages that are whole stay so under either.

   A huge page is worth having if it comes cheap. Where a hypervisor has taken free memory back (free page
   reporting takes it in just these pieces), the first touch of one costs many times the 512 faults that it
   saves, while small pages come from memory that is at hand. So the first huge page of what is opened is
   touched here, and timed, as are those that slabs are cut from. If one is dear, the heap goes on with small
   ones until it has doubled. A heap of HUGE_SURE gets them at any price: it will live. The small pages that
   it has by then are made huge bit by bit as it grows further. */
#include "space/huge.h"
#include "conf/counters.h"
#include "os/os.h"
#include "space/internal.h"
#include "space/place.h"

#include <errno.h>

#define HUGE_FROM     (32 * UM_MIB)  /* of slabs cut to their end: such memory is in use for sure */
#define HUGE_FROM_ALL (512 * UM_MIB) /* with spans of several slots, which may be touched in part only */
#define HUGE_SURE     (320 * UM_MIB) /* of slabs cut to their end: whatever the price */
#define SLACK_PART    8u /* of what is in use: with more of it beside blocks, huge pages would waste it */
#define DEAR          2u /* times what the small pages of its size would cost */
#define DEAR_NS_MIN   100000u /* no huge page that takes less is looked at: it costs no lock */
#define CATCH_UP      4u      /* slots taken for each huge page made of small ones: 8 times as fast */
#define FULL_SLOTS    (UM_HUGE_SLOTS - UM_HUGE_SLOTS / 16)
#define CHOICES       16 /* looked at where it matters which page a span is in */

static uintptr_t address(size_t slot) {
    return um_space_window.base + (slot << UM_SLOT_SHIFT);
}

static size_t page_of(size_t slot) {
    return slot / UM_HUGE_SLOTS;
}

static void advise(size_t first, size_t slots, bool want) {
    if (want)
        UM_COUNT_ADD(huge_wanted_bytes, slots << UM_SLOT_SHIFT);
    um_os_hugepage(address(first), slots << UM_SLOT_SHIFT, want);
}

static size_t full_bytes(const um_space *sp) {
    return atomic_load_explicit(&sp->full_slots, memory_order_relaxed) << UM_SLOT_SHIFT; /* hint */
}

/* Blocks of several slots are stacks, tables and buffers that may hardly be touched: they count as in use,
   and get huge pages, where what is surely in use is more than they are, or where all is large. */
static bool enough_locked(const um_space *sp, size_t fresh_slots) {
    size_t full = full_bytes(sp);
    size_t runs = sp->run_slots << UM_SLOT_SHIFT;
    bool for_one = fresh_slots > um_max(sp->opened_slots / 4, 2 * UM_HUGE_SLOTS); /* more than a step */
    if (full + runs >= HUGE_FROM_ALL)
        return true;
    return full >= HUGE_FROM && runs + (for_one ? fresh_slots << UM_SLOT_SHIFT : 0) <= full;
}

/* Large blocks are whole slots, and what of the last one is not asked for costs nothing but in huge pages: a
   program that takes blocks of 70,000 bytes would pay for 131,072. */
static bool has_slack(const um_space *sp) {
    size_t pages = atomic_load_explicit(&sp->slack_pages, memory_order_relaxed); /* hint */
    return pages * um_os_page_bytes > (sp->active_slots << UM_SLOT_SHIFT) / SLACK_PART;
}

static bool wanted_locked(const um_space *sp, size_t fresh_slots) {
    switch (um_space_setting.hugepages) {
    case UM_SPACE_HUGE_OFF:
        return false;
    case UM_SPACE_HUGE_ALWAYS:
        return true;
    case UM_SPACE_HUGE_THP:
        return sp->opened_slots > 0 && !has_slack(sp);
    default:
        return enough_locked(sp, fresh_slots) && !has_slack(sp);
    }
}

/* Growing although nearly all is in use: what was broken up is whole again. */
static void reconsider_locked(um_space *sp) {
    um_huge *h = &sp->huge;
    if (sp->active_slots < sp->opened_slots - sp->opened_slots / 16)
        return;
    for (um_huge_run *r = h->run; r < h->run + h->runs; r++)
        if (r->gave_up) {
            advise(r->first, r->end - r->first, true);
            r->huge = true;
            r->gave_up = false;
        }
}

static void give_up_locked(um_huge *h) {
    h->marks = 0;
    for (um_huge_run *r = h->run; r < h->run + h->runs; r++)
        if (r->huge) {
            advise(r->first, r->end - r->first, false);
            r->huge = false;
            r->gave_up = true;
        }
}

/* Nanoseconds to put fresh slots into place; 0: the kernel cannot be asked to. */
static uint64_t price(size_t slot, size_t slots) {
    uint64_t began = um_os_now_ns();
    return um_os_populate(address(slot), slots << UM_SLOT_SHIFT) == 0 ? um_os_now_ns() - began : 0;
}

static bool is_dear(const um_huge *h, uint64_t ns) {
    return h->small_ns && ns > DEAR * h->small_ns * UM_HUGE_SLOTS;
}

static size_t heap_bytes(const um_space *sp) {
    return full_bytes(sp) + (sp->run_slots << UM_SLOT_SHIFT);
}

static void go_without_locked(um_space *sp) {
    sp->huge.dear_until = 2 * heap_bytes(sp);
    sp->huge.went_without = true;
}

/* Whether huge pages come cheap, in fresh memory that begins with a whole one. */
static bool cheap_locked(um_space *sp, size_t first, size_t slots) {
    um_huge *h = &sp->huge;
    if (heap_bytes(sp) < h->dear_until)
        return false;
    if (slots < 2 * UM_HUGE_SLOTS || first % UM_HUGE_SLOTS || um_place.strict || um_space_setting.lock)
        return true;    /* nothing to look at, or no choice */
    if (!h->small_ns) { /* of two, for one of them may have been interrupted */
        um_os_hugepage(address(first), UM_HUGE_SLOTS << UM_SLOT_SHIFT, false);
        h->small_ns = um_min(price(first, 1), price(first + 1, 1));
        first += UM_HUGE_SLOTS;
    }
    um_os_hugepage(address(first), UM_HUGE_SLOTS << UM_SLOT_SHIFT, true);
    if (!is_dear(h, price(first, UM_HUGE_SLOTS)))
        return true;
    go_without_locked(sp);
    return false;
}

/* What was opened while huge pages were dear is to have them after all. */
static void want_all_locked(um_space *sp) {
    um_huge *h = &sp->huge;
    for (um_huge_run *r = h->run; r < h->run + h->runs; r++)
        if (!r->huge && !r->pool) {
            advise(r->first, r->end - r->first, true);
            r->huge = true;
            r->gave_up = false;
        }
    h->behind = true;
    h->behind_page = page_of(sp->first_slot + UM_HUGE_SLOTS - 1);
    h->went_without = false;
}

/* What is opened now gets huge pages. */
static bool choose_locked(um_space *sp, size_t first, size_t slots) {
    um_huge *h = &sp->huge;
    if (!wanted_locked(sp, slots))
        return false;
    if (um_space_setting.hugepages != UM_SPACE_HUGE_AUTO)
        return true;
    if (full_bytes(sp) < HUGE_SURE)
        return cheap_locked(sp, first, slots);
    if (h->went_without)
        want_all_locked(sp);
    return true;
}

void um_huge_opened_locked(um_space *sp, size_t first, size_t slots, bool pool) {
    um_huge *h = &sp->huge;
    um_huge_run *last = h->runs ? &h->run[h->runs - 1] : NULL;
    bool huge = !pool && choose_locked(sp, first, slots), pinned = um_space_setting.lock;
    if (huge)
        reconsider_locked(sp);
    if (last && last->end == first && last->pool == pool &&
        ((last->huge == huge && last->pinned == pinned) || h->runs == UM_HUGE_RUNS)) {
        huge = last->huge;
        last->end += slots;
    } else if (h->runs < UM_HUGE_RUNS) {
        h->run[h->runs++] =
            (um_huge_run){.first = first, .end = first + slots, .huge = huge, .pinned = pinned, .pool = pool};
    } else {
        huge = false; /* too scattered to follow */
    }
    if (!pool)
        advise(first, slots, huge);
}

const um_huge_run *um_huge_run_of(const um_huge *h, size_t slot) {
    for (const um_huge_run *r = h->run; r < h->run + h->runs; r++)
        if (slot >= r->first && slot < r->end)
            return r;
    return NULL;
}

void um_huge_renewed(um_space *sp, const um_span *s) {
    size_t first = um_span_index(s);
    const um_huge_run *r;
    bool huge;
    um_lock_take(&sp->lock);
    r = um_huge_run_of(&sp->huge, first);
    huge = r && r->huge;
    um_space_unlock(sp);
    advise(first, s->slots, huge);
}

size_t um_huge_align(const um_space *sp, size_t slots, size_t align) {
    bool any = sp->huge.runs && sp->huge.run[sp->huge.runs - 1].huge;
    return any && slots >= UM_HUGE_SLOTS ? um_max(align, UM_HUGE_SLOTS) : align;
}

/* The first span that begins in a huge page, or ends there if it is free; NULL: the page is inside of one. */
static um_span *first_span(size_t page) {
    um_span *s = um_space_window.table + page * UM_HUGE_SLOTS, *end = s + UM_HUGE_SLOTS;
    while (s < end && um_span_kind_of(s) == UM_SPAN_NONE)
        s++;
    if (s == end)
        return NULL;
    return um_span_kind_of(s) == UM_SPAN_FREE_TAIL ? s + 1 - s->slots : s;
}

/* Slots of a huge page that are in use; all, where it is inside of one span. */
static size_t used_slots(size_t page) {
    size_t from = page * UM_HUGE_SLOTS, to = from + UM_HUGE_SLOTS, used = UM_HUGE_SLOTS;
    const um_span *s = first_span(page);
    while (s && um_span_index(s) < to && um_span_kind_of(s) != UM_SPAN_NONE) {
        size_t at = um_span_index(s);
        if (um_span_kind_of(s) == UM_SPAN_FREE)
            used -= um_min(at + s->slots, to) - um_max(at, from);
        s += s->slots;
    }
    return used;
}

/* Slabs cut to their end, all of them: nothing grows by what is collapsed. */
static bool all_touched(size_t first) {
    for (const um_span *s = um_space_window.table + first; s < um_space_window.table + first + UM_HUGE_SLOTS;
         s++)
        if (um_span_kind_of(s) != UM_SPAN_SLAB || !s->full)
            return false;
    return true;
}

uintptr_t um_huge_behind_locked(um_space *sp, const um_span *s) {
    um_huge *h = &sp->huge;
    if (um_likely(!h->behind) || s->slots != 1 || ++h->turns % CATCH_UP != 0)
        return 0;
    for (size_t end = page_of(sp->open_slot); h->behind_page < end; h->behind_page++) {
        size_t first = h->behind_page * UM_HUGE_SLOTS;
        const um_huge_run *r = um_huge_run_of(h, first);
        if (r && r->huge && first + UM_HUGE_SLOTS <= r->end && all_touched(first)) {
            h->behind_page++;
            return address(first);
        }
    }
    h->behind = false;
    return 0;
}

void um_huge_catch_up(uintptr_t at) {
    (void)um_os_collapse(at, UM_HUGE_SLOTS << UM_SLOT_SHIFT); /* one that could not be had is not missed */
}

void um_huge_paid(um_space *sp, uint64_t ns) {
    if (um_likely(ns < DEAR_NS_MIN))
        return;
    um_lock_take(&sp->lock);
    if (um_space_setting.hugepages == UM_SPACE_HUGE_AUTO && full_bytes(sp) < HUGE_SURE &&
        is_dear(&sp->huge, ns)) {
        go_without_locked(sp);
        give_up_locked(&sp->huge);
    }
    um_space_unlock(sp);
}

um_span *um_huge_fullest(um_span *s) {
    um_span *best = s;
    size_t most = used_slots(page_of(um_span_index(s)));
    for (int i = 1; i < CHOICES && (s = s->next) != NULL; i++) {
        size_t used = used_slots(page_of(um_span_index(s)));
        if (used > most) {
            most = used;
            best = s;
        }
    }
    return best;
}

um_span *um_huge_choose_locked(um_space *sp) {
    um_span *s = sp->oldest;
    for (int i = 0; s && i < CHOICES && um_huge_any(&sp->huge); i++, s = s->age_next) {
        size_t whole = um_round_up(um_span_index(s), UM_HUGE_SLOTS) + UM_HUGE_SLOTS;
        if (um_span_index(s) + s->slots >= whole)
            return s;
    }
    return sp->oldest;
}

bool um_huge_keeps_locked(um_space *sp, const um_span *s) {
    size_t first = um_span_index(s), last = first + s->slots - 1;
    const um_huge_run *r;
    if (!um_huge_any(&sp->huge) || s->slots > 2 * (UM_HUGE_SLOTS - FULL_SLOTS))
        return false;
    r = um_huge_run_of(&sp->huge, first);
    return r && r->huge && used_slots(page_of(first)) >= FULL_SLOTS &&
           used_slots(page_of(last)) >= FULL_SLOTS;
}

static void unkeep_page_locked(um_space *sp, size_t page) {
    const um_span *end = um_space_window.table + (page + 1) * UM_HUGE_SLOTS;
    if (used_slots(page) >= FULL_SLOTS)
        return;
    for (um_span *s = first_span(page); s && s < end && um_span_kind_of(s) != UM_SPAN_NONE; s += s->slots)
        if (um_span_kind_of(s) == UM_SPAN_FREE && s->state == UM_DIRTY && s->kept)
            um_space_unkeep_locked(sp, s);
}

void um_huge_freed_locked(um_space *sp, size_t first, size_t last) {
    if (!sp->kept)
        return;
    unkeep_page_locked(sp, page_of(first));
    if (page_of(last) != page_of(first))
        unkeep_page_locked(sp, page_of(last));
}

static bool is_marked(const um_huge *h, size_t page) {
    for (unsigned i = 0; i < h->marks; i++)
        if (h->marked[i] == page)
            return true;
    return false;
}

/* `gone` slots of the page are about to be purged. */
static void mark_locked(um_space *sp, size_t page, size_t gone) {
    um_huge *h = &sp->huge;
    const um_huge_run *r = um_huge_run_of(h, page * UM_HUGE_SLOTS);
    unsigned spaces = (unsigned)__builtin_popcountll(
        atomic_load_explicit(&um_spaces_used, memory_order_relaxed)); /* see internal.h */
    if (!r || !r->huge || (page + 1) * UM_HUGE_SLOTS > r->end || used_slots(page) <= gone ||
        is_marked(h, page))
        return;
    if (h->marks < um_max(UM_HUGE_MARKS / spaces, 1)) {
        advise(page * UM_HUGE_SLOTS, UM_HUGE_SLOTS, false);
        h->marked[h->marks++] = page;
    } else {
        give_up_locked(h);
    }
}

void um_huge_purging_locked(um_space *sp, const um_span *s) {
    size_t first = um_span_index(s), end = first + s->slots, page = page_of(first), last = page_of(end - 1);
    if (!um_huge_any(&sp->huge) || um_space_setting.hugepages == UM_SPACE_HUGE_ALWAYS)
        return;
    if (first % UM_HUGE_SLOTS || page == last)
        mark_locked(sp, page, um_min(end, (page + 1) * UM_HUGE_SLOTS) - first);
    if (page != last && end % UM_HUGE_SLOTS)
        mark_locked(sp, last, end % UM_HUGE_SLOTS);
}

/* A clean span that s adjoins, cut to what of it is in the huge page that they share; NULL: there is none. */
static um_span *clean_part_locked(um_space *sp, um_span *free, size_t from, size_t to) {
    size_t first = um_span_index(free), end = first + free->slots;
    if (um_span_kind_of(free) != UM_SPAN_FREE || free->state != UM_CLEAN)
        return NULL;
    from = um_max(from, first);
    um_space_detach_locked(sp, free);
    return um_space_cut_locked(sp, free, from - first, um_min(to, end) - from);
}

um_span *um_huge_widen_locked(um_space *sp, um_span *s) {
    size_t first = um_span_index(s), end = first + s->slots;
    size_t from = um_round_down(first, UM_HUGE_SLOTS), to = um_round_up(end, UM_HUGE_SLOTS);
    const um_huge_run *r = um_huge_run_of(&sp->huge, first);
    um_span *part;
    if (!r || !r->huge || r->pool || um_space_setting.rigid)
        return s;
    if (to > end && to <= r->end && (part = clean_part_locked(sp, s + s->slots, end, to)) != NULL) {
        um_span_set_kind(part, UM_SPAN_NONE);
        s->slots += part->slots;
    }
    if (from < first && from >= r->first) {
        um_span *left = um_span_kind_of(s - 1) == UM_SPAN_FREE_TAIL ? s - (s - 1)->slots : s - 1;
        part = clean_part_locked(sp, left, from, first);
        if (part) {
            um_span_set_kind(s, UM_SPAN_NONE);
            part->slots += s->slots;
            part->bytes = s->bytes;
            part->freed_ms = s->freed_ms;
            return part;
        }
    }
    return s;
}

void um_huge_tick_locked(um_space *sp) {
    um_huge *h = &sp->huge;
    for (unsigned i = h->marks; i-- > 0;) {
        size_t used = used_slots(h->marked[i]);
        if (used < FULL_SLOTS && used > 0)
            continue;
        advise(h->marked[i] * UM_HUGE_SLOTS, UM_HUGE_SLOTS, true);
        h->marked[i] = h->marked[--h->marks];
    }
}
