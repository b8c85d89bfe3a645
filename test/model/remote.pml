/* A model of remote frees, thread exit, orphans, adoption and release. It mirrors, step by shared step,

     push, deliver, push_pending     um_remote_push, um_remote_deliver, push_pending    src/heap/remote.c
     orphan_give, look, look_locked  um_orphan_give_all, um_orphan_look, look_locked    src/heap/orphan.c
     adopt                           um_orphan_adopt                                    src/heap/orphan.c
     drain, became_empty, next_slab  um_theap_drain, became_empty, next_slab             src/heap/heap.c
     purge_slab, visitor             purge_slab, um_stranded_purge                      src/heap/stranded.c
     leave, retire, live             um_theap_leave, um_theap_exit, retire, um_theap_get   src/heap/registry.c

   Owners take slabs, hand blocks out, free some themselves, end, and live again on whatever heap is free or, where
   PARK is set, on a parked one, which an owner without a heap may also hand over. Freers
   take any block that is out and push it, each as a chain of its own. A list is the set of its blocks. What only the
   owner reads and writes shares a step with the next shared access. A loop around a compare-and-swap whose new value
   depends on nothing older than the value compared is one step. Memory is sequentially consistent here; the orders are
   argued in docs/concurrency.md. Fork is not modelled.

   Asserted on the way: no block is in two places, a slab with PENDING is never given back nor taken anew, no slab is
   on two stacks, and pages go only while nobody has a block of theirs. When all threads are done or idle: no block is
   lost, an orphan with free blocks is listed, one with all of them is given back unless its token is under way, and a
   full slab with remote blocks has its token on the stack of a thread that lives.

   Sizes: SLABS, BLOCKS each, OPS of the first owner and OPS2 of the second (an exit is one), FREES of each freer, VISITS
   of stacks whose owners are idle. -DBUG_... seeds a bug that must be found: run_model.py knows them all. */

#ifndef SLABS
#define SLABS 2
#endif
#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef OPS
#define OPS 3
#endif
#ifndef OPS2
#define OPS2 OPS
#endif
#ifndef FREES
#define FREES 2
#endif
#ifndef VISITS
#define VISITS 0
#endif
#define HEAPS  2 /* as many as owners at once: recycled at every exit */
#define ALL    ((1 << BLOCKS) - 1)
#define CLOSED 15
#define NOBODY 0

/* places */
#define NONE    0
#define CURRENT 1
#define AVAIL   2
#define EMPTY   3
#define FULL    4
#define ORPHAN  5

typedef slab_t {
    /* the remote word: one unit, compared and swapped as a whole */
    unsigned blocks : 3; /* its list */
    bit pending;
    bit orphan;
    bit busy;
    bit purged;
    unsigned epoch : 4;
    /* the rest of the record; slabs and heaps are numbered from 1, 0 is NULL */
    unsigned heap : 2;
    unsigned next : 4;
    unsigned list : 3;
    unsigned place : 3;
    bit listed;
    bit is_slab;
    /* seen by the model only */
    unsigned out : 3; /* blocks in the program's hands */
    bit stacked;
};

/* what a thread read of the word */
typedef word_t {
    unsigned blocks : 3;
    bit pending;
    bit orphan;
    bit busy;
    bit purged;
    unsigned epoch : 4;
};

slab_t slab[SLABS + 1];
byte stack[HEAPS + 1];
bit heap_free[HEAPS + 1];
bit parked[HEAPS + 1];
bit orphan_lock;

/* A copy of the word, and the swap if the word still equals it. */
#define load(s, w)                                                                                                     \
    w.blocks = slab[s].blocks;                                                                                         \
    w.pending = slab[s].pending;                                                                                       \
    w.orphan = slab[s].orphan;                                                                                         \
    w.busy = slab[s].busy;                                                                                             \
    w.purged = slab[s].purged;                                                                                         \
    w.epoch = slab[s].epoch
#define unchanged(s, w)                                                                                                \
    (w.blocks == slab[s].blocks && w.pending == slab[s].pending && w.orphan == slab[s].orphan &&                       \
     w.busy == slab[s].busy && w.purged == slab[s].purged && w.epoch == slab[s].epoch)
#define forget(w)                                                                                                      \
    w.blocks = 0;                                                                                                      \
    w.pending = 0;                                                                                                     \
    w.orphan = 0;                                                                                                      \
    w.busy = 0;                                                                                                        \
    w.purged = 0;                                                                                                      \
    w.epoch = 0

#ifdef BUG_NO_EPOCH
#define next_epoch(s) skip
#else
#define next_epoch(s) slab[s].epoch = slab[s].epoch + 1
#endif

/* Every block of the slab is here, and nobody is about to come back to it. */
#define must_be_idle(s, set)                                                                                           \
    assert(slab[s].is_slab && !slab[s].pending && !slab[s].busy && !slab[s].stacked && (set) == ALL && slab[s].out == 0)

#define give_back(s)                                                                                                   \
    slab[s].is_slab = 0;                                                                                               \
    slab[s].blocks = 0;                                                                                                \
    slab[s].orphan = 0;                                                                                                \
    slab[s].purged = 0;                                                                                                \
    slab[s].list = 0;                                                                                                  \
    slab[s].heap = 0;                                                                                                  \
    slab[s].epoch = 0;                                                                                                 \
    slab[s].place = NONE

#define is_orphan(s) (slab[s].is_slab && slab[s].orphan)
#ifdef BUG_GIVE_BACK_PENDING
#define token_kept(s) 0
#else
#define token_kept(s) slab[s].pending
#endif

/* The one read of the word decides. */
inline look_locked(s) {
    if
    :: !is_orphan(s) -> skip
    :: is_orphan(s) && slab[s].blocks == (slab[s].purged -> 0 : ALL) && !token_kept(s) && !slab[s].busy ->
        must_be_idle(s, (slab[s].purged -> ALL : slab[s].blocks));
        slab[s].listed = 0;
        give_back(s)
    :: else -> slab[s].listed = slab[s].listed || slab[s].blocks != 0
    fi
}

/* um_orphan_look */
inline look(s) {
    atomic {
        orphan_lock == 0;
        look_locked(s)
    }
}

/* um_remote_deliver: the caller holds the token of s */
inline deliver(s) {
    do
    :: atomic { load(s, w) };
        atomic { h2 = slab[s].heap };
        atomic { /* push_pending */
            if
            :: !w.orphan && h2 != 0 && stack[h2] != CLOSED ->
                assert(!slab[s].stacked && slab[s].pending);
                slab[s].next = stack[h2];
                stack[h2] = s;
                slab[s].stacked = 1;
                done = 1
            :: else -> skip
            fi;
            h2 = 0
        };
        if
        :: done -> break
        :: else -> skip
        fi;
        atomic {
            if
            :: unchanged(s, w) -> slab[s].pending = 0; done = 1; any = w.orphan
            :: else -> skip
            fi
        };
        if
#ifdef BUG_NO_TOKEN
        :: true -> break
#else
        :: done -> break
        :: else -> skip
#endif
        fi
    od;
    atomic { done = 0; forget(w) };
    if
    :: any ->
        any = 0;
#ifndef BUG_NO_LOOK
        look(s)
#endif
    :: else -> skip
    fi
}

/* um_theap_release, by the owner */
#define release(s)                                                                                                     \
    must_be_idle(s, slab[s].list);                                                                                     \
    assert(!slab[s].orphan && slab[s].heap == h);                                                                      \
    give_back(s)

/* became_empty, and look_at_current's way there */
#ifdef BUG_EMPTY_PENDING
#define token_out(s) 0
#else
#define token_out(s) slab[s].pending
#endif
inline became_empty(s) {
    if
    :: slab[s].list != ALL || token_out(s) -> skip
    :: else ->
        assert(!slab[s].pending);
        if
        :: slab[s].place = EMPTY
        :: release(s)
        fi
    fi
}

/* forget_blocks: nothing is cut, so that all can be cut again */
#define cut_anew(s)                                                                                                    \
    assert(!slab[s].busy && slab[s].out == 0 && slab[s].blocks == 0 && slab[s].list == 0);                             \
    slab[s].purged = 0;                                                                                                \
    slab[s].list = ALL

/* um_theap_drain: of the slabs from `at` on */
inline drain() {
    do
    :: at == 0 -> break
    :: else ->
        atomic {
            s = at;
            assert(slab[s].stacked && slab[s].pending);
            at = slab[s].next;
            slab[s].next = 0;
            slab[s].stacked = 0
        };
        if
#ifndef BUG_WRONG_STACK
        :: slab[s].heap != h -> deliver(s)
#endif
        :: else ->
            atomic {
                if
                :: slab[s].place != CURRENT && slab[s].purged ->
                    slab[s].pending = 0;
                    cut_anew(s);
                    release(s)
                :: !slab[s].purged && (slab[s].place == FULL || (slab[s].place == AVAIL && slab[s].list == 0)) ->
                    assert((slab[s].list & slab[s].blocks) == 0);
                    slab[s].list = slab[s].list | slab[s].blocks;
                    slab[s].blocks = 0;
                    slab[s].pending = 0;
                    slab[s].place = AVAIL;
                    became_empty(s)
                :: !slab[s].purged && slab[s].place == AVAIL && slab[s].list != 0 ->
                    slab[s].pending = 0;
                    if
                    :: (slab[s].list | slab[s].blocks) == ALL ->
                        slab[s].list = ALL;
                        slab[s].blocks = 0;
                        release(s)
                    :: else -> skip
                    fi
                :: else ->
                    assert(slab[s].heap == h && slab[s].place == CURRENT);
                    slab[s].pending = 0
                fi
            }
        fi
    od;
    s = 0
}

/* um_orphan_give_all, for one slab: orphan_locked, then look_locked */
inline orphan_give(s) {
    atomic {
        orphan_lock == 0;
        orphan_lock = 1;
        assert(!slab[s].orphan && (slab[s].list & slab[s].blocks) == 0);
        slab[s].blocks = slab[s].blocks | slab[s].list;
        slab[s].orphan = 1;
#ifdef BUG_ORPHAN_NOT_BUSY
        slab[s].busy = 0;
#endif
        next_epoch(s);
        slab[s].list = 0;
        slab[s].place = ORPHAN;
        slab[s].listed = 0
    };
    slab[s].heap = 0;
    atomic {
        look_locked(s);
        orphan_lock = 0
    }
}

/* um_orphan_adopt: the slab goes to s, 0 if there is none */
inline adopt() {
    atomic {
        orphan_lock == 0;
        if
        :: slab[1].listed -> s = 1
        :: slab[SLABS].listed -> s = SLABS
        :: else -> s = 0
        fi;
        if
        :: s != 0 ->
            assert(is_orphan(s));
            orphan_lock = 1;
            slab[s].listed = 0;
            slab[s].place = NONE;
            slab[s].heap = h
        :: else -> skip
        fi
    };
    if
    :: s != 0 ->
        atomic {
            assert(!slab[s].busy && !slab[s].purged);
            slab[s].list = slab[s].blocks;
            slab[s].blocks = 0;
            slab[s].orphan = 0;
            next_epoch(s);
            orphan_lock = 0
        }
    :: else -> skip
    fi
}

#define mine(i, where) (slab[i].is_slab && slab[i].heap == h && slab[i].place == where)

/* um_slab_init on memory from the space, or on an empty slab of the heap */
#define fresh(s)                                                                                                       \
    assert(!slab[s].pending && !slab[s].busy && !slab[s].purged && !slab[s].stacked && slab[s].out == 0 && !slab[s].listed);                               \
    slab[s].is_slab = 1;                                                                                               \
    slab[s].blocks = 0;                                                                                                \
    slab[s].orphan = 0;                                                                                                \
    slab[s].epoch = 0;                                                                                                 \
    slab[s].list = ALL;                                                                                                \
    slab[s].heap = h

inline next_slab() {
    atomic { at = stack[h]; stack[h] = 0 };
    drain();
    atomic {
        if
        :: mine(1, AVAIL) -> s = 1
        :: mine(SLABS, AVAIL) -> s = SLABS
        :: else -> s = 0
        fi
    };
    if
    :: s == 0 -> adopt()
    :: else -> skip
    fi;
    atomic {
        if
        :: s == 0 && (mine(1, EMPTY) || !slab[1].is_slab) -> s = 1; fresh(s)
        :: s == 0 && (mine(SLABS, EMPTY) || !slab[SLABS].is_slab) -> s = SLABS; fresh(s)
        :: s != 0 -> skip
        :: else -> skip
        fi;
        if
        :: s != 0 -> slab[s].place = CURRENT; cur = s; s = 0
        :: else -> skip
        fi
    }
}

#define hand_out(b)                                                                                                    \
    assert(!(slab[cur].out & b) && !(slab[cur].blocks & b));                                                           \
    slab[cur].list = slab[cur].list - b;                                                                               \
    slab[cur].out = slab[cur].out | b

/* um_theap_refill up to the first block, which goes out */
inline alloc() {
    atomic { /* collect_current, or it is parked as full */
        if
        :: cur != 0 && slab[cur].list == 0 && slab[cur].blocks != 0 ->
            slab[cur].list = slab[cur].blocks;
            slab[cur].blocks = 0
        :: cur != 0 && slab[cur].list == 0 && slab[cur].blocks == 0 && slab[cur].purged -> cut_anew(cur)
        :: cur != 0 && slab[cur].list == 0 && slab[cur].blocks == 0 && !slab[cur].purged ->
            slab[cur].place = FULL;
            cur = 0
        :: else -> skip
        fi
    };
    if
    :: cur == 0 -> next_slab()
    :: else -> skip
    fi;
    atomic {
        if
        :: cur != 0 && (slab[cur].list & 1) -> hand_out(1)
        :: cur != 0 && (slab[cur].list & 2) -> hand_out(2)
        :: cur != 0 && (slab[cur].list & 4) -> hand_out(4)
        :: cur == 0 || slab[cur].list == 0 -> skip /* no memory */
        fi
    }
}

#define take_home(b)                                                                                                   \
    assert(!(slab[s].list & b) && !(slab[s].blocks & b));                                                              \
    slab[s].out = slab[s].out - b;                                                                                     \
    slab[s].list = slab[s].list | b

/* The owner frees a block of its own, in one step: nothing of it is shared but the peek at the word. */
inline free_here() {
    atomic {
        if
        :: slab[1].is_slab && slab[1].heap == h && slab[1].out != 0 && !slab[1].orphan -> s = 1
        :: slab[SLABS].is_slab && slab[SLABS].heap == h && slab[SLABS].out != 0 && !slab[SLABS].orphan -> s = SLABS
        :: else -> s = 0
        fi;
        if
        :: s == 0 -> skip
        :: else ->
            if
            :: slab[s].out & 1 -> take_home(1)
            :: slab[s].out & 2 -> take_home(2)
            :: slab[s].out & 4 -> take_home(4)
            fi;
            if
            :: slab[s].place == FULL -> slab[s].place = AVAIL
            :: else -> skip
            fi;
            if
            :: slab[s].place == AVAIL -> became_empty(s)
            :: slab[s].place == CURRENT && slab[s].list == ALL && !slab[s].pending && slab[s].blocks == 0 && !slab[s].busy ->
                became_empty(s); /* a cold class */
                cur = 0
            :: else -> skip
            fi
        fi;
        s = 0
    }
}

/* um_theap_flush_empty; what it looks at is the heap's own list */
#define list_empties empties = (mine(1, EMPTY) -> 1 : 0) + ((SLABS > 1 && mine(SLABS, EMPTY)) -> 2 : 0)
inline flush_empty() {
    if
    :: empties & 1 -> release(1)
    :: else -> skip
    fi;
    if
    :: empties & 2 -> release(SLABS)
    :: else -> skip
    fi;
    empties = 0
}

/* um_theap_flush */
inline flush() {
    atomic { at = stack[h]; stack[h] = 0 };
    drain();
    atomic { list_empties; flush_empty() }
}

/* retire, of a heap that was flushed */
inline retire() {
#ifdef BUG_NO_CLOSE
    atomic { at = stack[h]; stack[h] = 0 };
#else
    atomic { at = stack[h]; stack[h] = CLOSED };
#endif
    drain();
    atomic {
        list_empties;
#ifndef BUG_LATE_EMPTIES
        flush_empty();
#endif
        cur = 0;
        s = 1
    };
    do
    :: s > SLABS -> break
    :: else ->
        atomic {
            if
            :: slab[s].is_slab && slab[s].heap == h && !slab[s].orphan -> skip
            :: else -> s++; goto no_gift
            fi
        };
        orphan_give(s);
        s++;
    no_gift:
        skip
    od;
    s = 0;
    atomic {
        flush_empty();
        heap_free[h] = 1;
        h = 0
    }
}

/* um_theap_exit; um_theap_leave, which may park the heap with all that it has */
inline leave() {
#ifdef PARK
    if
    :: true -> flush(); retire()
    :: atomic { at = stack[h]; stack[h] = 0 };
        drain();
        atomic { parked[h] = 1; cur = 0; h = 0 }
    fi
#else
    flush();
    retire()
#endif
}

#ifdef BUG_PARKED_TWICE
#define unpark(i) h = i
#else
#define unpark(i) h = i; parked[i] = 0
#endif

/* um_theap_get, open_heap */
inline live() {
    atomic {
        if
        :: h == 0 && parked[1] -> unpark(1)
        :: h == 0 && parked[2] -> unpark(2)
        :: h == 0 && heap_free[1] -> h = 1; heap_free[1] = 0; stack[1] = 0
        :: h == 0 && heap_free[2] -> h = 2; heap_free[2] = 0; stack[2] = 0
        fi;
        cur = (mine(1, CURRENT) -> 1 : (mine(SLABS, CURRENT) -> SLABS : 0))
    }
}

/* um_theap_retire_parked */
inline retire_parked() {
    atomic {
        if
        :: h == 0 && parked[1] -> unpark(1)
        :: h == 0 && parked[2] -> unpark(2)
        fi;
        list_empties;
        flush_empty()
    };
    retire()
}

proctype owner(byte ops; byte h) {
    word_t w;
    unsigned s : 2, at : 4, h2 : 2, cur : 2, empties : 2;
    bit done, any;
    do
    :: ops > 0 ->
        ops--;
        if
        :: live()
        :: retire_parked()
        :: h != 0 -> alloc()
        :: h != 0 -> free_here()
        :: h != 0 -> leave()
        fi
    :: break
    od;
    cur = 0;
    ops = 0
}

/* um_remote_push of the block b of slab s, and then the token, if it is ours */
inline push() {
    atomic {
        assert(slab[s].is_slab && !slab[s].busy && !slab[s].purged);
        assert(!(slab[s].blocks & b) && !(slab[s].list & b));
        token = !slab[s].orphan && !slab[s].pending;
        any = slab[s].orphan && (slab[s].blocks == 0 || (slab[s].blocks | b) == ALL);
        slab[s].blocks = slab[s].blocks | b;
        slab[s].pending = slab[s].pending || !slab[s].orphan;
        b = 0
    };
    if
    :: any -> any = 0; look(s)
    :: token -> token = 0; deliver(s)
    :: else -> skip
    fi;
    s = 0
}

#define pick(i, bit_)                                                                                                  \
    frees > 0 && (slab[i].out & bit_) -> slab[i].out = slab[i].out - bit_;                                             \
    s = i;                                                                                                             \
    b = bit_

proctype freer(byte frees) {
    word_t w;
    unsigned s : 2, h2 : 2, b : 3;
    bit done, any, token;
    do
    :: atomic {
            if
            :: pick(1, 1)
            :: pick(1, 2)
            :: pick(1, 4)
#if SLABS > 1
            :: pick(2, 1)
            :: pick(2, 2)
            :: pick(2, 4)
#endif
            fi;
            frees--
        };
        push()
    :: break
    od;
    frees = 0
}

/* The token of s is ours. The swap may fail for what changed since the word was read, and is not tried again. */
inline purge_slab(s) {
    atomic {
        if
        :: !slab[s].orphan && slab[s].blocks == ALL ->
#ifndef BUG_PURGE_UNCLAIMED
            slab[s].blocks = 0;
            slab[s].busy = 1;
#endif
            any = 1
        :: skip
        fi
    };
    if
    :: any ->
        atomic { /* the pages are gone by now, the blocks with them */
            assert(slab[s].is_slab && slab[s].pending && slab[s].out == 0 && slab[s].list == 0);
            assert(slab[s].blocks == 0 && !slab[s].purged);
            slab[s].busy = 1 - slab[s].busy;
            slab[s].purged = 1 - slab[s].purged;
            any = 0
        }
    :: else -> skip
    fi
}

proctype visitor(byte visits) {
    word_t w;
    unsigned s : 2, at : 4, h2 : 2;
    bit done, any;
    do
    :: atomic {
            if
            :: visits > 0 && stack[1] != 0 && stack[1] != CLOSED -> at = stack[1]; stack[1] = 0
            :: visits > 0 && stack[2] != 0 && stack[2] != CLOSED -> at = stack[2]; stack[2] = 0
            fi;
            visits--
        };
        do
        :: at == 0 -> break
        :: else ->
            atomic {
                s = at;
                assert(slab[s].stacked && slab[s].pending);
                at = slab[s].next;
                slab[s].next = 0;
                slab[s].stacked = 0
            };
            purge_slab(s);
            deliver(s)
        od;
        s = 0
    :: break
    od;
    visits = 0
}

#define awaited(i, h)                                                                                                  \
    (!heap_free[h] && stack[h] != CLOSED && stack[h] != 0 && (stack[h] == i || slab[stack[h]].next == i))

/* When all is quiet. */
inline check(i) {
    if
    :: !slab[i].is_slab -> assert(slab[i].out == 0 && !slab[i].listed && !slab[i].stacked && !slab[i].pending)
    :: else ->
        assert((slab[i].out | slab[i].blocks | slab[i].list) == (slab[i].purged -> 0 : ALL) && !slab[i].busy);
        assert(!slab[i].purged || slab[i].pending || (slab[i].place == CURRENT && !slab[i].orphan));
        assert((slab[i].out & slab[i].blocks) == 0 && (slab[i].out & slab[i].list) == 0);
        assert((slab[i].blocks & slab[i].list) == 0);
        assert(slab[i].pending == slab[i].stacked);
        /* The token is on the stack of a thread that lives: the owner, or one who will pass it on. */
        assert(!slab[i].pending || awaited(i, 1) || awaited(i, 2));
        if
        :: slab[i].orphan ->
            assert(slab[i].heap == 0 && slab[i].list == 0 && slab[i].listed == (slab[i].blocks != 0));
            assert(slab[i].blocks != ALL || slab[i].pending)
        :: else ->
            assert(!slab[i].listed && slab[i].heap != 0 && !heap_free[slab[i].heap]);
            assert(slab[i].place != FULL || slab[i].blocks == 0 || slab[i].pending);
            assert(slab[i].place != AVAIL || (slab[i].blocks | slab[i].list) != ALL || slab[i].pending)
        fi
    fi
}

init {
    atomic {
        slab[1].is_slab = 1; /* full, all its blocks out */
        slab[1].heap = 1;
        slab[1].place = FULL;
        slab[1].out = ALL;
        heap_free[2] = 1;
        stack[2] = CLOSED;
        run owner(OPS, 1);
        run owner(OPS2, 0);
        run freer(FREES);
        run freer(FREES);
#if VISITS
        run visitor(VISITS)
#else
        skip
#endif
    };
    atomic {
        timeout;
        check(1);
        check(SLABS)
    }
}
