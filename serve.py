"""What a trained run answers, written to a file.

    python serve.py recommend --run RUN --out OUT.parquet                    every user, as of now
    python serve.py recommend --run RUN --out OUT.parquet --as-of test       as the test saw them
    python serve.py recommend --run RUN --out OUT.parquet --histories DIR    unknown users
    python serve.py recommend --run RUN --out FOLDER                         in shards

Exit codes and columns: docs/contracts.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from socialrec_jax.runtime import cli
from socialrec_jax.runtime.memory import keep_freed_memory

if TYPE_CHECKING:
    import pyarrow as pa

    from socialrec_jax.serving.user_tables import UserTables

# ---- The command line: one class a task. JAX is imported when a task starts.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommend:
    """The top-k items of each user, best first, over the whole catalogue."""

    run: Path
    """Run directory of train.py."""
    out: Path
    """Result: a file .parquet or .jsonl, or without suffix a folder of shards."""
    shards: int | None = None
    """Parquet files in the folder --out; by default one for each 50,000 users."""
    k: int = 10
    """Items a user, 1..catalogue."""
    users: Path | None = None
    """File of user ids (.txt, .csv, .parquet ...): only these, in this order."""
    histories: Path | None = None
    """Raw event tables of users that the run does not know, as for train.py --data."""
    as_of: str = "now"
    """What may be seen: now (all events), validation or test (before that split), or an ISO time or
    unix seconds.
    """
    allow: Path | None = None
    """File of item ids: recommend only these."""
    block: Path | None = None
    """File of item ids: never recommend these."""
    repeats: bool = False
    """Recommend items of the user's history again."""
    debug: bool = False
    """Show the traceback of an error."""

    def answer(self) -> UserTables:
        """The answer, for some of the users at a time."""
        from socialrec_jax.serving.recommender import Recommender
        from socialrec_jax.serving.tasks.recommend import RecommendOptions, recommend_users

        options = RecommendOptions(
            k=self.k,
            histories=self.histories,
            allow=self.allow,
            block=self.block,
            repeats=self.repeats,
        )
        recommender = Recommender.load(self.run, self.as_of)
        return recommend_users(recommender.engine, recommender.as_of, self.users, options)

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        from socialrec_jax.runtime.progress import UserProgress

        answer = self.answer()
        return answer.tables(advance=UserProgress(answer.num_users).advance)


TASKS = {"recommend": Recommend}

# ---- The program


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the task that the arguments (by default the command line's) name; exit by the contract."""
    cli.main(serve, arguments)


def serve(arguments: list[str]) -> None:
    """Parse the arguments, answer, write the file."""
    task = cli.parse_task(TASKS, args=arguments or ["--help"], prog="serve.py", description=__doc__)
    keep_freed_memory()
    cli.prepare_jax(task.run)

    from socialrec_jax.serving.shards import is_folder
    from socialrec_jax.serving.writer import check_output, exit_on_sigterm, write_tables

    # Only what is answered user by user can be cut into shards.
    if isinstance(task, Recommend) and is_folder(task.out, task.shards):
        serve_shards(task)
        return
    check_output(task.out)
    with exit_on_sigterm():
        write_tables(task.out, task.tables())


def serve_shards(task: Recommend) -> None:
    """Answer, write the shards of this process; those of the launcher's job share the work."""
    from socialrec_jax.runtime import processes
    from socialrec_jax.runtime.run import RunDirectory
    from socialrec_jax.serving.command import command_of
    from socialrec_jax.serving.shards import check_folder, write_shards

    check_folder(task.out, task.shards)
    RunDirectory(task.run).config()  # a mistake is named before a folder is made
    processes.initialize()
    options = dataclasses.asdict(task)
    for name in ("run", "out", "shards", "debug"):  # these decide no row; the run is described
        del options[name]
    write_shards(task.out, command_of("recommend", task.run, options), task.shards, task.answer)


if __name__ == "__main__":
    main()
