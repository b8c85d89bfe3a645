/* Buddy regions (Knowlton, A Fast Storage Allocator, CACM 8(10), 1965), as a tree instead of lists, so that
   nothing is written to the region. The tree is complete, its leaves are the smallest blocks, and each node
   has one byte: 1 more than the order of the largest free block at or below it, 0 if there is none. The order
   of a node is its height.

   A node is free as a whole if its byte is its order + 1. An allocation goes down from the root, to the side
   whose largest free block is smaller but still enough, to a node of the wanted order, and sets its byte to
   0. Bytes below are left as they are: all free. So the block of an address is the first node with 0 on the
   way up from its leaf, and if there is none up to the root, the address is in no block. On the way up from a
   change each node gets the greater of its children's bytes, or its own order + 1 where both are free as a
   whole: the merge.

   Leaves beyond the region's end are 0 from the start, and no address leads to them. */
#include "umalloc/buddy.h"
#include "ext/place.h"
#include "ext/room.h"
#include "os/fatal.h"

#include <errno.h>

#define LEAVES_MAX   ((size_t)1 << 32)
#define ALIGN_MAX    (2 * UM_MIB)
#define LEAST_BYTES  16u
#define USUAL_BYTES  64u
#define ROOT         1u
#define parent_of(i) ((i) / 2)
#define left_of(i)   (2 * (i))
#define right_of(i)  (2 * (i) + 1)

struct um_buddy {
    char *region;
    bool ours;
    unsigned shift;     /* of the smallest block */
    unsigned top;       /* order of the root */
    size_t leaves;      /* in the region */
    um_buddy_stats now; /* but largest_free_bytes */
    uint8_t best[];     /* of node i, from 1; node i has children 2i and 2i + 1 */
};

static uint8_t joined(const um_buddy *b, size_t node, unsigned order) {
    uint8_t left = b->best[left_of(node)], right = b->best[right_of(node)];
    if (left == order && right == order) /* both of order - 1, and free as a whole */
        return (uint8_t)(order + 1);
    return left > right ? left : right;
}

void um_buddy_reset(um_buddy *b) {
    size_t first = (size_t)1 << b->top; /* node of the first leaf */
    for (size_t i = 0; i < first; i++)
        b->best[first + i] = i < b->leaves;
    for (unsigned order = 1; order <= b->top; order++)
        for (size_t row = first >> order, i = 0; i < row; i++)
            b->best[row + i] = joined(b, row + i, order);
    b->now.used_bytes = b->now.blocks = 0;
}

um_buddy *um_buddy_new(const um_buddy_options *o) {
    size_t block = o && o->block_bytes ? o->block_bytes : USUAL_BYTES, leaves = o ? o->bytes / block : 0;
    unsigned top;
    um_buddy *b;
    if (!um_is_pow2(block) || block < LEAST_BYTES || leaves == 0 || leaves > LEAVES_MAX ||
        um_ext_check_place(o->place) != 0) {
        errno = EINVAL;
        return NULL;
    }
    top = leaves == 1 ? 0 : um_log2_floor(leaves - 1) + 1;
    b = um_room_take(UM_MODULE_buddy, um_room_here(), sizeof *b + ((size_t)2 << top), 1, NULL);
    if (!b)
        return NULL;
    *b = (um_buddy){.region = o->region, .shift = um_log2_floor(block), .top = top, .leaves = leaves};
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
    um_buddy_reset(b);
    return b;
}

void um_buddy_delete(um_buddy *b) {
    if (!b)
        return;
    if (b->ours)
        um_room_give(b->region, b->now.peak_bytes ? um_room_bytes(b->region) : 0);
    um_room_give(b, um_room_bytes(b));
}

/* From a node that changed up to the root. */
static void update(um_buddy *b, size_t node, unsigned order) {
    while (node > ROOT) {
        node = parent_of(node);
        order++;
        b->best[node] = joined(b, node, order);
        b->now.merges += b->best[node] == order + 1;
    }
}

void *um_buddy_alloc(um_buddy *b, size_t bytes) {
    size_t units = bytes ? ((bytes - 1) >> b->shift) + 1 : 1, node = ROOT;
    unsigned wanted = units == 1 ? 0 : um_log2_floor(units - 1) + 1, order = b->top;
    size_t at;
    if (b->best[ROOT] <= wanted) {
        b->now.failures++;
        errno = ENOMEM;
        return NULL;
    }
    for (; order > wanted; order--) {
        uint8_t left = b->best[left_of(node)], right = b->best[right_of(node)];
        b->now.splits += b->best[node] == order + 1;
        node = right <= wanted || (left > wanted && left <= right) ? left_of(node) : right_of(node);
    }
    b->best[node] = 0;
    at = ((node << order) - ((size_t)1 << b->top)) << b->shift;
    update(b, node, order);
    b->now.blocks++;
    b->now.used_bytes += (size_t)1 << (order + b->shift);
    b->now.peak_bytes = um_max(b->now.peak_bytes, b->now.used_bytes);
    return b->region + at;
}

/* The node of the block p, and its order. What is no block ends the process. */
static size_t node_of(const um_buddy *b, const void *p, unsigned *order) {
    size_t offset = (uintptr_t)p - (uintptr_t)b->region, leaf = offset >> b->shift, node;
    if (leaf >= b->leaves)
        um_fatal("free in a buddy region", p, 0, "outside of it");
    *order = 0;
    for (node = ((size_t)1 << b->top) + leaf; node && b->best[node]; node = parent_of(node))
        ++*order;
    if (!node)
        um_fatal("free in a buddy region", p, 0, "in no block: a double free?");
    if (offset & (((size_t)1 << (*order + b->shift)) - 1))
        um_fatal("free in a buddy region", p, (size_t)1 << (*order + b->shift), "not its start");
    return node;
}

void um_buddy_free(um_buddy *b, void *p) {
    unsigned order;
    size_t node;
    if (!p)
        return;
    node = node_of(b, p, &order);
    b->best[node] = (uint8_t)(order + 1);
    update(b, node, order);
    b->now.blocks--;
    b->now.used_bytes -= (size_t)1 << (order + b->shift);
}

size_t um_buddy_block_bytes(const um_buddy *b, const void *p) {
    unsigned order;
    (void)node_of(b, p, &order);
    return (size_t)1 << (order + b->shift);
}

void um_buddy_read_stats(const um_buddy *b, um_buddy_stats *out) {
    *out = b->now;
    out->largest_free_bytes = b->best[ROOT] ? (size_t)1 << (b->best[ROOT] - 1 + b->shift) : 0;
}
