"""The face of a trained run: ids in, pyarrow tables out."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from socialrec_jax.data.as_of import AsOf, unix_seconds
from socialrec_jax.data.world import BEFORE_TEST, BEFORE_VALIDATION, NOW
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.serving.frames import Frame, Ids
from socialrec_jax.serving.tasks.recommend import RecommendOptions, recommend

# Besides unix seconds and ISO 8601 times.
_NAMED_TIMES = {"now": NOW, "validation": BEFORE_VALIDATION, "test": BEFORE_TEST}


@dataclasses.dataclass(frozen=True, eq=False)
class Recommender:
    """A trained run that answers queries by ids. It never changes.

    Each task is a method, and a function in `serving/tasks` that gives the same rows as a stream
    of tables. Tables are pyarrow's: `.to_pandas()`, or `polars.from_arrow(table)`.
    """

    engine: Engine
    as_of: AsOf

    @classmethod
    def load(
        cls, run: Path | str, as_of: AsOf | datetime.datetime | int | str = "now"
    ) -> Recommender:
        """The Recommender of a run directory.

        as_of: what may be seen, see `parse_as_of`. It chooses the model too: as of now, the one
        that learnt from all events. Raises UsageError, InputMissing, BadData or DiskError.
        """
        # First, because it needs no run: a mistake is named at once.
        time = parse_as_of(as_of)
        return cls(Engine.load(Path(run), time), time)

    def recommend(
        self,
        users: Ids | None = None,
        *,
        k: int = 10,
        histories: Frame | None = None,
        allow: Ids | None = None,
        block: Ids | None = None,
        repeats: bool = False,
    ) -> pa.Table:
        """The k best items of each user, best first, over the whole catalogue.

        users: ids, all users where None. For the options see `RecommendOptions`, for the columns
        `tasks.recommend.schema`. Raises BadData where an id is unknown, UsageError for options that
        do not go together.
        """
        options = RecommendOptions(
            k=k, histories=histories, allow=allow, block=block, repeats=repeats
        )
        return whole_table(recommend(self.engine, self.as_of, users, options))


def whole_table(parts: Iterator[pa.Table]) -> pa.Table:
    """All parts of a task's stream, of which there is at least one."""
    # One chunk a column, so that a row is found without a search.
    return pa.concat_tables(parts).combine_chunks()


def parse_as_of(time: AsOf | datetime.datetime | int | str) -> AsOf:
    """now, validation, test, unix seconds or an ISO 8601 time (UTC unless it says otherwise)."""
    if isinstance(time, AsOf):
        return time
    if isinstance(time, str) and time in _NAMED_TIMES:
        return _NAMED_TIMES[time]
    try:
        return AsOf.time(_unix_seconds(time))
    except ValueError:
        raise UsageError(
            f"--as-of {time}: give now, validation, test, unix seconds or a time like 2024-05-01"
        ) from None


def _unix_seconds(time: datetime.datetime | int | str) -> int:
    if isinstance(time, int) or (isinstance(time, str) and time.lstrip("-").isdigit()):
        return unix_seconds(int(time))
    if isinstance(time, str):
        time = datetime.datetime.fromisoformat(time)
    # A time without a zone is UTC, like the times of the input tables.
    time = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    return int(time.timestamp())
