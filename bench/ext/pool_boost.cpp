// boost's pool for pool.c: blocks of 64 bytes.
#include <boost/pool/pool.hpp>

static boost::pool<> blocks(64);

extern "C" void *boost_take(void) {
    return blocks.malloc();
}

extern "C" void boost_give(void *object) {
    blocks.free(object);
}
