"""The walls of the house: who may import whom, who may say pmap, and how long a file may get."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "socialrec_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = [ROOT / "train.py", ROOT / "serve.py", *sorted((ROOT / "benchmarks").rglob("*.py"))]

LEGEND = {"errors", "shapes", "config"}
MACHINERY = {"parallel", "processes", "run", "checkpoint", "environment", "pretrained"}
ROOMS = {  # room -> rooms that it may import
    "errors": set(),
    "shapes": set(),
    "config": {"errors"},
    "batch": {"shapes"},
    "parallel": LEGEND | {"processes"},
    "processes": LEGEND,
    "run": LEGEND,
    "checkpoint": LEGEND | {"parallel", "processes", "run"},
    "pretrained": LEGEND | {"run", "data", "models"},
    "environment": {"parallel"},
    "allocator": set(),
    "cli": {"errors"},
    "data": LEGEND | {"batch"},
    "models": LEGEND | {"batch"},
    "training": LEGEND | MACHINERY | {"batch", "data", "models"},
    "serving": LEGEND | MACHINERY | {"batch", "data", "models"},
    "evaluation": LEGEND | MACHINERY | {"batch", "data", "models", "serving"},
    "text_stage": LEGEND | MACHINERY | {"batch", "data", "models", "training"},
    "stages": LEGEND | MACHINERY | {"batch", "data", "models", "training", "serving", "evaluation"},
    "pipeline": LEGEND
    | MACHINERY
    | {"batch", "data", "models", "training", "serving", "evaluation", "stages"},
}
HEAVY = {"jax", "flax", "optax", "orbax", "jraph", "transformers"}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.parent != PACKAGE or f.name != "__init__.py"], ids=str
)
def test_a_room_imports_only_rooms_before_it(file):
    room = room_of(file)
    used = {name.split(".")[1] for name in imports_of(file) if name.startswith("socialrec_jax.")}
    assert used <= ROOMS[room] | {room}, f"{file} imports {used - ROOMS[room] - {room}}"


@pytest.mark.parametrize("file", [f for f in FILES if room_of(f) == "data"], ids=str)
def test_data_is_numpy_and_duckdb(file):
    heavy = (
        HEAVY - {"transformers"} if file.name == "tokenizer.py" else HEAVY
    )  # a tokenizer needs no JAX
    assert not {name.split(".")[0] for name in imports_of(file)} & heavy


@pytest.mark.parametrize("file", [f for f in FILES if room_of(f) == "models"], ids=str)
def test_models_touch_no_files(file):
    assert not {name.split(".")[0] for name in imports_of(file)} & {
        "pathlib",
        "os",
        "io",
        "json",
        "duckdb",
    }


@pytest.mark.parametrize(
    "file", [f for f in [*FILES, *SCRIPTS] if f.name != "parallel.py"], ids=str
)
def test_devices_are_named_in_parallel_alone(file):
    code = re.sub(r'"""(?s:.*?)"""|#.*', "", file.read_text())
    said = re.findall(r"\b(?:pmap|psum|pmean|all_gather|all_to_all|axis_name|axis_index)\b", code)
    assert not said, f"{file} says {set(said)}"


@pytest.mark.parametrize(
    "file", [*FILES, *SCRIPTS, *sorted((ROOT / "tests").rglob("*.py"))], ids=str
)
def test_no_file_outgrows_a_reader(file):
    assert len(file.read_text().splitlines()) <= 400


def test_nothing_imports_the_scripts():
    for file in FILES:
        assert not {name.split(".")[0] for name in imports_of(file)} & {
            "train",
            "serve",
            "benchmarks",
            "tests",
        }
