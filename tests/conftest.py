"""What holds for every test: mixed array ranks raise, warnings are errors (pyproject.toml), and JAX
sees one CPU device.

Programs that one test process compiles serve all others through one cache. The cache is deleted at
the end of the session. XLA optimises only the programs of test files that run them for long.
"""

from __future__ import annotations

import atexit
import gc
import importlib.util
import json
import os
import shutil
import signal
import tempfile
from collections import Counter
from importlib import metadata
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Threads of PyTorch and OpenBLAS wait by spinning, which takes time from the other processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Test processes fill the cores, so a program is not split to be compiled by several threads.
os.environ["XLA_FLAGS"] = (
    f"--xla_cpu_parallel_codegen_split_count=1 {os.environ.get('XLA_FLAGS', '')}"
)
# Without optimisation, XLA's fusion emitters give LLVM far more code to compile than those before.
# Newer versions have no others, and end the process at a flag that they do not know.
if metadata.version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest

from tests.worlds import random_world

jax.config.update("jax_numpy_rank_promotion", "raise")
# A job in the background of a shell ignores Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What the test files import stays: to look for garbage in it takes half the time of collecting.
gc.disable()

_ROOT = Path(__file__).parents[1]
_DURATIONS_FILE = Path(__file__).with_name("durations.json")
_MOST_PROCESSES = 4
_seconds: Counter[str] = Counter()  # of each test file in this session


def pytest_addoption(parser):
    parser.addoption(
        "--store-durations",
        action="store_true",
        help="write how long each test file took to tests/durations.json",
    )


def pytest_configure(config):
    """Import the large packages before test processes do, all of which would compile them to
    bytecode at the same time.
    """
    is_first = bool(config.getoption("numprocesses", None))
    if is_first or hasattr(config, "workerinput"):
        importlib.import_module("tests.preloaded")
    # Test processes import it only where a test needs it.
    if is_first and importlib.util.find_spec("torch"):
        importlib.import_module("torch")


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers(config) -> int:
    """One process more than cores, as tests also wait for files and for other processes."""
    return min(_MOST_PROCESSES, len(os.sched_getaffinity(0)) + 1)


def pytest_collection_modifyitems(items):
    """The longest files start first, so that no process works on one alone at the end.

    A file that was never measured starts before all others.
    """
    durations = json.loads(_DURATIONS_FILE.read_text())
    unknown = max(durations.values(), default=0)

    def seconds(item) -> float:
        return durations.get(str(item.path.relative_to(_ROOT)), unknown)

    items.sort(key=lambda item: -seconds(item))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """From here on, garbage is looked for, but only among what tests make."""
    gc.freeze()
    gc.enable()


def pytest_runtest_logreport(report):
    _seconds[report.location[0]] += report.duration


def pytest_sessionfinish(session):
    if not session.config.getoption("--store-durations") or hasattr(session.config, "workerinput"):
        return
    measured = {file: round(seconds, 1) for file, seconds in _seconds.items()}
    known = json.loads(_DURATIONS_FILE.read_text()) | measured
    existing = {file: known[file] for file in sorted(known) if (_ROOT / file).exists()}
    _DURATIONS_FILE.write_text(json.dumps(existing, indent=1) + "\n")


@pytest.fixture(scope="module", autouse=True)
def compile_time(request):
    """Most programs of tests run for milliseconds, and optimising them takes seconds.

    The programs of files marked `optimized` run for longer than it takes to optimise them. Other
    files have programs of their own, for these may add up in another order.
    """
    is_optimized = request.node.get_closest_marker("optimized") is not None
    jax.config.update("jax_disable_most_optimizations", not is_optimized)
    if is_optimized:
        jax.clear_caches()
    yield
    if is_optimized:
        jax.clear_caches()


@pytest.fixture
def world(tmp_path):
    """A small random World of 60 users and 40 items."""
    return random_world(tmp_path / "world")
