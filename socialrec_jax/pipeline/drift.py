"""How new tables differ from what is known, and which differences are refused."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.config.update import UpdateConfig
from socialrec_jax.data.growth import Growth
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData

_DAY = 86_400
_LEAST_EVENTS = 50  # of fewer, rates and shares say little


@dataclasses.dataclass(frozen=True)
class Drift:
    """What is measured of new events; shares and ratios are 0 without any."""

    events: int
    users: int  # with new events
    new_users: int
    new_items: int
    new_edges: int
    rate: float  # new events a day, over those of the known days of equal number before them
    type_drift: float  # half the sum of differences between shares of event types, 0..1
    known_share: float  # events that are known: same user, item, second and type
    late_share: float  # events that are older than the newest known one


def measure(known: World, world: World, growth: Growth) -> Drift:
    """What was appended to `known`, beside what `known` has."""
    events, rows = world.events, growth.rows
    return Drift(
        events=len(rows),
        users=len(np.unique(events.owners[rows])),
        new_users=world.num_users - known.num_users,
        new_items=world.num_items - known.num_items,
        new_edges=len(world.friends.ids) - len(known.friends.ids),
        rate=_rate(known, events.times[rows]),
        type_drift=_type_drift(known, world, rows),
        known_share=_known_share(world, rows),
        late_share=_share(events.times[rows] <= known.events.times.max()),
    )


def _share(mask: np.ndarray) -> float:
    return float(mask.mean()) if len(mask) else 0.0


def _rate(known: World, times: np.ndarray) -> float:
    """Ratio of events in two periods of equal length, one before the other."""
    if len(times) < _LEAST_EVENTS:
        return 0.0
    # A few late events would make the period of the new ones long.
    first, last = np.quantile(times, [0.05, 0.95])
    # Below a day the hour of the day would decide.
    span = max(last - first, _DAY)
    known_times = np.asarray(known.events.times)
    newest = known_times.max()
    num_before = max(1, int((known_times > newest - span).sum()))
    return len(times) / num_before


def _type_drift(known: World, world: World, rows: np.ndarray) -> float:
    """Total variation distance between the shares of event types."""
    if len(rows) < _LEAST_EVENTS:
        return 0.0
    num_types = len(world.event_types)
    before = np.bincount(known.events.types, minlength=num_types) / len(known.events.types)
    new = np.bincount(world.events.types[rows], minlength=num_types) / len(rows)
    return float(np.abs(before - new).sum() / 2)


def _known_share(world: World, rows: np.ndarray) -> float:
    """Share of the tables' events that were known already, and left out."""
    known = world.manifest["counts"].get("known_events", 0)
    return known / max(known + len(rows), 1)


def check_drift(drift: Drift, settings: UpdateConfig) -> None:
    """BadData where the new events differ too much."""
    limits = {
        "max_known_share": (drift.known_share, "of the events are known already"),
        "max_rate": (drift.rate, "times as many events a day as before"),
        "max_type_drift": (drift.type_drift, "of the events would need another type"),
    }
    for name, (value, meaning) in limits.items():
        # The message names the option that lets the tables pass.
        limit = getattr(settings, name)
        if value > limit:
            option = f"--update.{name.replace('_', '-')}"
            raise BadData(f"refused: {value:.2f} {meaning}, {option} is {limit}; nothing changed")


def describe(drift: Drift) -> str:
    """One line for the terminal."""
    return (
        f"{drift.events:,} events of {drift.users:,} users  {drift.new_users:,} new users  "
        f"{drift.new_items:,} new items  {drift.new_edges:,} new friendships  "
        f"{drift.rate:.2f} times the usual rate  types differ by {drift.type_drift:.2f}  "
        f"{drift.known_share:.0%} known  {drift.late_share:.0%} late"
    )
