"""The page of recommendations: some users with history, friends, lists, reasons and rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import World
from socialrec_jax.evaluation.protocol import sampled_users
from socialrec_jax.inference.engine import Engine
from socialrec_jax.reports.recommendation_page import (
    PastEvent,
    ReasonLine,
    Recommended,
    RuleEffect,
    UserView,
    write_recommendation_page,
)
from socialrec_jax.serving.frames import Ids
from socialrec_jax.serving.queries import UserQuery, friend_names, users_or_histories
from socialrec_jax.serving.reason_templates import TEMPLATES
from socialrec_jax.serving.tasks.recommend import ReasonsOfLists, rows_of_lists, schema
from socialrec_jax.serving.tasks.recommend_lists import Lists
from socialrec_jax.serving.tasks.recommend_options import RecommendOptions
from socialrec_jax.serving.tasks.recommend_reasons import short_titles
from socialrec_jax.serving.tasks.rule_costs import ListOfUsers, active_rules, lists_of, ndcg_of

_EVENTS = 12  # of a history
_FRIENDS = 12  # by name


def write_page(
    path: Path,
    recommender: Any,
    evaluated: Callable[[], Any],
    users: Ids | None,
    options: RecommendOptions,
    num_users: int,
) -> None:
    """Write the page of num_users random users among those of the task.

    evaluated: loads the Recommender as of the test part, which measures what rules cost.
    """
    engine, as_of = recommender.engine, recommender.as_of
    named = users_or_histories(engine, as_of, users, options.histories)
    # A list of users may name one of them twice.
    first_of_each = np.sort(np.unique(named.query.users, return_index=True)[1])
    query = named.query.part(first_of_each)
    named = dataclasses.replace(named, query=query)
    shown = query.part(sampled_users(query.users, num_users, engine.config.seed))
    # Made by the task itself, so that page and file cannot differ.
    table = _table(engine, as_of, options, named, shown)

    # Each rule is switched off alone: what comes instead is what the rule keeps off the list.
    rules = active_rules(engine, as_of, options)
    # By numbers of items, which are compared with the lists of the other rules.
    own = lists_of(engine, as_of, options, shown)
    without = {name: lists_of(engine, as_of, other, shown) for name, other in rules.items()}
    views = _Views(engine, named, options)
    write_recommendation_page(
        path,
        title="Recommendations",
        summary=_summary(engine.world, as_of, options),
        tiles=_tiles(len(shown), len(query), options.k),
        rules=_effects(own, without, rules, options, evaluated),
        users=list(views.users(shown, table, own, without)),
    )


def _table(
    engine: Engine,
    as_of: AsOf,
    options: RecommendOptions,
    named: UserQuery,
    shown: Query,
) -> pa.Table:
    """The recommendations of the shown users, as the task gives them; named: of all users."""
    lists = Lists.of(engine, options, as_of)
    reasons = ReasonsOfLists.of(lists, named)
    tables = [rows for _, rows in rows_of_lists(lists, reasons, shown, named.user_ids)]
    return pa.concat_tables([schema(engine.world.event_types).empty_table(), *tables])


def _tiles(num_shown: int, num_users: int, k: int) -> dict[str, str]:
    return {
        "users on this page": f"{num_shown:,}",
        "users in all": f"{num_users:,}",
        "items a list": f"{k}",
    }


def _summary(world: World, as_of: AsOf, options: RecommendOptions) -> str:
    placement = f", placement {options.placement}" if options.placement else ""
    when = "as of now" if as_of.is_now else "as of a time in the past"
    return f"{world.num_items:,} items, {when}{placement}, reasons: {options.reasons}"


def _effects(
    own: ListOfUsers,
    without: dict[str, ListOfUsers],
    rules: dict[str, RecommendOptions],
    options: RecommendOptions,
    evaluated: Callable[[], Any],
) -> list[RuleEffect]:
    """What each rule changes on the page and costs on the test part."""
    # The evaluated model is loaded for this alone.
    costs = ndcg_of(evaluated, options, rules) if rules else {}
    effects = []
    for name, other in without.items():
        pairs = zip(own, other, strict=True)
        # A rule that changes the order alone keeps nothing off a list.
        changed = [len(set(with_rule) - set(without_it)) for with_rule, without_it in pairs]
        ndcg, ndcg_without = costs.get(name, (None, None))
        users = sum(count > 0 for count in changed)
        effects.append(RuleEffect(name, users, sum(changed), ndcg, ndcg_without))
    return effects


class _Views:
    """Makes what the page shows of users."""

    def __init__(self, engine: Engine, named: UserQuery, options: RecommendOptions):
        self._world, self._user_ids, self._options = engine.world, named.user_ids, options
        self._friend_names = friend_names(engine.world, named.new_ids)
        self._titles = short_titles(engine.world.items)
        self._templates = TEMPLATES[options.language]

    def users(
        self, query: Query, table: pa.Table, own: ListOfUsers, without: dict[str, ListOfUsers]
    ) -> Iterator[UserView]:
        """The views of a query's users."""
        # A user for whom no item is left has no rows.
        rows: dict[str, list[dict]] = {}
        for row in table.to_pylist():
            rows.setdefault(row["user_id"], []).append(row)
        for place, user in enumerate(query.users.tolist()):
            recommended = rows.get(self._user_ids[user], [])
            left_out = self._left_out(place, own, without)
            yield self._user(query, place, recommended, left_out)

    def _user(
        self, query: Query, place: int, rows: list[dict], left_out: dict[str, str]
    ) -> UserView:
        user = int(query.users[place])
        history, num_events = self._history(query, place)
        return UserView(
            user_id=self._user_ids[user],
            attributes=self._attributes(user),
            num_events=num_events,
            history=history,
            friends=self._friends(query, place),
            recommendations=[self._recommended(row) for row in rows],
            left_out=left_out,
        )

    def _left_out(
        self, place: int, own: ListOfUsers, without: dict[str, ListOfUsers]
    ) -> dict[str, str]:
        """The items that would be on a user's list, by the rule that keeps them off."""
        names = {}
        for rule, lists in without.items():
            items = [item for item in lists[place] if item not in own[place]]
            if items:
                names[rule] = self._names(items)
        return names

    def _names(self, items: Iterable[int]) -> str:
        return ", ".join(self._titles[item] for item in items)

    def _attributes(self, user: int) -> str:
        # New users, who come as histories, have none.
        if self._user_ids is not self._world.user_ids:
            return ""
        columns = self._world.attributes.items()
        known = {name: column[user] for name, column in columns}
        return ", ".join(f"{name} {value}" for name, value in known.items() if value)

    def _history(self, query: Query, place: int) -> tuple[list[PastEvent], int]:
        """(the newest events, newest first; the number of all)."""
        events = query.events
        first = int(events.offsets[query.users[place]])
        end = int(query.history_ends[place])
        # The newest event first, as a person reads a history.
        rows = range(end - 1, max(first, end - _EVENTS) - 1, -1)
        return [self._event(events, row) for row in rows], end - first

    def _event(self, events: Any, row: int) -> PastEvent:
        item = int(events.items[row])
        return PastEvent(
            time=_date(int(events.times[row])),
            event_type=self._world.event_types[int(events.types[row])],
            item=self._titles[item],
            item_id=self._world.items.ids[item],
        )

    def _friends(self, query: Query, place: int) -> str:
        sampler = query.friend_sampler
        if sampler is None:
            return "None known."
        part = query.part(np.array([place]))
        first, known = sampler.known_friends(part.users, part.query_times)
        count = int(known[0])
        # Without the option a page tells how many, and not who.
        if not count or not self._options.privacy.friend_ids:
            return f"{count:,}"
        # The newest friendships are the last ones.
        newest = first[0] + np.arange(max(0, count - _FRIENDS), count)
        friends, _ = sampler.friends_at(newest)
        names = self._friend_names.take(pa.array(friends)).to_pylist()
        more = f" and {count - len(names):,} more" if count > len(names) else ""
        return f"{count:,}: {', '.join(names)}{more}"

    def _recommended(self, row: dict) -> Recommended:
        (item,) = self._world.items.ids.lookup([row["item_id"]]).tolist()
        # Bars are as long as the reasons of this item compare with each other.
        widest = max((abs(why["contribution"] or 0) for why in row["reasons"]), default=0)
        return Recommended(
            rank=row["rank"],
            item=self._titles[item],
            item_id=row["item_id"],
            details=self._details(item),
            source=row["source"],
            score=f"{row['score']:.2f}",
            reasons=[self._reason(why, widest) for why in row["reasons"]],
        )

    def _details(self, item: int) -> str:
        items = self._world.items
        price = float(items.prices[item])
        parts = [items.categories[item], items.tags[item].replace("|", ", ")]
        # Most shops know no price of some items.
        parts += [] if np.isnan(price) else [f"price {price:,.2f}"]
        return " · ".join(part for part in parts if part)

    def _reason(self, why: dict, widest: float) -> ReasonLine:
        (item,) = self._world.items.ids.lookup([why["item_id"] or ""]).tolist()
        values = {
            "item": self._titles[item] if item >= 0 else "",
            "friends": why["friends"],
            "terms": self._templates["between terms"].join(why["terms"] or []),
            "place": why["place"],
        }
        kind = "one friend" if why["friends"] == 1 else why["kind"]
        text = self._templates[kind].format(**values)
        contribution = why["contribution"]
        if contribution is None:
            return ReasonLine(text, "", 0)
        return ReasonLine(text, f"{contribution:.2f}", round(100 * contribution / widest, 1))


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):  # beyond the calendar
        return f"{seconds:,} s"
