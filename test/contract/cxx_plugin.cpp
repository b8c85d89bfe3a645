// A C++ plugin for cxx_host: loaded locally, so that libstdc++ is not in the global scope when operator new
// has to throw.
#include <new>
#include <string>
#include <vector>

namespace {
int handled;

void give_up() {
    handled++;
    std::set_new_handler(nullptr);
}
} // namespace

extern "C" int plugin_run(size_t impossible);

extern "C" int plugin_run(size_t impossible) {
    std::vector<std::string> words;
    for (int i = 0; i < 1000; i++)
        words.push_back(std::string(size_t(i), 'w'));
    bool caught = false;
    try {
        ::operator delete(::operator new(impossible));
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    if (!caught)
        return 1;
    std::set_new_handler(give_up);
    if (::operator new(impossible, std::nothrow))
        return 2;
    return handled == 1 ? 0 : 3;
}
