"""Programs that tests run in processes of their own.

A process boundary is the point of some tests: JAX fixes the number of devices when it starts, a run
is killed, several processes train together. All these processes are forked from one server that has
imported the heavy libraries already, so that a start takes milliseconds instead of five seconds.

A worker is a module that is run with a folder to write to; `run` starts it, and `options` is its
first line. `call` runs train.py or serve.py in this process, where no boundary is the point.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]
TIMEOUT = 900  # seconds: stops a process that hangs, and never one that is slow

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


def run(module: str, folder: Path, devices: int, *more: str, processes: int = 1) -> list[str]:
    """Run a worker in some processes with so many devices each: see `launch`."""
    return launch("-m", module, folder, "--devices", devices, *more, processes=processes)


def launch(*command, processes: int = 1, devices: int = 1) -> list[str]:
    """What each of the processes prints that run Python's command together; all must succeed.

    `{process}` in an argument stands for the number of the process.
    """
    started = start_together(*command, processes=processes, devices=devices)
    try:
        ended = [process.wait() for process in started]
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
    failures = [end.errors[-3000:] for end in ended if end.code]
    assert not failures, "\n".join(failures)
    return [end.output for end in ended]


def start_together(*command, processes: int, devices: int = 1) -> list[Process]:
    """The processes of `launch`, which run on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    started = []
    for number in range(processes):
        words = [str(part).replace("{process}", str(number)) for part in command]
        started.append(Process(*words, devices=devices, **_cluster(port, processes, number)))
    return started


def _cluster(port: int, processes: int, number: int) -> dict[str, str]:
    """The variables that tell a process about the others."""
    if processes == 1:
        return {}
    address = f"127.0.0.1:{port}"
    return {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(number),
    }


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code and what it printed."""

    code: int
    output: str
    errors: str


class Process:
    """A running `python COMMAND`, where the command is a script, `-m MODULE` or `-c CODE`."""

    def __init__(self, *command, devices: int = 1, **environment: str):
        words = [str(part) for part in command]
        receiver, sender = _CONTEXT.Pipe(duplex=False)
        errors, self._errors = tempfile.mkstemp(prefix="errors-")
        os.close(errors)
        settings = _jax_settings(devices, environment)
        arguments = (sender, self._errors, words, settings, environment)
        self._process = _CONTEXT.Process(target=_child, args=arguments, daemon=True)
        self._process.start()
        sender.close()
        self.output = os.fdopen(os.dup(receiver.fileno()))
        receiver.close()

    def is_running(self) -> bool:
        return self._process.is_alive()

    def send_signal(self, number: int) -> None:
        if self._process.is_alive() and self._process.pid:
            # It may end between the question and the signal.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def wait(self, timeout: float = TIMEOUT) -> Ended:
        """Wait for its end; it is killed after timeout seconds."""
        guard = threading.Timer(timeout, self.send_signal, [signal.SIGKILL])
        guard.start()
        with self.output:
            output = self.output.read()
        self._process.join()
        guard.cancel()
        errors = Path(self._errors).read_text()
        os.unlink(self._errors)
        return Ended(self._process.exitcode or 0, output, errors)


def _jax_settings(devices: int, environment: dict[str, str]) -> dict[str, int | bool]:
    """JAX's settings in a new process. It has imported JAX already, which reads variables once."""
    return {
        "jax_num_cpu_devices": devices,
        "jax_log_compiles": environment.get("JAX_LOG_COMPILES") == "1",
        # Programs are compiled as in the process that starts this one.
        "jax_disable_most_optimizations": jax.config.read("jax_disable_most_optimizations"),
    }


def _child(
    output: Connection,
    errors: str,
    words: list[str],
    settings: dict[str, int | bool],
    environment: dict[str, str],
) -> None:
    """The forked process: redirect the standard streams, then do as `python WORDS` would."""
    os.dup2(output.fileno(), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND), 2)
    os.environ.update(environment)
    os.chdir(ROOT)
    for name, value in settings.items():
        jax.config.update(name, value)

    try:
        _run_command(words)
    finally:
        # Forked processes run no exit functions. That of JAX waits until all processes have ended.
        if jax.distributed.is_initialized():
            jax.distributed.shutdown()


def _run_command(words: list[str]) -> None:
    option, *rest = words
    if option == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "-c", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = words
        runpy.run_path(option, run_name="__main__")


def fresh_python(*command) -> Ended:
    """Run `python COMMAND` in a new interpreter that has imported nothing."""
    words = [sys.executable, *(str(part) for part in command)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    return Ended(done.returncode, done.stdout, done.stderr)


def call(program: str, *arguments) -> Ended:
    """Run train.py or serve.py with arguments in this process."""
    main = importlib.import_module(program.removesuffix(".py")).main
    output, errors, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, output.getvalue(), errors.getvalue())


def done(program: str, *arguments) -> str:
    """What train.py or serve.py prints in this process; it must succeed."""
    ended = call(program, *arguments)
    assert ended.code == 0, ended.output[-2000:] + ended.errors[-2000:]
    return ended.output


def options(parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """Folder and devices of a worker, and what its parser knows besides.

    From here on JAX has that many devices.
    """
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("place", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parsed = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", parsed.devices)
    return parsed
