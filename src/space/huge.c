/* Transparent huge pages. What is advised is fresh memory, a chunk at a time, so mappings stay few: 4 KiB
   pages while a heap is small, huge pages once enough of it is surely in use. (The kernel's own setting does
   not matter: where it is `always`, the first chunks are exempted.)

   Purging a part of a huge page breaks it up, and khugepaged would make it whole again, with the memory that
   was just given back. So:
   - a span in a huge page of which fifteen sixteenths are in use is kept: it costs less than the page is
   worth;
   - any other huge page that is broken up is marked (MADV_NOHUGEPAGE) until it is that full again;
   - marks split mappings, so they are few: beyond MARKS_MAX in all spaces the space's runs are exempted as a
     whole, until the space must grow although it is full. Huge pages that are whole stay so under either. */
#include "space/huge.h"
#include "conf/counters.h"
#include "os/os.h"
#include "space/internal.h"

#define HUGE_FROM     (32 * UM_MIB)  /* of slabs cut to their end: such memory is in use for sure */
#define HUGE_FROM_ALL (512 * UM_MIB) /* with spans of several slots, which may be touched in part only */
#define FULL_SLOTS    (UM_HUGE_SLOTS - UM_HUGE_SLOTS / 16)
#define CHOICES       16 /* looked at where it matters which page a span is in */

static uintptr_t address(size_t slot) {
    return um_space_window.base + (slot << UM_SLOT_SHIFT);
}

static void advise(size_t first, size_t slots, bool want) {
    if (want)
        UM_COUNT_ADD(huge_wanted_bytes, slots << UM_SLOT_SHIFT);
    um_os_hugepage(address(first), slots << UM_SLOT_SHIFT, want);
}

/* Blocks of several slots are stacks, tables and buffers that may hardly be touched: they count as in use,
   and get huge pages, where what is surely in use is more than they are, or where all is large. */
static bool enough_locked(const um_space *sp, size_t fresh_slots) {
    size_t full = atomic_load_explicit(&sp->full_slots, memory_order_relaxed) << UM_SLOT_SHIFT; /* hint */
    size_t runs = sp->run_slots << UM_SLOT_SHIFT;
    bool for_one = fresh_slots > um_max(sp->opened_slots / 4, 2 * UM_HUGE_SLOTS); /* more than a step */
    if (full + runs >= HUGE_FROM_ALL)
        return true;
    return full >= HUGE_FROM && runs + (for_one ? fresh_slots << UM_SLOT_SHIFT : 0) <= full;
}

static bool wanted_locked(const um_space *sp, size_t fresh_slots) {
    switch (um_space_setting.hugepages) {
    case UM_SPACE_HUGE_OFF:
        return false;
    case UM_SPACE_HUGE_ALWAYS:
        return true;
    case UM_SPACE_HUGE_THP:
        return sp->opened_slots > 0;
    default:
        return enough_locked(sp, fresh_slots);
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

void um_huge_opened_locked(um_space *sp, size_t first, size_t slots, bool pool) {
    um_huge *h = &sp->huge;
    um_huge_run *last = h->runs ? &h->run[h->runs - 1] : NULL;
    bool huge = !pool && wanted_locked(sp, slots), pinned = um_space_setting.lock;
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

um_huge_run *um_huge_run_of(um_huge *h, size_t slot) {
    for (um_huge_run *r = h->run; r < h->run + h->runs; r++)
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
    um_lock_drop(&sp->lock);
    advise(first, s->slots, huge);
}

size_t um_huge_align(const um_space *sp, size_t slots, size_t align) {
    bool any = sp->huge.runs && sp->huge.run[sp->huge.runs - 1].huge;
    return any && slots >= UM_HUGE_SLOTS ? um_max(align, UM_HUGE_SLOTS) : align;
}

static size_t page_of(size_t slot) {
    return slot / UM_HUGE_SLOTS;
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

static void give_up_locked(um_huge *h) {
    h->marks = 0;
    for (um_huge_run *r = h->run; r < h->run + h->runs; r++)
        if (r->huge) {
            advise(r->first, r->end - r->first, false);
            r->huge = false;
            r->gave_up = true;
        }
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
