/* Small blocks. A slab is one slot cut into equal blocks; what is known of them lies in a record of its own,
   between guard pages, and never in the blocks. A block is handed out from a random place among those that
   are free, reads as zero, and has a seal behind the bytes that were asked for. When it is freed, its seal is
   checked, it is cleared, and it rests: among others in random order, then in a queue. Before it is handed
   out again, it must still read as zero. In the full level a slab's last page has no access. Blocks of no
   bytes have slabs without any access. Bounds: the resting blocks of a shard; a slab of which no block is in
   use goes back, unless it is the last of its class; that one when memory runs out. */
#include "hard/internal.h"
#include "os/os.h"
#include "space/place.h"
#include "space/space.h"

#define META_SLOTS        4u
#define CARVE_BYTES_MIN   4096u
#define EMPTY_BLOCK_BYTES 16u

um_lock um_hard_meta_lock; /* rank: after the shards' */
static char *meta_at;      /* um_hard_meta_lock, both */
static size_t meta_left;

/* Zeroed, never given back, with pages without access before and behind. */
void *um_hard_meta(size_t bytes) {
    char *p = NULL;
    bytes = um_round_up(bytes, UM_CACHE_LINE_BYTES);
    um_lock_take(&um_hard_meta_lock);
    if (meta_left < bytes) {
        bool zeroed = true;
        size_t page = um_os_page_bytes,
               all = um_round_up(um_max(bytes + 2 * page, META_SLOTS * UM_SLOT_BYTES), UM_SLOT_BYTES);
        um_span *s = um_space_alloc(um_place_here(), all >> UM_SLOT_SHIFT, 1, &zeroed);
        if (s) {
            um_span_set_kind(s, UM_SPAN_META);
            meta_at = um_span_start(s) + page;
            meta_left = all - 2 * page;
            if (!zeroed)
                __builtin_memset(meta_at, 0, meta_left);
            (void)um_os_protect((uintptr_t)meta_at - page, page, false); /* unguarded, then */
            (void)um_os_protect((uintptr_t)meta_at + meta_left, page, false);
        }
    }
    if (meta_left >= bytes) {
        p = meta_at;
        meta_at += bytes;
        meta_left -= bytes;
    }
    um_lock_drop(&um_hard_meta_lock);
    return p;
}

static bool is_empty_class(const um_hard_slab *b) {
    return b->class_id == UM_HARD_EMPTY_CLASS;
}

static char *start_of(const um_hard_slab *b) {
    return um_span_start(b->span);
}

static size_t seal_room(const um_hard_slab *b, unsigned i) {
    return b->block_bytes - b->bytes[i];
}

unsigned um_hard_class_for(size_t bytes, size_t align) {
    unsigned c;
    if (bytes == 0 && align <= EMPTY_BLOCK_BYTES)
        return UM_HARD_EMPTY_CLASS;
    bytes = um_max(bytes + UM_HARD_SEAL_BYTES, align);
    c = um_class_of(align > UM_HARD_ALIGN_MIN ? um_round_up(bytes, align) : bytes);
    /* Blocks lie at multiples of their size from an aligned start; a power of two ends the search. */
    while (um_class_bytes(c) & (align - 1))
        c++;
    return c;
}

static void list(um_hard_slab **head, um_hard_slab *b) {
    um_hard_slab *h = *head;
    b->listed = true;
    b->next = h ? h : b;
    b->prev = h ? h->prev : b;
    b->next->prev = b->prev->next = b;
    *head = b;
}

static void unlist(um_hard_slab **head, um_hard_slab *b) {
    b->listed = false;
    b->next->prev = b->prev;
    b->prev->next = b->next;
    if (*head == b)
        *head = b->next == b ? NULL : b->next;
}

static um_hard_slab *make_record(um_hard_shard *shard, unsigned c) {
    um_hard_class *k = &shard->classes[c];
    um_hard_slab *b = k->spare;
    size_t block = c == UM_HARD_EMPTY_CLASS ? EMPTY_BLOCK_BYTES : um_class_bytes(c);
    size_t capacity = UM_SLOT_BYTES / block;
    if (b) {
        k->spare = b->next;
        return b;
    }
    b = um_hard_meta(sizeof *b + capacity * (2 * sizeof(uint16_t) + sizeof(uint8_t)));
    if (!b)
        return NULL;
    b->shard = shard;
    b->class_id = c;
    b->block_bytes = (uint32_t)block;
    b->capacity = (uint32_t)capacity;
    b->bytes = (uint16_t *)(b + 1);
    b->free = b->bytes + capacity;
    b->tags = (uint8_t *)(b->free + capacity);
    b->next_in_shard = shard->slabs;
    shard->slabs = b;
    return b;
}

/* Takes access to the slab's last page away, or to all of it, where its class wants that. */
static void guard(um_hard_slab *b) {
    uintptr_t start = (uintptr_t)start_of(b);
    size_t page = um_os_page_bytes, last = (UM_SLOT_BYTES - page) / b->block_bytes;
    b->guarded = false;
    b->capacity = (uint32_t)(UM_SLOT_BYTES / b->block_bytes);
    if (is_empty_class(b)) {
        b->guarded = um_os_protect(start, UM_SLOT_BYTES, false) == 0; /* else they are like others */
    } else if (um_hard_level == UM_HARD_FULL && last > 0 && um_hard_guards_take(2)) {
        b->guarded = um_os_protect(start + UM_SLOT_BYTES - page, page, false) == 0;
        if (b->guarded)
            b->capacity = (uint32_t)last;
        else
            um_hard_guards_give(2);
    }
}

static um_hard_slab *open_slab(um_hard_shard *shard, unsigned c) {
    um_hard_slab *b = make_record(shard, c);
    if (!b)
        return NULL;
    b->zeroed = true;
    b->span = um_space_alloc(um_place_here(), 1, 1, &b->zeroed);
    if (!b->span) {
        b->next = shard->classes[c].spare;
        shard->classes[c].spare = b;
        return NULL;
    }
    guard(b);
    b->span->hard = b;
    um_span_set_kind(b->span, UM_SPAN_HARD);
    list(&shard->classes[c].avail, b);
    return b;
}

/* Adds blocks to choose among. */
static void carve(um_hard_slab *b) {
    while (b->free_count < um_hard_setting.candidates && b->carved < b->capacity) {
        uint32_t n = (uint32_t)um_min(um_max(1, CARVE_BYTES_MIN / b->block_bytes), b->capacity - b->carved);
        if (!b->zeroed && !is_empty_class(b))
            __builtin_memset(start_of(b) + (size_t)b->carved * b->block_bytes, 0, (size_t)n * b->block_bytes);
        while (n--)
            b->free[b->free_count++] = (uint16_t)b->carved++;
    }
}

static um_hard_finding damaged(const um_hard_slab *b, unsigned i, const char *detail) {
    return (um_hard_finding){"freed memory was written to", start_of(b) + (size_t)i * b->block_bytes,
                             b->bytes[i], detail};
}

void *um_hard_slab_alloc_locked(um_hard_shard *shard, size_t bytes, size_t align, uint8_t tag,
                                um_hard_finding *found) {
    unsigned c = um_hard_class_for(bytes, align);
    um_hard_class *k = &shard->classes[c];
    um_hard_slab *b = k->avail ? k->avail : open_slab(shard, c);
    uint32_t j, i;
    char *p;
    if (!b)
        return NULL;
    carve(b);
    j = um_hard_below(&shard->random, b->free_count);
    i = b->free[j];
    b->free[j] = b->free[--b->free_count];
    if (b->free_count == 0 && b->carved == b->capacity)
        unlist(&k->avail, b);
    p = start_of(b) + (size_t)i * b->block_bytes;
    if (c != UM_HARD_EMPTY_CLASS) {
        if (um_hard_state_of(b->tags[i]) == UM_HARD_FREE &&
            !um_hard_is_zero(p, um_min(b->block_bytes, um_hard_setting.reuse_check)))
            *found = damaged(b, i, "seen when it was to be used again");
        um_hard_seal(p, bytes, b->block_bytes - bytes);
    }
    b->bytes[i] = (uint16_t)bytes;
    b->tags[i] = tag;
    b->used++;
    k->live++;
    shard->live_bytes += bytes;
    return p;
}

/* Gives back a slab of which no block is in use. */
static void close_slab(um_hard_shard *shard, um_hard_slab *b) {
    um_hard_class *k = &shard->classes[b->class_id];
    um_span *s = b->span;
    unlist(&k->avail, b);
    if (b->guarded) { /* where access cannot be had again, it is mapped anew */
        s->moved = um_os_protect((uintptr_t)start_of(b), UM_SLOT_BYTES, true) != 0;
        um_hard_guards_give(2);
    }
    __builtin_memset(b->tags, 0, b->carved);
    um_space_free(s, (size_t)b->carved * b->block_bytes);
    b->span = NULL;
    b->carved = b->free_count = 0;
    b->next = k->spare;
    k->spare = b;
}

/* The numbers of a block's slab and of the block in it; p was handed out. */
static unsigned number_of(const um_hard_slab *b, const void *p) {
    return (unsigned)((uintptr_t)p % UM_SLOT_BYTES / b->block_bytes);
}

/* A rested block may be used again. */
static um_hard_finding release(um_hard_shard *shard, void *p) {
    um_hard_slab *b = um_span_of(p)->hard;
    um_hard_class *k = &shard->classes[b->class_id];
    unsigned i = number_of(b, p);
    um_hard_finding f = um_hard_fine();
    if (um_hard_level == UM_HARD_FULL && !is_empty_class(b) && !um_hard_is_zero(p, b->block_bytes))
        f = damaged(b, i, "seen at the end of its rest");
    b->tags[i] = um_hard_tag_with(b->tags[i], UM_HARD_FREE);
    b->free[b->free_count++] = (uint16_t)i;
    if (!b->listed)
        list(&k->avail, b);
    if (--b->used == 0 && k->avail->next != k->avail && !is_empty_class(b))
        close_slab(shard, b);
    return f;
}

static um_hard_finding leave_queue(um_hard_shard *shard) {
    void *p = shard->queue[shard->queue_first];
    const um_hard_slab *b = um_span_of(p)->hard;
    shard->queue_first = (shard->queue_first + 1) % um_hard_setting.queue;
    shard->queue_count--;
    shard->queue_bytes -= b->block_bytes;
    return release(shard, p);
}

/* Rests the block; others' rest may end. */
static um_hard_finding rest(um_hard_shard *shard, void *p) {
    um_hard_finding f = um_hard_fine(), g;
    const um_hard_slab *b;
    if (shard->shuffled < um_hard_setting.shuffle) {
        shard->shuffle[shard->shuffled++] = p;
        return f;
    }
    if (um_hard_setting.shuffle) {
        void **place = &shard->shuffle[um_hard_below(&shard->random, um_hard_setting.shuffle)];
        void *q = *place;
        *place = p;
        p = q;
    }
    b = um_span_of(p)->hard;
    while (shard->queue_count && (shard->queue_count == um_hard_setting.queue ||
                                  shard->queue_bytes + b->block_bytes > um_hard_setting.queue_bytes)) {
        g = leave_queue(shard);
        f = g.kind ? g : f;
    }
    shard->queue[(shard->queue_first + shard->queue_count++) % um_hard_setting.queue] = p;
    shard->queue_bytes += b->block_bytes;
    return f;
}

um_hard_finding um_hard_slab_flush_locked(um_hard_shard *shard) {
    um_hard_finding f = um_hard_fine(), g;
    while (shard->shuffled) {
        g = release(shard, shard->shuffle[--shard->shuffled]);
        f = g.kind ? g : f;
    }
    while (shard->queue_count) {
        g = leave_queue(shard);
        f = g.kind ? g : f;
    }
    return f;
}

static void close_empty(um_hard_shard *shard, const um_hard_class *k) {
    um_hard_slab *b = k->avail, *last = b ? b->prev : NULL, *next;
    for (; b; b = next) {
        next = b == last ? NULL : b->next;
        if (!b->used)
            close_slab(shard, b);
    }
}

void um_hard_slab_close_locked(um_hard_shard *shard) {
    for (unsigned c = 0; c < UM_CLASSES; c++)
        close_empty(shard, &shard->classes[c]);
}

/* Number of the live block that starts at p; *f tells if there is none. The caller holds the shard's lock. */
static unsigned find_live(const um_hard_slab *b, const void *p, const char *what, um_hard_finding *f) {
    size_t offset = (uintptr_t)p % UM_SLOT_BYTES;
    unsigned i = number_of(b, p);
    um_hard_state state = i < b->carved ? um_hard_state_of(b->tags[i]) : UM_HARD_UNUSED;
    *f = um_hard_fine();
    if (i >= b->capacity || (size_t)i * b->block_bytes != offset)
        *f = (um_hard_finding){what, p, state == UM_HARD_LIVE ? b->bytes[i] : 0, "not the start of a block"};
    else if (state != UM_HARD_LIVE)
        *f = um_hard_not_live(what, p, b->bytes[i], state);
    return i;
}

static um_hard_finding check_seal(const um_hard_slab *b, unsigned i) {
    char *p = start_of(b) + (size_t)i * b->block_bytes;
    if (is_empty_class(b) || um_hard_sealed(p, b->bytes[i], seal_room(b, i)))
        return um_hard_fine();
    return (um_hard_finding){"block was written beyond its end", p, b->bytes[i],
                             "the seal behind it is broken"};
}

/* The slab's record, with its shard locked; NULL: it has been given back since the caller read the kind. */
static um_hard_slab *lock_slab(const um_span *s) {
    um_hard_slab *b = s->hard;
    um_lock_take(&b->shard->lock);
    if (b->span == s)
        return b;
    um_lock_drop(&b->shard->lock);
    return NULL;
}

static UM_COLD void say_gone(const char *what, const void *p) {
    um_hard_finding f = um_hard_not_live(what, p, 0, UM_HARD_FREE);
    um_hard_say(&f);
}

void um_hard_slab_free(um_span *s, void *p, const um_hard_claim *claim) {
    um_hard_slab *b = lock_slab(s);
    um_hard_shard *shard;
    um_hard_finding f;
    unsigned i;
    if (!b) {
        say_gone(claim->what, p);
        return;
    }
    shard = b->shard;
    i = find_live(b, p, claim->what, &f);
    if (!f.kind)
        f = um_hard_judge(claim, p, b->bytes[i], b->tags[i]);
    if (!f.kind)
        f = check_seal(b, i);
    if (!f.kind) {
        if (!is_empty_class(b))
            __builtin_memset(p, 0, b->bytes[i] + UM_HARD_SEAL_BYTES);
        b->tags[i] = um_hard_tag_with(b->tags[i], UM_HARD_RESTING);
        shard->classes[b->class_id].live--;
        shard->classes[b->class_id].frees++;
        shard->live_bytes -= b->bytes[i];
        f = rest(shard, p);
    }
    um_lock_drop(&shard->lock);
    um_hard_say(&f);
}

size_t um_hard_slab_usable(const um_span *s, const void *p, const char *what) {
    um_hard_slab *b = lock_slab(s);
    um_hard_finding f;
    size_t bytes;
    unsigned i;
    if (!b) {
        say_gone(what, p);
        return 0;
    }
    i = find_live(b, p, what, &f);
    bytes = f.kind ? 0 : b->bytes[i];
    if (!f.kind)
        f = check_seal(b, i);
    um_lock_drop(&b->shard->lock);
    um_hard_say(&f);
    return bytes;
}

bool um_hard_slab_resize(um_span *s, void *p, size_t bytes) {
    um_hard_slab *b = s->hard;
    unsigned i = number_of(b, p);
    size_t old = b->bytes[i];
    if (bytes > UM_HARD_SMALL_MAX || um_hard_class_for(bytes, UM_HARD_ALIGN_MIN) != b->class_id)
        return false;
    um_lock_take(&b->shard->lock);
    __builtin_memset((char *)p + old, 0, UM_HARD_SEAL_BYTES);
    if (bytes < old)
        __builtin_memset((char *)p + bytes, 0, old - bytes);
    b->bytes[i] = (uint16_t)bytes;
    um_hard_seal(p, bytes, b->block_bytes - bytes);
    b->shard->live_bytes += bytes - old;
    um_lock_drop(&b->shard->lock);
    return true;
}

static um_hard_finding check_slab(const um_hard_slab *b) {
    for (unsigned i = 0; i < b->carved; i++) {
        um_hard_state state = um_hard_state_of(b->tags[i]);
        um_hard_finding f = state == UM_HARD_LIVE ? check_seal(b, i) : um_hard_fine();
        if (f.kind)
            return f;
        if (um_hard_level == UM_HARD_FULL && state > UM_HARD_LIVE && !is_empty_class(b) &&
            !um_hard_is_zero(start_of(b) + (size_t)i * b->block_bytes, b->block_bytes))
            return damaged(b, i, "seen in a check of all blocks");
    }
    return um_hard_fine();
}

um_hard_finding um_hard_slab_check_locked(um_hard_shard *shard) {
    for (const um_hard_slab *b = shard->slabs; b; b = b->next_in_shard) {
        um_hard_finding f = b->span ? check_slab(b) : um_hard_fine();
        if (f.kind)
            return f;
    }
    return um_hard_fine();
}

unsigned um_hard_slab_live_locked(const um_hard_slab *b, size_t *at, um_hard_block *out, unsigned most) {
    unsigned n = 0;
    for (; b->span && *at < b->carved && n < most; ++*at)
        if (um_hard_state_of(b->tags[*at]) == UM_HARD_LIVE)
            out[n++] = (um_hard_block){start_of(b) + *at * b->block_bytes, b->bytes[*at]};
    return n;
}
