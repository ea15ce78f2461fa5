"""The walls of the house: who may import whom, and how large things may become.

Imports are read from the source, those inside functions included, so that nothing is imported here.
The rooms are the folders and files of `socialrec_jax/`; docs/architecture.md describes them.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "socialrec_jax"
MAIN_FILES = sorted(PACKAGE.rglob("__main__.py"))  # of `python -m`: programs, too
PACKAGE_FILES = sorted(set(PACKAGE.rglob("*.py")) - set(MAIN_FILES))
BENCHMARK_FILES = sorted((ROOT / "benchmarks").rglob("*.py"))
PROGRAM_FILES = [ROOT / "train.py", ROOT / "serve.py", *MAIN_FILES, *BENCHMARK_FILES]
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

# A room may import rooms of lower floors only.
FLOORS = [
    {"config", "errors", "files", "checksums", "shapes", "batch"},
    {"data", "models", "runtime"},
    {"training", "inference", "reports"},
    {"evaluation"},
    {"pipeline", "serving"},
    {"__init__", "programs"},  # the library's front door and the console scripts
]
# Rooms of one floor that may import each other after all, and why.
NEIGHBOURS = {
    ("config", "errors"): "a setting out of range is a usage error",
    ("checksums", "errors"): "a file that is not what was written is an error with its own code",
    ("checksums", "files"): "a manifest is written whole or not at all",
    ("files", "errors"): "a file that cannot be written is an error with its own code",
    ("batch", "shapes"): "arrays of a batch are declared with the dimensions' names",
}
JAX = {"jax", "flax", "optax", "orbax", "jraph"}
FILE_MODULES = {"pathlib", "os", "io", "json", "duckdb"}
DEVICE_NAMES = {
    *("pmap", "shard_map", "axis_name", "axis_index"),
    *("psum", "pmean", "ppermute", "all_gather", "all_to_all"),
}


def floor_of(room: str) -> int:
    (floor,) = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    return floor


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@functools.cache
def modules_imported_by(file: Path) -> frozenset[str]:
    """Dotted names that a file imports; of `from a import b` both a and a.b."""
    names = set()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@functools.cache
def files_imported_by(file: Path) -> frozenset[Path]:
    """Files of the package that a file imports."""
    candidates = set()
    for name in modules_imported_by(file):
        path = ROOT.joinpath(*name.split("."))
        candidates |= {path.with_suffix(".py"), path / "__init__.py"}
    # Every import runs the package's own __init__.py, which imports nothing itself.
    return frozenset(candidates & set(PACKAGE_FILES) - {PACKAGE / "__init__.py"})


def reach(starts: list[Path]) -> set[Path]:
    """Files that are imported directly or indirectly, the starts included."""
    reached, waiting = set(), list(starts)
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            waiting += files_imported_by(file)
    return reached


def files_in(*folders: str) -> list[Path]:
    return [f for f in PACKAGE_FILES for folder in folders if f.is_relative_to(PACKAGE / folder)]


def libraries_imported_by(files: Iterator[Path] | set[Path] | list[Path]) -> set[str]:
    """First parts of all names that files import."""
    return {name.split(".")[0] for file in files for name in modules_imported_by(file)}


def shown(files) -> list[str]:
    return sorted(str(file.relative_to(ROOT)) for file in files)


def test_a_room_imports_only_rooms_of_lower_floors():
    climbing = []
    for file in PACKAGE_FILES:
        room = room_of(file)
        for other in {room_of(imported) for imported in files_imported_by(file)} - {room}:
            if floor_of(other) >= floor_of(room) and (room, other) not in NEIGHBOURS:
                climbing.append((str(file.relative_to(ROOT)), other))
    assert not climbing
    programs = {"train", "serve", "benchmarks", "tests"}
    assert not libraries_imported_by(PACKAGE_FILES) & programs, "nothing imports the programs"

    for room, stranger in (("serving", "pipeline"), ("pipeline", "serving")):
        reached = {room_of(file) for file in reach(files_in(room))}
        assert stranger not in reached, f"{room} knows {stranger}"


def test_no_file_imports_itself_indirectly():
    circles = [file for file in PACKAGE_FILES if file in reach(list(files_imported_by(file)))]
    assert not shown(circles)


def test_libraries_stay_in_their_rooms():
    prepare = reach(files_in("data/prepare"))
    assert not libraries_imported_by(prepare) & JAX, shown(prepare)
    assert not libraries_imported_by(files_in("data")) & JAX, "batches of the data are numpy arrays"

    check = reach([PACKAGE / "data" / "__main__.py"])
    assert not libraries_imported_by(check) & JAX, "a check of tables takes a second"

    inference = reach(files_in("inference"))
    assert "optax" not in libraries_imported_by(inference), shown(inference)
    assert "training" not in {room_of(file) for file in inference}


def test_models_touch_no_files():
    assert not libraries_imported_by(files_in("models")) & FILE_MODULES


def test_devices_are_named_in_parallel_alone():
    naming = {
        file: sorted(found)
        for file in [*PACKAGE_FILES, *PROGRAM_FILES]
        if file != PACKAGE / "runtime" / "parallel.py" and (found := device_names_in(file))
    }
    assert not {str(file.relative_to(ROOT)): names for file, names in naming.items()}


def device_names_in(file: Path) -> set[str]:
    """Names of JAX's device functions in a file; `parallel.NAME` is the project's own function."""
    found = set()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Attribute):
            through_parallel = isinstance(node.value, ast.Name) and node.value.id == "parallel"
            found |= set() if through_parallel else {node.attr}
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.name)
        elif isinstance(node, ast.keyword):
            found.add(node.arg)
    return found & DEVICE_NAMES


def test_files_functions_and_vocabulary_stay_readable():
    files = [*PACKAGE_FILES, *PROGRAM_FILES, *TEST_FILES]
    problems = [f"{file}: over 300 lines" for file in shown(filter(is_long, files))]

    lengths = sorted(length for file in PACKAGE_FILES for length in function_lengths(file))
    if (percentile_90 := lengths[int(0.9 * len(lengths))]) >= 16:
        problems.append(f"a tenth of all functions has {percentile_90} lines or more")

    loop = reach([PACKAGE / "training" / "loop.py"])
    if len(loop) > 25 or sum(map(number_of_lines, loop)) > 3000:
        problems.append(f"training/loop.py reaches {len(loop)} files: {shown(loop)}")

    this_list = Path(__file__).resolve()
    for file in [*files, *DOCUMENTS]:
        if file.resolve() != this_list and (words := private_words_in(file)):
            problems.append(f"{file.relative_to(ROOT)}: {', '.join(sorted(words))}")
    assert not problems, "\n".join(problems)


def is_long(file: Path) -> bool:
    return number_of_lines(file) > 300


def private_words_in(file: Path) -> set[str]:
    words = {word.lower() for word in PRIVATE_WORDS.findall(file.read_text())}
    return words | (names_defined_in(file) & PRIVATE_NAMES if file.suffix == ".py" else set())


def number_of_lines(file: Path) -> int:
    return len(file.read_text().splitlines())


def function_lengths(file: Path) -> Iterator[int]:
    """Lines of each function, without its docstring."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            has_docstring = ast.get_docstring(node, clean=False) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
            yield (node.end_lineno or 0) - node.lineno + 1 - docstring


def names_defined_in(file: Path) -> set[str]:
    """Functions, classes, parameters and variables that a file defines."""
    names = set()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


# Words that once stood for standard terms and must not come back, anywhere in code and documents.
PRIVATE_WORDS = re.compile(
    r"(?i)(?<![A-Za-z])(?:"
    r"asking|asked|laydown|lay_out|deeds?|neighbourhood|told|"
    r"ItemCosine|item cosine|strongest|CountRegression|chances|rivals?|"
    r"judged|judgements?|judgments?|strangers?|small[ _-]?worlds?|residence|dealt|"
    r"first_says|logbook|yardsticks?|contests?|ours|theirs"
    r")(?![A-Za-z])"
)
# Ordinary words that once named things of this code. They may be used in text, but name nothing.
PRIVATE_NAMES = {
    *("Questions", "Queries", "moments", "moment", "Plan", "company", "deal"),
    *("Signals", "Looked", "looked", "Deeds", "Finder", "propose", "Ranking", "Ranked"),
    *("judge", "Slots", "slots", "fill", "Standing", "standing", "Noise", "mix"),
    *("resolve", "meet", "exchange", "likeness", "questions"),
}
