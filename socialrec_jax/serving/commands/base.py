"""Options that several tasks have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from socialrec_jax.serving.recommender import Recommender
    from socialrec_jax.serving.user_tables import UserTables


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What is loaded."""

    run: Path
    """Run directory of train.py."""
    as_of: str = "now"
    """What may be seen: now, validation or test (before that part), an ISO time or unix seconds."""
    recent: Path | None = None
    """Tables that arrived after the training, as for train.py --add; nothing is trained."""
    debug: bool = False
    """Show the traceback of an error."""

    def recommender(self) -> Recommender:
        # Late, as in all tasks: --help must not wait for JAX.
        from socialrec_jax.serving.recommender import Recommender

        return Recommender.load(self.run, self.as_of, self.recent)

    def execute(self) -> None:
        """Do the whole task."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(RunOptions):
    """Options of all tasks that write a file."""

    out: Path
    """Result: a file .parquet, .csv or .jsonl; the last two also with .gz."""

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        raise NotImplementedError

    def finish(self) -> None:
        """What is done when the result is written."""

    def execute(self) -> None:
        """Answer, and write the file."""
        from socialrec_jax.serving.writer import check_output, write_tables

        # First, because the answer may take minutes.
        check_output(self.out)
        write_tables(self.out, self.tables())
        self.finish()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardedTask(Task):
    """Options of tasks that answer user by user."""

    out: Path
    """Result: a file .parquet, .csv or .jsonl (the last two also with .gz), or without suffix a
    folder of parquet shards."""
    shards: int | None = None
    """Parquet files in the folder --out; by default one for each 50,000 users."""

    def answer(self) -> UserTables:
        """The answer, for some of the users at a time."""
        raise NotImplementedError

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        from socialrec_jax.runtime.user_progress import UserProgress

        answer = self.answer()
        return answer.tables(advance=UserProgress(answer.num_users).advance)

    def execute(self) -> None:
        """Answer, and write the file or the folder."""
        from socialrec_jax.serving.shards import is_folder

        # A name without suffix is a folder.
        if is_folder(self.out, self.shards):
            self._write_folder()
        else:
            super().execute()

    # A folder is resumed: what decides its rows is written beside it.
    def _write_folder(self) -> None:
        """Write the shards of this process; those of the launcher's job share the work."""
        from socialrec_jax.runtime import launch, processes
        from socialrec_jax.runtime.run import RunDirectory
        from socialrec_jax.serving.command import command_of
        from socialrec_jax.serving.shards import check_folder, write_shards

        check_folder(self.out, self.shards)
        RunDirectory(self.run).config()  # a mistake is named before a folder is made
        launch.initialize()
        command = command_of(type(self).__name__.lower(), self.run, self._deciding())
        write_shards(self.out, command, self.shards, self.answer)
        # Other processes of the job have done their part.
        if processes.is_main():
            self.finish()

    def _deciding(self) -> dict[str, Any]:
        """The options that decide rows; the run is described by itself."""
        others = ("run", "out", "shards", "debug", "report", "sample")
        options = dataclasses.asdict(self)
        return {name: value for name, value in options.items() if name not in others}


def file_or_values(values: tuple[str, ...]) -> Path | list[str]:
    """A single value that is the name of a file as its path, else the values, each once."""
    if len(values) == 1 and Path(values[0]).is_file():
        return Path(values[0])
    return distinct(values)


def distinct(values: Sequence[str]) -> list[str]:
    """Each value once, in the order of their first places: a campaign has each rank once."""
    return list(dict.fromkeys(values))
