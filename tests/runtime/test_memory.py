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
memory._HUGE_PAGES = Path(sys.argv[1])
memory.use_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("always [madvise] never", {}, "glibc.malloc.hugetlb=1"),
        ("always [madvise] never", {"GLIBC_TUNABLES": "mine"}, "mine"),
        ("[always] madvise never", {}, None),
        (None, {}, None),  # a kernel without them
    ],
)
def test_programs_start_again_where_huge_pages_are_given_on_request(
    tmp_path, system, variables, expected
):
    file = tmp_path / "enabled"
    if system is not None:
        file.write_text(system)
    inherited = {name: text for name, text in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", RESTART, file, "--run", "a b"]
    done = subprocess.run(
        command, cwd=ROOT, env=inherited | variables, check=True, capture_output=True, text=True
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
