"""A signal ends a program with one line and its own code, wherever it comes."""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import signal
import subprocess
import sys
import time

import pytest

from socialrec_jax.errors import INTERRUPTED, TERMINATED
from socialrec_jax.runtime import cli
from socialrec_jax.runtime.signals import EXIT_CODES, SignalExit, SignalWatch
from tests.workers import ROOT

SIGNALS = [(signal.SIGTERM, TERMINATED, "terminated"), (signal.SIGINT, INTERRUPTED, "interrupted")]


@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
def test_a_program_ends_with_one_line(capsys, number, code, line):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end:
        cli.main(lambda _: signal.raise_signal(number), [])
    assert end.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
    assert signal.getsignal(number) is before


def test_an_error_that_a_library_makes_of_a_signal_is_the_signal(capsys):
    def importing(_) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    with pytest.raises(SystemExit) as end:
        cli.main(importing, ["--debug"])
    assert end.value.code == INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_a_signal_while_garbage_is_collected_is_not_lost(capsys):
    """Python ignores exceptions in callbacks of the collector, and JAX has such a callback."""
    kills = iter([signal.SIGTERM])

    def collected(*_) -> None:
        for number in kills:
            signal.raise_signal(number)

    def working(_) -> None:
        gc.collect()
        time.sleep(10)

    gc.callbacks.append(collected)
    try:
        with pytest.raises(SystemExit) as end:
            cli.main(working, [])
    finally:
        gc.callbacks.remove(collected)
    assert end.value.code == TERMINATED
    assert capsys.readouterr().err.count("\n") == 1


def test_a_signal_in_an_import_comes_after_it(tmp_path, monkeypatch, capsys):
    """A library prints what ends its imports, or goes on without what it imports."""
    code = """import signal
is_interrupted = True
signal.raise_signal(signal.SIGTERM)
is_interrupted = False
"""
    (tmp_path / "slowly_imported.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)

    def working(_) -> None:
        module = importlib.import_module("slowly_imported")
        assert not module.is_interrupted
        time.sleep(10)

    with pytest.raises(SystemExit) as end:
        cli.main(working, [])
    assert end.value.code == TERMINATED
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
def test_imports_end_with_one_line(number, code, line):
    importing = (
        "from socialrec_jax.runtime.signals import exit_at_once; exit_at_once(); "
        f"import signal; signal.raise_signal({int(number)})"
    )
    ended = subprocess.run([sys.executable, "-c", importing], cwd=ROOT, capture_output=True)
    assert ended.returncode == code
    assert ended.stderr.decode().startswith(line)
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("program", ["train.py", "serve.py"])
def test_programs_handle_signals_before_they_import(program):
    """Another import before it would be seconds in which Ctrl-C shows a traceback."""
    _docstring, future, first, *_ = ast.parse((ROOT / program).read_text()).body
    assert ast.unparse(future) == "from __future__ import annotations"
    assert "exit_at_once()" in ast.unparse(first)
    assert ("use_huge_pages()" in ast.unparse(first)) == (program == "train.py")


@pytest.mark.parametrize("watch", [SignalWatch, SignalExit])
def test_a_second_signal_is_the_system_s(watch):
    with watch() as signals:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            assert watch is SignalExit
        assert signals.received == signal.SIGTERM
        assert [signal.getsignal(number) for number in EXIT_CODES] == [signal.SIG_DFL] * 2


def test_a_signal_that_nobody_took_note_of_ends_the_program(capsys):
    """Of a training loop whose last step was done."""

    def training(_) -> None:
        with SignalWatch():
            signal.raise_signal(signal.SIGTERM)
        pytest.fail("the program goes on")

    with pytest.raises(SystemExit) as end:
        cli.main(training, [])
    assert end.value.code == TERMINATED
    assert capsys.readouterr().err.startswith("terminated")


def test_a_loop_hears_of_a_signal_that_a_library_swallowed():
    with SignalExit():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with SignalWatch() as signals:
            assert signals.received == signal.SIGTERM


def test_ignored_signals_stay_ignored():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with SignalWatch() as signals:
            signal.raise_signal(signal.SIGINT)
        assert not signals.received
    finally:
        signal.signal(signal.SIGINT, former)
