"""What all programs share: the command line, JAX's environment, and exit codes with one line."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from signal import Signals
from typing import Any, NoReturn

from socialrec_jax import errors
from socialrec_jax.runtime import peers
from socialrec_jax.runtime.compilation_cache import use_cache
from socialrec_jax.runtime.signals import EXIT_CODES, LINES, SignalExit

_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory")
_DISK_FULL = ("No space left on device", "File too large", "failed to offload data block")
_DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.EFBIG)
# Of JAX's coordination service, and of collectives on CPUs.
_PEER_GONE = ("CoordinationService", "heartbeat timeout", "[Gloo]", "Gloo all")
_LONGEST = 300  # characters of a message of a library
_TYRO_ERROR = 2  # its exit code for a mistake on the command line


def parse(target: Any, **options: Any) -> Any:
    """tyro's command line for target. UsageError: one line with the mistake and a suggestion."""
    import tyro  # late: programs that parse nothing do without it

    with _one_line_errors():
        return tyro.cli(target, **options)


def parse_task(tasks: dict[str, type], **options: Any) -> Any:
    """The same with one subcommand a task; an object of the class of the task that was named."""
    import tyro

    with _one_line_errors():
        return tyro.extras.subcommand_cli_from_dict(tasks, **options)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """tyro's boxed message as a UsageError of one line."""
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            yield
    except SystemExit as end:
        if end.code != _TYRO_ERROR:
            raise
        raise errors.UsageError(_without_box(message.getvalue())) from None


def _without_box(message: str) -> str:
    """The text of a box that is drawn with lines: its title goes, its rules become semicolons."""
    lines = [line.strip("│ ") for line in message.splitlines() if line[:1] not in "╭╰"]
    return " ".join(";" if set(line) == {"─"} else line for line in lines).replace(" ;", ";")


def prepare_jax(run: Path) -> None:
    """Set JAX's environment variables for a run; JAX must be imported after this call."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no messages of XLA at its start
    use_cache(run)


def main(program: Callable[[list[str]], None], arguments: Sequence[str] | None = None) -> None:
    """Run program on arguments (by default the command line's) and exit by the contract.

    Among the arguments, `--version` prints what is installed, and `--debug` shows tracebacks.
    """
    if arguments is None:
        _start_again_in_utf8()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Warnings are lines for people. Libraries that log would put a prefix before them.
    logging.basicConfig(format="%(message)s")
    signals = SignalExit()
    try:
        with signals:
            _run(program, arguments)
    except BaseException as error:
        if signals.received:
            _exit(EXIT_CODES[Signals(signals.received)], LINES[Signals(signals.received)])
        _exit_with(error, with_traceback="--debug" in arguments)


def _exit_with(error: BaseException, with_traceback: bool) -> NoReturn:
    """End the program as its error says."""
    if isinstance(error, SystemExit):
        raise error  # tyro has printed why
    if isinstance(error, BrokenPipeError):
        # Python would write the rest at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _exit(errors.BROKEN_PIPE, "")
    if with_traceback:
        traceback.print_exception(error)
    _exit(*_exit_code_and_message(error))


def _exit(code: int, line: str) -> NoReturn:
    """Print why the program ends, and end it."""
    if line:
        # Ends by a signal (128 and more) are no errors.
        print(f"error: {line}" if code < 128 else line, file=sys.stderr, flush=True)
    peers.leave(line, code)
    sys.exit(code)


def _is_of_dead_peer(error: BaseException) -> bool:
    """Whether a library found out that another process of the job has ended."""
    is_of_library = isinstance(error, RuntimeError | ValueError)
    return is_of_library and any(mark in str(error) for mark in _PEER_GONE)


def _start_again_in_utf8() -> None:
    """Start this command again where names of files are not read as UTF-8: DuckDB and Arrow know
    no other encoding.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _run(program: Callable[[list[str]], None], arguments: list[str]) -> None:
    """Run the program, or say what is installed, and write all that was printed."""
    try:
        if "--version" in arguments:
            from socialrec_jax.runtime.versions import version_lines

            print(version_lines())
        else:
            program(arguments)
    finally:
        sys.stdout.flush()


def _exit_code_and_message(error: BaseException) -> tuple[int, str]:
    """The exit code and one line for an exception that ended the program."""
    code = getattr(error, "code", None)
    text = " ".join(str(error).split())
    if isinstance(error, errors.UserError) or code in (errors.INTERRUPTED, errors.TERMINATED):
        return int(code or errors.INTERNAL), text
    if isinstance(error, KeyboardInterrupt):
        return errors.INTERRUPTED, "interrupted"
    return _library_error(error, text)


def _library_error(error: BaseException, text: str) -> tuple[int, str]:
    """The same for an exception of Python or a library; text: its message in one line."""
    if _is_of_dead_peer(error):
        return errors.PeerStopped.code, errors.PEER_GONE
    # DuckDB calls a full disk "out of memory", too.
    if any(mark in text for mark in _DISK_FULL):
        return errors.DISK, f"the disk is full, or a file may not be larger: {text[:_LONGEST]}"
    # XLA reports memory of devices as an error of its own type, known by its text alone.
    if isinstance(error, MemoryError) or any(mark in text for mark in _OUT_OF_MEMORY):
        advice = "lower --train.tokens-per-step or --model.width"
        return errors.UNAVAILABLE, f"out of memory: {advice} ({text[:200]})"
    if isinstance(error, RuntimeError) and "Unable to initialize backend" in text:
        return errors.UNAVAILABLE, text[:_LONGEST]
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return errors.DISK, text[:_LONGEST]
    # A file of the user that is not there, or not readable.
    if isinstance(error, OSError) and error.filename:
        return errors.INPUT_MISSING, f"{error.strerror}: {error.filename}"
    # Everything else is a bug.
    name = type(error).__name__
    message = f"internal error, please report it with --debug: {name}: {text[:_LONGEST]}"
    return errors.INTERNAL, message
