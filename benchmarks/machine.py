"""Describe the measured machine in one line, with the facts that a ratio may depend on."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """Return CPU model, cores, Python and kernel."""
    cores = len(os.sched_getaffinity(0))
    return f"{_cpu()}, {cores} cores, Python {platform.python_version()}, {platform.system()} {platform.release()}"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
