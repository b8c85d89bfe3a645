/* A library with much thread-local storage: TLS_BYTES of the model TLS_MODEL. "initial-exec" takes from the
   reserve that all libraries loaded late share; "global-dynamic" does not. */
#include <stddef.h>

void *tls_heavy_touch(size_t at);

static __thread char storage[TLS_BYTES] __attribute__((tls_model(TLS_MODEL)));

void *tls_heavy_touch(size_t at) {
    storage[at % TLS_BYTES]++;
    return &storage[at % TLS_BYTES];
}
