"""The allocators of a run: each has a name, the path to preload ("" for glibc, which is there already) and a version.

Known names are glibc, umalloc (the library that scripts/bench builds) and the peers of Debian; any other allocator is
given as NAME=PATH. A version is the Debian package's, the commit of this tree, or the checksum of the file.
"""
import dataclasses
import glob
import hashlib
import os
import platform
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUBJECT, BASE = "umalloc", "glibc"
PEERS = {"jemalloc": ("libjemalloc2", "libjemalloc.so.2"),
         "mimalloc": ("libmimalloc2.0", "libmimalloc.so.2"),
         "tcmalloc-minimal": ("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4"),
         "tbbmalloc": ("libtbbmalloc2", "libtbbmalloc_proxy.so.2")}
DEFAULT = (BASE, SUBJECT, *PEERS)
PEER_FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib")


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


def packages(names):
    """The Debian packages of those that are named and known."""
    return [PEERS[name][0] for name in names or DEFAULT if name in PEERS]


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


def chosen(names):
    """The allocators that the command line names; without a name, the default ones that are installed."""
    found = {}
    for text in names or DEFAULT:
        name, given, path = text.partition("=")
        if given:
            if not os.path.isfile(path):
                sys.exit(f"no library {path}")
            path = os.path.abspath(path)
            found[name] = Allocator(name, path, checksum(path))
        elif name not in DEFAULT:
            sys.exit(f"no allocator {name}; known are {', '.join(DEFAULT)}, others are given as NAME=PATH")
        elif allocator := known(name):
            found[name] = allocator
        elif names:
            sys.exit(f"{name} is not installed")
        else:
            print(f"left out: {name}, which is not installed", file=sys.stderr)
    return list(found.values())
