/* A model of read sections and hazard pointers, with the store buffers that make both interesting. It mirrors

     enter, leave                     um_epoch_enter, um_epoch_leave             src/ext/epoch.c
     stamp, look                      um_epoch_stamp, um_epoch_look              src/ext/epoch.c
     order                            um_reclaim_order                           src/ext/reclaim.c
     protect, clear                   um_hazard_protect, um_hazard_set           src/ext/hazard.c
     hold                             hold_all, um_hazard_sift                   src/ext/hazard.c

   A word `head` leads to the current object. Writers put a fresh object there, retire the one before (a batch of one),
   look, and reclaim what is old: their own, by what they or the other found out. Readers find the object in a section, or
   by a hazard pointer, and read it twice. An object that is read must not be reclaimed.

   What makes it more than interleavings: a reader's stores, of its epoch or hazard pointer, go into its store buffer and
   reach memory later, in order; its loads do not wait for them. A fence of the kernel empties the buffer of one reader
   after the other, at any moment between begin and end of the call. Writers' own stores are read-modify-writes,
   which no buffer holds back. That is x86-64; weaker machines order the same pairs by the releases and acquires that
   docs/concurrency.md lists.

   -DBUG_... seeds a bug that must be found: run_model.py knows them all. */

#ifndef SECTIONS
#define SECTIONS 2 /* of each reader of this kind */
#endif
#ifndef HAZARDS
#define HAZARDS 0 /* reads under a hazard pointer, of each reader of that kind */
#endif
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef WRITES
#define WRITES 1
#endif
#ifndef READERS
#define READERS 1
#endif
#define OBJECTS (1 + WRITERS * WRITES)
#define NONE    15
#define BUFFER  3

byte head = 0;
byte fresh = 1; /* objects from here on were never shown */
bit gone[OBJECTS];
byte epoch = 1, old = 1;

/* what is in memory of each reader's word: its epoch, 0 for none; or the object that it names, NONE for none */
byte word[READERS];
chan buffer[READERS] = [BUFFER] of { byte };
byte done = 0;

/* The reader's side. */
#define store(v) buffer[me] ! v

inline flush(r) {
    do
    :: atomic { nempty(buffer[r]) -> buffer[r] ? word[r] }
    :: atomic { empty(buffer[r]) -> break }
    od
}

/* The machine empties the buffer when it likes. */
proctype machine(byte r) {
end:
    do
    :: atomic { nempty(buffer[r]) -> buffer[r] ? word[r] }
    od
}

inline read_object(o) {
    assert(!gone[o])
}

proctype section_reader(byte me) {
    byte e, o, n = 0;
    do
    :: n == SECTIONS -> break
    :: else ->
        n++;
        atomic { e = epoch };
#ifdef BUG_NO_ENTER
        skip;
#else
        store(e);
#endif
#ifdef FENCED /* no membarrier: each section runs a fence */
        atomic { empty(buffer[me]) };
#endif
        atomic { o = head };
        read_object(o);
        read_object(o);
        store(0);
        atomic { e = 0; o = 0 }
    od;
    done++
}

proctype hazard_reader(byte me) {
    byte o, again, n = 0;
    do
    :: n == HAZARDS -> break
    :: else ->
        n++;
        atomic { o = head };
        do
        :: store(o);
#ifdef FENCED
            atomic { empty(buffer[me]) };
#endif
            atomic { again = head };
#ifdef BUG_NO_SECOND_LOOK
            break
#else
            if
            :: again == o -> break
            :: else -> o = again
            fi
#endif
        od;
        read_object(o);
        read_object(o);
        store(NONE);
        atomic { o = 0; again = 0 }
    od;
    done++
}

/* The writer's side. */
inline order() {
#ifndef FENCED
#ifndef BUG_NO_ORDER
    i = 0;
    do
    :: i == READERS -> break
    :: else -> flush(i); i++
    od;
    i = 0
#else
    skip
#endif
#else
    skip
#endif
}

/* min: below it, stamps are old; held: `mine` is named by a hazard pointer */
inline look() {
#ifdef BUG_COUNT_AFTER_ORDER
    order();
    min = epoch;
#else
    min = epoch;
#ifndef BUG_ORDER_AFTER_LOOK
    order();
#endif
#endif
    held = 0;
    i = 0;
    do
    :: i == READERS -> break
    :: else ->
        atomic {
#if HAZARDS > 0
            held = held || word[i] == mine;
#else
            if
            :: word[i] != 0 && word[i] < min -> min = word[i]
            :: else -> skip
            fi;
#endif
            i++
        }
    od;
    i = 0;
#ifdef BUG_ORDER_AFTER_LOOK
    order();
#endif
#if HAZARDS == 0
    atomic {
        if
        :: old < min -> old = min
        :: else -> min = old
        fi
    }
#endif
}

proctype writer() {
    byte mine, next, stamped, min, i, n = 0;
    bit held;
    do
    :: n == WRITES -> break
    :: else ->
        n++;
        atomic { next = fresh; fresh++ };
#ifdef BUG_STAMP_BEFORE_UNLINK
        atomic { stamped = epoch; epoch++ };
#endif
        atomic { mine = head; head = next }; /* unlinks mine */
#ifndef BUG_STAMP_BEFORE_UNLINK
        atomic { stamped = epoch; epoch++ };
#endif
        do
        :: true ->
            if
#if HAZARDS == 0
            :: old > stamped -> min = old /* what the other found out */
#endif
            :: look()
            fi;
            if
#if HAZARDS > 0
            :: !held -> break
#else
#ifdef BUG_STAMP_IS_OLD
            :: stamped <= min -> break
#else
            :: stamped < min -> break
#endif
#endif
            :: else -> skip /* again later */
            fi
        od;
        atomic {
            assert(!gone[mine]);
            gone[mine] = 1;
            mine = 0;
            next = 0;
            stamped = 0;
            min = 0;
            held = 0
        }
    od;
    done++
}

init {
    byte i = 0;
    atomic {
        do
        :: i == READERS -> break
        :: else ->
#if HAZARDS > 0
            word[i] = NONE;
            run hazard_reader(i);
#else
            run section_reader(i);
#endif
            run machine(i);
            i++
        od;
        i = 0;
        do
        :: i == WRITERS -> break
        :: else -> run writer(); i++
        od
    };
    /* Everybody comes to an end: nobody waits for a reader that has left. */
    done == READERS + WRITERS
}
