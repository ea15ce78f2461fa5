"""What the ranker learns from lists that users have seen.

An item high in a list is taken more often for its place alone. So each item that was taken weighs
the inverse of how likely its place is looked at (inverse propensity scoring, Joachims, Swaminathan
& Schnabel 2017), in a softmax over the items of its list. Those that were shown and not taken are
the others of the softmax. Without lists in random order nothing can be corrected, and the ranker
learns nothing from lists: it would learn its own order again.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np

from socialrec_jax.batch import Candidates, LabelledCandidates
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.csr import is_among, sorted_distinct
from socialrec_jax.data.features.examination import examination
from socialrec_jax.data.impressions import Impressions, ShownLists, lists
from socialrec_jax.data.query import Query
from socialrec_jax.data.recommended import find_recommended, read_recommended
from socialrec_jax.data.world import World
from socialrec_jax.evaluation.protocol import EvaluationQueries
from socialrec_jax.inference.candidates import CandidateGenerator, chunk_size
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import focus_of
from socialrec_jax.inference.pair_scores import log_totals
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.ranker import member_weights


def keep_impressions(
    run: RunDirectory,
    source: Path | None,
    world: World,
    known: Impressions | None = None,
    shown_at: int | None = None,
) -> None:
    """Write what users were shown into a run: the known rows, and those of `source`/recommended.*.

    shown_at: see `read_recommended`. Only process 0 may call it.
    """
    file = find_recommended(source) if source is not None else None
    parts = [known] if known is not None else []
    if file is not None:
        parts.append(read_recommended(file, world, shown_at))
        print(f"recommended  {len(parts[-1]):,} rows", flush=True)
    # Lists of earlier appends teach on.
    if len(parts) > 1:
        parts = [parts[0].joined(parts[1])]
    if parts:
        parts[0].without_deleted(world).save(run.path)


@dataclasses.dataclass(frozen=True)
class ShownExamples:
    """Lists of which something was taken, as training data of the ranker."""

    lists: ShownLists
    examination: np.ndarray  # [K] how likely each place is looked at
    pairs: np.ndarray  # user times V plus item of everything that was shown, sorted

    @classmethod
    def load(cls, run: RunDirectory, world: World, ends: np.ndarray) -> ShownExamples | None:
        """Those of a run with events before ends [U]; None where nothing can be learnt."""
        impressions = Impressions.load(run.path)
        if impressions is None:
            return None
        shown = lists(impressions, world, ends)
        places = examination(shown)
        if places is None:
            print("recommended  not learnt from: too few of random order were taken", flush=True)
            return None
        print(f"recommended  {len(shown):,} lists seen  places {_described(places)}", flush=True)
        pairs = sorted_distinct(impressions.users * world.num_items + impressions.items)
        return cls(shown, places, pairs)

    def of_types(self, types: tuple[int, ...]) -> ShownExamples:
        """The lists of which something was taken by an event of these types, all types if empty."""
        taken = self.lists.taken[..., list(types)] if types else self.lists.taken
        return self._part(np.flatnonzero(taken.any(axis=(1, 2))))

    def after(self, history_ends: np.ndarray) -> ShownExamples:
        """The lists that were shown when all events before history_ends [U] had happened."""
        return self._part(self.lists.history_ends >= history_ends[self.lists.users])

    def sample(self, size: int, seed: int) -> ShownExamples:
        """At most `size` random lists, in their order."""
        if size >= len(self.lists):
            return self
        chosen = np.random.default_rng(seed).choice(len(self.lists), size, replace=False)
        return self._part(np.sort(chosen))

    def _part(self, chosen: np.ndarray) -> ShownExamples:
        return dataclasses.replace(self, lists=self.lists.part(chosen))

    def have_shown(self, users: np.ndarray, items: np.ndarray, num_items: int) -> np.ndarray:
        """Which pairs [n] of user and item were in a list: bool."""
        return is_among(users * np.int64(num_items) + items, self.pairs)

    def have_shown_targets(self, queries: EvaluationQueries, num_items: int) -> np.ndarray:
        """Of which queries [Q] a target was in a list: bool."""
        owners, targets = queries.targets.owners, queries.targets.items
        were_shown = self.have_shown(queries.users[owners], targets, num_items)
        return np.bincount(owners[were_shown], minlength=len(queries)) > 0

    def labelled(
        self, engine: Engine, generator: CandidateGenerator, width: int
    ) -> LabelledCandidates:
        """The lists as candidates [L, width] with their labels; longer lists are cut."""
        items = _fitted(self.lists.items, width, -1)
        # Clipped: `examination` is never below a tenth.
        weights = 1 / _fitted(self.examination, width, 1)
        labels = _fitted(self.lists.taken.swapaxes(1, 2), width, 0).swapaxes(1, 2)
        labels = (labels * weights[:, None]).astype(np.float32)
        members = member_weights(self.lists.users, engine.config.seed)
        candidates = _candidates(engine, generator, self.lists, items)
        # A list does not say how likely an event is the next one: probabilities stay as they are.
        return LabelledCandidates(candidates, labels, members, np.zeros_like(members))


def examples_of(run: RunDirectory, engine: Engine, ends: np.ndarray) -> ShownExamples | None:
    """What the ranker of an engine can learn from the lists of a run, see `ShownExamples.load`."""
    examples = ShownExamples.load(run, engine.world, ends)
    if examples is None:
        return None
    return examples.of_types(focus_of(engine.config, engine.world))


def _described(places: np.ndarray) -> str:
    return " ".join(f"{place:.2f}" for place in places[:10])


def _fitted(array: np.ndarray, width: int, missing: int) -> np.ndarray:
    """The array [..., K] as [..., width], cut or padded."""
    array = array[..., :width]
    padding = [(0, 0)] * (array.ndim - 1) + [(0, width - array.shape[-1])]
    return np.pad(array, padding, constant_values=missing)


def _candidates(
    engine: Engine, generator: CandidateGenerator, shown: ShownLists, items: np.ndarray
) -> Candidates:
    """The items [L, C] of lists with the features that they had when they were shown."""
    # As in serving, each list has the history and the friends' events of its own time.
    query = engine.with_friends(_query(engine.world, shown))
    states, totals = engine.states(query), _log_totals(engine, query)
    size = chunk_size(items.shape[1])
    parts = []
    for begin in range(0, len(shown), size):
        rows = slice(begin, begin + size)
        query_features = generator.features.look_up(query.part(rows))
        some = states[rows], items[rows].astype(np.int32), query_features, totals[rows][:, None]
        parts.append(generator.with_features(*some))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _query(world: World, shown: ShownLists) -> Query:
    times = shown.times
    return Query(world.events, shown.users, shown.history_ends, times, request_times=times)


def _log_totals(engine: Engine, query: Query) -> np.ndarray:
    """Log-sum-exp [L] of the retriever's scores, with what was popular before the first list."""
    # For users without history. One time for all lists, because popularity counts all events.
    as_of = AsOf.time(int(query.query_times.min()))
    seen = query.events.histories(query.users, query.history_ends)
    query = dataclasses.replace(query, as_of=as_of)
    return log_totals(engine, query, engine.states(query), seen)
