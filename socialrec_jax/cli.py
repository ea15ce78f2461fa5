"""What train.py and serve.py share: a parsed command line, and every end of a program as an exit code and one line."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

from socialrec_jax import errors

_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory")


def parse(target: Any, **options: Any) -> Any:
    """tyro's command line for target; a mistake exits with 64 after tyro has named it and what was meant."""
    import tyro

    try:
        return tyro.cli(target, **options)
    except SystemExit as end:
        raise SystemExit(errors.USAGE if end.code == 2 else end.code) from None


def main(program: Callable[[], None]) -> None:
    """Run program and exit by the contract; `--debug` on the command line shows tracebacks."""
    debug = "--debug" in sys.argv
    try:
        program()
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
        return errors.UNAVAILABLE, f"out of memory: lower --train.tokens-per-step or --model.width ({text[:200]})"
    if isinstance(error, RuntimeError) and "Unable to initialize backend" in text:
        return errors.UNAVAILABLE, text[:300]
    if isinstance(error, OSError) and error.errno in (28, 30, 5, 122):  # no space, read-only, I/O error, quota
        return errors.DISK, text[:300]
    if isinstance(error, OSError) and error.filename:
        return errors.INPUT_MISSING, f"{error.strerror}: {error.filename}"
    return errors.INTERNAL, f"internal error, please report it with --debug: {type(error).__name__}: {text[:300]}"
