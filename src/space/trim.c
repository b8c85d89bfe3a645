/* Giving back more than the budget asks for: on request, where a limit is exceeded, and after a thread's end.
 */
#include "space/internal.h"

#define IDLE_FLOOR (UM_MIB)

bool um_space_trim(size_t keep_bytes) {
    bool any = false;
    UM_EACH_SPACE(sp)
    any |= um_space_purge(sp, keep_bytes, 0, true);
    return any;
}

void um_space_relieve(void) {
    UM_EACH_SPACE(sp) {
        size_t dirty, excess = um_space_excess();
        um_lock_take(&sp->lock);
        dirty = sp->dirty_bytes;
        um_space_unlock(sp);
        if (excess)
            (void)um_space_purge(sp, dirty - um_min(dirty, excess), 0, true);
    }
}

/* Programs that start and end threads all the time want the memory again that the last ones left: what was
   missed of late is kept. */
void um_space_trim_idle(void) {
    UM_EACH_SPACE(sp) {
        size_t keep, before, after;
        um_lock_take(&sp->lock);
        keep = um_max(IDLE_FLOOR, (sp->active_slots << UM_SLOT_SHIFT) / 4);
        keep = um_max(keep, um_max(sp->missed_now, sp->missed_before));
        if (UM_SPACE_SETTING(dirty_max))
            keep = UM_SPACE_SETTING(dirty_max);
        before = sp->dirty_bytes;
        um_space_unlock(sp);
        (void)um_space_purge(sp, keep, 0, false);
        um_lock_take(&sp->lock);
        after = sp->dirty_bytes;
        sp->trimmed_bytes = before - um_min(before, after);
        um_space_unlock(sp);
    }
}
