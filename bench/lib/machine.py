"""What a reader must know of the machine and the run to judge the figures: the head of each CSV."""
import datetime
import os
import platform
import subprocess


def line_of(path, key=""):
    """What follows the colon in the first line that starts with the key; without a key, the first line."""
    try:
        with open(path, encoding="utf-8") as text:
            for line in text:
                if line.startswith(key):
                    return (line.split(":", 1)[1] if key else line).strip()
    except OSError:
        pass
    return "unknown"


def compiler():
    try:
        return subprocess.run([os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return "unknown"


def describe():
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "cpu": line_of("/proc/cpuinfo", "model name"),
            "cpus": str(len(os.sched_getaffinity(0))),
            "virtual": "yes" if " hypervisor" in line_of("/proc/cpuinfo", "flags") else "no",
            "memory": line_of("/proc/meminfo", "MemTotal"),
            "kernel": platform.release(),
            "libc": " ".join(platform.libc_ver()),
            "compiler": compiler(),
            "governor": line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            "transparent_hugepage": line_of("/sys/kernel/mm/transparent_hugepage/enabled"),
            "load": " ".join(f"{load:.2f}" for load in os.getloadavg())}
