"""The list of each user: candidates of the model or a placement, put together by the rules."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.query import Query
from socialrec_jax.data.text.whitening import unit_rows
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.recommendations import Recommendations
from socialrec_jax.serving.exploration import Exploration
from socialrec_jax.serving.labels import Labels
from socialrec_jax.serving.placements import PlacedLists
from socialrec_jax.serving.queries import NamedQuery
from socialrec_jax.serving.rules.lists import ItemColumns, ListRules, num_candidates
from socialrec_jax.serving.rules.quotas import Quota
from socialrec_jax.serving.rules.repeats import RepeatDecay
from socialrec_jax.serving.rules.user_match import UserMatch
from socialrec_jax.serving.rules.where import parse_where
from socialrec_jax.serving.tasks.recommend_options import RecommendOptions

# With a rule that reads attributes of users, all users with equal ones are computed together.
_USERS_AT_ONCE = 16384


@dataclasses.dataclass(frozen=True, eq=False)
class Lists:
    """Makes the lists of users by the options."""

    engine: Engine
    options: RecommendOptions
    allowed: np.ndarray | None  # [V] bool, by the rules for everybody; None for all
    match: UserMatch | None  # rules that depend on the user
    rules: ListRules
    quotas: list[Quota]
    boosts: np.ndarray | None  # [V] added to scores
    decay: RepeatDecay | None
    exploration: Exploration | None  # None: no list is in random order

    @classmethod
    def of(cls, engine: Engine, options: RecommendOptions, as_of: AsOf) -> Lists:
        world, boosts = engine.world, options.boosts()
        # Conditions are parsed once, and not for each chunk of users.
        allowed = options.item_rules(as_of).allowed(world)
        return cls(
            engine=engine,
            options=options,
            allowed=allowed,
            match=_user_match(engine, options, allowed),
            rules=options.list_rules(),
            quotas=_quotas(engine, options, as_of),
            boosts=None if boosts.are_off else boosts.of_items(engine, as_of),
            decay=options.repeat_decay(),
            exploration=_exploration(engine, options, as_of),
        )

    @functools.cached_property
    def columns(self) -> ItemColumns:
        """What rules about whole lists read. It takes a while, and most lists have no such rule."""
        categories = Labels.categories(self.engine.world.items).single()
        return ItemColumns(categories, unit_rows(np.asarray(self.engine.catalogue)))

    def parts(self, query: Query) -> Iterator[Recommendations]:
        """The lists of a query's users, in chunks."""
        for part in self._ordered_parts(query):
            yield self.exploration.shuffled(part) if self.exploration else part

    def _ordered_parts(self, query: Query) -> Iterator[Recommendations]:
        """The lists in the order of the rules."""
        if self.match is None:
            yield from self._parts(query, self.allowed)
            return
        for begin in range(0, len(query), _USERS_AT_ONCE):
            yield self._matched(self.match, query.part(slice(begin, begin + _USERS_AT_ONCE)))

    def _matched(self, match: UserMatch, query: Query) -> Recommendations:
        """The lists of users who get different items."""
        groups = match.groups(query.users)
        parts = [
            part for rows, allowed in groups for part in self._parts(query.part(rows), allowed)
        ]
        # Where each user stands in the groups: the inverse of a permutation is its argsort.
        order = np.argsort(np.concatenate([rows for rows, _ in groups]))
        return Recommendations.joined(parts).of_rows(order)

    def _parts(self, query: Query, allowed: np.ndarray | None) -> Iterator[Recommendations]:
        """The lists of users who get the same items."""
        k = self.options.k
        # Most lists: nothing is chosen anew, and no more than k items are ranked.
        if self._order_is_the_models:
            yield from self._candidates(query, k, allowed)
            return
        done = 0
        # Rules choose among more items than a list has.
        size = num_candidates(k, self.engine.world.num_items)
        for candidates in self._candidates(query, size, allowed):
            part = query.part(slice(done, done + len(candidates.users)))
            done += len(part)
            for quota in self.quotas:
                candidates = self._with_members(part, candidates, quota, allowed)
            values = self._values(part, candidates)
            yield self.rules.choose(candidates, values, k, self.columns, self.quotas)

    @property
    def _order_is_the_models(self) -> bool:
        return self.rules.are_off and not self.quotas and self.boosts is None and self.decay is None

    def _candidates(
        self, query: Query, k: int, allowed: np.ndarray | None
    ) -> Iterator[Recommendations]:
        """The k best allowed items of each user."""
        options = self.options
        repeats = options.repeats or self.decay is not None
        if options.placement is None:
            return self.engine.recommend(query, k=k, repeats=repeats, allowed=allowed)
        # No new item for a few users is no mistake.
        is_for_all = allowed is self.allowed
        placed = PlacedLists(self.engine, options.placement, allowed, repeats, is_for_all)
        return placed.parts(query, k)

    def _with_members(
        self,
        query: Query,
        candidates: Recommendations,
        quota: Quota,
        allowed: np.ndarray | None,
    ) -> Recommendations:
        """The candidates with the best members of a quota, for users with few among them."""
        members = quota.is_member if allowed is None else quota.is_member & allowed
        num_members = int(members.sum())
        lacking = np.flatnonzero(quota.lacks_members(candidates, num_members))
        # The rules for everybody, or for this user, may leave no member.
        if not len(lacking) or not num_members:
            return candidates
        size = num_candidates(quota.places, num_members)
        best = Recommendations.joined(list(self._candidates(query.part(lacking), size, members)))
        return candidates.beside(best.spread(lacking, len(query)))

    def _values(self, query: Query, candidates: Recommendations) -> np.ndarray:
        """What candidates [q, C] are chosen by, -inf for those that do not exist."""
        values = candidates.scores
        if self.options.placement is not None:
            # Its order is not that of the scores.
            order = -np.arange(values.shape[1], dtype=np.float32)
            values = np.where(candidates.exists, order, -np.inf)
        if self.boosts is not None:
            values = values + self.boosts[candidates.items]
        if self.decay is not None:
            values = values + self.decay.log_weights(query, candidates.items)
        return values


def _user_match(
    engine: Engine, options: RecommendOptions, allowed: np.ndarray | None
) -> UserMatch | None:
    if options.where is None:
        return None
    condition = parse_where(options.where)
    if not condition.user_attributes:
        return None
    users = options.histories
    by_name = users.attributes if isinstance(users, NamedQuery) else engine.world.attributes
    return UserMatch(engine.world, condition, allowed, by_name)


def _quotas(engine: Engine, options: RecommendOptions, as_of: AsOf) -> list[Quota]:
    promotion, new_items = options.promotion(), options.places_for_new_items()
    promoted = [] if promotion is None else [promotion.quota(engine.world, options.k)]
    new = [] if new_items is None else [new_items.quota(engine.world, as_of, options.k)]
    return promoted + new


def _exploration(engine: Engine, options: RecommendOptions, as_of: AsOf) -> Exploration | None:
    """None where no list is in random order. UsageError for lists that nobody will be shown."""
    if not options.explore:
        return None
    users = options.histories
    if isinstance(users, NamedQuery):
        return Exploration.now(options.explore, engine.world, users.numbers)
    if not as_of.is_now or users is not None:
        raise UsageError(
            "--explore goes with neither --as-of nor --histories: what users of the run are shown "
            "now comes back"
        )
    return Exploration.now(options.explore, engine.world)
