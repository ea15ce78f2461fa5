"""The rooms of the benchmarks: which may import which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import workers

FOLDER = Path(__file__).parents[2] / "benchmarks"

# What each room may import, by the first letters of the module's name.
ALLOWED = {
    "harness": (
        "benchmarks.harness",
        "socialrec_jax.config",
        "socialrec_jax.data",
        "socialrec_jax.errors",
        "socialrec_jax.runtime",
        "socialrec_jax.shapes",
    ),
    "output": (
        "benchmarks.harness.schema",
        "benchmarks.harness.statistics",
        "benchmarks.output",
        "socialrec_jax.reports",
    ),
    "work": ("benchmarks.harness", "benchmarks.work", "socialrec_jax"),
    "suites": ("benchmarks.harness", "benchmarks.work", "socialrec_jax"),
    "peers": (),
}


def imports_of(file: Path) -> set[str]:
    """Full names of what a file imports from this repository."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith(("benchmarks", "socialrec_jax"))}


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_it_may_know(room):
    for file in (FOLDER / room).rglob("*.py"):
        unknown = {name for name in imports_of(file) if not name.startswith(ALLOWED[room])}
        assert not unknown, file


def test_reading_results_needs_no_jax():
    modules = "benchmarks.output.report, benchmarks.output.compare, benchmarks.output.studies"
    code = f"import sys, {modules}; assert 'jax' not in sys.modules"
    ended = workers.fresh_python("-c", code)
    assert ended.code == 0, ended.errors
