/* On a loaded machine a second passes between any two lines of a test. What umalloc does with age it does
   here only where a test sets the time itself. */
#ifndef UM_TEST_AGELESS_H
#define UM_TEST_AGELESS_H

#include "space/space.h"

__attribute__((constructor)) static void age_is_nobodys_reason(void) {
    um_space_setting.decay_ms = 86400000;
}

#endif
