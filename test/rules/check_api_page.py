#!/usr/bin/env python3
"""docs/api.md equals what scripts/api-page prints from the public headers, every declaration in them has a comment directly
above it, and every function that they export has a heading on the page. `--self-test` shows the generator a header that lacks
one, and one that has all.
"""

import difflib
import os
import subprocess
import sys
import tempfile

import check_exports
import tree

PAGE = "docs/api.md"
GENERATOR = os.path.join(tree.ROOT, "scripts", "api-page")
HEADER = """/* sample: for the test. Costs *nothing*.

       um_sample *s = um_sample_make(1);

   Any thread. */
#ifndef UMALLOC_SAMPLE_H
#define UMALLOC_SAMPLE_H
UM_BEGIN

/* Opaque. */
typedef struct um_sample um_sample;

/* Flags. */
#define UM_SAMPLE_A 1u
#define UM_SAMPLE_B 2u

/* What it is about. */
typedef struct um_sample_about {
    size_t bytes; /* in use; now */
} um_sample_about;

/* Private: do not look. */
struct um_sample_fast {
    char *at;
};

COMMENT
UM_API um_sample *um_sample_make(unsigned flags) UM_NOTHROW __attribute__((warn_unused_result));

/* Inline. */
static inline int um_sample_quick(um_sample *s) {
    return s ? 1 : 0;
}

UM_END
#endif
"""
CXX_HEADER = """/* sample.hpp: in C++. */
#ifndef UMALLOC_SAMPLE_HPP
#define UMALLOC_SAMPLE_HPP
namespace um {

namespace detail {

inline void hidden() {
}

} // namespace detail

/* A guard. */
template <class T, bool B = false> class guard final : public base<T> {
  public:
    using other = T;
    explicit guard(int x) noexcept : own_{x} {
        start();
    }
    guard(const guard &) = delete;
    /* The number. */
    int number() const {
        return own_;
    }

  private:
    int own_;
};

/* Frees. */
template <class T> void give(T *object) {
    delete object;
}

} // namespace um
#endif
"""
CXX_WANTED = """### `guard`

```cpp
template <class T, bool B = false> class guard final : public base<T> {
    using other = T;
    explicit guard(int x) noexcept;
    /* The number. */
    int number() const;
};
```

A guard.

### `give`

```cpp
template <class T> void give(T *object);
```

Frees.
"""
WANTED = (CXX_WANTED, "# sample.h\n\nFor the test. Costs \\*nothing\\*.\n\n```c\num_sample *s = um_sample_make(1);\n```\n\nAny thread.\n",
          "### `UM_SAMPLE_A`, `UM_SAMPLE_B`\n\n```c\n#define UM_SAMPLE_A 1u\n#define UM_SAMPLE_B 2u\n```\n\nFlags.\n",
          "```c\ntypedef struct um_sample_about {\n    size_t bytes; /* in use; now */\n} um_sample_about;\n```\n",
          "```c\num_sample *um_sample_make(unsigned flags);\n```\n\nMakes.\n",
          "```c\nstatic inline int um_sample_quick(um_sample *s);\n```\n",
          "[`um_sample_quick`](#um_sample_quick)\n")


def generate(*arguments):
    done = subprocess.run([sys.executable, GENERATOR, *arguments], capture_output=True, text=True)
    return done.stdout, done.stderr.splitlines()


def self_test():
    findings = []
    for comment, wanted in (("/* Makes. */", []), ("", ["sample.h: no comment directly above um_sample_make"]),
                            ("/* Makes:\n\n       um_x(1,\n   2); */", ["sample.h: code in a comment runs on into the text"]),
                            ("/* Makes. */\n", ["sample.h: no comment directly above um_sample_make"])):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "sample.h"), "w", encoding="ascii") as f:
                f.write(HEADER.replace("COMMENT", comment))
            with open(os.path.join(folder, "sample.hpp"), "w", encoding="ascii") as f:
                f.write(CXX_HEADER)
            page, lacks = generate("--headers", folder)
        if lacks != wanted:
            findings.append(f"with {comment!r} it says {lacks}, wanted {wanted}")
        if not wanted:
            findings += [f"the page lacks {part!r}" for part in WANTED if part not in page]
            findings += ["the page shows what is private"] if "um_sample_fast" in page or "hidden" in page else []
    return findings, len(WANTED)


def main():
    wanted, findings = generate()
    have = tree.read(tree.ROOT, PAGE) if os.path.exists(os.path.join(tree.ROOT, PAGE)) else ""
    findings += difflib.unified_diff(have.splitlines(), wanted.splitlines(), PAGE, "scripts/api-page", lineterm="")
    names = check_exports.declared()
    findings += [f"the page has no heading for {name}" for name in sorted(names) if f"`{name}`" not in wanted]
    if findings:
        findings.append("to renew it: scripts/api-page --write")
    return findings, len(wanted.splitlines()) + len(names)


if __name__ == "__main__":
    tree.finish(*(self_test() if sys.argv[1:] == ["--self-test"] else main()))
