/* A scheduler of fibers: a hundred thousand of them live at once, each on a stack of its own with guard
   pages, and pass tokens around in a ring. Fibers are switched by ucontext; each is run from a queue until it
   waits for its token or ends. Needs about half a gigabyte for the frames that are touched. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <umalloc/stack.h>

#define STACK_BYTES ((size_t)64 << 10)

typedef struct fiber {
    ucontext_t context;
    um_stack *stack;
    struct fiber *next; /* of the queue */
    uint64_t token, hops;
} fiber;

static fiber *fibers, *running, *first, **last = &first;
static ucontext_t scheduler;
static unsigned count = 100000, rounds = 2;
static uint64_t switches;

static void wake(fiber *f) {
    f->next = NULL;
    *last = f;
    last = &f->next;
}

static void wait_for_wake(void) {
    swapcontext(&running->context, &scheduler);
}

/* Passes each token that comes on to its neighbour, one higher. */
static void pass_tokens(void) {
    fiber *self = running, *neighbour = &fibers[(size_t)(self - fibers + 1) % count];
    while (self->hops < rounds) {
        self->hops++;
        neighbour->token = self->token + 1;
        wake(neighbour);
        if (self->hops < rounds)
            wait_for_wake();
    }
}

static void start(fiber *f) {
    f->stack = um_stack_take(STACK_BYTES);
    if (!f->stack || getcontext(&f->context))
        abort();
    f->context.uc_stack.ss_sp = um_stack_base(f->stack);
    f->context.uc_stack.ss_size = um_stack_bytes(f->stack);
    f->context.uc_link = &scheduler;
    makecontext(&f->context, pass_tokens, 0);
}

static void run_all(void) {
    while (first) {
        running = first;
        first = running->next;
        if (!first)
            last = &first;
        if (running->hops == rounds)
            continue; /* the last token comes home */
        switches++;
        swapcontext(&scheduler, &running->context);
    }
}

int main(int argc, char **argv) {
    um_stack_stats s;
    size_t deepest = 0;
    uint64_t sum = 0;
    if (argc > 1)
        count = (unsigned)strtoul(argv[1], NULL, 10);
    fibers = calloc(count, sizeof *fibers);
    if (!fibers || count < 2)
        return 1;
    for (unsigned i = 0; i < count; i++)
        start(&fibers[i]);
    um_stack_stat(&s, sizeof s);
    printf("%llu stacks of %zu KiB live, %s\n", (unsigned long long)s.live, STACK_BYTES >> 10,
           s.watched ? "some with guard pages that are only watched" : "all with guard pages");
    wake(&fibers[0]);
    run_all();
    for (unsigned i = 0; i < count; i++) {
        size_t used = um_stack_used(fibers[i].stack);
        deepest = used > deepest ? used : deepest;
        sum += fibers[i].hops;
        um_stack_give(fibers[i].stack);
    }
    um_stack_stat(&s, sizeof s);
    printf("%u fibers, %llu switches, token %llu after %u rounds; deepest stack %zu bytes; %llu live at the "
           "end\n",
           count, (unsigned long long)switches, (unsigned long long)fibers[0].token, rounds, deepest,
           (unsigned long long)s.live);
    return sum != (uint64_t)count * rounds || fibers[0].token != (uint64_t)count * rounds;
}
