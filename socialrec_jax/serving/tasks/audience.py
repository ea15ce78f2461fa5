"""The users for an item, or for a campaign of several items: whom to show it, and whom to write."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.sparse_rows import pairs_of, positions
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.best_users import best_users
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import focus_of
from socialrec_jax.inference.pair_scores import Retrieval, score_pairs
from socialrec_jax.serving.frames import Frame, Ids, arrow_strings, find_numbers, read_campaigns
from socialrec_jax.serving.labels import Labels
from socialrec_jax.serving.option_types import check_types
from socialrec_jax.serving.queries import user_numbers
from socialrec_jax.serving.ranked_tables import typed_table

# The ranker orders so many times k users, whom the retriever has chosen.
_SHORTLIST = 4

_CAMPAIGNS_AT_ONCE = 256  # whose best users are kept on the devices

_LEAST_PROBABILITY = 1e-30  # whose logarithm is finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudienceOptions:
    """Options of the task. One of items, campaigns, categories and tags names the campaigns."""

    items: Ids | None = None  # each item is a campaign
    campaigns: Frame | None = None  # a table with the columns campaign and item_id
    categories: Sequence[str] = ()  # the items of each category are a campaign
    tags: Sequence[str] = ()
    k: int = 100  # users a campaign
    users: Ids | None = None  # only these users
    repeats: bool = False  # count items that a user had already

    def check(self) -> None:
        """Raises UsageError for options that cannot be right, before a run is loaded."""
        check_types(self)
        for name, labels in (("categories", self.categories), ("tags", self.tags)):
            if isinstance(labels, str):
                raise UsageError(f"--{name} {labels!r} is one text: give a list of texts")
        given = [self.items is not None, self.campaigns is not None]
        given += [len(self.categories) > 0, len(self.tags) > 0]
        if sum(given) != 1:
            raise UsageError("give one of --items, --campaigns, --categories and --tags")
        if self.k < 1:
            raise UsageError(f"k is {self.k}: choose at least 1 user")


def schema(event_types: list[str]) -> pa.Schema:
    """The columns, one row a user of a campaign.

    item_id: the item, or the name of the campaign, category or tag. rank: 1 = best. score: log of
    the probability that the user's next event is on an item of the campaign. expected_<event type>:
    how many of the users up to this rank do that next, on average.
    """
    expected = [(f"expected_{name}", pa.float32()) for name in event_types]
    return pa.schema(
        [
            ("item_id", pa.string()),
            ("rank", pa.int32()),
            ("user_id", pa.string()),
            ("score", pa.float32()),
            *expected,
        ]
    )


def audience(engine: Engine, as_of: AsOf, options: AudienceOptions) -> Iterator[pa.Table]:
    """The k best users of each campaign, best first, as a stream of tables of one schema.

    Deleted items are left out of categories and tags. Raises UsageError unless one option names the
    campaigns, BadData for an unknown id or label.
    """
    options.check()
    columns = schema(engine.world.event_types)
    names, campaigns = _campaigns(engine.world, options)
    # A user who is named twice would take two ranks of a campaign.
    users = np.unique(user_numbers(engine.world, options.users))
    query = engine.query(users, as_of)
    tables = _tables(engine, query, names, campaigns, options)
    return itertools.chain([columns.empty_table()], tables)


def _campaigns(world: World, options: AudienceOptions) -> tuple[list[str], Pairs]:
    """(names [C], the items of each campaign)."""
    if options.campaigns is not None:
        return read_campaigns(options.campaigns, world)
    if options.items is not None:
        numbers = find_numbers(world.items.ids, options.items, "item")
        # Each item is a campaign of one.
        return world.items.ids[numbers], pairs_of(numbers.astype(np.int32)[:, None])
    if options.tags:
        return _labelled(Labels.tags(world.items), options.tags)
    return _labelled(Labels.categories(world.items), options.categories)


def _labelled(labels: Labels, names: Sequence[str]) -> tuple[list[str], Pairs]:
    """(names, the items of each label); a deleted item has no labels."""
    return list(names), labels.items_of(labels.numbers(names))


def _tables(
    engine: Engine, query: Query, names: list[str], campaigns: Pairs, options: AudienceOptions
) -> Iterator[pa.Table]:
    """The table of each campaign."""
    # Users are encoded once for all campaigns.
    retrieval = Retrieval.of(engine, query)
    size = options.k * (_SHORTLIST if engine.reranker is not None else 1)
    for first in range(0, len(names), _CAMPAIGNS_AT_ONCE):
        part = campaigns.part(first, min(first + _CAMPAIGNS_AT_ONCE, len(names)))
        best = best_users(retrieval, part, size, options.repeats)
        for number, rows in enumerate(best.rows):
            rows = rows[rows >= 0]
            chosen = query.part(rows), retrieval.part(rows)
            items = part.part(number, number + 1).items
            probabilities = _probabilities(engine, *chosen, items, options.repeats)
            users = query.users[rows]
            yield _table(engine, names[first + number], users, probabilities, options.k)


def _probabilities(
    engine: Engine, query: Query, retrieval: Retrieval, items: np.ndarray, repeats: bool
) -> np.ndarray:
    """Probabilities [q, A] that the next event of each user is of each type, on one of the items.

    Items of the history count only with repeats.
    """
    num_users, num_items = len(query), len(items)
    offsets = np.arange(num_users + 1) * num_items
    pairs = Pairs(offsets, np.tile(items, num_users))
    _, of_pairs = score_pairs(engine, query, pairs, retrieval)
    if not repeats:
        is_seen = positions(pairs, retrieval.seen, engine.world.num_items) >= 0
        of_pairs = np.where(is_seen[:, None], 0, of_pairs)

    # An event is on one item alone. A ranker's probabilities of several items may exceed 1.
    shape = (num_users, num_items, of_pairs.shape[1])
    sums = of_pairs.reshape(shape).sum(axis=1, dtype=np.float64)
    return np.minimum(sums, 1)


def _total(engine: Engine, probabilities: np.ndarray) -> np.ndarray:
    """The probabilities [n] of all event types, or of those in focus where the run has a focus."""
    focus = list(focus_of(engine.config, engine.world))
    counted = probabilities[:, focus] if focus else probabilities
    return counted.sum(axis=1)


def _table(
    engine: Engine, name: str, users: np.ndarray, probabilities: np.ndarray, k: int
) -> pa.Table:
    """The k best of users [n], given the probabilities [n, A] of each event type."""
    total = _total(engine, probabilities)
    order = np.argsort(-total, kind="stable")[:k]
    expected = np.cumsum(probabilities[order], axis=0)
    arrays = [
        pa.array([name] * len(order), pa.string()),
        pa.array(np.arange(1, len(order) + 1)),
        arrow_strings(engine.world.user_ids).take(pa.array(users[order])),
        pa.array(np.log(np.maximum(total[order], _LEAST_PROBABILITY))),
        *(pa.array(column) for column in expected.T),
    ]
    return typed_table(schema(engine.world.event_types), arrays)
