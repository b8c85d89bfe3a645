/* Blocks in a slab: cutting, numbering, checking. Only the owner calls these, but um_slab_index and
   um_slab_is_block, which read what is constant while the slab lives (and `carved`, which a caller that owns
   nothing may see too small only for blocks it cannot hold). */
#include "slab/slab.h"
#include "os/fatal.h"
#include "os/os.h"
#include "space/space.h"

#define FIRST_BLOCKS_MAX   64u /* keeps walks of a cold slab's list short */
#define WAKE_MAX           16u
#define TRANSIT_BLOCKS_MAX 32u /* of one chain of remote frees */

um_span um_span_none = {.list = &um_span_none.end, .countdown = UM_COUNTDOWN_NEVER};

void um_slab_shape(um_span *s, unsigned class_id) {
    s->list = um_slab_end(s);
    s->countdown = s->mark = UM_COUNTDOWN_NEVER;
    s->block_bytes = um_class_bytes(class_id);
    s->reciprocal = (uint32_t)(((1ull << 32) + s->block_bytes - 1) / s->block_bytes);
    s->capacity = (uint16_t)(UM_SLOT_BYTES / s->block_bytes);
    s->carved = 0;
    s->wake = (uint16_t)um_max(1, um_min(s->capacity / 16u, WAKE_MAX));
    s->place = UM_PLACE_NONE;
    s->next = s->prev = NULL;
}

void um_slab_init(um_span *s, unsigned class_id) {
    um_slab_shape(s, class_id);
    s->class_id = (uint8_t)class_id;
    s->transit = (uint8_t)um_max(1, um_min(TRANSIT_BLOCKS_MAX, UM_TRANSIT_BYTES / s->block_bytes));
    atomic_store_explicit(&s->remote, 0, memory_order_relaxed); /* nobody has a block of it */
    um_span_set_kind(s, UM_SPAN_SLAB);
}

bool um_slab_carve(um_span *s, size_t at_a_time) {
    unsigned from = s->carved, left = s->capacity - from;
    size_t bytes = s->block_bytes;
    unsigned about =
        bytes < at_a_time ? (unsigned)at_a_time / s->block_bytes : 1; /* spares a slow division */
    unsigned most = from ? about : (unsigned)um_min(about, FIRST_BLOCKS_MAX);
    /* What is in memory already costs none: few blocks are cut at once. But a class is hot sooner so, and its
       cache keeps what is freed: of blocks beyond a page that is much. */
    bool at_once = s->bytes == UM_SLOT_BYTES && s->capacity <= FIRST_BLOCKS_MAX && bytes <= UM_CARVE_BYTES;
    unsigned n = at_once ? left : (unsigned)um_min(left, most);
    char *at = um_span_start(s) + from * bytes;
    um_block *first = (um_block *)at;
    if (left == 0)
        return false;
    /* Counted before the list shows them: a fork between the two loses blocks in the child, but hands none
     * out twice. */
    s->carved = (uint16_t)(from + n);
    atomic_signal_fence(memory_order_release);
    for (; --n; at += bytes) {
        um_block *b = (um_block *)at;
        b->next = (um_block *)(at + bytes);
        b->self = (uintptr_t)b;
    }
    ((um_block *)at)->next = um_slab_end(s);
    ((um_block *)at)->self = (uintptr_t)at;
    s->list = first;
    return true;
}

size_t um_slab_touched(const um_span *s) {
    size_t cut = um_min(um_round_up((size_t)s->carved * s->block_bytes, um_os_page_bytes), UM_SLOT_BYTES);
    return um_max(cut, s->bytes);
}

unsigned um_slab_walk(const um_span *s, um_block **tail) {
    unsigned n = 0;
    um_block *last = NULL;
    for (um_block *b = s->list; b != um_slab_end(s); b = b->next) {
        if (((uintptr_t)b ^ (uintptr_t)um_span_start(s)) >= UM_SLOT_BYTES)
            um_fatal("freed memory was written to", last ? (void *)last : (void *)um_span_start(s),
                     s->block_bytes, "its free-list link is damaged");
        if (!um_slab_is_block(s, b))
            um_fatal("invalid free", b, s->block_bytes, "not the start of a block");
        if (um_slab_index(s, b) >= s->carved)
            um_fatal("invalid free", b, s->block_bytes, "never handed out");
        if (b->self == 0)
            um_fatal("double free", b, s->block_bytes, "it was on the free list twice");
        if (b->self != (uintptr_t)b)
            um_fatal("freed memory was written to", b, s->block_bytes, NULL);
        if (++n > s->carved)
            um_fatal("double free", b, s->block_bytes, "it is on the free list twice");
        last = b;
    }
    *tail = last;
    return n;
}

void um_slab_damaged(const um_span *s, const void *block) {
    const um_block *b = block;
    if (((uintptr_t)block ^ (uintptr_t)um_span_start(s)) >= UM_SLOT_BYTES)
        um_fatal("freed memory was written to", um_span_start(s), s->block_bytes,
                 "a free-list link in its slab is damaged");
    if (b->self == -(uintptr_t)b) /* um_block_take found the 0 that it leaves itself */
        um_fatal("double free", block, s->block_bytes, "it was on the free list twice");
    um_fatal("double free or write after free", block, s->block_bytes, NULL);
}
