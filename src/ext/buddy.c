/* Buddy regions (Knowlton, A Fast Storage Allocator, CACM 8(10), 1965), with bits beside the region instead
   of lists in it, so that nothing is written to the region.

   A block of order k is 2^k smallest blocks and starts at a multiple of that. Of each order the block that
   became free last stands apart (`last`), for it is wanted soonest. The others are in a row of bits, one for
   each block of the order that lies in the region as a whole. Above a row stand levels of summary: a bit for
   each word of the level below, set while that word is not 0. So the first free block of an order is found by
   a step for each 64-fold, and a change stops where the word above has its bit already.

   An allocation takes a block of the lowest order that is enough and has any, and halves it as often as need
   be: of each halving the right half becomes free. A block that comes back joins its buddy, the block whose
   number differs in the last bit alone, as long as that is free.

   `held` has a byte for each smallest block: 1 more than the order of the block that starts there and is out,
   else 0. */
#include "umalloc/buddy.h"
#include "ext/place.h"
#include "ext/room.h"
#include "os/fatal.h"

#include <errno.h>
#include <string.h>

#define LEAVES_MAX  ((size_t)1 << 32)
#define ALIGN_MAX   (2 * UM_MIB)
#define LEAST_BYTES 16u
#define USUAL_BYTES 64u
#define ORDERS      33u
#define WORD_BITS   64u
#define LEVELS      6u /* 64^6 is more than there are of the smallest */

typedef struct row {
    uint64_t *level[LEVELS]; /* [0]: the blocks */
    unsigned levels;         /* the last has one word */
} row;

struct um_buddy {
    char *region;
    bool ours;
    unsigned shift;     /* of the smallest block */
    unsigned top;       /* order of the smallest block that holds the region */
    size_t leaves;      /* smallest blocks of the region */
    uint64_t with_last; /* orders whose `last` is free */
    uint64_t with_bits; /* orders in whose rows bits are set */
    size_t last[ORDERS];
    um_buddy_stats now; /* but largest_free_bytes */
    row rows[ORDERS];
    uint8_t *held;
    size_t bits_bytes; /* of all levels; they lie here, then `held` */
    uint64_t bits[];
};

static void set_bit(um_buddy *b, unsigned order, size_t i) {
    const row *r = &b->rows[order];
    for (unsigned l = 0; l < r->levels; l++, i /= WORD_BITS) {
        uint64_t *word = &r->level[l][i / WORD_BITS], was = *word;
        *word = was | (uint64_t)1 << i % WORD_BITS;
        if (was)
            return;
    }
    b->with_bits |= (uint64_t)1 << order;
}

static void clear_bit(um_buddy *b, unsigned order, size_t i) {
    const row *r = &b->rows[order];
    for (unsigned l = 0; l < r->levels; l++, i /= WORD_BITS)
        if (r->level[l][i / WORD_BITS] &= ~((uint64_t)1 << i % WORD_BITS))
            return;
    b->with_bits &= ~((uint64_t)1 << order);
}

static size_t first_bit(const um_buddy *b, unsigned order) {
    const row *r = &b->rows[order];
    size_t i = 0;
    for (unsigned l = r->levels; l-- > 0;)
        i = i * WORD_BITS + (unsigned)__builtin_ctzll(r->level[l][i]);
    return i;
}

static bool has_last(const um_buddy *b, unsigned order) {
    return b->with_last >> order & 1;
}

static uint64_t orders_with_free(const um_buddy *b) {
    return b->with_last | b->with_bits;
}

static void put(um_buddy *b, unsigned order, size_t i) {
    if (has_last(b, order))
        set_bit(b, order, b->last[order]);
    b->last[order] = i;
    b->with_last |= (uint64_t)1 << order;
}

/* One of an order that has any. */
static size_t take(um_buddy *b, unsigned order) {
    size_t i;
    if (has_last(b, order)) {
        b->with_last &= ~((uint64_t)1 << order);
        return b->last[order];
    }
    i = first_bit(b, order);
    clear_bit(b, order, i);
    return i;
}

/* This one, if it is free. */
static bool take_if_free(um_buddy *b, unsigned order, size_t i) {
    if (has_last(b, order) && b->last[order] == i) {
        b->with_last &= ~((uint64_t)1 << order);
        return true;
    }
    if (!(b->rows[order].level[0][i / WORD_BITS] >> i % WORD_BITS & 1))
        return false;
    clear_bit(b, order, i);
    return true;
}

/* Begin and end */

/* One more than there are blocks, for the buddy of the last one may lie outside. */
static size_t words_of(size_t leaves, unsigned order) {
    return (leaves >> order) / WORD_BITS + 1;
}

/* Words of all levels of all rows; puts them in place, where b is not NULL. */
static size_t lay_out(um_buddy *b, size_t leaves, unsigned top) {
    size_t sum = 0;
    for (unsigned order = 0; order <= top; order++) {
        size_t words = words_of(leaves, order), l = 0;
        for (;; words = (words - 1) / WORD_BITS + 1, l++) {
            if (b) {
                b->rows[order].level[l] = b->bits + sum;
                b->rows[order].levels = (unsigned)l + 1;
            }
            sum += words;
            if (words == 1)
                break;
        }
    }
    return sum;
}

/* The region in the largest blocks that it has, from the left; nothing is known of it yet. */
static void make_free(um_buddy *b) {
    size_t at = 0;
    b->now.used_bytes = b->now.blocks = 0;
    b->with_last = b->with_bits = 0;
    for (unsigned order = b->top + 1; order-- > 0;)
        if (b->leaves >> order & 1) {
            put(b, order, at >> order);
            at += (size_t)1 << order;
        }
}

void um_buddy_reset(um_buddy *b) {
    memset(b->bits, 0, b->bits_bytes + b->leaves);
    make_free(b);
}

um_buddy *um_buddy_new(const um_buddy_options *o) {
    size_t block = o && o->block_bytes ? o->block_bytes : USUAL_BYTES, leaves = o ? o->bytes / block : 0,
           bits_bytes;
    unsigned top;
    bool zeroed;
    um_buddy *b;
    if (!o || (uintptr_t)o->region > UINTPTR_MAX - o->bytes || !um_is_pow2(block) || block < LEAST_BYTES ||
        leaves == 0 || leaves > LEAVES_MAX || um_ext_check_place(o->place) != 0) {
        errno = EINVAL;
        return NULL;
    }
    top = leaves == 1 ? 0 : um_log2_floor(leaves - 1) + 1;
    bits_bytes = lay_out(NULL, leaves, top) * sizeof(uint64_t);
    b = um_room_take(UM_MODULE_buddy, um_room_here(), sizeof *b + bits_bytes + leaves, 1, &zeroed);
    if (!b)
        return NULL;
    *b = (um_buddy){.region = o->region,
                    .shift = um_log2_floor(block),
                    .top = top,
                    .leaves = leaves,
                    .bits_bytes = bits_bytes,
                    .held = (uint8_t *)b->bits + bits_bytes};
    (void)lay_out(b, leaves, top);
    b->now.bytes = leaves << b->shift;
    if (!o->region) {
        size_t align = um_min(ALIGN_MAX, (size_t)1 << (b->shift + top));
        b->region = um_room_take(UM_MODULE_buddy, um_ext_place_now(o->place), b->now.bytes, align, NULL);
        b->ours = true;
    }
    if (!b->region) {
        um_room_give(b, sizeof *b);
        return NULL;
    }
    if (zeroed)
        make_free(b);
    else
        um_buddy_reset(b);
    return b;
}

void um_buddy_delete(um_buddy *b) {
    if (!b)
        return;
    um_room_must_be(UM_MODULE_buddy, b, "invalid um_buddy_delete");
    if (b->ours)
        um_room_give(b->region, b->now.peak_bytes ? um_room_bytes(b->region) : 0);
    um_room_give(b, um_room_bytes(b));
}

/* Blocks */

void *um_buddy_alloc(um_buddy *b, size_t bytes) {
    size_t units = bytes ? ((bytes - 1) >> b->shift) + 1 : 1, i;
    unsigned wanted = units == 1 ? 0 : um_log2_floor(units - 1) + 1, order;
    if (!(orders_with_free(b) >> wanted)) {
        b->now.failures++;
        errno = ENOMEM;
        return NULL;
    }
    order = wanted + (unsigned)__builtin_ctzll(orders_with_free(b) >> wanted);
    i = take(b, order);
    for (; order > wanted; b->now.splits++) {
        i *= 2;
        put(b, --order, i + 1);
    }
    b->held[i << order] = (uint8_t)(order + 1);
    b->now.blocks++;
    b->now.used_bytes += (size_t)1 << (order + b->shift);
    b->now.peak_bytes = um_max(b->now.peak_bytes, b->now.used_bytes);
    return b->region + (i << (order + b->shift));
}

/* Says what p is instead of a block's start. */
static UM_COLD _Noreturn void no_block(const um_buddy *b, const void *p, size_t leaf) {
    for (unsigned order = 0; leaf < b->leaves && order <= b->top; order++) {
        unsigned held = b->held[leaf >> order << order];
        if (held > order)
            um_fatal("free in a buddy region", p, (size_t)1 << (held - 1 + b->shift), "not its start");
    }
    um_fatal("free in a buddy region", p, 0,
             leaf < b->leaves ? "in no block: a double free?" : "outside of it");
}

/* The leaf that the block p starts with, and its order. What is no block ends the process. */
static size_t leaf_of(const um_buddy *b, const void *p, unsigned *order) {
    size_t offset = (uintptr_t)p - (uintptr_t)b->region, leaf = offset >> b->shift;
    if (um_unlikely(leaf >= b->leaves) || um_unlikely(!b->held[leaf]) ||
        um_unlikely(offset != leaf << b->shift))
        no_block(b, p, leaf);
    *order = b->held[leaf] - 1u;
    return leaf;
}

void um_buddy_free(um_buddy *b, void *p) {
    unsigned order;
    size_t i;
    if (!p)
        return;
    i = leaf_of(b, p, &order);
    b->held[i] = 0;
    b->now.blocks--;
    b->now.used_bytes -= (size_t)1 << (order + b->shift);
    for (i >>= order; order < b->top && take_if_free(b, order, i ^ 1); i /= 2, order++)
        b->now.merges++;
    put(b, order, i);
}

size_t um_buddy_block_bytes(const um_buddy *b, const void *p) {
    unsigned order;
    (void)leaf_of(b, p, &order);
    return (size_t)1 << (order + b->shift);
}

void um_buddy_read_stats(const um_buddy *b, um_buddy_stats *out) {
    *out = b->now;
    out->largest_free_bytes =
        orders_with_free(b) ? (size_t)1 << (um_log2_floor(orders_with_free(b)) + b->shift) : 0;
}
