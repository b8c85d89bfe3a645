/* Proof that the tests under ThreadSanitizer can fail: with MUST_FAIL_BY 0 an assertion does not hold, with 1
   two threads write one word without order, with 2 a child dies by a signal that nobody announced. */
#include "criterion/criterion.h"
#include <pthread.h>
#include <signal.h>

static int word;

static void *write_word(void *value) {
    word = value != NULL;
    return NULL;
}

Test(must_fail, here) {
    if (MUST_FAIL_BY == 0)
        cr_expect_eq(word, 1, "the word is %d", word);
    if (MUST_FAIL_BY == 2)
        raise(SIGSEGV);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, write_word, MUST_FAIL_BY == 1 ? &word : NULL), 0);
    if (MUST_FAIL_BY == 1)
        write_word(NULL);
    cr_assert_eq(pthread_join(thread, NULL), 0);
}

Test(must_fail, holds) {
    cr_assert(true);
}
