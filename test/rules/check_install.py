#!/usr/bin/env python3
"""What `meson install` leaves is usable: a program built with the flags of pkg-config, shared and static, allocates
from umalloc, as its report at exit shows; a program without it prints no report. With no other flags a program finds every
public header, and what the headers declare.
Usage: check_install.py BUILD_FOLDER
"""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

import tree

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    char *p = malloc(100000);
    if (!p)
        return 1;
    strcpy(p, "alive");
    puts(p);
    free(p);
    return 0;
}
"""
API_PROGRAM = r"""
#include <stdio.h>
#include <string.h>
int main(void) {
    um_arena *arena = um_arena_new(NULL);
    char *zeroes = um_malloc(100000, UM_ALIGN(64) | UM_ZERO);
    char *text = arena ? um_arena_alloc(arena, 100) : NULL;
    if (!text || !zeroes || zeroes[99999])
        return 1;
    um_epoch_enter();
    puts(strcpy(text, "alive"));
    um_epoch_leave();
    um_retire(zeroes, um_free);
    um_arena_delete(arena);
    return 0;
}
"""
CXX_PROGRAM = r"""
#include <cstdio>
#include <new>
#include <string>
#include <vector>
int main() {
    std::string s(1000, 'x');
    try {
        char *volatile p = static_cast<char *>(operator new(static_cast<std::size_t>(-1) / 2));
        operator delete(p);
        return 1;
    } catch (const std::bad_alloc &) {
    }
    um::arena arena;
    std::pmr::vector<int> numbers(1000, 1, &arena);
    std::vector<float, um::allocator<float, UM_ALIGN(64)>> column(1000);
    std::puts("alive");
    return s.size() == 1000 && numbers.back() == 1 && column.back() == 0 ? 0 : 1;
}
"""


HEADERS = "include/umalloc"


def build(compiler, source, out, flags):
    subprocess.run(compiler.split() + ["-o", out, source] + flags, check=True)


def pkg_config(libdir, destination, *what):
    """The flags for a program, pointing to where the files are now."""
    environment = dict(os.environ, PKG_CONFIG_PATH=libdir + "/pkgconfig", PKG_CONFIG_SYSROOT_DIR=destination)
    done = subprocess.run(["pkg-config", *what, "umalloc"], check=True, capture_output=True, text=True, env=environment)
    return done.stdout.split()


def write_sources(work, headers):
    """The programs; those of the API include every public header."""
    for source, suffix, text in (("plain.c", (), PROGRAM), ("program.c", ".h", API_PROGRAM),
                                 ("program.cc", (".h", ".hpp"), CXX_PROGRAM)):
        includes = [f"#include <umalloc/{name}>\n" for name in headers if name.endswith(suffix)]
        with open(f"{work}/{source}", "w", encoding="ascii") as f:
            f.write("".join(includes) + text)


def run(program, library_folder):
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    environment.update(UMALLOC_STATS="text", LD_LIBRARY_PATH=library_folder)
    done = subprocess.run([program], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, "umalloc" in done.stderr


def main(build_folder):
    findings = []
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["meson", "install", "-C", build_folder, "--no-rebuild", "--quiet", "--destdir", work], check=True)
        archive = glob.glob(work + "/**/libumalloc.a", recursive=True)[0]
        libdir = os.path.dirname(archive)
        shared = pkg_config(libdir, work, "--cflags", "--libs")
        static = pkg_config(libdir, work, "--cflags") + [archive]
        folder = glob.glob(f"{work}/**/{HEADERS}", recursive=True)[0]
        headers = sorted(os.listdir(folder))
        wanted = [os.path.relpath(name, HEADERS) for name in tree.files(under=(HEADERS + "/",))]
        if headers != wanted:
            findings.append(f"installed are the headers {headers}, wanted {wanted}")
        write_sources(work, headers)
        cc, cxx = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")
        cases = [
            ("C, plain", cc, "plain.c", [], False),
            ("C, shared", cc, "program.c", shared, True),
            ("C, archive", cc, "program.c", static, True),
            ("C, static program", cc, "program.c", ["-static"] + static, True),
            ("C++, shared", cxx, "program.cc", shared, True),
            ("C++, archive", cxx, "program.cc", static, True),
        ]
        for name, compiler, source, extra, expected in cases:
            program = os.path.join(work, name.replace(" ", "").replace(",", "-"))
            build(compiler, f"{work}/{source}", program, extra)
            status, out, reported = run(program, libdir)
            if (status, out, reported) != (0, "alive\n", expected):
                findings.append(f"{name}: status {status}, output {out!r}, report {reported}, wanted {expected}")
    return findings, len(cases)


if __name__ == "__main__":
    if not shutil.which("pkg-config"):
        print("skipped: no pkg-config")
        sys.exit(77)
    tree.finish(*main(sys.argv[1]))
