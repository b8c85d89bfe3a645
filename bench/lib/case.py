"""One case of the suite: a program, what it needs, and how it is run. The lists are bench/own.py and bench/real.py.

A case prints figures, one "name value" a line: `ns` (an operation) or `seconds` is the time that is compared, else the
driver takes the wall time; `ops`, `cpu_s`, `peak_kib` and any others are kept. A line "series NAME x y" is a point of a
curve: RSS over time (`series rss_mib seconds mib`), latency (`series malloc_ns 99.9 72`).
"""
import dataclasses
from collections.abc import Callable

GROUPS = ("small", "medium", "large", "threads", "memory", "process", "real", "latency")


@dataclasses.dataclass(frozen=True)
class Case:
    """What the driver knows of a case; `work` is the folder of compiled programs and generated inputs."""
    name: str                                  # unique, e.g. "tight 64", "redis get/set"
    group: str                                 # one of GROUPS
    prepare: Callable[[str], None]             # prepare(work): compiles or generates into work; idempotent, cheap when done
    command: Callable[[str, bool], list[str]]  # command(work, quick): argv; quick is a run of well under a second
    heavy: bool = True                         # allocation-heavy: counts in the geometric mean of time
    # False: the driver runs argv under LD_PRELOAD and takes wall time, cpu time and peak RSS by wait4. True: argv runs
    # without preload and with BENCH_PRELOAD=path ("" for glibc) in its environment; it starts the measured process
    # itself (a server and its client, say) and prints seconds, cpu_s and peak_kib.
    script: bool = False
    packages: tuple[str, ...] = ()             # Debian packages the case needs
    missing: Callable[[], str] | None = None   # why the case cannot run here, or ""
