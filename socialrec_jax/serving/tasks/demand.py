"""Expected events over the coming days: of each item, category or tag, or of groups of users."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import numbers
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.serving.forecast import Forecast, forecast
from socialrec_jax.serving.labels import Labels
from socialrec_jax.serving.ranked_tables import typed_table

_DAY = 86400
_WEEK, _YEAR = 7, 364  # days; 52 weeks, so that weekdays meet
_MAX_PERIODS = 120  # of the past
_LABELS = {"category": Labels.categories, "tag": Labels.tags}
_SEPARATOR = " | "  # of the parts of a key

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("horizon", pa.int32()),
        ("event_type", pa.string()),
        ("expected", pa.float32()),
        ("low", pa.float32()),
        ("high", pa.float32()),
        ("method", pa.string()),
        ("rmsse", pa.float32()),
        ("baseline", pa.string()),
        ("baseline_rmsse", pa.float32()),
    ]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemandOptions:
    """Options of the task."""

    by: Sequence[str] = ("item",)  # item, category, tag and user attributes; several make one key
    days: Sequence[int] = (7,)  # horizons

    def check(self) -> None:
        """Raises UsageError for options that cannot be right, before a run is loaded."""
        for name, values in (("by", self.by), ("days", self.days)):
            if not len(values):
                raise UsageError(f"--{name}: give at least one")
            repeated = [value for value in values if list(values).count(value) > 1]
            if repeated:
                raise UsageError(f"--{name}: {repeated[0]} is given twice")
        for days in self.days:
            if not isinstance(days, numbers.Integral):
                raise UsageError(f"--days {days!r}: give whole numbers")


def demand(world: World, as_of: AsOf, options: DemandOptions) -> Iterator[pa.Table]:
    """Expected events of each key and type over each horizon, as a stream of tables of one schema.

    horizon: in days from the time on. low, high: an interval that holds 80% of the outcomes.
    method: what did best in a back-test on the periods before, with its error, beside the best of
    the baselines (last period, moving average, seasonal naive): where a baseline wins, it is the
    method. The keys are those with events; what is expected most comes first. Raises UsageError for
    an unknown key, a horizon that is too long, or a time that differs by user.
    """
    options.check()
    history = _History.of(world, as_of)
    events = _KeyedEvents.of(world, history, options.by)
    periods = [history.num_periods(days) for days in options.days]
    tables = (
        _table(world.event_types[event_type], days, events, counts)
        for days, number in zip(options.days, periods, strict=True)
        for event_type, counts in _counts(events, days, number, len(world.event_types))
    )
    return itertools.chain([SCHEMA.empty_table()], tables)


@dataclasses.dataclass(frozen=True)
class _History:
    """The visible events of a World."""

    rows: np.ndarray  # [n] of the World's events
    end: int  # unix seconds, after all of them
    days: float  # from the first event to the end

    @classmethod
    def of(cls, world: World, as_of: AsOf) -> _History:
        # With leave-one-out, the held-out part of each user begins at another time.
        if as_of.split is not None and world.manifest["split"] != "time":
            raise UsageError(
                "demand needs one moment for all users: give --as-of now or a time, because the "
                "held-out parts of this run begin at another time for each user"
            )
        rows = np.flatnonzero(world.events.visible(world.history_ends(as_of)))
        if not len(rows):
            raise BadData("no event is visible at this time, so nothing can be expected")
        end = int(world.query_times(as_of).max())
        first = int(world.events.times[rows].min())
        return cls(rows, end, (end - first) / _DAY)

    def num_periods(self, days: int) -> int:
        """How many whole periods of so many days there are. Raises UsageError without one."""
        if not 1 <= days <= self.days:
            raise UsageError(
                f"--days {days}: the events span {self.days:.1f} days, and a horizon must be at "
                "least 1 and not longer"
            )
        return min(int(self.days // days), _MAX_PERIODS)


@dataclasses.dataclass(frozen=True)
class _KeyedEvents:
    """The visible events with their keys; an event of several tags occurs once for each."""

    names: list[str]  # [K]
    keys: np.ndarray  # [m]
    types: np.ndarray  # [m]
    ages: np.ndarray  # [m] seconds before the end, from 0 on

    @classmethod
    def of(cls, world: World, history: _History, by: Sequence[str]) -> _KeyedEvents:
        """Events without a label or an attribute that the key needs are left out."""
        rows = history.rows
        names, keys = [""], np.zeros(len(rows), np.int64)
        for number, part in enumerate(by):
            part_names, places, values = _part_of_key(world, rows, part)
            rows, keys = rows[places], keys[places]
            # Only keys that occur get a number: all combinations may be very many.
            joined, keys = np.unique(keys * len(part_names) + values, return_inverse=True)
            pairs = zip(*np.divmod(joined, max(len(part_names), 1)), strict=True)
            separator = _SEPARATOR if number else ""
            names = [f"{names[old]}{separator}{part_names[new]}" for old, new in pairs]
        if not len(rows):
            raise BadData(f"--by {' '.join(by)}: no event has such a key")
        # The last second before the end has age 0.
        ages = history.end - 1 - world.events.times[rows]
        return cls(names, keys, world.events.types[rows], ages)


def _part_of_key(
    world: World, rows: np.ndarray, part: str
) -> tuple[Sequence[str], np.ndarray, np.ndarray]:
    """(names, places [m] in rows, name [m] of each) of one part of the keys of events [n]."""
    items = world.events.items[rows]
    if part == "item":
        return world.items.ids.tolist(), np.arange(len(rows)), items
    if part in _LABELS:
        labels = _LABELS[part](world.items)
        return labels.names.tolist(), *labels.expanded(items)
    if part not in world.attributes:
        raise UsageError(_unknown_part(world, part))

    # What is not known of a user is the empty text.
    names, of_users = np.unique(world.attributes[part].tolist(), return_inverse=True)
    values = of_users[world.events.owners[rows]]
    places = np.flatnonzero(names[values] != "")
    return names.tolist(), places, values[places]


def _unknown_part(world: World, part: str) -> str:
    known = ["item", "category", "tag", *world.attributes]
    close = difflib.get_close_matches(part, known, n=1)
    suggestion = f"; did you mean {close[0]}?" if close else ""
    return f"--by {part}: choose from {', '.join(known)}{suggestion}"


def _counts(
    events: _KeyedEvents, days: int, num_periods: int, num_types: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(event type, counts [K, P] by period, the newest first) of all types."""
    periods = events.ages // (days * _DAY)
    shape = (len(events.names), num_periods)
    for event_type in range(num_types):
        # Events before the first whole period are left out.
        counted = (events.types == event_type) & (periods < num_periods)
        cells = events.keys[counted] * num_periods + periods[counted]
        yield event_type, np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)


def _season(days: int, num_periods: int) -> int | None:
    """How many periods ago the same season was: a year where the past has two, else a week."""
    if num_periods * days >= 2 * _YEAR:
        return max(round(_YEAR / days), 1)
    # Only single days lie at the same weekday a whole number of periods ago.
    return _WEEK if days == 1 and num_periods >= 2 * _WEEK else None


def _table(event_type: str, days: int, events: _KeyedEvents, counts: np.ndarray) -> pa.Table:
    result = forecast(counts, _season(days, counts.shape[1]))
    # Stable, so that equal ones keep the order of their names.
    most_first = np.argsort(-result.expected, kind="stable")
    names = np.array(events.names, dtype=object)[most_first]
    arrays = [
        pa.array(names, pa.string()),
        *(_repeated(value, len(names)) for value in (days, event_type)),
        *(pa.array(column[most_first]) for column in (result.expected, result.low, result.high)),
        *(_repeated(value, len(names)) for value in _backtest_of(result)),
    ]
    return typed_table(SCHEMA, arrays)


def _backtest_of(result: Forecast) -> tuple[str, float, str, float]:
    return result.method, result.error, result.baseline, result.baseline_error


def _repeated(value: str | float, count: int) -> pa.Array:
    # An error that could not be measured is NaN, which means null to pandas: sums pass over it.
    return pa.array([value] * count, from_pandas=True)
