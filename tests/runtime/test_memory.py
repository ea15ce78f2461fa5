"""Memory that is freed and taken again is not mapped again; programs want huge pages."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tests.workers import ROOT, TIMEOUT

KEEP = """
from socialrec_jax.runtime.memory import keep_freed_memory, release_freed_memory
keep_freed_memory()
"""
# Without huge pages (PR_SET_THP_DISABLE): how many are to be had changes from moment to moment.
TURNS = """
import ctypes, resource
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
RESIDENT = """
np.ones(10_000_000)
for _ in range(2):
    print(open("/proc/self/statm").read().split()[1])
    release_freed_memory()
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


RESTART = """
import os, sys
from pathlib import Path
from socialrec_jax.runtime import memory
memory._HUGE_PAGES = Path("enabled")
memory.use_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:])
"""
RUN_SCRIPT = """
import runpy, sys
sys.argv = ['script.py', *sys.argv[1:]]
runpy.run_path('script.py')
"""
WANTED = "glibc.malloc.hugetlb=1"


@pytest.mark.parametrize(
    ("command", "system", "variables", "expected"),
    [
        (["script.py"], "always [madvise] never", {}, WANTED),
        (["-m", "package"], "always [madvise] never", {}, WANTED),
        # A program that runs it must not be started again in its place.
        (["-c", RUN_SCRIPT], "always [madvise] never", {}, None),
        (["script.py"], "always [madvise] never", {"GLIBC_TUNABLES": "mine"}, "mine"),
        (["script.py"], "[always] madvise never", {}, None),
        (["script.py"], None, {}, None),  # a kernel without them
    ],
)
def test_programs_start_again_where_huge_pages_are_given_on_request(
    tmp_path, command, system, variables, expected
):
    (tmp_path / "package").mkdir()
    for file in ("script.py", "package/__main__.py"):
        (tmp_path / file).write_text(RESTART)
    if system is not None:
        (tmp_path / "enabled").write_text(system)
    inherited = {name: text for name, text in os.environ.items() if name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, *command, "--run", "a b"],
        cwd=tmp_path,
        env=inherited | {"PYTHONPATH": str(ROOT)} | variables,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{expected} ['--run', 'a b']\n"


def output(*lines: str, **variables: str) -> list[int]:
    """The numbers that a program prints which no MALLOC_ variables but these reach."""
    place = {
        name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")
    } | variables
    command = [sys.executable, "-c", "\n".join(["import numpy as np", *lines])]
    done = subprocess.run(
        command, cwd=ROOT, env=place, check=True, capture_output=True, timeout=TIMEOUT
    )
    return [int(number) for number in done.stdout.split()]


def test_freed_memory_is_kept_unless_the_user_says_otherwise():
    (mapped,) = output(TURNS)
    assert output(KEEP, TURNS)[0] < mapped / 10, "80 MB that were freed are there to be taken again"
    assert output(KEEP, TURNS, MALLOC_ARENA_MAX="8")[0] > mapped / 2


def test_kept_memory_can_be_released():
    kept, left = output(KEEP, RESIDENT)
    assert left < kept - 15_000, "80 MB are 19,531 pages"
