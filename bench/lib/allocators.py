"""The allocators of a run: each has a name, the path to preload ("" for glibc, which is there already) and a version.

Known names are glibc, umalloc (the library that scripts/bench builds) and the peers of Debian; any other allocator is
given as NAME=PATH. A version is the Debian package's, the commit of this tree, or the checksum of the file.

The dynamic loader goes on without a library that it cannot preload, so before anything is measured a small program tells
where its malloc and free come from.
"""
import atexit
import dataclasses
import glob
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUBJECT, BASE = "umalloc", "glibc"
PEERS = {"jemalloc": ("libjemalloc2", "libjemalloc.so.2"),
         "mimalloc": ("libmimalloc2.0", "libmimalloc.so.2"),
         "tcmalloc-minimal": ("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4"),
         "tbbmalloc": ("libtbbmalloc2", "libtbbmalloc_proxy.so.2")}
DEFAULT = (BASE, SUBJECT, *PEERS)
PEER_FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib")
NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)  # goes into tables, CSV and file names
# Settings of any allocator would change what is measured.
SETTINGS = ("LD_PRELOAD", "GLIBC_TUNABLES", "UMALLOC_", "MALLOC_", "MIMALLOC_", "TCMALLOC_", "TBB_", "BENCH_")
UNUSABLE_IN_PRELOAD = re.compile(r"[ :$]")  # ld.so(8): blanks and colons separate, and $ begins a token
# What the dynamic loader says of a program's calls where LD_DEBUG asks it (ld.so(8)).
BINDING = re.compile(r"binding file cat \[0\] to (.+) \[0\]: normal symbol `(?:malloc|free)'")
LOADER_ERROR = re.compile(r"ERROR: ld\.so: (.+)")


@dataclasses.dataclass(frozen=True)
class Allocator:
    name: str
    path: str
    version: str


def output(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def package_version(package):
    version = output("dpkg-query", "-W", "-f", "${Version}", package)
    return f"{package} {version}" if version else ""


def checksum(path):
    with open(path, "rb") as file:
        return f"{os.path.basename(path)}, sha256 {hashlib.sha256(file.read()).hexdigest()[:16]}"


def commit():
    """The commit of this tree, and whether the library's sources differ from it."""
    git = ("git", "-C", ROOT)
    changed = output(*git, "status", "--porcelain", "--", "src", "meson.build")
    return (output(*git, "rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def environment():
    """That of a process to measure."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)} | {"LC_ALL": "C"}


def refuse(why):
    """Ends for what the command line says."""
    print(why, file=sys.stderr)
    sys.exit(2)


def named(texts):
    """{name: path} of what the command line says, the default ones without; the path is "" for a known allocator."""
    found = {}
    for text in texts or DEFAULT:
        name, given, path = text.partition("=")
        if not NAME.fullmatch(name):
            refuse(f"--allocator {text}: {name!r} is no name: letters, digits and . _ + - after the first")
        if name in found:
            refuse(f"--allocator {text}: the name {name} is taken; each allocator needs its own")
        if not given and name not in DEFAULT:
            refuse(f"--allocator {text}: no allocator {name}; known are {', '.join(DEFAULT)}, others are given as NAME=PATH")
        if given and name == BASE:
            refuse(f"--allocator {text}: {BASE} is the malloc that is there without a library; give this one another name")
        if given and not os.path.isfile(path):
            refuse(f"--allocator {text}: no library {path!r}")
        found[name] = os.path.abspath(path) if given else ""
    return found


def packages(texts):
    """The Debian packages of those that are named and known."""
    return [PEERS[name][0] for name, path in named(texts).items() if name in PEERS and not path]


def known(name):
    """An allocator of that name, or None if it is not installed."""
    if name == BASE:
        return Allocator(name, "", package_version("libc6") or " ".join(platform.libc_ver()))
    if name == SUBJECT:
        path = os.environ.get("UMALLOC_LIB", os.path.join(ROOT, "build-bench", "library", "libumalloc.so"))
        return Allocator(name, os.path.abspath(path), commit()) if os.path.exists(path) else None
    package, file = PEERS[name]
    paths = [path for folder in PEER_FOLDERS for path in glob.glob(os.path.join(folder, file))]
    return Allocator(name, paths[0], package_version(package) or checksum(paths[0])) if paths else None


def preloadable(path):
    """The path, or a link to it that LD_PRELOAD takes for one name; the link goes when this process ends."""
    if not UNUSABLE_IN_PRELOAD.search(path):
        return path
    folder = tempfile.mkdtemp(prefix="umalloc-bench-", dir="/tmp")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    link = os.path.join(folder, UNUSABLE_IN_PRELOAD.sub("_", os.path.basename(path)))
    os.symlink(path, link)
    return link


def served_by(path):
    """The files that malloc and free come from in a program that preloads the path, and what the loader finds wrong."""
    env = environment() | {"LD_DEBUG": "bindings", "LD_BIND_NOW": "1"} | ({"LD_PRELOAD": path} if path else {})
    said = subprocess.run(["cat", os.devnull], env=env, capture_output=True, text=True, errors="replace").stderr
    return set(BINDING.findall(said)), " ".join(f"({error})" for error in LOADER_ERROR.findall(said))


def checked(allocator, base):
    """The allocator, if it serves a program that it is preloaded to; `base` is what serves one without."""
    serving, errors = served_by(allocator.path)
    if not serving or serving & base:
        sys.exit(f"{allocator.name}: a program that preloads {allocator.path} has malloc or free from "
                 f"{' and '.join(sorted(serving & base)) or 'nowhere'} {errors}".rstrip())
    return allocator


def chosen(texts):
    """The allocators that the command line names; without a name, the default ones that are installed. Each serves malloc."""
    base, _ = served_by("")
    if len(base) != 1 or not os.path.basename(*base).startswith("libc."):
        sys.exit(f"where nothing is preloaded malloc is not libc's but of {' and '.join(sorted(base)) or 'an unknown file'}; "
                 "does /etc/ld.so.preload name it?")
    found = []
    for name, path in named(texts).items():
        allocator = Allocator(name, path, checksum(path)) if path else known(name)
        if allocator:
            allocator = dataclasses.replace(allocator, path=preloadable(allocator.path))
            found.append(checked(allocator, base) if allocator.path else allocator)
        elif texts:
            sys.exit(f"{name} is not installed")
        else:
            print(f"left out: {name}, which is not installed", file=sys.stderr)
    return found
