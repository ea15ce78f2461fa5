"""Runs share one cache of compiled programs, which survives killed processes and full homes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from socialrec_jax.runtime import compilation_cache
from tests.workers import fresh_python

NAMES = ("JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE")
COMPILING = """
import sys
from pathlib import Path
from socialrec_jax.runtime.cli import prepare_jax
prepare_jax(Path(sys.argv[1]))
import jax
from socialrec_jax.runtime.timeline import timeline
jax.jit(lambda x: x * 3 + 1)(2.0)
print(timeline.to_json()["stages"][0]["compiled"])
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user without settings; what a test sets is forgotten."""
    for name in NAMES:
        # First set, so that monkeypatch restores what use_cache sets.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_tests_write_into_no_cache_of_the_user():
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert folder != compilation_cache.user_folder()


def test_all_runs_share_the_folder_of_the_user(home, tmp_path):
    compilation_cache.use_cache(tmp_path / "run")
    folder = home / "socialrec_jax" / "xla"
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o077 == 0, "for this user alone"
    assert not (tmp_path / "run").exists()


def test_a_second_process_compiles_nothing(home, tmp_path):
    compiled = [fresh_python("-c", COMPILING, tmp_path / f"run{n}") for n in range(2)]
    assert [ended.code for ended in compiled] == [0, 0], compiled[0].errors
    first, second = (int(ended.output) for ended in compiled)
    assert first > 0
    assert second == 0


def test_the_variable_of_the_user_wins(home, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    compilation_cache.use_cache(tmp_path / "run")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
    assert "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ, "nor is that folder limited"
    assert not home.exists()


def test_a_home_that_cannot_be_written(home, tmp_path, capsys):
    home.write_text("a file where the folder should be")
    compilation_cache.use_cache(tmp_path / "run")
    folder = str(tmp_path / "run" / "cache" / "xla")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == folder
    line = capsys.readouterr().out
    assert folder in line
    assert line.count("\n") == 1


def write_entry(folder: Path, name: str, used_at: int) -> None:
    """An entry as JAX writes it."""
    (folder / f"{name}-cache").write_bytes(b"program")
    time_of_use = folder / f"{name}-atime"
    time_of_use.write_bytes(used_at.to_bytes(8, "little"))
    os.utime(time_of_use, (used_at, used_at))


def entries(folder: Path) -> set[str]:
    return {path.name.removesuffix("-cache") for path in folder.glob("*-cache")}


def test_entries_of_killed_processes_are_deleted(tmp_path):
    write_entry(tmp_path, "whole", used_at=1)
    (tmp_path / "cut-cache").write_bytes(b"prog")
    compilation_cache.clean(tmp_path)
    assert entries(tmp_path) == {"whole"}


def test_the_entries_that_were_used_last_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "_MOST_ENTRIES", 2)
    for used_at, name in enumerate(["newer", "newest", "oldest"], start=10):
        write_entry(tmp_path, name, used_at=used_at if name != "oldest" else 1)
    compilation_cache.clean(tmp_path)
    assert entries(tmp_path) == {"newer", "newest"}
    assert len(list(tmp_path.glob("*-atime"))) == 2


def test_the_files_are_those_that_jax_writes(home, tmp_path):
    """So that cleaning finds them."""
    fresh_python("-c", COMPILING, tmp_path / "run")
    folder = compilation_cache.user_folder()
    assert folder is not None
    assert entries(folder)
    assert len(entries(folder)) == len(list(folder.glob("*-atime")))
    assert (folder / compilation_cache._LOCK).exists()
