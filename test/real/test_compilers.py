#!/usr/bin/env python3
"""gcc and g++ compile large sources under the library; the objects must be equal byte for byte. Hardened, only gcc a smaller
one.
"""
import os
import sys

from real import Real

HARDENED = "UMALLOC_HARDEN" in os.environ
FUNCTIONS = 60 if HARDENED else 500
CLASSES = 12


def c_source():
    lines = ["#include <stdint.h>", "#include <stdio.h>", "#include <string.h>"]
    for i in range(FUNCTIONS):
        lines += [f"struct record_{i} {{ int64_t key; char name[{8 + i % 40}]; struct record_{i} *next; }};",
                  f"int64_t fold_{i}(const struct record_{i} *r, int64_t n) {{",
                  "    int64_t sum = 0;",
                  f"    for (; r; r = r->next) switch ((r->key + n) % {3 + i % 9}) {{",
                  *(f"        case {k}: sum += r->key * {k + i} + (int64_t)strlen(r->name); break;" for k in range(3 + i % 9)),
                  "    }",
                  f"    return sum{f' + fold_{i - 1}(0, n)' if i else ''};",
                  "}"]
    return "\n".join(lines) + "\n"


def cxx_source():
    lines = ["#include <algorithm>", "#include <functional>", "#include <map>", "#include <memory>", "#include <regex>",
             "#include <string>", "#include <variant>", "#include <vector>"]
    for i in range(CLASSES):
        lines += [f"template <class T> struct node_{i} {{ std::map<std::string, std::vector<T>> parts; "
                  f"std::variant<T, std::string> value; std::array<T, {i + 1}> fixed; }};",
                  f"int walk_{i}(node_{i}<int> n, std::shared_ptr<node_{i}<long>> m) {{",
                  f"    std::function<int(int)> f = [n, m](int x) {{ return x + (int)n.parts.size() + (int)m->parts.size(); }};",
                  "    for (auto &[name, part] : n.parts) std::sort(part.begin(), part.end(), [&](int a, int b) { return f(a) < f(b); });",
                  f"    return f({i});",
                  "}"]
    lines += ["bool matches(const std::string &s) { return std::regex_match(s, std::regex(\"a+(b|c)*[0-9]{2,}\")); }"]
    return "\n".join(lines) + "\n"


def main():
    real = Real(__doc__, ["gcc", "g++"])
    compilers = [("gcc", "big.c", c_source())] + ([] if HARDENED else [("g++", "big.cc", cxx_source())])
    for compiler, source, text in compilers:
        with open(real.path(source), "w") as out:
            out.write(text)
        for under in (False, True):
            output = f"{compiler}-{'under' if under else 'alone'}.o"
            real.run([compiler, "-O2", "-g", "-c", "-include", "array" if compiler == "g++" else "stdlib.h",
                      source, "-o", output], under)
        real.same_file(f"object of {compiler}", real.path(f"{compiler}-alone.o"), real.path(f"{compiler}-under.o"))
    real.ran_under("gcc", "cc1", "as", *([] if HARDENED else ["g++", "cc1plus"]))
    real.end()


if __name__ == "__main__":
    sys.exit(main())
