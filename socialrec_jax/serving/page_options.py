"""Options about the page of recommendations. Imports little, for the command line."""

from __future__ import annotations

from pathlib import Path

from socialrec_jax.errors import InputMissing, UsageError

DEFAULT_SAMPLE = 50  # users on the page
_MOST_USERS = 10_000  # a browser shows no more


def check_page(report: Path | None, sample: int | None) -> None:
    """Raise before any work is done where the page cannot be written.

    UsageError for options that cannot be right, InputMissing where the folder does not exist.
    """
    if report is None:
        if sample is not None:
            raise UsageError("--sample goes with --report PAGE.html")
        return
    if report.suffix != ".html":
        raise UsageError(f"--report {report} must end in .html")
    if not report.parent.is_dir():
        raise InputMissing(f"the folder {report.parent} of --report does not exist")
    if sample is not None and not 1 <= sample <= _MOST_USERS:
        raise UsageError(f"--sample {sample} is out of range 1..{_MOST_USERS}")
