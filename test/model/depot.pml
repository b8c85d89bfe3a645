/* A model of the stack that magazines are exchanged through. It mirrors, step by shared step,

     push, pop   um_depot_push, um_depot_pop   src/ext/depot.c

   Threads take magazines off and put those they hold on, in any order, each at most two at a time. The head is one
   unit, compared and swapped as a whole; `next` of a magazine is another, which a thread may read of a magazine
   that is not in the stack any more. Memory is sequentially consistent here; the orders are argued in depot.c.

   Asserted on the way: nobody takes a magazine that another holds. When all threads are done: each magazine is
   held by one thread, or stands in the stack once.

   Sizes: THREADS, MAGAZINES, OPS of each thread. -DBUG_... seeds a bug that must be found: run_model.py knows them
   all. */

#ifndef THREADS
#define THREADS 2
#endif
#ifndef MAGAZINES
#define MAGAZINES 3
#endif
#ifndef OPS
#define OPS 4
#endif

#ifdef BUG_NO_COUNT
#define PUSHED 0
#else
#define PUSHED 1
#endif

/* magazines are numbered from 1, 0 is none */
byte top;
byte pushes;
byte next[MAGAZINES + 1];
byte holder[MAGAZINES + 1]; /* seen by the model only; 0: the stack has it */
byte done;

inline push(m) {
    atomic { old = top; count = pushes };
    do
    :: true ->
#ifndef BUG_LINK_LATE
        next[m] = old;
#endif
        atomic {
            if
            :: top == old && pushes == count ->
                assert(holder[m] == _pid);
                holder[m] = 0;
                top = m;
                pushes = pushes + PUSHED;
                break
            :: else -> old = top; count = pushes
            fi
        }
    od;
#ifdef BUG_LINK_LATE
    next[m] = old;
#endif
    old = 0;
    count = 0;
    m = 0
}

inline pop(m) {
    atomic { old = top; count = pushes };
    do
    :: old == 0 -> break
    :: else ->
        below = next[old];
        atomic {
            if
            :: top == old && pushes == count ->
                assert(holder[old] == 0);
                holder[old] = _pid;
                m = old;
                top = below;
                break
            :: else -> old = top; count = pushes
            fi
        }
    od;
    old = 0;
    count = 0;
    below = 0
}

proctype thread() {
    byte ops = OPS, old, count, below, a, b;
    do
    :: ops > 0 && a == 0 -> ops--; pop(a)
    :: ops > 0 && b == 0 && a != 0 -> ops--; pop(b)
    :: ops > 0 && a != 0 -> ops--; push(a)
    :: ops > 0 && b != 0 -> ops--; push(b)
    :: ops == 0 -> break
    od;
    done++
}

init {
    byte i, seen;
    atomic {
        for (i : 1 .. MAGAZINES) {
            next[i] = i - 1
        };
        top = MAGAZINES;
        for (i : 1 .. THREADS) {
            run thread()
        }
    };
    done == THREADS;
    atomic {
        seen = 0;
        for (i : 1 .. MAGAZINES) {
            seen = seen + (holder[i] != 0 -> 1 : 0)
        };
        do
        :: top == 0 || seen > MAGAZINES -> break
        :: else ->
            assert(holder[top] == 0);
            seen++;
            top = next[top]
        od;
        assert(seen == MAGAZINES)
    }
}
