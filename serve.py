"""What a trained run answers, written to a file.

    python serve.py recommend --run RUN --out OUT.parquet                    every user, as of now
    python serve.py recommend --run RUN --out OUT.parquet --as-of test       as the test saw them
    python serve.py recommend --run RUN --out OUT.parquet --histories DIR    unknown users
    python serve.py recommend --run RUN --out OUT.parquet --recent DIR       with events since then
    python serve.py recommend --run RUN --out FOLDER                         in shards
    python serve.py score --run RUN --out OUT.parquet --pairs PAIRS.csv      given users and items
    python serve.py similar --run RUN --out OUT.parquet --by events          items like each item
    python serve.py search --run RUN --out OUT.parquet --queries "red shoes" items for a text

Exit codes and columns: docs/contracts.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from socialrec_jax.runtime import cli
from socialrec_jax.runtime.memory import keep_freed_memory

if TYPE_CHECKING:
    import pyarrow as pa

    from socialrec_jax.serving.recommender import Recommender
    from socialrec_jax.serving.user_tables import UserTables

# ---- The command line: one class a task. JAX is imported when a task starts.


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Task:
    """Options of all tasks."""

    run: Path
    """Run directory of train.py."""
    out: Path
    """Result: a file .parquet or .jsonl."""
    as_of: str = "now"
    """What may be seen: now (all events), validation or test (before that split), or an ISO time or
    unix seconds.
    """
    recent: Path | None = None
    """Tables that arrived after the training, as for train.py --add; nothing is trained."""
    debug: bool = False
    """Show the traceback of an error."""

    def recommender(self) -> Recommender:
        from socialrec_jax.serving.recommender import Recommender

        return Recommender.load(self.run, self.as_of, self.recent)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommend(_Task):
    """The top-k items of each user, best first, over the whole catalogue.

    --out may also be a folder (no suffix), for shards.
    """

    shards: int | None = None
    """Parquet files in the folder --out; by default one for each 50,000 users."""
    k: int = 10
    """Items a user, 1..catalogue."""
    users: Path | None = None
    """File of user ids (.txt, .csv, .parquet ...): only these, in this order."""
    histories: Path | None = None
    """Raw event tables of users that the run does not know, as for train.py --data."""
    allow: Path | None = None
    """File of item ids: recommend only these."""
    block: Path | None = None
    """File of item ids: never recommend these."""
    repeats: bool = False
    """Recommend items of the user's history again."""

    def answer(self) -> UserTables:
        """The answer, for some of the users at a time."""
        from socialrec_jax.serving.tasks.recommend import RecommendOptions, recommend_users

        options = RecommendOptions(
            k=self.k,
            histories=self.histories,
            allow=self.allow,
            block=self.block,
            repeats=self.repeats,
        )
        recommender = self.recommender()
        return recommend_users(recommender.engine, recommender.as_of, self.users, options)

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        from socialrec_jax.runtime.progress import UserProgress

        answer = self.answer()
        return answer.tables(advance=UserProgress(answer.num_users).advance)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(_Task):
    """How likely each user is to act on a given item, for pairs of user and item."""

    pairs: Path
    """Table with the columns user_id and item_id: .parquet, .csv, .tsv or .jsonl."""

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        from socialrec_jax.serving.tasks.score import score

        recommender = self.recommender()
        return score(recommender.engine, recommender.as_of, self.pairs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Similar(_Task):
    """The top-k items that are similar to each item, best first."""

    k: int = 10
    """Similar items an item, 1..catalogue."""
    items: tuple[str, ...] = ()
    """Item ids, or one file of item ids; all items by default."""
    by: Literal["vectors", "text", "events"] = "vectors"
    """Item vectors of the model, vectors of text and image, or co-occurrence in histories."""

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        from socialrec_jax.serving.tasks.similar import SimilarOptions, similar

        recommender = self.recommender()
        items = _file_or_values(self.items) if self.items else None
        options = SimilarOptions(k=self.k, by=self.by)
        return similar(recommender.engine, recommender.as_of, items, options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(_Task):
    """The top-k items for each query in text, best first."""

    queries: tuple[str, ...]
    """Queries, or one file with a query a line."""
    k: int = 10
    """Items a query, 1..catalogue."""
    by: Literal["both", "text", "words"] = "both"
    """Vectors of the texts, the words themselves, or both lists joined."""

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        from socialrec_jax.serving.tasks.search import SearchOptions, search

        recommender = self.recommender()
        options = SearchOptions(k=self.k, by=self.by)
        queries = _file_or_values(self.queries)
        return search(recommender.engine, recommender.encode, queries, options)


def _file_or_values(values: tuple[str, ...]) -> Path | list[str]:
    """A single value that is the name of a file as its path, the values themselves otherwise."""
    if len(values) == 1 and Path(values[0]).is_file():
        return Path(values[0])
    return list(values)


TASKS = {"recommend": Recommend, "score": Score, "similar": Similar, "search": Search}

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
