/* Every call that the library makes of the system, made to fail in turn. The work is a seeded input of
   fuzz/ops.c, whose shadow judges it: nothing is lost, NULL comes with ENOMEM, and when the system works
   again all memory can be freed and reads as free. A first process counts the calls; then there is one
   process for each call and each errno value, in which that call fails, and some in which everything fails
   from there on. The plan holds before the library's own constructor runs, so the first mapping fails too.
   Last, the same for the report at the end.

   usage: each_call INPUTS            all of that for so many inputs
          each_call SEED PLAN         one process; PLAN is POINTS,FIRST,COUNT,ERROR in decimal
          each_call report PLAN       likewise; only a report is written */
#include "../lib/check.h"

#include "../fuzz/fuzz.h"
#include "../lib/os_faults.h"

#include <inttypes.h>
#include <spawn.h>
#include <sys/wait.h>

enum { INPUT_BYTES = 1500, RESULT_FD = 9, ALWAYS_STEP = 5 };

static const int errors[] = {ENOMEM, EPERM, ENOSYS, EAGAIN, EINTR};

static struct os_fault_plan plan;

/* Runs before every constructor. */
static void read_plan(int argc, char **argv, char **envp) {
    (void)envp;
    if (argc == 3 && sscanf(argv[2], "%" SCNu64 ",%" SCNu64 ",%" SCNu64 ",%d", &plan.points, &plan.first,
                            &plan.count, &plan.error) == 4)
        os_faults_set(plan);
}
static
    __attribute__((section(".preinit_array"), used)) void (*const reader)(int, char **, char **) = read_plan;

static int work(uint64_t seed) {
    static uint8_t input[INPUT_BYTES];
    uint64_t calls;
    for (size_t i = 0; i < sizeof input; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        input[i] = (uint8_t)(seed >> 40);
    }
    fuzz_plan_is_given = true;
    LLVMFuzzerTestOneInput(input, sizeof input);
    calls = fuzz_plan_calls;
    (void)!write(RESULT_FD, &calls, sizeof calls);
    return 0;
}

/* The exit status, or the signal as the shell tells it. *calls is what the process says it counted. */
static int run(const char *program, const char *what, struct os_fault_plan p, uint64_t *calls) {
    extern char **environ;
    char text[100];
    char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)what, text, NULL};
    posix_spawn_file_actions_t actions;
    int fd[2], status;
    pid_t pid;
    snprintf(text, sizeof text, "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%d", p.points, p.first, p.count,
             p.error);
    CHECK(pipe(fd) == 0, "pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd[1], RESULT_FD);
    if (strcmp(what, "report") == 0) /* where the file cannot be made, the report goes there */
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    CHECK(posix_spawn(&pid, program, &actions, NULL, argv, environ) == 0, "posix_spawn");
    posix_spawn_file_actions_destroy(&actions);
    close(fd[1]);
    if (read(fd[0], calls, sizeof *calls) != sizeof *calls)
        *calls = 0;
    close(fd[0]);
    CHECK(waitpid(pid, &status, 0) == pid, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void must_hold(const char *program, const char *what, struct os_fault_plan p) {
    uint64_t unused;
    int status = run(program, what, p, &unused);
    CHECK(status == 0, "status %d of: %s %s %" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%d", status, program, what,
          p.points, p.first, p.count, p.error);
}

/* Each call of the program, then all from some on, with each error. Returns the number of processes. */
static unsigned each_call(const char *program, const char *what) {
    unsigned processes = 0;
    uint64_t calls;
    int status = run(program, what, (struct os_fault_plan){.points = OS_FAULT_EVERYWHERE}, &calls);
    CHECK(status == 0 && calls > 0, "without faults: status %d, %" PRIu64 " calls", status, calls);
    for (uint64_t first = 0; first < calls; first++)
        for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
            must_hold(program, what, (struct os_fault_plan){OS_FAULT_EVERYWHERE, first, 1, errors[e]});
            processes++;
            if ((first + e) % ALWAYS_STEP == 0) {
                must_hold(program, what,
                          (struct os_fault_plan){OS_FAULT_EVERYWHERE, first, UINT32_MAX, errors[e]});
                processes++;
            }
        }
    return processes;
}

/* Each kind of call refused always. */
static unsigned each_point(const char *program, const char *what) {
    for (unsigned point = 0; point < OS_FAULT_POINT_COUNT; point++)
        for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++)
            must_hold(program, what, (struct os_fault_plan){(uint64_t)1 << point, 0, UINT32_MAX, errors[e]});
    return OS_FAULT_POINT_COUNT * sizeof errors / sizeof errors[0];
}

int main(int argc, char **argv) {
    unsigned processes = 0;
    unsigned long inputs;
    CHECK(argc == 2 || argc == 3, "usage: each_call INPUTS | each_call SEED|report PLAN");
    check_watchdog(argc == 3 ? 60 : 900);
    if (argc == 3)
        return strcmp(argv[1], "report") == 0 ? 0 : work(strtoull(argv[1], NULL, 10));
    inputs = strtoul(argv[1], NULL, 10);
    for (unsigned long seed = 1; seed <= inputs; seed++) {
        char text[24];
        snprintf(text, sizeof text, "%lu", seed);
        processes += each_call(argv[0], text) + each_point(argv[0], text);
    }
    setenv("UMALLOC_STATS", "text", 1);
    setenv("UMALLOC_STATS_FILE", "/dev/null", 1);
    for (uint64_t first = 0; first < 12; first++)
        for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++, processes++)
            must_hold(argv[0], "report", (struct os_fault_plan){OS_FAULT_EVERYWHERE, first, 1, errors[e]});
    processes += each_point(argv[0], "report");
    printf("%u processes with faults\n", processes);
    return 0;
}
