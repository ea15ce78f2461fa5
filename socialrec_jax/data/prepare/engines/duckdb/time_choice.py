"""Which columns of a file hold the time: one of them, or a date and the time of the day."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from socialrec_jax.data.prepare import samples, schema
from socialrec_jax.data.prepare.derived import ClockColumns, ClockDigits, Joined
from socialrec_jax.data.prepare.engines.duckdb.sampling import Choice, SampledFile, Types
from socialrec_jax.data.prepare.rules import Rules, plain_name

log = logging.getLogger(__name__)
# names of the parts of a time of the day
_CLOCK = (
    ("hour", "hourofday", "orderhourofday", "hr"),
    ("minute", "min"),
    ("second", "sec"),
)
_OTHER_TIMES = (
    "%s: the time is column %s, but %s may be it as well: --data.map timestamp=%s takes that"
)
_COARSE_TIMES = (
    "%s: column %s holds times as 32-bit floats, which are good to two minutes at best: the order "
    "of events within them is lost; write 64-bit numbers"
)


def warn_of_coarse_times(file: SampledFile, choice: Choice) -> None:
    column = choice.columns.get("timestamp")
    # 24 bits hold unix seconds to about two minutes, so the order of events is lost
    if column is not None and file.types[column] == "FLOAT":
        log.warning(_COARSE_TIMES, file.source.path, column)


def choose_time(file: SampledFile, choice: Choice, rules: Rules) -> None:
    """Note the time's column, or what it is made of, in the choice."""
    # what the user or a public layout says is not second-guessed
    if "timestamp" in rules.columns or "timestamp" in choice.derived:
        return
    candidates = schema.time_columns(file.types, choice.columns, rules)
    clock = _clock_columns(file.types)
    if not candidates:
        _join_days(file.types, choice, clock)
    # one candidate needs no look at its values
    if len(candidates) > 1 or (candidates and clock):
        _choose_of(file, candidates, clock, choice)


def _clock_columns(types: Types) -> tuple[str, ...]:
    """The columns of the hour, the minute and the second, as far as they go."""
    plain = {plain_name(column): column for column in types}
    names = [next((plain[name] for name in part if name in plain), None) for part in _CLOCK]
    present = names.index(None) if None in names else len(names)
    return tuple(column for column in names[:present] if column)


def _choose_of(
    file: SampledFile, candidates: list[str], clock: tuple[str, ...], choice: Choice
) -> None:
    sampled = file.sample(candidates)
    kinds = {column: samples.kind_of_time(sampled[column]) for column in candidates}
    chosen = samples.choose_time(kinds, clock[0] if clock else None)
    _warn_of_other_times(file, chosen, kinds)
    if len(chosen) == 1:
        choice.columns["timestamp"] = chosen[0]
        return
    # a date, and the time of the day in other columns
    choice.columns.pop("timestamp", None)
    date, time = chosen
    if time in clock and len(clock) > 1:
        choice.derived["timestamp"] = ClockColumns((date,), clock)
    else:
        choice.derived["timestamp"] = _joined(chosen, kinds, sampled)


def _joined(
    chosen: tuple[str, ...], kinds: Mapping[str, str], sampled: Mapping[str, list[str | None]]
) -> Joined | ClockDigits:
    """A date and one column with the time of the day."""
    time = chosen[1]
    # 905 needs a zero before it, 09:05 needs nothing
    if kinds.get(time) == "digits":
        return ClockDigits(chosen, samples.digits_of_clock(sampled[time]))
    return Joined(chosen, " ")


def _warn_of_other_times(
    file: SampledFile, chosen: tuple[str, ...], kinds: Mapping[str, str]
) -> None:
    # names alone do not tell when something was bought from when it was paid
    kind = kinds.get(chosen[0])
    others = [column for column in kinds if column not in chosen and kinds[column] == kind]
    if others:
        shown = ", ".join(chosen), ", ".join(others), others[0]
        log.warning(_OTHER_TIMES, file.source.path, *shown)


def _join_days(types: Types, choice: Choice, clock: tuple[str, ...]) -> None:
    """Year, month and day in three columns are a date, with the time of the day beside it."""
    plain = {plain_name(column): column for column in types}
    if {"year", "month", "day"} <= plain.keys():
        date = tuple(plain[part] for part in ("year", "month", "day"))
        choice.derived["timestamp"] = ClockColumns(date, clock) if clock else Joined(date, "-")
