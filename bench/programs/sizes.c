/* A live set like that of a real program: sizes and lifetimes drawn from what was recorded of it.
 *
 *   sizes TABLE PROGRAM ALLOCATIONS
 *
 * TABLE is sizes.csv, which says where its counts are from. Each step frees the blocks whose time has come,
 * then allocates one of a size and a lifetime drawn together, so that the large ones live as long as large
 * ones did; those that were never freed stay to the end. What the draw does not keep is the order: phases of
 * the program, and blocks that belong together. Prints ns an allocation with its free, the highest live
 * set in bytes of the blocks, and the ratio of the peak to it, the program's own books apart. */
#include "program.h"
#include <math.h>

#define NEAR      (1u << 12) /* steps of a round */
#define ROUNDS    (1u << 12)
#define STEPS_MAX (NEAR * ROUNDS - 1)
#define AGE_MAX   30 /* more allocations than a run has */
#define KINDS_MAX 8192

/* What a line of the table says, and its share in Walker's alias method: a draw takes kind i or its alias. */
typedef struct kind {
    size_t bytes;
    int age; /* lives 2^age to 2^(age+1)-1 allocations; -1: to the end */
    double share;
    uint32_t alias, below; /* takes i if a random 32-bit number is below this */
} kind;

typedef struct entry {
    void *at;
    uint32_t bytes, due, next; /* next of those due then, 0 ends it */
} entry;

static kind kinds[KINDS_MAX];
static size_t kind_count, live_bytes, most_live_bytes;
static uint32_t near[NEAR],
    far[ROUNDS]; /* blocks by the step of this round, by the later round, they are due in */
static uint32_t free_entries, fresh_entry = 1;
static entry *entries;

static void read_table(const char *path, const char *program) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t length = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (length <= 0)
        stop(STATUS_USAGE, path);
    char *text = books((size_t)length + 1), *end;
    if (pread(fd, text, (size_t)length, 0) != length)
        stop(STATUS_USAGE, path);
    close(fd);
    size_t name = strlen(program);
    for (char *line = text; line; line = (line = strchr(line, '\n')) ? line + 1 : NULL) {
        if (strncmp(line, program, name) || line[name] != ',')
            continue;
        if (kind_count == KINDS_MAX)
            stop(STATUS_USAGE, "too large a table");
        kind *k = &kinds[kind_count++];
        k->bytes = strtoul(line + name + 1, &end, 10);
        k->age = (int)strtol(end + 1, &end, 10);
        k->age = k->age > AGE_MAX ? -1 : k->age;
        k->share = (double)strtoul(end + 1, NULL, 10);
    }
    if (!kind_count)
        stop(STATUS_USAGE, "the table does not know this program");
    munmap(text, (size_t)length + 1);
}

/* Vose's way to make the aliases (IEEE Transactions on Software Engineering 17(9), 1991). */
static void prepare_draws(void) {
    static uint32_t small[KINDS_MAX], large[KINDS_MAX];
    size_t smalls = 0, larges = 0;
    double total = 0;
    for (size_t i = 0; i < kind_count; i++)
        total += kinds[i].share;
    for (size_t i = 0; i < kind_count; i++) {
        kinds[i].share *= (double)kind_count / total;
        kinds[i].below = UINT32_MAX;
        kinds[i].alias = (uint32_t)i;
        if (kinds[i].share < 1)
            small[smalls++] = (uint32_t)i;
        else
            large[larges++] = (uint32_t)i;
    }
    while (smalls && larges) {
        kind *little = &kinds[small[--smalls]], *much = &kinds[large[larges - 1]];
        little->alias = large[larges - 1];
        little->below = (uint32_t)ldexp(little->share, 32);
        much->share -= 1 - little->share;
        if (much->share < 1)
            small[smalls++] = large[--larges];
    }
}

static const kind *draw(uint64_t *random) {
    const kind *k = &kinds[random_below(random, kind_count)];
    return (uint32_t)(next_random(random) >> 32) < k->below ? k : &kinds[k->alias];
}

static void enlist(uint32_t index, uint32_t step) {
    entry *e = &entries[index];
    uint32_t *list = e->due / NEAR == step / NEAR ? &near[e->due % NEAR] : &far[e->due / NEAR];
    e->next = *list;
    *list = index;
}

static uint32_t delist(uint32_t *list) {
    uint32_t index = *list;
    if (index)
        *list = entries[index].next;
    return index;
}

static void end_all(uint32_t *list) {
    for (uint32_t index; (index = delist(list));) {
        entry *e = &entries[index];
        give((block){e->at, e->bytes});
        live_bytes -= e->bytes;
        e->next = free_entries;
        free_entries = index;
    }
}

static void end_due(uint32_t step) {
    if (step % NEAR == 0)
        for (uint32_t index; (index = delist(&far[step / NEAR]));)
            enlist(index, step);
    end_all(&near[step % NEAR]);
}

static void begin(const kind *k, uint32_t step, uint32_t steps, uint64_t *random) {
    uint32_t index = free_entries, due = steps;
    if (index)
        free_entries = entries[index].next;
    else
        index = fresh_entry++;
    if (k->age >= 0 && 1u << k->age <= steps - step) {
        uint32_t life = (1u << k->age) + (uint32_t)random_below(random, 1u << k->age);
        due = life < steps - step ? step + life : steps;
    }
    entries[index] = (entry){take(k->bytes).at, (uint32_t)k->bytes, due, 0};
    enlist(index, step);
    live_bytes += k->bytes;
    most_live_bytes = live_bytes > most_live_bytes ? live_bytes : most_live_bytes;
}

int main(int argc, char **argv) {
    uint32_t steps = (uint32_t)argument(argv, argc, 3, 1);
    uint64_t random = 1;
    if (steps > STEPS_MAX)
        stop(STATUS_USAGE, "too many allocations");
    read_table(argv[1], argv[2]);
    prepare_draws();
    entries = books(((size_t)steps + 1) * sizeof *entries);
    uint64_t start = now_ns();
    for (uint32_t step = 0; step < steps; step++) {
        end_due(step);
        begin(draw(&random), step, steps, &random);
    }
    for (size_t i = 0; i < NEAR; i++)
        end_all(&near[i]);
    for (size_t i = 0; i < ROUNDS; i++)
        end_all(&far[i]);
    report((double)(now_ns() - start), steps);
    figure("live_peak_mib", (double)most_live_bytes / MIB);
    figure("peak_to_live",
           (peak_kib() * 1024 - (double)fresh_entry * sizeof *entries) / (double)most_live_bytes);
    return live_bytes != 0;
}
