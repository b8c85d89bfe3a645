/* pool: memory from the system's pools of huge pages (hugetlbfs), UMALLOC_HUGEPAGES=hugetlb:2M and
 * hugetlb:1G. */
#ifndef UM_HUGETLB_H
#define UM_HUGETLB_H

#include "space/span.h"

struct um_space;

/* Of one page. */
UM_HIDDEN size_t um_hugetlb_slots(void);
/* The span's memory is from a pool, or was until the pool could not give it again. */
UM_HIDDEN bool um_hugetlb_holds(struct um_space *sp, const um_span *s);
/* Opens at least `slots`, as near to `more` as the pool can give; false: less, so nothing. */
UM_HIDDEN bool um_hugetlb_grow_locked(struct um_space *sp, size_t slots, size_t more);
/* Maps whole pages of the pool, all of them in place: no later touch can fail. */
UM_HIDDEN int um_hugetlb_map(struct um_space *sp, size_t first, size_t slots);

/* While a fork is under way: the child closes [1] when it has left the pool, and asks there for pages that it
   lost. -1: nobody waits. */
typedef struct um_hugetlb_gate {
    int fd[2];
} um_hugetlb_gate;

/* Around a fork, by who forks: the child leaves the pool before the parent goes on. No locks,
   async-signal-safe; who can takes all locks of the layer, so that no run is half there. */
UM_HIDDEN void um_hugetlb_before_fork(um_hugetlb_gate *gate);
UM_HIDDEN void um_hugetlb_in_parent(const um_hugetlb_gate *gate);
UM_HIDDEN void um_hugetlb_in_child(const um_hugetlb_gate *gate);

/* Memory of this child came from its parent after the fork. What the threads that stayed behind had in hand
   there, their free blocks among it, may be newer than the records. Const after the fork. */
extern UM_HIDDEN bool um_hugetlb_torn;

#endif
