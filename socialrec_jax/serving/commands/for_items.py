"""Tasks about items: similar, search, demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from socialrec_jax.serving.commands.base import Task, file_or_values

if TYPE_CHECKING:
    import pyarrow as pa


@dataclasses.dataclass(frozen=True, kw_only=True)
class Similar(Task):
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
        # Without ids every item of the catalogue is answered.
        items = file_or_values(self.items) if self.items else None
        options = SimilarOptions(k=self.k, by=self.by)
        return similar(recommender.engine, recommender.as_of, items, options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Task):
    """The top-k items for each query in text, best first."""

    queries: tuple[str, ...]
    """Queries, or one file with a query a line."""
    k: int = 10
    """Items a query, 1..catalogue."""
    by: Literal["both", "text", "words"] = "both"
    """Vectors of the texts, the words themselves, or words and behind them what is near by text."""

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        from socialrec_jax.serving.tasks.search import SearchOptions, search

        recommender = self.recommender()
        options = SearchOptions(k=self.k, by=self.by)
        queries = file_or_values(self.queries)
        # The encoder is loaded when it is called: words alone need none.
        return search(recommender.search_index, queries, options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demand(Task):
    """Expected events over the coming days, with the back-test that chose the method."""

    by: tuple[str, ...] = ("item",)
    """item, category, tag or a user attribute; several make one key."""
    days: tuple[int, ...] = (7,)
    """Horizons."""

    def tables(self) -> Iterator[pa.Table]:
        """The answer as a stream of tables."""
        from socialrec_jax.serving.tasks.demand import DemandOptions, demand

        options = DemandOptions(by=self.by, days=self.days)
        # A mistake is named before the run is loaded.
        options.check()
        recommender = self.recommender()
        # Counts alone are read, and no model.
        return demand(recommender.engine.world, recommender.as_of, options)
