/* What the fuzzed programs and their drivers share. The driver is libFuzzer, or driver.c where the compiler
 * has none. */
#ifndef UM_TEST_FUZZ_H
#define UM_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of ops.c: the plan of faults was made by somebody else and holds until the input ends; set before the first
 * input. */
extern bool fuzz_plan_is_given;
/* How many calls the plan had seen when the last input ended. */
extern uint64_t fuzz_plan_calls;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
