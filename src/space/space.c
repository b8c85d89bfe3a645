/* The span allocator of each node. Invariants (um_space_check walks them):
   - the opened slots of a node are partitioned into spans; the record of a span's first slot has its kind and
   length;
   - a free span has a boundary tag in its last slot, and no free neighbour of its own state;
   - dirty spans are in the age list, oldest first, and dirty_bytes is the sum of their bytes.
   Bounds: dirty stays within what the recent peak of active exceeds active by, a part of that peak or a small
   floor; see purge.c. No system call happens under the lock but to open fresh memory and to map again what
   was unmapped. */
#include "space/internal.h"
#include "os/os.h"
#include "space/fresh.h"
#include "space/pin.h"
#include "space/hugetlb.h"

#include <errno.h>

#define GROW_SLOTS_MIN      ((size_t)64)   /* 4 MiB: one page table, and small beside any program */
#define GROW_SLOTS_MAX      ((size_t)1024) /* 64 MiB */
#define SCARCE_SLOTS_MIN    ((size_t)4)    /* 256 KiB: where addresses are scarce */
#define SCARCE_PART         8u
#define FOREIGN_REGIONS_MAX 4096 /* 1 TiB that somebody else maps in one piece */
#define SLOTS_MAX           ((size_t)1 << 28)
#define ASK_SLOTS           ((size_t)1024) /* 64 MiB; the kernel is asked from there on */

um_space um_spaces[UM_NODES_MAX];
_Atomic(uint64_t) um_spaces_used;
um_space_settings um_space_setting = {.decay_ms = 1000};
_Atomic(size_t) um_space_footprint;
_Atomic(uint64_t) um_space_now_ms;
_Atomic(size_t) um_space_dirty;
static um_lock window_lock; /* rank: after any space lock */

int um_space_init(void) {
    if (um_space_window.table)
        return 0;
    um_os_init();
    return um_window_init();
}

void um_space_placed(void) {
    um_space *sp = &um_spaces[0];
    if (!um_space_is_used(0))
        return;
    um_lock_take(&sp->lock);
    um_place_bind(0, um_space_window.base + (sp->first_slot << UM_SLOT_SHIFT),
                  (sp->open_slot - sp->first_slot) << UM_SLOT_SHIFT);
    um_space_unlock(sp);
}

static size_t index_of_right(const um_span *s) {
    return um_span_index(s) + s->slots;
}

static void set_tags(um_span *s) {
    um_span *tail = s + s->slots - 1;
    if (tail != s) {
        tail->slots = s->slots;
        um_span_set_kind(tail, UM_SPAN_FREE_TAIL);
    }
    um_span_set_kind(s, UM_SPAN_FREE);
}

static void clear_tags(um_span *s) {
    um_span_set_kind(s + s->slots - 1, UM_SPAN_NONE);
    um_span_set_kind(s, UM_SPAN_BUSY);
}

static void age_append(um_space *sp, um_span *s) {
    s->age_next = NULL;
    s->age_prev = sp->youngest;
    if (s->age_prev)
        s->age_prev->age_next = s;
    else
        sp->oldest = s;
    sp->youngest = s;
    s->kept = 0;
}

static void age_remove(um_space *sp, um_span *s) {
    if (s->age_next)
        s->age_next->age_prev = s->age_prev;
    else if (!s->kept)
        sp->youngest = s->age_prev;
    if (s->age_prev)
        s->age_prev->age_next = s->age_next;
    else
        *(s->kept ? &sp->kept : &sp->oldest) = s->age_next;
    if (s->kept)
        sp->kept_bytes -= s->bytes;
    s->kept = 0;
}

void um_space_keep_locked(um_space *sp, um_span *s) {
    age_remove(sp, s);
    s->kept = 1;
    s->age_prev = NULL;
    s->age_next = sp->kept;
    if (s->age_next)
        s->age_next->age_prev = s;
    sp->kept = s;
    sp->kept_bytes += s->bytes;
}

void um_space_unkeep_locked(um_space *sp, um_span *s) {
    age_remove(sp, s);
    age_append(sp, s);
}

/* Unsigned wrap makes the differences right. */
static void tell(_Atomic(size_t) *all, size_t *told, size_t now) {
    if (now == *told)
        return;
    atomic_fetch_add_explicit(all, now - *told, memory_order_relaxed); /* counter, or hint */
    *told = now;
}

void um_space_tell_locked(um_space *sp) {
    tell(&um_space_footprint, &sp->told_footprint, (sp->active_slots << UM_SLOT_SHIFT) + sp->dirty_bytes);
    tell(&um_space_dirty, &sp->told_dirty, sp->dirty_bytes - sp->kept_bytes);
}

void um_space_detach_locked(um_space *sp, um_span *s) {
    um_bins_remove(&sp->bins[s->state], s);
    if (s->state == UM_DIRTY) {
        age_remove(sp, s);
        sp->dirty_bytes -= s->bytes;
    } else if (s->state == UM_UNMAPPED) {
        sp->unmapped_slots -= s->slots;
    }
    clear_tags(s);
}

static void file_locked(um_space *sp, um_span *s) {
    set_tags(s);
    um_bins_insert(&sp->bins[s->state], s);
    if (s->state == UM_DIRTY) {
        age_append(sp, s);
        sp->dirty_bytes += s->bytes;
    } else if (s->state == UM_UNMAPPED) {
        sp->unmapped_slots += s->slots;
    }
}

/* s is BUSY with its length set. Merges it with neighbours of the same state and files it. */
void um_space_insert_locked(um_space *sp, um_span *s, um_span_state state, size_t bytes) {
    size_t right = index_of_right(s);
    um_span *r = um_space_window.table + right, *l = s - 1;
    s->state = (uint8_t)state;
    s->bytes = state == UM_DIRTY ? bytes : 0;
    s->freed_ms = atomic_load_explicit(&um_space_now_ms, memory_order_relaxed); /* a recent reading */
    if (um_space_holds_locked(sp, right) && um_span_kind_of(r) == UM_SPAN_FREE && r->state == state) {
        um_space_detach_locked(sp, r);
        um_span_set_kind(r, UM_SPAN_NONE);
        s->slots += r->slots;
        s->bytes += r->bytes;
    }
    if (um_space_holds_locked(sp, um_span_index(s) - 1)) {
        if (um_span_kind_of(l) == UM_SPAN_FREE_TAIL)
            l = s - l->slots;
        if (um_span_kind_of(l) == UM_SPAN_FREE && l->state == state) {
            um_space_detach_locked(sp, l);
            l->slots += s->slots;
            l->bytes += s->bytes;
            l->freed_ms = s->freed_ms;
            um_span_set_kind(s, UM_SPAN_NONE);
            s = l;
        }
    }
    file_locked(sp, s);
}

/* Of the bytes of a dirty span, those in `part` of its slots: which ones are in memory nobody knows. */
static size_t share(size_t bytes, size_t part, size_t slots) {
    return (bytes >> UM_SLOT_SHIFT) ? bytes / slots * part : bytes * part / slots;
}

/* A dirty span is never taken for zero, however its bytes were shared out. */
static void stay_dirty(um_span *s) {
    if (s->state == UM_DIRTY && s->bytes == 0)
        s->bytes = 1;
}

void um_space_split_locked(um_space *sp, um_span *s, size_t slots) {
    um_span *rest = s + slots;
    size_t keep;
    if (s->slots == slots)
        return;
    keep = share(s->bytes, slots, s->slots);
    rest->slots = s->slots - (uint32_t)slots;
    rest->state = s->state;
    rest->node = s->node;
    rest->freed_ms = s->freed_ms;
    rest->bytes = s->bytes - keep;
    s->slots = (uint32_t)slots;
    s->bytes = keep;
    um_span_set_kind(rest, UM_SPAN_BUSY);
    stay_dirty(s);
    stay_dirty(rest);
    file_locked(sp, rest);
}

size_t um_space_excess(void) {
    size_t used = atomic_load_explicit(&um_space_footprint, memory_order_relaxed); /* hint */
    uint64_t limit = UM_SPACE_SETTING(soft_limit_bytes);
    return um_unlikely(limit != 0) && used > limit ? used - limit : 0;
}

void um_space_note_full(um_span *s) {
    s->full = 1;
    atomic_fetch_add_explicit(&um_spaces[s->node].full_slots, 1, memory_order_relaxed); /* hint */
}

void um_space_note_slack(um_span *s, size_t pages) {
    if (pages == s->slack_pages)
        return;
    atomic_fetch_add_explicit(&um_spaces[s->node].slack_pages, pages - s->slack_pages,
                              memory_order_relaxed); /* hint; unsigned wrap makes the difference right */
    s->slack_pages = (uint16_t)pages;
}

/* Maps memory where the space's slots have none, and tells the kernel where its pages belong. */
static int map_fresh(unsigned node, size_t first, size_t slots) {
    int err = um_window_map(first, slots);
    if (!err)
        um_place_bind(node, um_space_window.base + (first << UM_SLOT_SHIFT), slots << UM_SLOT_SHIFT);
    return err;
}

int um_space_claim_locked(um_space *sp, size_t slots) {
    unsigned node = (unsigned)(sp - um_spaces);
    size_t first, count;
    bool adjoins;
    int err;
    if (sp->region_end - sp->open_slot >= slots)
        return 0;
    um_lock_take(&window_lock);
    err = um_window_claim(node, slots, &first, &count);
    if (!err)
        atomic_fetch_or_explicit(&um_spaces_used, (uint64_t)1 << node,
                                 memory_order_relaxed); /* see internal.h */
    um_lock_drop(&window_lock);
    if (err)
        return err;
    adjoins = first == sp->region_end && sp->opened_slots;
    if (!adjoins) {
        sp->open_slot = first; /* what was left of the old region stays address space */
        sp->first_slot = sp->opened_slots ? sp->first_slot : first;
    }
    sp->region_end = first + count;
    return 0;
}

void um_space_opened_locked(um_space *sp, size_t slots, bool pool) {
    um_span *s = um_space_window.table + sp->open_slot;
    um_huge_opened_locked(sp, sp->open_slot, slots, pool);
    if (um_space_setting.lock)
        um_pin_opened(sp->open_slot, slots);
    s->slots = (uint32_t)slots;
    s->node = (uint8_t)(sp - um_spaces);
    s->moved = 0;
    um_span_set_kind(s, UM_SPAN_BUSY);
    sp->open_slot += slots;
    sp->opened_slots += slots;
    um_space_insert_locked(sp, s, UM_CLEAN, 0);
}

static int open_locked(um_space *sp, size_t slots) {
    int err = um_space_claim_locked(sp, slots);
    if (!err)
        err = map_fresh((unsigned)(sp - um_spaces), sp->open_slot, slots);
    if (!err)
        um_space_opened_locked(sp, slots, false);
    return err;
}

/* How much to open at a time for who needs `slots`: whole huge pages. Where addresses are scarce, a small
   part of what there is: stacks and libraries need some too. */
static size_t grow_step_locked(const um_space *sp, size_t slots) {
    size_t step = um_min(um_max(sp->opened_slots / 4, GROW_SLOTS_MIN), GROW_SLOTS_MAX);
    if (um_os_space_limited && sp->opened_slots / SCARCE_PART < GROW_SLOTS_MIN)
        return um_max(slots, um_max(sp->opened_slots / SCARCE_PART, SCARCE_SLOTS_MIN));
    return um_round_up(um_max(slots, step), UM_HUGE_SLOTS);
}

int um_space_open_locked(um_space *sp, size_t slots) {
    int err = open_locked(sp, slots);
    /* Somebody maps there: go on behind the region. */
    for (int i = 0; err == EEXIST && i < FOREIGN_REGIONS_MAX; i++) {
        sp->open_slot = sp->region_end;
        err = open_locked(sp, slots);
    }
    return err;
}

/* Opens at least `slots`, more where that succeeds. */
static bool grow_locked(um_space *sp, size_t slots) {
    size_t more = grow_step_locked(sp, slots);
    if (um_hugetlb_asked() && um_hugetlb_grow_locked(sp, slots, more))
        return true;
    return um_space_open_locked(sp, more) == 0 || (more > slots && um_space_open_locked(sp, slots) == 0);
}

/* Slots before the first aligned one. */
static size_t skip_to(const um_span *s, size_t align) {
    size_t index = um_span_index(s) + (um_space_window.base >> UM_SLOT_SHIFT);
    return um_round_up(index, align) - index;
}

um_span *um_space_cut_locked(um_space *sp, um_span *s, size_t skip, size_t slots) {
    if (skip) {
        um_span *front = s;
        size_t front_bytes;
        s = front + skip;
        front_bytes = share(front->bytes, skip, front->slots);
        s->slots = front->slots - (uint32_t)skip;
        s->state = front->state;
        s->node = front->node;
        s->moved = 0;
        s->freed_ms = front->freed_ms;
        s->bytes = front->bytes - front_bytes;
        um_span_set_kind(s, UM_SPAN_BUSY);
        front->slots = (uint32_t)skip;
        front->bytes = front_bytes;
        stay_dirty(s);
        stay_dirty(front);
        file_locked(sp, front);
    }
    um_space_split_locked(sp, s, slots);
    return s;
}

/* Finds a free span and cuts it to `slots` at an aligned start. */
static um_span *carve_locked(um_space *sp, um_span_state state, size_t slots, size_t align) {
    um_span *s = um_bins_find(&sp->bins[state], slots);
    if (s && skip_to(s, align) + slots > s->slots)
        s = um_bins_find(&sp->bins[state], slots + align - 1);
    if (!s)
        return NULL;
    if (um_huge_any(&sp->huge) && slots < UM_HUGE_SLOTS && align == 1)
        s = um_huge_fullest(s);
    um_space_detach_locked(sp, s);
    return um_space_cut_locked(sp, s, skip_to(s, align), slots);
}

/* Addresses given back are mapped again; those of a pool in its whole pages. Those that somebody took
   meanwhile are lost: as if never opened. */
static um_span *carve_unmapped_locked(um_space *sp, size_t slots, size_t align) {
    size_t unit = um_hugetlb_asked() ? um_hugetlb_slots() : 1;
    um_span *s = carve_locked(sp, UM_UNMAPPED, um_round_up(slots, unit), um_max(align, unit));
    while (s || unit > 1) {
        int err = 0;
        if (s)
            err = um_hugetlb_holds(sp, s) && um_hugetlb_map(sp, um_span_index(s), s->slots) == 0
                      ? 0
                      : map_fresh(s->node, um_span_index(s), s->slots);
        if (s && !err) {
            s->state = UM_CLEAN;
            um_space_split_locked(sp, s, slots);
            return s;
        }
        if (err && err != EEXIST) {
            um_space_insert_locked(sp, s, UM_UNMAPPED, 0);
            return NULL;
        }
        if (s) {
            um_span_set_kind(s, UM_SPAN_NONE);
            sp->opened_slots -= s->slots;
        }
        unit = s ? unit : 1;
        s = carve_locked(sp, UM_UNMAPPED, um_round_up(slots, unit), um_max(align, unit));
    }
    return NULL;
}

static um_span *take_locked(um_space *sp, size_t slots, size_t align, bool clean_only, um_gaps *gaps) {
    size_t wish = um_huge_align(sp, slots, align);
    um_span *s = clean_only ? NULL : carve_locked(sp, UM_DIRTY, slots, wish);
    if (!s && !clean_only && wish > align)
        s = carve_locked(sp, UM_DIRTY, slots, align);
    if (!s && !clean_only && align == 1 && slots >= UM_GATHER_SLOTS_MIN && sp->oldest)
        s = um_space_take_mixed_locked(sp, slots, gaps);
    if (!s)
        s = carve_locked(sp, UM_CLEAN, slots, wish);
    if (!s && wish > align)
        s = carve_locked(sp, UM_CLEAN, slots, align);
    if (!s)
        s = carve_unmapped_locked(sp, slots, align);
    if (!s && (grow_locked(sp, slots + wish - 1) || (wish > align && grow_locked(sp, slots + align - 1))))
        s = carve_locked(sp, UM_CLEAN, slots, align);
    return s;
}

static bool over_limit(size_t slots) {
    size_t used = atomic_load_explicit(&um_space_footprint,
                                       memory_order_relaxed); /* a hint; races overshoot by a span */
    uint64_t limit = UM_SPACE_SETTING(limit_bytes);
    return limit && used + (slots << UM_SLOT_SHIFT) > limit;
}

static size_t run_of(size_t slots) {
    return slots > 1 ? slots : 0;
}

/* An active span changes its length; 0 is none. */
static void resize_active_locked(um_space *sp, size_t from, size_t to) {
    sp->active_slots += to - from;
    sp->run_slots += run_of(to) - run_of(from);
    atomic_store_explicit(&sp->active_seen, sp->active_slots, memory_order_relaxed); /* hint */
}

static void now_active_locked(um_space *sp, size_t from, size_t to) {
    size_t bytes;
    resize_active_locked(sp, from, to);
    bytes = sp->active_slots << UM_SLOT_SHIFT;
    sp->peak_now = um_max(sp->peak_now, bytes);
    sp->peak_ever = um_max(sp->peak_ever, bytes + sp->dirty_bytes);
}

/* Memory from the system: was it given back too early? */
static void note_miss_locked(um_space *sp, const um_span *s) {
    size_t missed = um_min(sp->trimmed_bytes, (size_t)s->slots << UM_SLOT_SHIFT);
    if (um_likely(missed == 0) || s->state == UM_DIRTY)
        return;
    sp->trimmed_bytes -= missed;
    sp->missed_now += missed;
}

/* zeroed NULL: only a clean span will do. */
static um_span *alloc_once(um_space *sp, size_t slots, size_t align, bool *zeroed) {
    um_span *s;
    bool crowded = false, fill = false;
    uintptr_t behind = 0;
    um_gaps gaps = {.count = 0};
    um_lock_take(&sp->lock);
    s = over_limit(slots) ? NULL : take_locked(sp, slots, align, !zeroed, &gaps);
    if (s) {
        now_active_locked(sp, 0, slots);
        note_miss_locked(sp, s);
        fill = !um_place.strict &&
               um_fresh_wanted_locked(sp, s); /* strict: filled by alloc_from, after a look */
        behind = um_huge_behind_locked(sp, s);
        crowded = um_space_crowded_locked(sp);
    }
    um_space_unlock(sp);
    if (s && zeroed) {
        *zeroed = s->state != UM_DIRTY;
        if (*zeroed && slots >= UM_GATHER_SLOTS_MIN)
            gaps = (um_gaps){1, {{0, slots}}};
        if (gaps.count && !um_space_gather(sp, s, &gaps, zeroed))
            s = NULL;
    }
    if (crowded)
        um_space_purge_excess(sp);
    if (fill)
        um_huge_paid(sp, um_fresh_fill(s));
    if (um_unlikely(behind != 0))
        um_huge_catch_up(behind);
    return s;
}

/* Under a strict policy: its pages are there, and where they should be. */
static bool is_placed(um_space *sp, const um_span *s) {
    bool pool;
    um_lock_take(&sp->lock);
    pool = um_hugetlb_holds(sp, s); /* a page of a pool is there, and must not go in parts */
    um_space_unlock(sp);
    return um_place_fill(s->node, (uintptr_t)um_span_start(s), (size_t)s->slots << UM_SLOT_SHIFT, pool);
}

static void begin_use(um_span *s) {
    s->moved = 0;
    s->full = 0;
    s->cut = 0;
    s->slack_pages = 0;
    um_span_set_migrated(s, false);
}

/* From one space; under a strict policy, with all its pages where they should be: what is dirty was looked at
   before. */
static um_span *alloc_from(um_space *sp, size_t slots, size_t align, bool *zeroed) {
    bool zero;
    um_span *s = alloc_once(sp, slots, align, &zero);
    if (!s && um_space_trim(0)) /* what is kept for reuse stood in the way, or fragments the addresses */
        s = alloc_once(sp, slots, align, &zero);
    if (!s)
        return NULL;
    begin_use(s);
    if (zeroed)
        *zeroed = zero;
    if (um_likely(!um_place.strict) || !zero || is_placed(sp, s))
        return s;
    um_space_free(s, 0);
    return NULL;
}

/* Nobody can have so much: better said now than by a kernel that kills. */
static bool is_too_long(size_t slots) {
    return slots > SLOTS_MAX || (slots >= ASK_SLOTS && um_os_refuses(slots << UM_SLOT_SHIFT));
}

um_span *um_space_alloc(unsigned node, size_t slots, size_t align_slots, bool *zeroed) {
    um_span *s = NULL;
    if (slots == 0 || is_too_long(slots) || align_slots > SLOTS_MAX)
        return NULL;
    for (unsigned k = 0, at = node; !s && at < UM_NODES_MAX; at = um_place_choice(node, ++k))
        s = alloc_from(&um_spaces[at], slots, align_slots, zeroed);
    return s;
}

unsigned um_space_take_dirty(unsigned node, um_span **slots, unsigned most) {
    um_space *sp = &um_spaces[node];
    unsigned n = 0;
    if (um_place.strict) /* they would have to be looked at */
        return 0;
    um_lock_take(&sp->lock);
    while (n < most && (slots[n] = carve_locked(sp, UM_DIRTY, 1, 1)) != NULL)
        now_active_locked(sp, 0, slots[n++]->slots);
    um_space_unlock(sp);
    for (unsigned i = 0; i < n; i++)
        begin_use(slots[i]);
    return n;
}

int um_space_purge_part(void *at, size_t bytes) {
    return um_space_setting.rigid ? EBUSY : um_os_purge((uintptr_t)at, bytes);
}

/* Fresh memory for a range whose mapping may be in pieces; the mapping is a new one, so what was told of it
   is told again. Where the kernel refuses, nobody knows which of the old pieces it has unmapped: all go, or
   all are there and are purged. */
um_span_state um_space_map_anew(um_space *sp, const um_span *s) {
    uintptr_t at = (uintptr_t)um_span_start(s);
    size_t bytes = (size_t)s->slots << UM_SLOT_SHIFT;
    if (um_os_remap_zero(at, bytes) == 0) {
        um_place_bind(s->node, at, bytes);
        um_huge_renewed(sp, s);
        return UM_CLEAN;
    }
    return um_os_unmap(at, bytes) != 0 && um_os_purge(at, bytes) == 0 ? UM_CLEAN : UM_UNMAPPED;
}

/* What a span is when it is free; its pages are given back here where that has to be. */
static um_span_state state_when_free(um_span *s) {
    if (s->moved)
        return um_space_map_anew(&um_spaces[s->node], s);
    if ((um_span_migrated(s) || um_space_sparse(s->bytes, s->slots)) &&
        um_space_purge_part(um_span_start(s), (size_t)s->slots << UM_SLOT_SHIFT) == 0)
        return UM_CLEAN;
    return s->bytes ? UM_DIRTY : UM_CLEAN;
}

static void free_locked(um_space *sp, um_span *s, um_span_state state) {
    size_t first = um_span_index(s), slots = s->slots;
    um_span_set_kind(s, UM_SPAN_BUSY);
    resize_active_locked(sp, slots, 0);
    if (s->moved)
        um_space_forget_seams_locked(s);
    if (s->full)
        atomic_fetch_sub_explicit(&sp->full_slots, 1, memory_order_relaxed); /* hint */
    s->full = 0;
    um_space_insert_locked(sp, s, state, s->bytes);
    um_huge_freed_locked(sp, first, first + slots - 1);
}

void um_space_free_list(um_span *list) {
    um_space_read_clock();
    for (um_span *s = list; s; s = s->next)
        s->state = (uint8_t)state_when_free(s);
    while (list) {
        um_space *sp = &um_spaces[list->node];
        bool crowded;
        um_lock_take(&sp->lock);
        do {
            um_span *s = list;
            list = s->next;
            free_locked(sp, s, (um_span_state)s->state);
        } while (list && &um_spaces[list->node] == sp);
        crowded = um_space_crowded_locked(sp);
        um_space_unlock(sp);
        if (crowded)
            um_space_purge_excess(sp);
    }
}

void um_space_free(um_span *s, size_t dirty_bytes) {
    s->bytes = dirty_bytes;
    s->next = NULL;
    um_space_free_list(s);
}

/* The free span to the right of s with at least `slots`, opened or mapped as needed, detached and cut; or
 * NULL. */
static um_span *take_right_locked(um_space *sp, um_span *s, size_t slots) {
    size_t right = index_of_right(s);
    um_span *r = um_space_window.table + right;
    bool free_there = um_space_holds_locked(sp, right) && um_span_kind_of(r) == UM_SPAN_FREE;
    size_t have = free_there ? r->slots : 0;
    if (have < slots && right + have == sp->open_slot && (!have || r->state == UM_CLEAN)) {
        size_t missing = slots - have;
        size_t more = grow_step_locked(sp, missing);
        bool adjoins = sp->region_end - sp->open_slot >= missing;
        if (adjoins)
            more = um_min(more, sp->region_end - sp->open_slot);
        /* It is elsewhere if another node took the next region. */
        if (open_locked(sp, more) != 0 && open_locked(sp, missing) != 0)
            return NULL;
        if (!um_space_holds_locked(sp, right) || um_span_kind_of(r) != UM_SPAN_FREE)
            return NULL;
        have = r->slots;
    }
    if (have < slots)
        return NULL;
    um_space_detach_locked(sp, r);
    um_space_split_locked(sp, r, slots);
    if (r->state == UM_UNMAPPED && (um_hugetlb_asked() || map_fresh(r->node, right, slots) != 0)) {
        um_space_insert_locked(sp, r, UM_UNMAPPED, 0);
        return NULL;
    }
    return r;
}

bool um_space_extend(um_span *s, size_t new_slots, bool *zeroed) {
    um_space *sp = &um_spaces[s->node];
    um_span *r = NULL;
    size_t more = new_slots - s->slots;
    if (is_too_long(new_slots) || um_place.strict) /* strict: only whole spans are looked at */
        return false;
    um_lock_take(&sp->lock);
    if (!over_limit(more))
        r = take_right_locked(sp, s, more);
    if (r) {
        *zeroed = r->state != UM_DIRTY;
        um_span_set_kind(r, UM_SPAN_NONE);
        now_active_locked(sp, s->slots, new_slots);
        s->slots = (uint32_t)new_slots;
    }
    um_space_unlock(sp);
    return r != NULL;
}

void um_space_shrink(um_span *s, size_t new_slots) {
    um_space *sp = &um_spaces[s->node];
    um_span *tail = s + new_slots;
    uint32_t slots = s->slots - (uint32_t)new_slots;
    um_lock_take(&sp->lock); /* one active span becomes two */
    resize_active_locked(sp, s->slots, new_slots);
    resize_active_locked(sp, 0, slots);
    s->slots = (uint32_t)new_slots;
    s->cut = 1;
    tail->slots = slots;
    um_space_unlock(sp);
    tail->node = s->node;
    tail->moved = s->moved;
    um_span_set_migrated(tail, um_span_migrated(s));
    tail->full = 0;
    um_space_free(tail, (size_t)slots << UM_SLOT_SHIFT);
}

um_span *um_space_move(um_span *s, size_t new_slots, size_t used_bytes) {
    um_space *sp = &um_spaces[s->node];
    uintptr_t from = (uintptr_t)um_span_start(s);
    um_span *t;
    um_span_state state;
    if (is_too_long(new_slots) || um_place.strict || um_space_setting.rigid ||
        !(t = alloc_once(sp, new_slots, 1, NULL)))
        return NULL;
    t->full = 0;
    t->cut = 0;
    t->slack_pages = 0;
    t->moved = 1;
    um_span_set_migrated(t, false); /* it is mapped anew when it is freed */
    if (um_os_move(from, used_bytes, (uintptr_t)um_span_start(t), used_bytes) != 0) {
        /* As moved: kernels unmap the target before they find that the source will not do. */
        um_space_free(t, 0);
        return NULL;
    }
    state = um_space_map_anew(sp, s);
    um_lock_take(&sp->lock);
    um_span_set_kind(s, UM_SPAN_BUSY);
    resize_active_locked(sp, s->slots, 0);
    um_space_insert_locked(sp, s, state, 0);
    um_space_unlock(sp);
    return t;
}

void *um_space_meta(unsigned node, size_t bytes) {
    um_space *sp = &um_spaces[node];
    char *p = NULL;
    bytes = um_round_up(bytes, UM_CACHE_LINE_BYTES);
    um_lock_take(&sp->meta.lock);
    if (sp->meta.left < bytes) {
        bool zeroed = true;
        um_span *s = um_space_alloc(node, (bytes + UM_SLOT_BYTES - 1) >> UM_SLOT_SHIFT, 1, &zeroed);
        if (s) {
            um_span_set_kind(s, UM_SPAN_META);
            sp->meta.at = um_span_start(s);
            sp->meta.left = (size_t)s->slots << UM_SLOT_SHIFT;
            sp->meta.total += sp->meta.left;
            if (!zeroed)
                __builtin_memset(sp->meta.at, 0, sp->meta.left);
        }
    }
    if (sp->meta.left >= bytes) {
        p = sp->meta.at;
        sp->meta.at += bytes;
        sp->meta.left -= bytes;
    }
    um_lock_drop(&sp->meta.lock);
    return p;
}

void um_space_pause(void) {
    for (unsigned i = 0; i < um_place.count; i++)
        um_lock_take(&um_spaces[i].lock);
}

void um_space_resume(void) {
    for (unsigned i = um_place.count; i-- > 0;)
        um_lock_drop(&um_spaces[i].lock);
}

void um_space_lock_all(void) {
    for (unsigned i = 0; i < um_place.count; i++)
        um_lock_take(&um_spaces[i].meta.lock);
    um_space_pause();
    um_lock_take(&window_lock);
}

void um_space_unlock_all(void) {
    um_lock_drop(&window_lock);
    um_space_resume();
    for (unsigned i = um_place.count; i-- > 0;)
        um_lock_drop(&um_spaces[i].meta.lock);
}

void um_space_reset_locks(void) {
    um_lock_reset(&window_lock);
    for (unsigned i = 0; i < um_place.count; i++) {
        um_lock_reset(&um_spaces[i].lock);
        um_lock_reset(&um_spaces[i].meta.lock);
    }
}
