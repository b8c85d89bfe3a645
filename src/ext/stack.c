/* Stacks are cut from chunks: spans that hold up to 60 stacks of one size, with a guard page before each and
   one behind the last.

       | records | guard | stack 0 | guard | stack 1 | guard | ...

   A chunk belongs to a size class and a place. A free stack is on one of two lists of its class and place:
   hot ones may hold touched memory and are taken first, the last one given back before others; cold ones hold
   none. Beyond a limit, a stack that comes back is made cold. The limit grows by one with each cold stack
   that is wanted again, and half of the hot ones that nobody wanted for 4096 gives become cold. A chunk whose
   stacks are all cold goes back to the space when another one of its class and place has a free stack, or at
   a trim.

   Guards of chunks are made once and stay while stacks are reused. First choice is a guard region of the
   kernel, an entry of the page table: it splits no mapping, survives the purge of what is around it and is
   inherited over fork. Where the kernel knows none (before 6.13, or the memory is locked), mprotect makes two
   mappings of one, so only a quarter of vm.max_map_count may go that way: the program needs mappings for
   other things. Beyond that, guard pages are ordinary ones that read as zero and are looked at later. A chunk
   is guarded in one way as a whole, so each stack is.

   A stack is found in its record, in the chunk's first pages; a record is checked to be one by its span and
   by a mark, so that misuse is told from most addresses. */
#include "ext/local.h"
#include "ext/place.h"
#include "ext/room.h"
#include "os/fatal.h"
#include "os/file.h"
#include "os/guard.h"
#include "os/lock.h"
#include "os/os.h"
#include "space/space.h"

#include <errno.h>
#include <umalloc/stack.h>

#define MARK        0x9E3779B97F4A7C15u
#define CHUNK_BYTES (4 * UM_MIB) /* of stacks, where more than one fits */
#define STACKS_MOST 60u
#define HOT_LEAST   64u   /* that may be hot in a pool */
#define LOOK_GIVES  4096u /* so often is looked how many of them lay idle */
#define CLASSES     40u
#define FIRST_BYTES (16 * UM_KIB) /* of the smallest class, where pages are no larger */
#define MAP_PART    4u            /* of vm.max_map_count may be guards that split, two mappings each */
#define MAP_USUAL   65530u

typedef enum um_stack_state { FREE_COLD = 1, FREE_HOT, BUSY /* on its way */, LIVE } um_stack_state;

typedef struct chunk chunk;

struct um_stack {
    uint64_t mark; /* MARK ^ its address */
    chunk *in;
    char *base;
    um_stack *next, *before; /* of its list, while it is free */
    um_stack_state state;
    bool cooled; /* it was hot once: wanting it again shows that too few may be */
};

struct chunk {
    uint16_t class_id, place, stacks;
    uint16_t cold; /* of its stacks; under the lock */
    um_stack_guard guard;
    bool split; /* by guards of mprotect */
    um_stack record[STACKS_MOST];
};

typedef struct list {
    um_stack *first, *last;
    size_t count;
} list;

typedef struct pool {
    list hot, cold;
    size_t more;  /* hot ones may be so many more than HOT_LEAST */
    size_t idle;  /* the fewest hot ones since the last look */
    size_t gives; /* since then */
    size_t gone;  /* stacks whose chunks went back since then */
} pool;

static um_lock lock; /* rank: the modules' own; guards all that follows */
static pool pools[UM_NODES_MAX][CLASSES];
static um_stack_stats stats;
static uint64_t split_most; /* 0: not known yet */
static _Atomic(bool)
    no_regions; /* the kernel has none; relaxed: who misses it makes a call that is refused */

/* --- sizes --- */

/* Two sizes a doubling. Where pages are large some are the same, and the first of these serves. */
static size_t bytes_of(unsigned class_id) {
    size_t bytes = FIRST_BYTES << (class_id / 2);
    return um_round_up(class_id % 2 ? bytes + bytes / 2 : bytes, um_os_page_bytes);
}

/* From one stack to the next: a guard is between them. */
static size_t stride_of(unsigned class_id) {
    return bytes_of(class_id) + um_os_page_bytes;
}

/* CLASSES: there is none. */
static unsigned class_of(size_t bytes) {
    unsigned c = 0;
    while (c < CLASSES && bytes_of(c) < bytes)
        c++;
    return c;
}

static size_t head_bytes(void) {
    return um_round_up(sizeof(chunk), um_os_page_bytes);
}

static unsigned stacks_of(unsigned class_id) {
    return (unsigned)um_min(STACKS_MOST, um_max(1, CHUNK_BYTES / stride_of(class_id)));
}

static size_t chunk_bytes(unsigned class_id) {
    return head_bytes() + stacks_of(class_id) * stride_of(class_id) + um_os_page_bytes;
}

static uintptr_t guard_at(const chunk *c, unsigned i) {
    return (uintptr_t)c + head_bytes() + i * stride_of(c->class_id);
}

/* --- guards --- */

/* How many guards may split mappings. */
static uint64_t split_limit(void) {
    uint64_t most = 0;
    um_file f;
    if (um_file_open(&f, "/proc/sys/vm/max_map_count") == 0) {
        (void)um_file_number(&f, 10, &most); /* else the usual one */
        um_file_close(&f);
    }
    return (most ? most : MAP_USUAL) / MAP_PART / 2;
}

/* Takes the first n guards of the chunk away. */
static bool unguard(const chunk *c, unsigned n, bool region) {
    uintptr_t from = guard_at(c, 0), to = guard_at(c, n) - stride_of(c->class_id) + um_os_page_bytes;
    if (!n)
        return true;
    return (region ? um_os_guard(from, to - from, false) : um_os_protect(from, to - from, true)) == 0;
}

static int guard(const chunk *c, unsigned i, bool region) {
    uintptr_t at = guard_at(c, i);
    int err = region ? um_os_guard(at, um_os_page_bytes, true) : um_os_protect(at, um_os_page_bytes, false);
    if (!err && region && i == 0 && um_os_readable(at))
        return EINVAL; /* emulators take any advice */
    return err;
}

/* All guards of the chunk in one way, or none of them; *stuck: some stayed. */
static bool guard_all(chunk *c, bool region, bool *stuck) {
    unsigned n = c->stacks + 1u, i = 0;
    int err = 0;
    for (; i < n && !err; i++)
        err = guard(c, i, region);
    if (!err)
        return true;
    *stuck = !unguard(c, i - 1, region);
    if (err == EINVAL && region)
        atomic_store_explicit(&no_regions, true, memory_order_relaxed); /* see there */
    return false;
}

/* Whether guards of a further chunk may split mappings; then they are counted. */
static bool may_split(unsigned guards) {
    bool may;
    um_lock_take(&lock);
    if (!split_most)
        split_most = um_max(1, split_limit());
    may = stats.split_guards + guards <= split_most;
    stats.split_guards += may ? guards : 0;
    um_lock_drop(&lock);
    return may;
}

static void unsplit(unsigned guards) {
    um_lock_take(&lock);
    stats.split_guards -= guards;
    um_lock_drop(&lock);
}

/* Decides how the chunk is guarded. False: some guard page is stuck, it cannot be used. */
static bool guard_chunk(chunk *c) {
    unsigned guards = c->stacks + 1u;
    bool stuck = false;
    c->guard = UM_STACK_GUARDED;
    if (!atomic_load_explicit(&no_regions, memory_order_relaxed) && guard_all(c, true, &stuck))
        return true;
    if (!stuck && may_split(guards)) {
        if (guard_all(c, false, &stuck)) {
            c->split = true;
            return true;
        }
        unsplit(guards);
    }
    c->guard = UM_STACK_WATCHED;
    return !stuck;
}

/* --- lists --- */

static void push(list *l, um_stack *s, um_stack_state state) {
    s->state = state;
    s->before = NULL;
    s->next = l->first;
    if (l->first)
        l->first->before = s;
    else
        l->last = s;
    l->first = s;
    l->count++;
}

static void take_off(list *l, um_stack *s) {
    if (s->before)
        s->before->next = s->next;
    else
        l->first = s->next;
    if (s->next)
        s->next->before = s->before;
    else
        l->last = s->before;
    l->count--;
}

/* --- chunks --- */

/* Memory that all reads as zero, guards included. */
static chunk *take_room(unsigned class_id, unsigned place) {
    size_t bytes = chunk_bytes(class_id);
    bool zeroed;
    chunk *c = um_room_take(UM_MODULE_stack, place, bytes, 1, &zeroed);
    if (c && !zeroed && !um_room_purge(c))
        __builtin_memset(c, 0, bytes); /* it is to stay in memory anyway */
    return c;
}

static chunk *make_chunk(unsigned class_id, unsigned place) {
    chunk *c = take_room(class_id, place);
    if (!c)
        return NULL;
    c->class_id = (uint16_t)class_id;
    c->place = (uint16_t)place;
    c->stacks = (uint16_t)stacks_of(class_id);
    if (!guard_chunk(c))
        return NULL; /* and stays taken: nobody may have memory with such a page */
    for (unsigned i = 0; i < c->stacks; i++) {
        um_stack *s = &c->record[i];
        s->mark = MARK ^ (uintptr_t)s;
        s->in = c;
        s->base = (char *)guard_at(c, i) + um_os_page_bytes;
        s->state = BUSY;
    }
    return c;
}

static pool *pool_of(const chunk *c) {
    return &pools[c->place][c->class_id];
}

static void push_cold(um_stack *s) {
    s->in->cold++;
    push(&pool_of(s->in)->cold, s, FREE_COLD);
}

/* Off the lists, if all its stacks are cold and others of their kind are free too, or `all`. */
static bool detach(chunk *c, bool all) {
    pool *p = pool_of(c);
    if (c->cold < c->stacks || (!all && p->hot.count + p->cold.count <= c->stacks))
        return false;
    p->gone += c->stacks;
    for (unsigned i = 0; i < c->stacks; i++) {
        take_off(&p->cold, &c->record[i]);
        c->record[i].state = BUSY;
        c->record[i].mark = 0;
    }
    return true;
}

/* A detached chunk goes back to its space. */
static void give_room(chunk *c) {
    unsigned guards = c->stacks + 1u;
    if (c->guard == UM_STACK_GUARDED) {
        if (!unguard(c, guards, !c->split))
            return; /* stays taken, as above */
        if (c->split)
            unsplit(guards);
    }
    um_room_give(c, um_space_setting.rigid ? um_room_bytes(c) : head_bytes());
}

/* --- taking and giving --- */

static void before_fork(void) {
    um_lock_take(&lock);
}

static void in_parent(void) {
    um_lock_drop(&lock);
}

static void in_child(void) {
    um_lock_reset(&lock);
}

static const um_local_hooks hooks = {NULL, before_fork, in_parent, in_child};

static um_stack *take_kept(pool *p) {
    um_stack *s = p->hot.first ? p->hot.first : p->cold.first;
    if (!s)
        return NULL;
    if (s->state == FREE_COLD) {
        s->in->cold--;
        p->more += s->cooled;
        take_off(&p->cold, s);
    } else {
        take_off(&p->hot, s);
    }
    p->idle = um_min(p->idle, p->hot.count);
    stats.reused++;
    return s;
}

static void count_take(um_stack *s) {
    s->state = LIVE;
    s->cooled = false;
    stats.takes++;
    stats.live++;
    stats.peak = um_max(stats.peak, stats.live);
}

/* A fresh chunk, of which the first stack is taken. */
static void show(chunk *c) {
    pool *p = pool_of(c);
    size_t again;
    um_lock_take(&lock);
    again = um_min(p->gone, c->stacks);
    p->gone -= again;
    p->more += again;
    for (unsigned i = c->stacks; i-- > 1;)
        push_cold(&c->record[i]);
    count_take(&c->record[0]);
    stats.watched += c->guard == UM_STACK_WATCHED ? c->stacks : 0;
    um_lock_drop(&lock);
}

um_stack *um_stack_take_at(size_t bytes, um_flags flags) {
    unsigned class_id, place;
    um_stack *s;
    chunk *c;
    if (!bytes || bytes > UM_STACK_BYTES_MAX || um_ext_check_place(flags) != 0) {
        errno = EINVAL;
        return NULL;
    }
    place = um_ext_place_now(flags);
    um_os_init(); /* the size of a page */
    class_id = class_of(bytes);
    if (um_local_use(UM_MODULE_stack, &hooks) != 0) {
        errno = ENOMEM;
        return NULL;
    }
    um_lock_take(&lock);
    s = take_kept(&pools[place][class_id]);
    if (s)
        count_take(s);
    um_lock_drop(&lock);
    if (um_likely(s != NULL))
        return s;
    c = make_chunk(class_id, place);
    if (!c) {
        errno = ENOMEM;
        return NULL;
    }
    show(c);
    return &c->record[0];
}

um_stack *um_stack_take(size_t bytes) {
    return um_stack_take_at(bytes, 0);
}

static bool is_stack(const um_stack *s) {
    const void *start = (const void *)um_round_down((uintptr_t)s, UM_SLOT_BYTES);
    return (uintptr_t)s % sizeof(void *) == 0 && um_room_is(UM_MODULE_stack, start) &&
           s->mark == (MARK ^ (uintptr_t)s);
}

/* The stack that the caller names, or the end. */
static um_stack *checked(const um_stack *s, const char *call) {
    if (um_unlikely(!is_stack(s)))
        um_fatal(call, s, 0, "not a stack");
    return (um_stack *)(uintptr_t)s;
}

/* A stack in state BUSY goes to the cold ones; with its chunk, if that is not wanted. */
static void cool(um_stack *s) {
    chunk *c = s->in;
    bool gone;
    (void)um_space_purge_part(s->base,
                              bytes_of(c->class_id)); /* refused: it stays where it is, and is used so */
    um_lock_take(&lock);
    s->cooled = true;
    push_cold(s);
    gone = detach(c, false);
    if (gone && c->guard == UM_STACK_WATCHED)
        stats.watched -= c->stacks;
    um_lock_drop(&lock);
    if (gone)
        give_room(c);
}

/* The hot stack that was longest so, BUSY; NULL: none is. */
static um_stack *take_hot_last(pool *p) {
    um_stack *s = p->hot.last;
    if (s) {
        take_off(&p->hot, s);
        s->state = BUSY;
    }
    return s;
}

/* How many hot stacks are to become cold now, for nobody wants them. */
static size_t idle_ones(pool *p) {
    size_t half = p->idle / 2;
    if (++p->gives < LOOK_GIVES)
        return 0;
    p->gives = p->gone = 0;
    p->more -= um_min(p->more, half);
    p->idle = p->hot.count;
    return half;
}

static void cool_idle(pool *p, size_t n) {
    while (n--) {
        um_stack *s;
        um_lock_take(&lock);
        s = take_hot_last(p);
        um_lock_drop(&lock);
        if (!s)
            return;
        cool(s);
    }
}

void um_stack_give(um_stack *given) {
    um_stack *s;
    pool *p;
    bool live, hot;
    size_t idle = 0;
    if (!given)
        return;
    s = checked(given, "um_stack_give");
    if (s->in->guard == UM_STACK_WATCHED && !um_stack_check(s))
        um_fatal("stack overflow", s->base, bytes_of(s->in->class_id), "its guard page was written to");
    um_lock_take(&lock);
    p = pool_of(s->in);
    live = s->state == LIVE;
    hot = live && p->hot.count < HOT_LEAST + p->more;
    if (live) {
        stats.live--;
        idle = idle_ones(p);
    }
    if (hot)
        push(&p->hot, s, FREE_HOT);
    else if (live)
        s->state = BUSY;
    um_lock_drop(&lock);
    if (!live)
        um_fatal("um_stack_give", s, 0, "given back already");
    if (!hot)
        cool(s);
    if (um_unlikely(idle != 0))
        cool_idle(p, idle);
}

/* A hot stack of any kind, BUSY. */
static um_stack *any_hot(void) {
    um_stack *s = NULL;
    um_lock_take(&lock);
    for (unsigned i = 0; i < UM_NODES_MAX * CLASSES && !s; i++) {
        pool *p = &pools[i / CLASSES][i % CLASSES];
        s = take_hot_last(p);
        p->more = p->idle = p->gone = 0;
    }
    um_lock_drop(&lock);
    return s;
}

/* A chunk all of whose stacks are cold, detached. */
static chunk *any_cold_chunk(void) {
    chunk *c = NULL;
    um_lock_take(&lock);
    for (unsigned i = 0; i < UM_NODES_MAX * CLASSES && !c; i++)
        for (um_stack *s = pools[i / CLASSES][i % CLASSES].cold.first; s && !c; s = s->next)
            if (detach(s->in, true)) {
                c = s->in;
                stats.watched -= c->guard == UM_STACK_WATCHED ? c->stacks : 0;
                break;
            }
    um_lock_drop(&lock);
    return c;
}

void um_stack_trim(void) {
    um_stack *s;
    chunk *c;
    while ((s = any_hot()) != NULL)
        cool(s);
    while ((c = any_cold_chunk()) != NULL)
        give_room(c);
}

/* --- what is known of a stack --- */

void *um_stack_base(const um_stack *s) {
    return checked(s, "um_stack_base")->base;
}

size_t um_stack_bytes(const um_stack *s) {
    return bytes_of(checked(s, "um_stack_bytes")->in->class_id);
}

um_stack_guard um_stack_guarding(const um_stack *s) {
    return checked(s, "um_stack_guarding")->in->guard;
}

bool um_stack_check(const um_stack *s) {
    const chunk *c = checked(s, "um_stack_check")->in;
    uintptr_t below = (uintptr_t)s->base - um_os_page_bytes;
    return c->guard == UM_STACK_GUARDED || (um_is_zero(below, um_os_page_bytes) &&
                                            um_is_zero(below + stride_of(c->class_id), um_os_page_bytes));
}

size_t um_stack_used(const um_stack *of) {
    const um_stack *s = checked(of, "um_stack_used");
    uintptr_t at = (uintptr_t)s->base, top = at + bytes_of(s->in->class_id);
    unsigned char in_core[64];
    while (at < top) {
        size_t pages = um_min(sizeof in_core, (top - at) / um_os_page_bytes);
        bool known = um_os_in_core(at, pages, in_core) == 0; /* else all of it is looked at */
        for (size_t i = 0; i < pages; i++, at += um_os_page_bytes) {
            if ((known && !(in_core[i] & 1)) || um_is_zero(at, um_os_page_bytes))
                continue;
            while (!*(const char *)at)
                at++;
            return top - at;
        }
    }
    return 0;
}

bool um_stack_clean(um_stack *given, size_t keep) {
    const um_stack *s = checked(given, "um_stack_clean");
    size_t bytes = bytes_of(s->in->class_id);
    size_t below = um_round_down(bytes - um_min(keep, bytes), um_os_page_bytes);
    if (below && um_space_purge_part(s->base, below) != 0) {
        errno = EBUSY;
        return false;
    }
    return true;
}

void um_stack_stat(um_stack_stats *out, size_t bytes) {
    um_stack_stats now;
    um_lock_take(&lock);
    now = stats;
    for (unsigned i = 0; i < UM_NODES_MAX * CLASSES; i++)
        now.kept += pools[i / CLASSES][i % CLASSES].hot.count + pools[i / CLASSES][i % CLASSES].cold.count;
    um_lock_drop(&lock);
    __builtin_memcpy(out, &now, um_min(bytes, sizeof now));
}
