/* The global counters: one zeroed struct, written with relaxed adds from slow paths of any thread and read by
   the report. Nobody synchronises on it, so figures taken while threads run may be a few events apart. */
#include "conf/counters.h"

um_counters um_count;
um_module_count um_module_counts[UM_MODULES];
