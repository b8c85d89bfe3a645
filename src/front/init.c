/* From the first call to the last thread. The first allocation may come before any constructor, even before
   thread-local storage holds its initial values (from an ifunc resolver of the program); it makes a heap with
   the default options and calls nothing of libc. Options, fork handlers and the hand-over at thread exit wait
   for our constructor or the first other thread, whichever is first: both find a libc that is up.

   Hand-over: a thread-specific key's destructor. It waits for the second round, so that destructors of other
   keys still find the heap; what is freed or allocated after it goes to the shared heap. */
#include "conf/options.h"
#include "front/aside.h"
#include "front/front.h"
#include "os/os.h"
#include "space/pin.h"
#include "space/place.h"

#include <limits.h>
#include <pthread.h>

enum { KEY_NONE, KEY_READY, KEY_FAILED };

static um_lock key_lock; /* rank: alone */
static int key_state;    /* key_lock */
static pthread_key_t key;
static bool started; /* const after our constructor, before which there is one thread as a rule */

#define LAST_ROUND 2u

static void thread_ends(void *round) {
    uintptr_t n = (uintptr_t)round;
    if (n < LAST_ROUND && pthread_setspecific(key, (void *)(n + 1)) == 0)
        return;
    if (um_tls.heap)
        um_theap_leave(um_tls.heap);
}

/* A thread that cannot be registered keeps its heap until the process ends; nothing else suffers. */
static void register_thread(void) {
    um_lock_take(&key_lock);
    if (key_state == KEY_NONE)
        key_state = pthread_key_create(&key, thread_ends) == 0 ? KEY_READY : KEY_FAILED;
    um_lock_drop(&key_lock);
    if (key_state == KEY_READY)
        (void)pthread_setspecific(key, (void *)1);
}

void um_front_init_child(void) {
    um_lock_reset(&key_lock);
}

/* Those threads that end leave theirs to the next. */
static int prefault_for(um_theap *h) {
    int err = um_pin_first(h->node), next;
    if (!um_option.prefault_thread || h->prefaulted)
        return err;
    h->prefaulted = true;
    next = um_pin(h->node, 0, um_option.prefault_thread);
    return err ? err : next;
}

um_theap *um_front_heap(void) {
    um_theap *h = um_tls.heap;
    if (um_likely(h != NULL))
        return h;
    if (um_unlikely(um_hard_level || um_aside()))
        return NULL;
    h = um_theap_get();
    if (h && (started || !um_theap_is_first(h)))
        register_thread();
    if (h && started)
        (void)prefault_for(h);
    return h;
}

#ifndef UM_STATIC
/* The program's ifunc resolvers run after our relocation and before the loader fills thread-local storage: an
   ifunc of our own makes the bins usable in between. (Not in static executables: they resolve ifuncs before
   they have thread-local storage.) The loader overwrites them soon after, and um_theap_get
   finds the heap again. */
static void nothing(void) {}

static __attribute__((no_sanitize("address", "thread", "undefined"), used)) void (*prepare_bins(void))(void) {
    for (unsigned i = 0; i < UM_SMALL_BINS; i++)
        if (!um_tls.bins[i])
            um_tls.bins[i] = &um_span_none.home;
    if (!um_tls.out)
        um_tls.out = um_out_none;
    return nothing;
}

static void early(void) __attribute__((ifunc("prepare_bins")));
/* The reference that makes the linker ask for the resolver's answer. */
static __attribute__((used)) void (*const volatile resolved_early)(void) = early;
#endif

void um_front_apply_live(void) {
    uint64_t soft =
        um_option.soft_limit == UM_OPTION_AUTO ? um_os_memory_limit() / 10 * 9 : um_option.soft_limit;
    /* relaxed, all: see where they are declared */
    atomic_store_explicit(&um_space_setting.decay_ms, um_option.decay_ms, memory_order_relaxed);
    atomic_store_explicit(&um_space_setting.dirty_max, um_option.dirty_max, memory_order_relaxed);
    atomic_store_explicit(&um_space_setting.limit_bytes, um_option.limit, memory_order_relaxed);
    atomic_store_explicit(&um_space_setting.soft_limit_bytes, soft, memory_order_relaxed);
    um_theap_set_cache(um_option.thread_cache);
}

static void apply_options(void) {
    um_front_apply_live();
    um_space_setting.hugepages = um_option.hugepages;
    if ((um_option.harden || um_option.track) && um_option.hugepages != UM_HUGEPAGES_THP &&
        um_option.hugepages != UM_HUGEPAGES_ALWAYS)
        um_space_setting.hugepages = UM_HUGEPAGES_OFF; /* its guards and what it clears are smaller */
    um_space_setting.lock = um_option.lock;
    um_space_setting.rigid = um_option.lock || um_option.prefault || um_option.prefault_thread ||
                             um_space_setting.hugepages >= UM_HUGEPAGES_POOL_2M;
}

static void say_error(um_text *t, int err) {
    um_text_str(t, " (errno ");
    um_text_u64(t, (uint64_t)err);
    um_text_char(t, ')');
}

/* The start is the time to say that memory cannot be had; later it is populated, or not, as the system can.
 */
static void start_pinned(um_theap *h, um_text *t) {
    int err = um_option.lock && !um_option.prefault ? um_pin(h->node, 0, 0) : 0;
    um_space_setting.prefault_bytes = um_option.prefault;
    for (unsigned i = 0; um_place.turns && i < um_place.count; i++) {
        int next = um_pin_first(i);
        err = err ? err : next;
    }
    err = err ? err : prefault_for(h);
    if (!err)
        return;
    um_text_str(t, um_option.prefault          ? "umalloc: UMALLOC_PREFAULT"
                   : um_option.prefault_thread ? "umalloc: UMALLOC_PREFAULT_THREAD"
                                               : "umalloc: UMALLOC_LOCK");
    um_text_str(t, ": not all of the memory can be had");
    say_error(t, err);
    um_text_str(t, "; going on without the rest\n");
    um_text_flush(t);
}

static void say_hello(um_text *t) {
    um_text_str(t, "umalloc " UM_VERSION " serves ");
    um_text_str(t, um_os_program());
    um_text_str(t, " (pid ");
    um_text_u64(t, um_os_pid());
    um_text_str(t, ")\n");
    um_options_dump_text(t);
}

/* The policy, or no program. */
static void must_place(um_text *t, unsigned complaints) {
    int err = um_place_try();
    bool refused = um_option_refused(&um_option.numa);
    if (!complaints && !refused && !err)
        return;
    um_text_str(t, "umalloc: UMALLOC_NUMA");
    if (!refused) { /* else the option holds the default */
        um_text_char(t, '=');
        um_text_str(t, um_option.numa);
    }
    um_text_str(t, " cannot be had");
    if (err)
        say_error(t, err);
    um_text_str(t, "; stopping, as UMALLOC_NUMA_STRICT asks\n");
    um_text_flush(t);
    um_os_exit(2);
}

/* What was allocated before the options were known came from the first place. */
static void begin_main_thread(void) {
    um_theap *h = um_front_heap();
    um_space_placed();
    if (!h)
        return;
    register_thread();
    if (um_place_here() != h->node)
        um_theap_move(h);
}

/* What was allocated before belongs to a heap: it goes back there. */
int um_front_harden(int level) {
    um_theap *h;
    if (um_hard_level)
        return 0;
    h = um_theap_get();
    if (!h || um_hard_start(level) != 0)
        return 1;
    um_theap_exit(h);
    return 0;
}

static __attribute__((constructor(101))) void um_start(int argc, char **argv, char **envp) {
    um_text t;
    unsigned complaints = 0, misplaced;
    (void)argc;
    (void)argv;
    um_os_init();
    if (um_aside())
        return; /* silent, and no report */
    um_text_init(&t, um_os_to_stderr, NULL);
    if (envp && !um_os_secure())
        complaints = um_options_load(envp, &t);
    misplaced = um_place_init(&um_placing_asked, um_option_given(&um_option.numa), &t);
    if (um_option.numa_strict)
        must_place(&t, misplaced);
    if (t.len)
        um_text_flush(&t);
    if (complaints + misplaced && um_option.strict)
        um_os_exit(2);
    apply_options();
    um_front_fork_init();
    if (um_option.harden && um_front_harden(um_option.harden) != 0) {
        um_text_str(&t, "umalloc: UMALLOC_HARDEN: no memory for it (errno 12); going on without\n");
        um_text_flush(&t);
    }
    begin_main_thread();
    if (um_tls.heap && (um_option.lock || um_option.prefault || um_option.prefault_thread))
        start_pinned(um_tls.heap, &t);
    started = true;
    if (um_option.verbose) {
        say_hello(&t);
        um_text_flush(&t);
    }
    um_front_exit_init();
    if (um_unlikely(um_option.track) && um_front_track)
        um_front_track();
}
