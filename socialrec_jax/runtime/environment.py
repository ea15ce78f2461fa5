"""What a result was measured on: devices, versions, processor, commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from socialrec_jax.runtime import parallel
from socialrec_jax.runtime.versions import versions


def environment() -> dict:
    """Devices, package versions, processor and git commit (None outside a checkout)."""
    program, *arguments = sys.argv
    return {
        "devices": parallel.device_kinds(),
        "processes": parallel.process()[1],
        "cpu": _cpu(),
        "cores": _cores(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "commit": _commit(),
        "command": " ".join([Path(program).name, *arguments]),
    }


def _cores() -> int | None:
    """Cores that this process may use, where the system can say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu() -> str:
    """The processor's name; Linux alone says it in /proc."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    # Other architectures have no model name there.
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _commit() -> str | None:
    # "-dirty" at the end says that files differ from the commit.
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    folder = Path(__file__).parent
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
