/* A circular queue of slabs through next and prev; NULL is the empty one. Push appends, the head is the
   oldest. The links of a slab in no queue mean nothing. */
#ifndef UM_QUEUE_H
#define UM_QUEUE_H

#include "space/span.h"

UM_INLINE void um_queue_push(um_span **q, um_span *s) {
    um_span *first = *q;
    if (!first) {
        s->next = s->prev = s;
        *q = s;
        return;
    }
    s->next = first;
    s->prev = first->prev;
    first->prev->next = s;
    first->prev = s;
}

UM_INLINE void um_queue_remove(um_span **q, um_span *s) {
    if (s->next == s) {
        *q = NULL;
    } else {
        s->prev->next = s->next;
        s->next->prev = s->prev;
        if (*q == s)
            *q = s->next;
    }
}

#endif
