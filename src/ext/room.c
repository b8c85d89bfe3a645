/* A module's memory is a span of its own kind, which tells the module: malloc's misuse checks know such an
   address for what it is, and the report can say who holds how much. */
#include "ext/room.h"
#include "front/front.h"
#include "os/fatal.h"
#include "os/lock.h"
#include "space/space.h"

#include <errno.h>

#define BYTES_MAX ((size_t)1 << 46) /* more than the window; keeps sums and counts of slots small */

static um_lock lock; /* rank: before the space's; the first call of a program whose malloc is not ours */

/* As a rule our constructor made the window. It did not where it stepped aside, or did not run yet. */
static bool ready(void) {
    int err;
    if (um_likely(um_space_window.table != NULL))
        return true;
    (void)um_front_heap();
    um_lock_take(&lock);
    err = um_space_window.table ? 0 : um_space_init();
    um_lock_drop(&lock);
    return err == 0;
}

static size_t span_bytes(const um_span *s) {
    return (size_t)s->slots << UM_SLOT_SHIFT;
}

static void count(um_module m, size_t more, size_t less) {
    um_module_count *c = &um_module_counts[m];
    uint64_t now, peak;
    if (!more) {
        atomic_fetch_sub_explicit(&c->bytes, less, memory_order_relaxed); /* counters, all here */
        return;
    }
    now = atomic_fetch_add_explicit(&c->bytes, more, memory_order_relaxed) + more;
    peak = atomic_load_explicit(&c->peak_bytes, memory_order_relaxed);
    while (now > peak && !atomic_compare_exchange_weak_explicit(&c->peak_bytes, &peak, now,
                                                                memory_order_relaxed, memory_order_relaxed))
        continue;
    atomic_fetch_add_explicit(&c->takes, 1, memory_order_relaxed);
}

void *um_room_take(um_module m, unsigned place, size_t bytes, size_t align, bool *zeroed) {
    um_span *s = NULL;
    size_t slots;
    bool zero;
    if (bytes <= BYTES_MAX && align <= BYTES_MAX && ready()) {
        slots = um_max(1, (bytes + UM_SLOT_BYTES - 1) >> UM_SLOT_SHIFT);
        s = um_space_alloc(place, slots, um_max(1, align >> UM_SLOT_SHIFT), &zero);
    }
    if (!s) {
        errno = ENOMEM;
        return NULL;
    }
    if (zeroed)
        *zeroed = zero;
    s->state = zero ? UM_CLEAN : UM_DIRTY; /* pages of others may have been moved into a clean span */
    s->class_id = (uint8_t)m;
    s->holder = NULL;
    atomic_store_explicit(&s->owner, UM_ID_NOBODY,
                          memory_order_relaxed); /* nobody has an address in it yet */
    um_span_set_kind(s, UM_SPAN_EXT);
    count(m, span_bytes(s), 0);
    return um_span_start(s);
}

bool um_room_purge(void *p) {
    um_span *s = um_span_of(p);
    if (um_space_purge_part(p, span_bytes(s)) != 0)
        return false;
    s->state = UM_CLEAN;
    return true;
}

void um_room_give(void *p, size_t touched) {
    um_span *s = um_span_of(p);
    size_t bytes = span_bytes(s);
    count((um_module)s->class_id, 0, bytes);
    um_space_free(s, s->state == UM_DIRTY ? bytes : um_min(touched, bytes));
}

bool um_room_extend(void *p, size_t bytes) {
    um_span *s = um_span_of(p);
    size_t before = span_bytes(s);
    bool zeroed;
    if (bytes > BYTES_MAX)
        return false;
    if (bytes <= before)
        return true;
    if (!um_space_extend(s, (bytes + UM_SLOT_BYTES - 1) >> UM_SLOT_SHIFT, &zeroed))
        return false;
    if (!zeroed)
        s->state = UM_DIRTY;
    count((um_module)s->class_id, span_bytes(s) - before, 0);
    return true;
}

size_t um_room_bytes(const void *p) {
    return span_bytes(um_span_of(p));
}

uint32_t *um_room_word(const void *p) {
    return &um_span_of(p)->block_bytes;
}

bool um_room_is(um_module m, const void *p) {
    const um_span *s = um_space_window.table ? um_span_of(p) : NULL;
    return s && um_span_kind_of(s) == UM_SPAN_EXT && p == um_span_start(s) && s->class_id == (uint8_t)m;
}

void um_room_must_be(um_module m, const void *p, const char *call) {
    if (um_unlikely(!um_room_is(m, p)))
        um_fatal(call, p, 0, "deleted before, or never made");
}
