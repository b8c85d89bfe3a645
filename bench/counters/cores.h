/* The cores that scaling.c runs on, in two forms that are linked with it by choice: real.c, the machine's own
 * with real time, and schedule.c with coherence.c, as many as wanted, with counted accesses and virtual
 * time. */
#ifndef BENCH_CORES_H
#define BENCH_CORES_H

#include <stddef.h>

#define CORES_MAX 128

/* Runs body(0) ... body(threads - 1), each in a thread on a core of its own, and waits for their ends. */
void cores_run(size_t threads, void (*body)(size_t index));
/* Runs body in a short-lived thread on the caller's core and waits for its end. */
void cores_short_thread(void (*body)(void *arg), void *arg);
/* All threads of cores_run meet; counting begins with the first meeting and ends with the second. */
void cores_meet(void);
/* The caller finds nothing to do and will look again. */
void cores_pause(void);
/* Operations that the caller has done. */
void cores_done(size_t operations);
/* Prints what was counted. */
void cores_report(void);

#endif
