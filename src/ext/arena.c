/* Arenas. An arena is a list of chunks, of which one is current: allocations move `at` towards its end,
   inline in the header. Chunks behind the current one are full, those ahead were used before and wait. Going
   back, by reset, rewind or pop, finds the chunk that the address lies in, from the current one backwards,
   and touches nothing else; so it costs what the chunks cost that are gone back over, not the blocks.

   A chunk is a room (ext/room.h), or the caller's buffer; its record lies at its start. The arena itself lies
   at the start of the first one. Chunks double, so there are few.

     room:          record | blocks ............................ |
     with guards:   record, rest of page | guard | blocks ...... | guard |

   UM_ARENA_CHECKED and UM_ARENA_REUSE need more than a moved pointer. There `end` always equals `at`, so the
   inline path finds no room and calls um_arena_alloc_slow. In checked mode each block has a head, which leads
   to the block before it, and a canary in it and behind the block, both made of the head's place and
   contents. Heads are looked at before they are followed. A pushed block has the same head; it is all that
   the stack needs. */
#include "umalloc/arena.h"
#include "ext/local.h"
#include "ext/place.h"
#include "ext/room.h"
#include "os/fatal.h"
#include "os/os.h"

#include <errno.h>
#include <string.h>

#define BYTES_MAX       ((size_t)1 << 46) /* sums of two stay far from overflow */
#define FIRST_BYTES     (64 * UM_KIB)     /* of a room: one slot */
#define CHUNK_BYTES_MAX (16 * UM_MIB)     /* chunks double up to here; larger blocks have larger ones */
#define GRAIN           16u
#define FLAGS_ALL       (UM_ARENA_FIXED | UM_ARENA_GUARD | UM_ARENA_CHECKED | UM_ARENA_REUSE)

typedef struct chunk {
    struct chunk *next, *previous;
    char *begin, *end; /* blocks lie here */
    char *left;        /* where `at` was when the next chunk became current */
    char *high;        /* nothing was ever written from here on */
    char *room;        /* NULL: the caller's buffer */
} chunk;

typedef struct head {
    struct head *previous;
    char *at;     /* of the arena, before this */
    size_t state; /* bytes * 4 + one of the following */
    uint64_t canary;
} head;
enum { PLAIN, PUSHED, FREED };

/* Sizes of blocks that are used again: multiples of 16 to 1 KiB, quarters of a doubling to 1 MiB. */
#define FINE_MAX   UM_KIB
#define FINE_LISTS (FINE_MAX / GRAIN)
#define LISTS      (FINE_LISTS + 4 * 10)

typedef struct arena {
    um_arena open; /* first: what the program sees */
    chunk *current;
    head *last;   /* the last block with a head */
    void **lists; /* with UM_ARENA_REUSE: freed blocks, linked by their first words */
    size_t limit_bytes, keep_bytes;
    size_t next_bytes; /* of the next room */
    size_t behind;     /* used in chunks behind the current one */
    size_t peak_bytes;
    size_t held_bytes, chunks;
    um_arena *twin; /* a scratch arena's other one */
    unsigned flags;
    um_flags place; /* of its chunks */
    bool scratch;
    chunk first;
} arena;

static arena *in(const um_arena *a) {
    return (arena *)(uintptr_t)a;
}

static bool is_slow(const arena *a) {
    return a->flags & (UM_ARENA_CHECKED | UM_ARENA_REUSE);
}

static void move_to(arena *a, char *at) {
    a->open.at = at;
    a->open.end = is_slow(a) ? at : a->current->end;
}

static size_t used(const arena *a) {
    return a->behind + (size_t)(a->open.at - a->current->begin);
}

/* Before `at` leaves the highest place that it had. */
static void note_high(arena *a) {
    chunk *c = a->current;
    if (a->open.at > c->high)
        c->high = a->open.at;
    a->peak_bytes = um_max(a->peak_bytes, used(a));
}

/* Chunks */

/* The room's blocks begin and end where its guards, if there are any, do. 0 or an errno value. */
static int lay_out(chunk *c, char *room, size_t record_bytes, bool guarded) {
    char *end = room + um_room_bytes(room);
    char *begin = room + um_round_up(record_bytes, GRAIN);
    int err;
    if (guarded) {
        begin = room + um_round_up(record_bytes, um_os_page_bytes) + um_os_page_bytes;
        end -= um_os_page_bytes;
        err = um_os_protect((uintptr_t)begin - um_os_page_bytes, um_os_page_bytes, false);
        if (err)
            return err;
        err = um_os_protect((uintptr_t)end, um_os_page_bytes, false);
        if (err) {
            (void)um_os_protect((uintptr_t)begin - um_os_page_bytes, um_os_page_bytes, true); /* as it was */
            return err;
        }
    }
    *c = (chunk){.begin = begin, .end = end, .left = begin, .high = begin, .room = room};
    return 0;
}

static size_t overhead(const arena *a, size_t record_bytes) {
    size_t page = um_os_page_bytes;
    return a->flags & UM_ARENA_GUARD ? um_round_up(record_bytes, page) + 2 * page
                                     : um_round_up(record_bytes, GRAIN);
}

/* A room whose guards cannot be opened again is lost: nobody could use it. Behind the first one of the first
   chunk, the lists of freed blocks come before its blocks. */
static void give_chunk(char *room, const char *begin, const char *end, const char *high, bool guarded) {
    uintptr_t behind = um_round_down((uintptr_t)begin, um_os_page_bytes);
    if (guarded && (um_os_protect(behind - um_os_page_bytes, um_os_page_bytes, true) ||
                    um_os_protect((uintptr_t)end, um_os_page_bytes, true)))
        return;
    um_room_give(room, (size_t)(high - room));
}

static void drop_chunk(arena *a, chunk *c) {
    a->held_bytes -= um_room_bytes(c->room);
    a->chunks--;
    give_chunk(c->room, c->begin, c->end, c->high, a->flags & UM_ARENA_GUARD);
}

/* Behind the current one, with room for `need` bytes; NULL: errno is set. */
static chunk *new_chunk(arena *a, size_t need) {
    size_t least = um_round_up(need + overhead(a, sizeof(chunk)), FIRST_BYTES);
    size_t bytes = um_max(least, a->next_bytes);
    char *room = NULL;
    chunk *c;
    if (a->limit_bytes && a->held_bytes + bytes > a->limit_bytes)
        bytes = least;
    if (!(a->flags & UM_ARENA_FIXED) && (!a->limit_bytes || a->held_bytes + bytes <= a->limit_bytes)) {
        unsigned place = um_ext_place_now(a->place);
        room = um_room_take(UM_MODULE_arena, place, bytes, 1, NULL);
        if (!room && bytes > least)
            room = um_room_take(UM_MODULE_arena, place, least, 1, NULL);
    }
    c = (chunk *)(void *)room;
    if (room && lay_out(c, room, sizeof(chunk), a->flags & UM_ARENA_GUARD)) {
        um_room_give(room, um_os_page_bytes);
        c = NULL;
    }
    if (!c) {
        errno = ENOMEM;
        return NULL;
    }
    a->next_bytes = um_min(2 * um_room_bytes(room), um_max(CHUNK_BYTES_MAX, a->next_bytes));
    a->held_bytes += um_room_bytes(room);
    a->chunks++;
    c->previous = a->current;
    c->next = a->current->next;
    if (c->next)
        c->next->previous = c;
    a->current->next = c;
    return c;
}

/* Makes the chunk ahead current, or a new one if that is too small. */
static bool go_ahead(arena *a, size_t need) {
    chunk *c = a->current->next;
    if (!c || need > (size_t)(c->end - c->begin))
        c = new_chunk(a, need);
    if (!c)
        return false;
    note_high(a);
    a->behind += (size_t)(a->open.at - a->current->begin);
    a->current->left = a->open.at;
    a->current = c;
    move_to(a, c->begin);
    return true;
}

/* False: `at` is no place that the arena went through on its way here. */
static bool go_back(arena *a, char *at) {
    chunk *c = a->current;
    size_t behind = a->behind;
    char *reached = a->open.at;
    while (c && (at < c->begin || at > c->end)) {
        c = c->previous;
        if (c) {
            behind -= (size_t)(c->left - c->begin);
            reached = c->left;
        }
    }
    if (!c || at > reached)
        return false;
    note_high(a);
    a->behind = behind;
    a->current = c;
    move_to(a, at);
    return true;
}

/* Heads and canaries */

/* Odd multipliers spread each word over the result (Knuth, The Art of Computer Programming 3, 6.4). */
static uint64_t canary_of(const head *h) {
    uint64_t x = (uintptr_t)h * 0x9e3779b97f4a7c15u ^ (uintptr_t)h->previous;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u ^ (uintptr_t)h->at;
    return (x ^ x >> 32) * 0x94d049bb133111ebu ^ h->state;
}

static char *block_of(head *h) {
    return (char *)(h + 1);
}

static void seal(arena *a, head *h, size_t state) {
    h->state = state;
    h->canary = canary_of(h);
    if (a->flags & UM_ARENA_CHECKED)
        memcpy(block_of(h) + state / 4, &h->canary, sizeof h->canary);
}

static void check_block(const arena *a, head *h) {
    uint64_t behind;
    if (h->canary != canary_of(h))
        um_fatal("write before a block of an arena", block_of(h), 0, NULL);
    if (!(a->flags & UM_ARENA_CHECKED) || h->state % 4 == FREED)
        return;
    memcpy(&behind, block_of(h) + h->state / 4, sizeof behind);
    if (behind != h->canary)
        um_fatal("write behind a block of an arena", block_of(h), h->state / 4, NULL);
}

/* Looks at the blocks made since `mark`, which must lead to one of them, or to none if that is all. */
static void check_blocks(const arena *a, um_arena_mark mark) {
    const char *at = a->open.at;
    head *h = a->last;
    if (!(a->flags & UM_ARENA_CHECKED))
        return;
    for (; h && h != mark.last; h = h->previous) {
        check_block(a, h);
        at = h->at;
    }
    if (h != mark.last || (mark.at && at != mark.at))
        um_fatal("rewind of an arena", mark.at, 0, "not a mark that is open");
}

static void check_all(const arena *a) {
    check_blocks(a, (um_arena_mark){NULL, NULL});
}

/* Sizes used again */

static size_t list_of(size_t bytes, size_t *rounded) {
    unsigned shift;
    size_t quarter;
    if (bytes <= FINE_MAX) {
        *rounded = um_round_up(bytes, GRAIN);
        return *rounded / GRAIN - 1;
    }
    shift = um_log2_floor(bytes - 1);
    quarter = (size_t)1 << (shift - 2);
    *rounded = bytes > UM_MIB ? um_round_up(bytes, GRAIN) : um_round_up(bytes, quarter);
    return bytes > UM_MIB ? LISTS
                          : FINE_LISTS + 4 * (shift - um_log2_floor(FINE_MAX)) + ((bytes - 1) / quarter & 3);
}

static void *take_freed(arena *a, size_t bytes, size_t list) {
    void *p = list < LISTS ? a->lists[list] : NULL;
    if (!p)
        return NULL;
    if (a->flags & UM_ARENA_CHECKED)
        check_block(a, (head *)p - 1);
    memcpy(&a->lists[list], p, sizeof(void *));
    if (a->flags & UM_ARENA_CHECKED)
        seal(a, (head *)p - 1, bytes * 4 + PLAIN);
    return p;
}

static void set_freed(arena *a, void *p, size_t bytes) {
    head *h = (head *)p - 1;
    if ((uintptr_t)p % GRAIN)
        um_fatal("free in an arena", p, 0, "not a block");
    if (h->canary == canary_of(h) && h->state % 4 == FREED)
        um_fatal("double free in an arena", p, h->state / 4, NULL);
    check_block(a, h);
    if (h->state != bytes * 4 + PLAIN)
        um_fatal("free in an arena", p, h->state / 4, "of another size, or pushed");
    seal(a, h, bytes * 4 + FREED);
}

static void forget_freed(arena *a) {
    if (a->lists)
        memset(a->lists, 0, LISTS * sizeof *a->lists);
}

/* The functions of the header */

/* A block from the end of what is used. `room`: bytes that it may grow to; state: what its head says, or -1:
   it has none. */
static void *carve(arena *a, size_t room, size_t align, long state) {
    size_t front = state < 0 ? 0 : sizeof(head);
    size_t back = a->flags & UM_ARENA_CHECKED ? sizeof(uint64_t) : 0;
    char *at = a->open.at, *p;
    head *h;
    for (;;) {
        p = (char *)um_round_up((uintptr_t)a->open.at + front, align);
        if (p <= a->current->end && room + back <= (size_t)(a->current->end - p))
            break;
        if (!go_ahead(a, front + room + back + align))
            return NULL;
    }
    move_to(a, p + um_round_up(room + back, GRAIN));
    if (state >= 0) {
        h = (head *)(void *)p - 1;
        h->previous = a->last;
        h->at = at;
        a->last = h;
        seal(a, h, (size_t)state);
    }
    return p;
}

void *um_arena_alloc_slow(um_arena *arena_, size_t bytes, size_t align) {
    arena *a = in(arena_);
    size_t list = LISTS, room = um_max(bytes, 1);
    void *p;
    if (!um_is_pow2(align)) {
        errno = EINVAL;
        return NULL;
    }
    if (bytes > BYTES_MAX || align > BYTES_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    if (a->flags & UM_ARENA_REUSE) {
        list = list_of(room, &room);
        p = align <= GRAIN ? take_freed(a, bytes, list) : NULL;
        if (p)
            return p;
    }
    return carve(a, room, um_max(align, GRAIN), a->flags & UM_ARENA_CHECKED ? (long)(bytes * 4 + PLAIN) : -1);
}

void *um_arena_zalloc(um_arena *a, size_t n, size_t size) {
    size_t bytes;
    void *p;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    p = um_arena_alloc(a, bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

void *um_arena_push(um_arena *arena_, size_t bytes) {
    if (bytes > BYTES_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    return carve(in(arena_), um_max(bytes, 1), GRAIN, (long)(bytes * 4 + PUSHED));
}

void um_arena_pop(um_arena *arena_, void *p) {
    arena *a = in(arena_);
    head *h = a->last;
    bool last;
    for (; h && h->state % 4 != PUSHED; h = h->previous)
        check_block(a, h);
    last = h && block_of(h) == p;
    if (!last)
        um_fatal("pop from an arena", p, 0, "not the block that was pushed last");
    check_block(a, h);
    if (!go_back(a, h->at))
        um_fatal("pop from an arena", p, 0, "rewound past it");
    a->last = h->previous;
    forget_freed(a);
}

void um_arena_free(um_arena *arena_, void *p, size_t bytes) {
    arena *a = in(arena_);
    size_t rounded, list = list_of(um_max(bytes, 1), &rounded);
    if (!p)
        return;
    if (!(a->flags & UM_ARENA_REUSE))
        um_fatal("free in an arena without UM_ARENA_REUSE", p, 0, NULL);
    if (a->flags & UM_ARENA_CHECKED)
        set_freed(a, p, bytes);
    if (list < LISTS) {
        memcpy(p, &a->lists[list], sizeof(void *));
        a->lists[list] = p;
    }
}

um_arena_mark um_arena_save(const um_arena *arena_) {
    return (um_arena_mark){.at = arena_->at, .last = in(arena_)->last};
}

void um_arena_rewind(um_arena *arena_, um_arena_mark mark) {
    arena *a = in(arena_);
    check_blocks(a, mark);
    if (!go_back(a, mark.at))
        um_fatal("rewind of an arena", mark.at, 0, "not a mark that is open");
    a->last = mark.last;
    forget_freed(a);
}

void um_arena_reset(um_arena *arena_) {
    arena *a = in(arena_);
    chunk *c = &a->first, *next;
    size_t kept;
    check_all(a);
    note_high(a);
    a->current = &a->first;
    a->behind = 0;
    a->last = NULL;
    move_to(a, a->first.begin);
    forget_freed(a);
    if (!a->keep_bytes)
        return;
    for (kept = (size_t)(c->end - c->begin); c->next; c = c->next) {
        kept += um_room_bytes(c->next->room);
        if (kept > a->keep_bytes)
            break;
    }
    next = c->next;
    c->next = NULL;
    while ((c = next) != NULL) {
        next = c->next;
        drop_chunk(a, c);
    }
    a->next_bytes = FIRST_BYTES;
}

void um_arena_check(const um_arena *arena_) {
    check_all(in(arena_));
}

void um_arena_read_stats(const um_arena *arena_, um_arena_stats *out) {
    const arena *a = in(arena_);
    out->used_bytes = used(a);
    out->peak_bytes = um_max(a->peak_bytes, used(a));
    out->held_bytes = a->held_bytes;
    out->chunks = a->chunks;
}

/* Begin and end */

static um_arena *set_up(arena *a, const um_arena_options *o) {
    a->flags = o->flags;
    a->place = o->place;
    a->limit_bytes = o->limit_bytes;
    a->keep_bytes = o->keep_bytes;
    a->chunks = 1;
    a->current = &a->first;
    if (o->flags & UM_ARENA_REUSE) {
        a->lists = (void **)(void *)a->first.begin;
        memset(a->lists, 0, LISTS * sizeof *a->lists);
        a->first.begin += um_round_up(LISTS * sizeof *a->lists, GRAIN);
    }
    move_to(a, a->first.begin);
    return &a->open;
}

static um_arena *make_in_buffer(const um_arena_options *o) {
    size_t lists = o->flags & UM_ARENA_REUSE ? LISTS * sizeof(void *) : 0;
    char *at = (char *)um_round_up((uintptr_t)o->buffer, GRAIN);
    char *end = (char *)um_round_down((uintptr_t)o->buffer + o->buffer_bytes, GRAIN);
    char *begin = at + um_round_up(sizeof(arena), GRAIN);
    arena *a = (arena *)(void *)at;
    if (end < begin || (size_t)(end - begin) < lists) {
        errno = EINVAL;
        return NULL;
    }
    *a = (arena){.held_bytes = o->buffer_bytes, .next_bytes = um_max(o->first_bytes, FIRST_BYTES)};
    a->first = (chunk){.begin = begin, .end = end, .left = begin, .high = begin};
    return set_up(a, o);
}

um_arena *um_arena_make(const um_arena_options *options, unsigned form) {
    static const um_arena_options none;
    const um_arena_options *o = options ? options : &none;
    size_t lists = o->flags & UM_ARENA_REUSE ? LISTS * sizeof(void *) : 0, bytes;
    arena shape = {.flags = o->flags};
    char *room;
    arena *a;
    if (form != UM_ARENA_FORM || o->flags & ~(unsigned)FLAGS_ALL ||
        (o->buffer && o->flags & UM_ARENA_GUARD) || um_ext_check_place(o->place) != 0) {
        errno = EINVAL;
        return NULL;
    }
    if (o->buffer)
        return make_in_buffer(o);
    if (!um_os_page_bytes)
        um_os_init(); /* our constructor did not run yet */
    bytes = um_min(o->first_bytes, BYTES_MAX) + overhead(&shape, sizeof(arena)) + lists;
    if (o->first_bytes > BYTES_MAX || (o->limit_bytes && um_round_up(bytes, FIRST_BYTES) > o->limit_bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    room = um_room_take(UM_MODULE_arena, um_ext_place_now(o->place), bytes, 1, NULL);
    if (!room)
        return NULL;
    a = (arena *)(void *)room;
    *a = (arena){.held_bytes = um_room_bytes(room), .next_bytes = 2 * um_room_bytes(room)};
    if (lay_out(&a->first, room, sizeof(arena), o->flags & UM_ARENA_GUARD)) {
        um_room_give(room, um_os_page_bytes);
        errno = ENOMEM;
        return NULL;
    }
    return set_up(a, o);
}

static void destroy(arena *a) {
    chunk *c, *next;
    check_all(a);
    note_high(a);
    for (c = a->first.next; c; c = next) {
        next = c->next;
        drop_chunk(a, c);
    }
    if (a->first.room) {
        chunk first = a->first; /* its record goes with it */
        give_chunk(first.room, first.begin, first.end, first.high, a->flags & UM_ARENA_GUARD);
    }
}

void um_arena_delete(um_arena *arena_) {
    if (!arena_)
        return;
    if (in(arena_)->scratch)
        um_fatal("delete of a thread's scratch arena", arena_, 0, NULL);
    if (in(arena_)->first.room)
        um_room_must_be(UM_MODULE_arena, in(arena_)->first.room, "invalid um_arena_delete");
    destroy(in(arena_));
}

/* Scratch */

static void thread_ends(void *own) {
    arena *a = own;
    if (a->twin)
        destroy(in(a->twin));
    destroy(a);
}

static const um_local_hooks hooks = {.thread_ends = thread_ends};

static um_arena *new_scratch(void) {
    um_arena *a = um_arena_new(NULL);
    if (a)
        in(a)->scratch = true;
    return a;
}

um_arena *um_arena_scratch(const um_arena *other) {
    um_arena *own = um_local[UM_MODULE_arena];
    if (um_unlikely(!own)) {
        own = new_scratch();
        if (!own)
            return NULL;
        if (um_local_use(UM_MODULE_arena, &hooks) || um_local_set(UM_MODULE_arena, own)) {
            destroy(in(own));
            errno = ENOMEM;
            return NULL;
        }
    }
    if (um_likely(own != other))
        return own;
    if (!in(own)->twin)
        in(own)->twin = new_scratch();
    return in(own)->twin;
}
