"""Counts and forecasts equal a computation key by key; what did best in the past is used."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.world import BEFORE_TEST, NOW, World
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.serving import forecast as forecast_module
from socialrec_jax.serving.forecast import BASELINES, forecast
from socialrec_jax.serving.recommender import Recommender
from tests.serving.shops import with_labels
from tests.worlds import random_world

DAY = 86400


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """Events over 40 days, in no order of users."""
    world = with_labels(random_world(tmp_path_factory.mktemp("world"), 200, 30))
    rng = np.random.default_rng(1)
    days = rng.integers(0, 40, world.num_users)
    times = world.events.times + days[world.events.owners] * DAY
    return dataclasses.replace(world, events=dataclasses.replace(world.events, times=times))


def demand(world: World, as_of: AsOf = NOW, **options: Any):
    engine: Any = SimpleNamespace(world=world)
    return Recommender(engine, as_of).demand(**options)


def counted(world: World, key_of, days: int, end: int, event_type: int) -> dict[str, np.ndarray]:
    """Counts of each key by period, the newest first, event by event."""
    events = world.events
    visible = events.times < end
    span = end - events.times[visible].min()
    num_periods = int(span // (days * DAY))
    counts: dict[str, np.ndarray] = {}
    for row in np.flatnonzero(visible):
        for key in key_of(int(events.items[row]), int(events.owners[row])):
            series = counts.setdefault(key, np.zeros(num_periods))
            period = (end - 1 - events.times[row]) // (days * DAY)
            if period < num_periods and events.types[row] == event_type:
                series[period] += 1
    return counts


REGIONS = ("north", "south", "")


@pytest.mark.parametrize(
    ("by", "key_of"),
    [
        ("item", lambda item, user: [f"item{item}"]),
        ("tag", lambda item, user: [f"tag {item % 3}", "all"]),
        (
            ("category", "region"),
            lambda item, user: (
                [f"category {item % 4} | {REGIONS[user % 3]}"] if user % 3 < 2 else []
            ),
        ),
    ],
)
def test_demand_equals_a_count_of_events_one_by_one(world, by, key_of):
    end = int(np.quantile(world.events.times, 0.9))
    table = demand(world, AsOf.time(end), by=by, days=[2, 5])
    for days in (2, 5):
        for number, event_type in enumerate(("view", "buy")):
            rows = [
                row
                for row in table.to_pylist()
                if (row["horizon"], row["event_type"]) == (days, event_type)
            ]
            series = counted(world, key_of, days, end, number)
            assert {row["key"] for row in rows} == set(series)
            expected = [row["expected"] for row in rows]
            assert expected == sorted(expected, reverse=True)
            past = np.stack([series[row["key"]] for row in rows])
            result = forecast(past, season=None)
            assert {row["method"] for row in rows} == {result.method}
            np.testing.assert_allclose(expected, result.expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose([row["high"] for row in rows], result.high)
            assert (result.low <= result.high).all()


def slow_errors(counts: np.ndarray, origins: int) -> dict[str, float]:
    """Squared errors of the simplest methods, number by number."""
    errors = {"last period": 0.0, "moving average": 0.0}
    for series in counts:
        for origin in range(1, origins + 1):
            past, truth = series[origin:], series[origin - 1]
            errors["last period"] += (past[0] - truth) ** 2
            errors["moving average"] += (sum(past[:4]) / len(past[:4]) - truth) ** 2
    return errors


def test_errors_of_the_back_test_equal_a_slow_computation():
    counts = np.random.default_rng(0).poisson(3, (20, 10))
    errors = slow_errors(counts, origins=5)
    result = forecast(counts)
    expected = np.sqrt(errors["moving average"] / errors["last period"])
    assert result.baseline == "moving average"
    np.testing.assert_allclose(result.baseline_error, expected)
    assert result.error <= result.baseline_error


@pytest.mark.parametrize("kind", ["walk", "steady", "season"])
def test_what_did_best_is_used(kind):
    rng = np.random.default_rng(0)
    periods = np.arange(28)
    if kind == "walk":  # each period is the one before, and a jump
        counts = 1000 + rng.integers(-50, 50, (30, 28)).cumsum(axis=1)[:, ::-1]
    elif kind == "steady":
        counts = rng.poisson(rng.gamma(1, 3, 30)[:, None], (30, 28))
    else:
        counts = rng.poisson(np.where(periods % 7 == 6, 40, 5), (30, 28))
    result = forecast(counts, season=7)
    if kind == "walk":
        assert result.method == result.baseline == "last period"
        np.testing.assert_array_equal(result.expected, counts[:, 0])
    elif kind == "steady":
        assert result.method.startswith("smoothed")
        assert result.error < result.baseline_error < 1
    else:
        assert result.method.startswith("seasonal")
        np.testing.assert_allclose(result.expected.mean(), 40, rtol=0.2)


def test_four_of_five_outcomes_lie_in_the_interval():
    rng = np.random.default_rng(0)
    for shape in (2.0, 1e6):  # clustered counts, and Poisson's
        rates = rng.gamma(2, 4, 4000)[:, None] * rng.gamma(shape, 1 / shape, (4000, 40))
        counts = rng.poisson(rates)
        result = forecast(counts[:, 1:])
        inside = (result.low <= counts[:, 0]) & (counts[:, 0] <= result.high)
        assert 0.75 < inside.mean() < 0.92


@pytest.mark.parametrize("num_periods", [1, 2, 3])
def test_a_short_past_has_a_forecast(num_periods):
    counts = np.full((3, num_periods), 2)
    result = forecast(counts)
    np.testing.assert_allclose(result.expected, 2)
    assert result.baseline in BASELINES


def test_a_forecast_reads_the_past_alone():
    seen = []
    methods = {"last period": lambda past: seen.append(past.copy()) or past[:, 0]}
    counts = np.arange(8).reshape(1, 8)
    forecast_module._Backtest.of(counts, methods, None)
    assert [past[0, 0] for past in seen] == [1, 2, 3, 4]


def test_mistakes_of_demand_are_named(world):
    with pytest.raises(UsageError, match="item, category, tag, region; did you mean region"):
        demand(world, by="regoin")
    with pytest.raises(UsageError, match=r"--days 90: the events span"):
        demand(world, days=[90])
    with pytest.raises(UsageError, match="--days 0"):
        demand(world, days=[0])
    with pytest.raises(UsageError, match="one moment"):
        demand(world, BEFORE_TEST)
    with pytest.raises(BadData, match="no event is visible"):
        demand(world, AsOf.time(0))
