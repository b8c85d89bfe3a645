/* Dirty memory in pieces shorter than a request is not lost to it: the kernel moves the pages of several
   pieces to where one span has room for all, without a copy (mremap). Moving 1 MiB takes some microseconds,
   faulting it in anew a hundred times as many, and a short piece that nobody can use would be purged. What
   was moved from stays behind clean.

   Each move may leave boundaries between the kernel's mappings at both ends of where it moved to: seams,
   noted slot by slot. One call moves pages of one mapping, so a piece ends at the next seam. Purging a span
   with seams inside maps it anew, which removes them. They are few (SEAMS_MAX), for the kernel bounds the
   mappings of a process (65530 by default) and searches them at each fault, and they are hints: where one is
   missing, a move fails, and its piece is tried in halves later. Spaces with huge pages are left alone, for a
   move would break them up; so are all where each span's pages must be at their node, or memory must stay
   where it is (pin.c). */
#include "space/internal.h"
#include "os/os.h"
#include "space/place.h"

#include <errno.h>

#define SEAMS_MAX 96u
#define LOOKS     16 /* at spans, for a piece */
/* A short request takes no piece shorter than this: single slots are wanted as they are, by slabs. */
#define SHORT_SLOTS     32u
#define SHORT_PIECE_MIN UM_GATHER_SLOTS_MIN

_Atomic(unsigned) um_space_seams;

bool um_space_has_seams(const um_span *s) {
    for (size_t i = 1; i < s->slots; i++)
        if (s[i].seam)
            return true;
    return false;
}

/* The count includes ours. No record is written to in vain: those inside a span have no memory before, and a
 * long span has millions. */
void um_space_forget_seams_locked(um_span *s) {
    for (size_t i = 1; i < s->slots && atomic_load_explicit(&um_space_seams, memory_order_relaxed); i++) {
        if (!s[i].seam)
            continue;
        atomic_fetch_sub_explicit(&um_space_seams, 1, memory_order_relaxed); /* counter */
        s[i].seam = 0;
    }
}

static void note_seam_locked(um_space *sp, um_span *slot) {
    if (!um_space_holds_locked(sp, um_span_index(slot))) /* it has no record yet, or is another's */
        return;
    atomic_fetch_add_explicit(&um_space_seams, !slot->seam, memory_order_relaxed); /* counter */
    slot->seam = 1;
}

/* Slots of s from `from` on without a seam between them. */
static size_t run_at(const um_span *s, size_t from) {
    size_t n = 1;
    while (from + n < s->slots && !s[from + n].seam)
        n++;
    return n;
}

/* Detaches n of a dirty span's slots, from `from` on; the rest stays filed. */
static um_span *cut_out_locked(um_space *sp, um_span *s, size_t from, size_t n) {
    um_span *piece = s + from;
    um_space_detach_locked(sp, s);
    if (from) {
        um_space_split_locked(sp, s, from);
        um_space_detach_locked(sp, piece);
    }
    um_space_split_locked(sp, piece, n);
    if (from)
        um_space_insert_locked(sp, s, UM_DIRTY, s->bytes);
    return piece;
}

/* A dirty piece of at most `room` slots, detached; or NULL. Oldest first: it would be purged next. */
static um_span *take_piece_locked(um_space *sp, size_t room, size_t least) {
    unsigned looks = LOOKS;
    for (um_span *s = sp->oldest; s && looks--; s = s->age_next)
        for (size_t from = 0, run; from < s->slots; from += run) {
            run = run_at(s, from);
            if (run >= least)
                return cut_out_locked(sp, s, from, um_min(run, room));
        }
    return NULL;
}

static bool can_move_locked(const um_space *sp) {
    return !sp->stuck &&
           atomic_load_explicit(&um_space_seams, memory_order_relaxed) <
               SEAMS_MAX /* spaces may overshoot by one */
           && !um_huge_any(&sp->huge) && !um_place.strict && !um_space_setting.rigid;
}

/* Moves the pages of one piece to slot `at` of s, at most `room`. Returns how many slots it had; 0: no piece,
   or an error. */
static size_t move_piece(um_space *sp, um_span *s, size_t at, size_t room, int *err) {
    um_span *piece = NULL;
    size_t slots, least = s->slots < SHORT_SLOTS ? SHORT_PIECE_MIN : 1;
    um_lock_take(&sp->lock);
    if (room >= least && can_move_locked(sp))
        piece = take_piece_locked(sp, room, least);
    um_space_unlock(sp);
    if (!piece)
        return 0;
    slots = piece->slots;
    *err =
        um_os_pull((uintptr_t)um_span_start(piece), slots << UM_SLOT_SHIFT, (uintptr_t)um_span_start(s + at));
    um_lock_take(&sp->lock);
    if (*err) {
        note_seam_locked(sp, piece + slots / 2);
        sp->stuck = *err != EFAULT || slots == 1;
    } else {
        note_seam_locked(sp, s + at);
        note_seam_locked(sp, s + at + slots);
    }
    um_space_insert_locked(sp, piece, *err ? UM_DIRTY : UM_CLEAN, piece->bytes);
    um_space_unlock(sp);
    return *err ? 0 : slots;
}

/* What was moved is lost, which is no loss; what could not be may be unmapped. */
static bool start_over(um_space *sp, um_span *s, bool *zeroed) {
    if (um_space_map_anew(sp, s) != UM_CLEAN) {
        s->moved = 1; /* is mapped anew when freed, or counts as unmapped */
        s->full = 0;
        um_space_free(s, 0);
        return false;
    }
    um_lock_take(&sp->lock);
    um_space_forget_seams_locked(s);
    um_space_unlock(sp);
    *zeroed = true;
    return true;
}

bool um_space_gather(um_space *sp, um_span *s, const um_gaps *gaps, bool *zeroed) {
    int err = 0;
    for (const um_gap *g = gaps->gap; g < gaps->gap + gaps->count && !err; g++) {
        size_t at = g->at, end = at + g->slots, moved;
        while (at < end && (moved = move_piece(sp, s, at, end - at, &err)) != 0) {
            *zeroed = false;
            at += moved;
        }
    }
    return err == 0 || err == EPERM || start_over(sp, s, zeroed);
}
