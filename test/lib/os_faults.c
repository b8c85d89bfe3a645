/* The wrapped functions of src/os; os_faults.h says what they are for. */
#include "os_faults.h"

#include "os/os.h"

static struct os_fault_plan now;
static uint64_t most_in_a_row;
static _Atomic(uint64_t) calls, failed;  /* relaxed: counters */
static _Atomic(uint64_t) clock_ms = 100; /* relaxed: as a clock */

void os_faults_set(struct os_fault_plan plan) {
    most_in_a_row = os_faults_in_a_row();
    now = plan;
    atomic_store_explicit(&calls, 0, memory_order_relaxed);
    atomic_store_explicit(&failed, 0, memory_order_relaxed);
}

uint64_t os_faults_calls(void) {
    return atomic_load_explicit(&calls, memory_order_relaxed);
}

uint64_t os_faults_failed(void) {
    return atomic_load_explicit(&failed, memory_order_relaxed);
}

uint64_t os_faults_in_a_row(void) {
    uint64_t n = os_faults_failed(); /* a plan's failures are one row */
    return n > most_in_a_row ? n : most_in_a_row;
}

/* The errno value that this call fails with; 0: it is made. */
static int error_at(enum os_fault_point point) {
    uint64_t n;
    if (!(now.points >> point & 1))
        return 0;
    n = atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    if (n < now.first || n - now.first >= now.count)
        return 0;
    atomic_fetch_add_explicit(&failed, 1, memory_order_relaxed);
    return now.error;
}

#define X(name, type, parameters, arguments, sign)                                                           \
    type __real_##name parameters;                                                                           \
    type __wrap_##name parameters;                                                                           \
    type __wrap_##name parameters {                                                                          \
        int error = error_at(OS_FAULT_AT_##name);                                                            \
        return error ? sign error : __real_##name arguments;                                                 \
    }
OS_FAULT_POINTS(X)
#undef X

const char *os_fault_point_name(unsigned point) {
    static const char *const names[] = {
#define X(name, type, parameters, arguments, sign) #name,
        OS_FAULT_POINTS(X)
#undef X
    };
    return names[point];
}

uint64_t __wrap_um_os_now_ms(void);
uint64_t __wrap_um_os_now_ms(void) {
    return atomic_load_explicit(&clock_ms, memory_order_relaxed);
}

void os_clock_advance(uint64_t ms) {
    atomic_fetch_add_explicit(&clock_ms, ms, memory_order_relaxed);
}
