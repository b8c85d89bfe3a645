/* Which part of the layer serves a request, and what all parts share: the shards, the settings of the levels,
   findings. A thread allocates from the shard that its id leads to; a block is freed under the lock of the
   shard that its slab belongs to, whichever thread frees it. */
#include "hard/hard.h"
#include "hard/internal.h"
#include "conf/options.h"
#include "os/fatal.h"
#include "os/os.h"
#include "space/space.h"

#define TICK_EVERY   256u /* allocations of a shard between two looks at the clock */
#define RESEED_AFTER 65536u
#define MAPPINGS_MAX                                                                                         \
    4000u /* that guards may cost: a process has 65530 as a rule, and wants most for itself */

_Atomic(int) um_hard_level;
um_hard_settings um_hard_setting;

static const um_hard_settings levels[] = {
    [UM_HARD_ON] = {.candidates = 16,
                    .shuffle = 32,
                    .queue = 256,
                    .queue_bytes = 128 * UM_KIB,
                    .large_queue = 32,
                    .large_bytes = 256 * UM_MIB,
                    .first_guarded = 0,
                    .sample = 2000,
                    .guarded = 256,
                    .reuse_check = 256},
    [UM_HARD_FULL] = {.candidates = 128,
                      .shuffle = UM_HARD_SHUFFLE_MAX,
                      .queue = UM_HARD_QUEUE_MAX,
                      .queue_bytes = UM_MIB,
                      .large_queue = 128,
                      .large_bytes = 4 * UM_GIB,
                      .first_guarded = 1000,
                      .sample = 200,
                      .guarded = 1000,
                      .reuse_check = UM_MEDIUM_MAX},
};

static um_hard_shard *shards;      /* const after um_hard_start */
static _Atomic(uint32_t) mappings; /* that guards cost. Relaxed: a counter */

/* splitmix64 (Steele, Lea, Flood 2014) */
uint64_t um_hard_draw(um_hard_random *r) {
    uint64_t z;
    if (um_unlikely(r->left == 0)) {
        r->state ^= um_os_random();
        r->left = RESEED_AFTER;
    }
    r->left--;
    z = r->state += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

bool um_hard_guards_take(unsigned n) {
    if (atomic_fetch_add_explicit(&mappings, n, memory_order_relaxed) + n <= MAPPINGS_MAX) /* a counter */
        return true;
    um_hard_guards_give(n);
    return false;
}

void um_hard_guards_give(unsigned n) {
    atomic_fetch_sub_explicit(&mappings, n, memory_order_relaxed); /* a counter */
}

bool um_hard_forbid(uintptr_t at, size_t bytes) {
    /* In this order a thread that still uses the memory finds zeros, and then faults. */
    return um_os_purge(at, bytes) == 0 && um_os_protect(at, bytes, false) == 0;
}

void um_hard_say(const um_hard_finding *f) {
    if (um_unlikely(f->kind != NULL))
        um_fatal(f->kind, f->address, f->bytes, f->detail);
}

um_hard_finding um_hard_not_live(const char *what, const void *p, size_t bytes, um_hard_state state) {
    if (state == UM_HARD_UNUSED)
        return (um_hard_finding){what, p, 0, "no block starts here"};
    return (um_hard_finding){__builtin_strcmp(what, "invalid free") == 0 ? "double free" : what, p, bytes,
                             state == UM_HARD_RESTING ? "freed of late" : "the memory is free"};
}

um_hard_finding um_hard_judge(const um_hard_claim *claim, const void *p, size_t bytes, uint8_t tag) {
    static const char *const mismatch[3][3] = {
        {NULL, "allocated by malloc, freed by delete", "allocated by malloc, freed by delete[]"},
        {"allocated by new, freed by free", NULL, "allocated by new, freed by delete[]"},
        {"allocated by new[], freed by free", "allocated by new[], freed by delete", NULL}};
    unsigned family = tag >> 2 & 3;
    bool aligned = tag >> 4 & 1;
    if (um_hard_level == UM_HARD_FULL && family != claim->family)
        return (um_hard_finding){"mismatched free", p, bytes, mismatch[family][claim->family]};
    if (claim->bytes != UM_HARD_UNSAID && claim->bytes != bytes)
        return (um_hard_finding){"mismatched sized free", p, bytes,
                                 "allocated with another size or alignment"};
    if (claim->align && (uintptr_t)p % claim->align)
        return (um_hard_finding){"mismatched sized free", p, bytes,
                                 "allocated with another size or alignment"};
    if (um_hard_level == UM_HARD_FULL && family != UM_FAMILY_MALLOC && aligned != (claim->align != 0))
        return (um_hard_finding){"mismatched free", p, bytes,
                                 aligned ? "allocated with an alignment, freed without"
                                         : "allocated without an alignment, freed with one"};
    return um_hard_fine();
}

int um_hard_start(int level) {
    um_hard_setting = levels[level];
    um_hard_seal_init();
    if (um_space_init() != 0 || !(shards = um_hard_meta(UM_HARD_SHARDS * sizeof *shards)))
        return 1;
    um_hard_guard_init();
    um_hard_fault_init();
    um_hard_level = level;
    return 0;
}

static um_hard_shard *own_shard(void) {
    return &shards[(um_thread_id() * 0x9E3779B97F4A7C15ull) >> 60];
}

_Static_assert((int)UM_HARD_ON == (int)UM_HARDEN_ON && (int)UM_HARD_FULL == (int)UM_HARDEN_FULL,
               "the levels are the option's values");
_Static_assert(UM_HARD_SHARDS == 16, "the shift takes four bits");

/* Whether the next small block gets a page. */
static bool guard_is_due_locked(um_hard_shard *shard) {
    static _Atomic(uint32_t) first; /* blocks of all shards; relaxed: a counter */
    if (um_hard_setting.first_guarded &&
        atomic_load_explicit(&first, memory_order_relaxed) < um_hard_setting.first_guarded) {
        atomic_fetch_add_explicit(&first, 1, memory_order_relaxed);
        return true;
    }
    if (shard->until_guarded--)
        return false;
    shard->until_guarded = um_hard_below(&shard->random, 2 * um_hard_setting.sample);
    return true;
}

static void *alloc_small(size_t bytes, size_t align, uint8_t tag, void *frame) {
    um_hard_shard *shard = own_shard();
    um_hard_finding f = um_hard_fine();
    void *p = NULL;
    bool due, tick;
    um_lock_take(&shard->lock);
    due = bytes && guard_is_due_locked(shard);
    if (!due)
        p = um_hard_slab_alloc_locked(shard, bytes, align, tag, &f);
    tick = ++shard->ticks % TICK_EVERY == 0;
    um_lock_drop(&shard->lock);
    if (due && !(p = um_hard_guard_alloc(bytes, align, tag, frame))) {
        um_lock_take(&shard->lock);
        p = um_hard_slab_alloc_locked(shard, bytes, align, tag, &f);
        um_lock_drop(&shard->lock);
    }
    um_hard_say(&f);
    if (tick)
        (void)um_space_tick();
    return p;
}

static void *alloc_once(size_t bytes, size_t align, uint8_t tag, void *frame) {
    if (um_max(bytes, align) > UM_HARD_SMALL_MAX)
        return um_hard_large_alloc(bytes, align, tag);
    return alloc_small(bytes, align, tag, frame);
}

void *um_hard_alloc(size_t bytes, size_t align, um_family family, void *frame) {
    uint8_t tag = um_hard_tag(UM_HARD_LIVE, family, family != UM_FAMILY_MALLOC && align);
    void *p;
    if (bytes > PTRDIFF_MAX)
        return NULL;
    align = um_max(align, UM_HARD_ALIGN_MIN);
    p = alloc_once(bytes, align, tag, frame);
    if (um_unlikely(!p)) { /* what rests may be what is missing */
        um_hard_flush();
        p = alloc_once(bytes, align, tag, frame);
    }
    return p;
}

void um_hard_free(void *p, um_span *s, const um_hard_claim *claim, void *frame) {
    um_span_kind kind = um_span_kind_of(s);
    if (kind == UM_SPAN_HARD)
        um_hard_slab_free(s, p, claim);
    else if (kind == UM_SPAN_HARD_POOL)
        um_hard_guard_free(p, claim, frame);
    else
        um_hard_large_free(s, p, claim);
}

size_t um_hard_usable(const void *p, const um_span *s, const char *what) {
    um_span_kind kind = um_span_kind_of(s);
    if (kind == UM_SPAN_HARD)
        return um_hard_slab_usable(s, p, what);
    if (kind == UM_SPAN_HARD_POOL)
        return um_hard_guard_usable(p, what);
    return um_hard_large_usable(s, p, what);
}

void *um_hard_realloc(void *p, um_span *s, size_t bytes, void *frame) {
    static const um_hard_claim claim = {"invalid realloc", UM_FAMILY_MALLOC, UM_HARD_UNSAID, 0};
    size_t old = um_hard_usable(p, s, claim.what);
    void *q;
    if (bytes == old)
        return p;
    /* In the full level each other realloc moves, so that the old address is never good again. */
    if (um_hard_level != UM_HARD_FULL && um_span_kind_of(s) == UM_SPAN_HARD &&
        um_hard_slab_resize(s, p, bytes))
        return p;
    q = um_span_kind_of(s) == UM_SPAN_HARD_LARGE ? um_hard_large_resize(s, bytes, &claim) : NULL;
    if (q)
        return q;
    q = um_hard_alloc(bytes, UM_HARD_ALIGN_MIN, UM_FAMILY_MALLOC, frame);
    if (!q)
        return bytes <= old ? p : NULL; /* a shrink cannot fail */
    __builtin_memcpy(q, p, um_min(old, bytes));
    um_hard_free(p, s, &claim, frame);
    return q;
}

void um_hard_check(void) {
    um_hard_finding f = um_hard_fine();
    for (unsigned i = 0; i < UM_HARD_SHARDS && !f.kind; i++) {
        um_lock_take(&shards[i].lock);
        f = um_hard_slab_check_locked(&shards[i]);
        um_lock_drop(&shards[i].lock);
    }
    um_hard_say(&f);
    um_lock_take(&um_hard_large_lock);
    f = um_hard_large_check_locked();
    um_lock_drop(&um_hard_large_lock);
    um_hard_say(&f);
    um_lock_take(&um_hard_guard_lock);
    f = um_hard_guard_check_locked();
    um_lock_drop(&um_hard_guard_lock);
    um_hard_say(&f);
}

void um_hard_flush(void) {
    um_hard_finding f;
    for (unsigned i = 0; i < UM_HARD_SHARDS; i++) {
        um_lock_take(&shards[i].lock);
        f = um_hard_slab_flush_locked(&shards[i]);
        um_hard_slab_close_locked(&shards[i]);
        um_lock_drop(&shards[i].lock);
        um_hard_say(&f);
    }
    um_hard_large_flush();
}

/* The records of a shard's slabs are never given back: the walk goes on from the one it came to. New ones
   come first, and are missed. */
static unsigned shard_live(um_hard_cursor *c, um_hard_block *out, unsigned most) {
    um_hard_shard *shard = &shards[c->part];
    unsigned n = 0;
    um_lock_take(&shard->lock);
    if (!c->slab)
        c->slab = shard->slabs;
    while (c->slab) {
        n += um_hard_slab_live_locked(c->slab, &c->at, out + n, most - n);
        if (n == most)
            break;
        c->slab = c->slab->next_in_shard;
        c->at = 0;
    }
    um_lock_drop(&shard->lock);
    return n;
}

unsigned um_hard_live(um_hard_cursor *c, um_hard_block *out, unsigned most) {
    unsigned n = 0;
    while (n == 0 && c->part < UM_HARD_SHARDS + 2) {
        if (c->part < UM_HARD_SHARDS)
            n = shard_live(c, out, most);
        else if (c->part == UM_HARD_SHARDS)
            n = um_hard_guard_live(&c->at, out, most);
        else
            n = um_hard_large_live(&c->at, out, most);
        if (n < most) {
            c->part++;
            c->at = 0;
        }
    }
    return n;
}

static void add_shard(const um_hard_shard *shard, um_snapshot *out) {
    for (unsigned c = 0; c < UM_HARD_CLASSES; c++) {
        um_class_row *row = &out->classes[c == UM_HARD_EMPTY_CLASS ? 0 : c];
        row->live += shard->classes[c].live;
        row->frees += shard->classes[c].frees;
    }
    for (const um_hard_slab *b = shard->slabs; b; b = b->next_in_shard) {
        um_class_row *row = &out->classes[b->class_id == UM_HARD_EMPTY_CLASS ? 0 : b->class_id];
        row->slabs += b->span != NULL;
        row->slab_bytes += (uint64_t)b->carved * b->block_bytes;
    }
    out->allocated += shard->live_bytes;
}

void um_hard_add_stats(um_snapshot *out) {
    for (unsigned i = 0; i < UM_HARD_SHARDS; i++) {
        um_lock_take(&shards[i].lock);
        add_shard(&shards[i], out);
        um_lock_drop(&shards[i].lock);
    }
    um_hard_guard_add_stats(out);
    um_hard_large_add_stats(out);
}

void um_hard_lock_all(void) {
    if (!um_hard_level)
        return;
    for (unsigned i = 0; i < UM_HARD_SHARDS; i++)
        um_lock_take(&shards[i].lock);
    um_lock_take(&um_hard_large_lock);
    um_lock_take(&um_hard_guard_lock);
    um_lock_take(&um_hard_meta_lock);
}

void um_hard_unlock_all(void) {
    if (!um_hard_level)
        return;
    um_lock_drop(&um_hard_meta_lock);
    um_lock_drop(&um_hard_guard_lock);
    um_lock_drop(&um_hard_large_lock);
    for (unsigned i = UM_HARD_SHARDS; i-- > 0;)
        um_lock_drop(&shards[i].lock);
}

void um_hard_child_after_fork(void) {
    if (!um_hard_level)
        return;
    um_lock_reset(&um_hard_meta_lock);
    um_lock_reset(&um_hard_guard_lock);
    um_lock_reset(&um_hard_large_lock);
    for (unsigned i = 0; i < UM_HARD_SHARDS; i++) {
        um_lock_reset(&shards[i].lock);
        shards[i].random.left = 0; /* not the parent's numbers */
    }
    um_hard_large_random.left = um_hard_guard_random.left = 0;
}
