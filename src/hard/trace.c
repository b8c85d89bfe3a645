/* Stacks, and faults in memory without access. A stack is walked along its frame pointers, from the frame of
   the function that the program called; of code built without them only the first callers are seen. Each
   further page of it is asked for before it is read. A fault becomes a finding if its address is one of ours;
   else what the program wanted of SIGSEGV happens. */
#include "hard/internal.h"
#include "base/text.h"
#include "os/fatal.h"
#include "os/os.h"

#define STACK_MAX (64 * UM_MIB) /* two frames are no farther apart */

static bool pair_readable(uintptr_t frame, uintptr_t *known_page) {
    uintptr_t last = frame + sizeof(uintptr_t);
    uintptr_t page = um_round_down(last, um_os_page_bytes);
    if (page == *known_page && um_round_down(frame, um_os_page_bytes) == page)
        return true;
    *known_page = page;
    return um_os_readable(frame) && um_os_readable(last);
}

static void walk(um_hard_trace *t, uintptr_t frame) {
    uintptr_t page = UINTPTR_MAX; /* none */
    while (t->depth < UM_HARD_FRAMES && frame % sizeof frame == 0 && pair_readable(frame, &page)) {
        const uintptr_t *pair = (const uintptr_t *)frame; /* the caller's frame, and where it goes on */
        if (pair[1] < um_os_page_bytes)
            return;
        t->pc[t->depth++] = pair[1];
        if (pair[0] <= frame || pair[0] - frame > STACK_MAX)
            return;
        frame = pair[0];
    }
}

void um_hard_trace_take(um_hard_trace *t, const void *frame) {
    t->depth = 0;
    t->thread = um_os_tid();
    walk(t, (uintptr_t)frame);
}

void um_hard_trace_say(const um_hard_trace *t, const char *what) {
    um_text text;
    if (!t->depth)
        return;
    um_text_init(&text, um_os_last_words, NULL);
    um_text_str(&text, "umalloc:   ");
    um_text_str(&text, what);
    um_text_str(&text, " by thread ");
    um_text_u64(&text, t->thread);
    um_text_char(&text, ':');
    for (uint32_t i = 0; i < t->depth; i++) {
        um_text_char(&text, ' ');
        um_text_hex(&text, t->pc[i]);
    }
    um_text_char(&text, '\n');
    um_text_flush(&text);
}

static um_hard_trace fault_trace; /* of the first fault; others wait for the process to end */

static void tell(const void *address) {
    um_hard_trace_say(&fault_trace, "accessed");
    um_hard_guard_tell(address);
}

static void on_fault(const um_os_fault *fault) {
    static const char *const ways[] = {"access", "read", "write"};
    const um_span *s = um_span_of((void *)fault->address);
    um_hard_finding f = s ? um_hard_guard_explain(fault->address) : um_hard_fine();
    um_text detail;
    if (s && !f.kind)
        f = um_hard_large_explain(s, fault->address);
    if (!f.kind)
        return;
    um_text_init(&detail, NULL, NULL);
    um_text_str(&detail, ways[fault->access]);
    if (f.detail) {
        um_text_str(&detail, ", ");
        um_text_str(&detail, f.detail);
    } else {
        uintptr_t block = (uintptr_t)f.address;
        um_text_str(&detail, fault->address < block ? " at offset -" : " at offset ");
        um_text_u64(&detail, fault->address < block ? block - fault->address : fault->address - block);
    }
    um_text_char(&detail, 0);
    fault_trace = (um_hard_trace){.thread = um_os_tid(), .depth = 1, .pc = {fault->pc}};
    walk(&fault_trace, fault->frame);
    um_fatal(f.kind, f.address, f.bytes, detail.buf);
}

void um_hard_fault_init(void) {
    um_fatal_tell = tell;
    (void)um_os_catch_faults(on_fault); /* without it the fault itself ends the program */
}
