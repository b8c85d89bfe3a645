/* The corpus of misuse: each family is one mistake, and each of its sizes is one program, named FAMILY-SIZE
   and run in a process of its own. It says "armed" when the next step is the mistake. Then it dies, which is
   a stop; or the mistake has no effect that the program can see, which is harmless (status 0); or it gets
   away with it: it says so, as programs speak, through stdio, and ends with status 3.

   Without arguments it lists all programs. How an allocator is judged is run.py's matter. Nothing here is
   optimised: a compiler may drop what it sees to be undefined. */
#include "misuse.h"

#include <initializer_list>

static const struct {
    const char *name;
    size_t bytes;
    sizes of;
} blocks[] = {
    {"any", 24, ONE},         {"small", 24, ALL}, {"medium", 5000, ALL},    {"large", 300 * KIB, ALL},
    {"64k", 64 * KIB, LARGE}, {"1m", MIB, LARGE}, {"64m", 64 * MIB, LARGE},
};

static void finish(outcome o) {
    if (o == GOT_AWAY) {
        puts("got away");
        fflush(stdout);
    }
    _exit(o);
}

/* The program of that name, or the names of all. */
static void visit(const family *f, const char *wanted) {
    for (; f->name; f++)
        for (const auto &b : blocks) {
            char name[80];
            if (f->which != b.of)
                continue;
            snprintf(name, sizeof name, "%s-%s", f->name, b.name);
            if (!wanted)
                dprintf(1, "%s\n", name);
            else if (strcmp(wanted, name) == 0)
                finish(f->run(b.bytes));
        }
}

int main(int argc, char **argv) {
    alarm(60);
    for (const family *f : {wrong_pointers, wrong_contents, wrong_requests})
        visit(f, argc == 1 ? nullptr : argv[1]);
    return argc == 1 ? 0 : 2;
}
