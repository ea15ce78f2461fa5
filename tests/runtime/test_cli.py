"""Commands in an odd environment: another encoding of file names, no room on the disk."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata

import pytest

import socialrec_jax
from socialrec_jax.errors import DISK, DiskError, PeerStopped
from socialrec_jax.files import writing
from socialrec_jax.runtime import cli
from tests.workers import ROOT, fresh_python

PROGRAMS = [["train.py"], ["serve.py"], ["-m", "benchmarks"], ["-m", "socialrec_jax.data"]]


def test_a_locale_without_utf8_reads_names_as_utf8(tmp_path):
    folder = tmp_path / "käufe"
    folder.mkdir()
    rows = [f"zoë{n % 3},tür{n % 5},{1600000000 + n}" for n in range(9)]
    (folder / "events.csv").write_text("\n".join(["user,item,timestamp", *rows]), encoding="utf-8")
    odd = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "socialrec_jax.data", "check", folder, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | odd, capture_output=True)
    said = done.stdout.decode("utf-8")
    assert '"event": 9' in said, done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError("38035 requested and 20352 written"),
        OSError(27, "File too large", "there"),
    ],
)
def test_no_room_names_the_file(error, tmp_path):
    with (
        pytest.raises(DiskError, match=r"cannot write .*(column|there)"),
        writing(tmp_path / "column"),
    ):
        raise error


def test_an_engine_without_room_is_no_lack_of_memory():
    full = RuntimeError("Out of Memory Error: could not write block: No space left on device")
    assert cli._exit_code_and_message(full)[0] == DISK


def test_an_error_about_a_dead_process_is_no_internal_error():
    text = "UNAVAILABLE: Connection reset by peer, calling /xla.CoordinationService/GetKeyValue"
    code, line = cli._exit_code_and_message(RuntimeError(text))
    assert code == PeerStopped.code
    assert line.startswith("another process of this job has ended")


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_every_program_says_its_version_without_jax(program):
    ended = fresh_python("-X", "importtime", *program, "--version")
    assert ended.code == 0
    rows = dict(line.split(" ", 1) for line in ended.output.splitlines())
    assert rows["socialrec_jax"] == socialrec_jax.__version__
    assert (rows["jax"], rows["jaxlib"]) == (metadata.version("jax"), metadata.version("jaxlib"))
    assert platform.python_version() in rows["platform"]
    # Python names each module that it imports, behind how long that took.
    imported = {line.rpartition("|")[2].strip() for line in ended.errors.splitlines()}
    assert "socialrec_jax" in imported
    assert not imported & {"jax", "jaxlib"}
