"""What train.py and serve.py share: a parsed command line, and every end of a program as an exit
code and one line.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from socialrec_jax import errors

_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory")
_TYRO_ERROR = 2  # its exit code for a mistake on the command line


def parse(target: Any, **options: Any) -> Any:
    """tyro's command line for target. UsageError: one line with the mistake and a suggestion."""
    import tyro

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
    """What JAX shall find in the environment when it is imported, which must come after this call.

    A program that was compiled for a run stays in RUN/cache/xla, so that going on and serving start
    at once. JAX's own variables, where the user has set them, win; a run that may not be written to
    is left alone.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's own start-up chatter
    if os.access(run if run.exists() else run.parent, os.W_OK) or not run.parent.exists():
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(run.absolute() / "cache" / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def main(program: Callable[[list[str]], None], arguments: Sequence[str] | None = None) -> None:
    """Run program on arguments (by default the command line's) and exit by the contract.

    `--debug` among the arguments shows tracebacks.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        program(arguments)
    except SystemExit:
        raise
    except BaseException as error:
        code, line = _verdict(error)
        if debug:
            traceback.print_exc()
        print(f"error: {line}" if code < 128 else line, file=sys.stderr, flush=True)
        sys.exit(code)


def _verdict(error: BaseException) -> tuple[int, str]:
    """(exit code, one line) of an exception that ended the program."""
    code = getattr(error, "code", None)
    text = " ".join(str(error).split())
    if isinstance(error, errors.UserError) or code in (errors.INTERRUPTED, errors.TERMINATED):
        return int(code or errors.INTERNAL), text
    if isinstance(error, KeyboardInterrupt):
        return errors.INTERRUPTED, "interrupted"
    if isinstance(error, MemoryError) or any(mark in text for mark in _OUT_OF_MEMORY):
        return (
            errors.UNAVAILABLE,
            f"out of memory: lower --train.tokens-per-step or --model.width ({text[:200]})",
        )
    if isinstance(error, RuntimeError) and "Unable to initialize backend" in text:
        return errors.UNAVAILABLE, text[:300]
    if isinstance(error, OSError) and error.errno in (
        28,
        30,
        5,
        122,
    ):  # no space, read-only, I/O error, quota
        return errors.DISK, text[:300]
    if isinstance(error, OSError) and error.filename:
        return errors.INPUT_MISSING, f"{error.strerror}: {error.filename}"
    return (
        errors.INTERNAL,
        f"internal error, please report it with --debug: {type(error).__name__}: {text[:300]}",
    )
