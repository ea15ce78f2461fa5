"""Batch scoring from a run directory: `python serve.py recommend --run RUN --out FILE`.

    python serve.py recommend --run RUN --out recs.parquet                     every user, as of now
    python serve.py recommend --run RUN --out recs.parquet --as-of test        as the test of train.py saw them
    python serve.py recommend --run RUN --out recs.parquet --histories new/    users never seen, from raw events

Exit codes and columns: docs/contracts.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from socialrec_jax.runtime import cli
from socialrec_jax.runtime.memory import keep_freed_memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommend:
    """The top-k items of each user, best first, over the whole catalogue."""

    run: Path
    """Run directory of train.py."""
    out: Path
    """Result, .parquet or .jsonl."""
    k: int = 10
    """Items a user, 1..catalogue."""
    users: Path | None = None
    """File of user ids (.txt, .csv, .parquet ...): only these, in this order."""
    histories: Path | None = None
    """Raw event tables of users that the run never saw, as for train.py --data."""
    as_of: str = "now"
    """What may be seen: now (all events), validation or test (before that split), or an ISO time or
    unix seconds.
    """
    allow: Path | None = None
    """File of item ids: recommend only these."""
    block: Path | None = None
    """File of item ids: never recommend these."""
    repeats: bool = False
    """Recommend items again that the user has had."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the task that the arguments (by default the command line's) name; exit by the contract."""
    cli.main(serve, arguments)


def serve(arguments: list[str]) -> None:
    task, *arguments = arguments or ["--help"]
    if task in ("-h", "--help"):
        print(
            __doc__,
            "\nTasks: recommend. Options of a task: python serve.py recommend --help",
            sep="",
        )
        return
    if task != "recommend":
        from socialrec_jax.errors import UsageError

        raise UsageError(f"unknown task {task}: the tasks are recommend")
    options = cli.parse(
        Recommend, args=arguments, prog="serve.py recommend", description=Recommend.__doc__
    )
    keep_freed_memory()
    cli.prepare_jax(options.run)
    from socialrec_jax.serving.tasks.recommend import recommend

    recommend(**{name: value for name, value in vars(options).items() if name != "debug"})


if __name__ == "__main__":
    main()
