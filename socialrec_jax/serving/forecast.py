"""Forecasts of counts from their past, chosen by a back-test of rolling origins.

All methods are short sums over past periods, so NumPy computes them for all keys at once. A library
of forecasts (statsforecast, statsmodels) fits a model for each key: it takes minutes for the items
of a shop, and brings compilers or pandas with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_MAX_ORIGINS = 8  # of the back-test
_PERIODS_OF_AVERAGE = 4
_SMOOTHING = (0.05, 0.1, 0.2, 0.4)
_TOTAL_SMOOTHING = 0.5  # of all keys together, which change faster than their shares
_SHARE_OF_INTERVAL = 0.8

# Counts [K, p] of K keys, the newest period first, to the expected counts [K] of the next period.
Method = Callable[[np.ndarray], np.ndarray]

BASELINES = ("last period", "moving average", "seasonal naive")


class Forecast(NamedTuple):
    """What is expected of K keys in the next period."""

    expected: np.ndarray  # [K]
    low: np.ndarray  # [K] an interval that holds 80% of the counts
    high: np.ndarray  # [K]
    method: str
    error: float  # of the method in the back-test: RMSSE, 1 for the last period
    baseline: str  # the best of BASELINES
    baseline_error: float


def forecast(counts: np.ndarray, season: int | None = None) -> Forecast:
    """The forecast of counts [K, P], the newest period first, by the method that did best before.

    season: periods of a season, for methods that repeat it. Errors are the root mean squared ones
    over all keys and origins, over those of the last period (RMSSE, Hyndman and Koehler 2006; M5's
    measure, because absolute errors of rare events favour forecasts of zero).
    """
    methods = _methods(season)
    backtest = _Backtest.of(counts, methods, season)
    best = min(backtest.squared, key=backtest.squared.__getitem__)
    baselines = [name for name in BASELINES if name in backtest.squared]
    baseline = min(baselines, key=backtest.squared.__getitem__)
    expected = methods[best](counts)
    low, high = _interval(expected, backtest.clustering(best))
    return Forecast(
        expected, low, high, best, backtest.error(best), baseline, backtest.error(baseline)
    )


def _methods(season: int | None) -> dict[str, Method]:
    """All methods by name; a simple one first, which wins a tie."""
    methods: dict[str, Method] = {
        "last period": lambda past: past[:, 0].astype(np.float64),
        "moving average": lambda past: past[:, :_PERIODS_OF_AVERAGE].mean(axis=1),
    }
    if season is not None:
        methods["seasonal naive"] = lambda past: past[:, season - 1].astype(np.float64)
        methods["seasonal average"] = lambda past: _seasonal_average(past, season)
    for rate in _SMOOTHING:
        methods[f"smoothed {rate}"] = _smoothing(rate)
        methods[f"smoothed shares {rate}"] = _smoothed_shares(rate)
    return methods


def _seasonal_average(past: np.ndarray, season: int) -> np.ndarray:
    """The mean of the same period in the last seasons."""
    same_period = past[:, season - 1 :: season]
    return same_period[:, :_PERIODS_OF_AVERAGE].mean(axis=1)


def _smoothing(rate: float) -> Method:
    """Simple exponential smoothing (Brown 1959); its weights sum up to 1 for a short past too."""

    def smoothed(past: np.ndarray) -> np.ndarray:
        weights = (1 - rate) ** np.arange(past.shape[1])
        return past @ (weights / weights.sum())

    return smoothed


def _smoothed_shares(rate: float) -> Method:
    """Smoothed shares of the keys, of a total that is smoothed less."""
    of_keys, of_total = _smoothing(rate), _smoothing(_TOTAL_SMOOTHING)

    def smoothed(past: np.ndarray) -> np.ndarray:
        expected = of_keys(past)
        total = of_total(past.sum(axis=0, keepdims=True))
        return expected * (total / max(expected.sum(), 1e-12))

    return smoothed


@dataclasses.dataclass(frozen=True)
class _Backtest:
    """Sums over all keys and origins, by method."""

    squared: dict[str, float]  # squared errors
    expected: dict[str, float]
    expected_squared: dict[str, float]

    @classmethod
    def of(cls, counts: np.ndarray, methods: dict[str, Method], season: int | None) -> _Backtest:
        """The same origins for all methods: the newest periods, each forecast from those before."""
        num_periods = counts.shape[1]
        origins = range(1, 1 + _num_origins(num_periods, season))
        # Without an origin nothing can be compared, so the simplest method is the only one.
        names = [name for name in methods if origins or name == "last period"]
        sums = {name: np.zeros(3) for name in names}
        for origin in origins:
            past, truth = counts[:, origin:], counts[:, origin - 1]
            for name in names:
                expected = methods[name](past)
                squared_error = (expected - truth) ** 2
                sums[name] += [squared_error.sum(), expected.sum(), (expected**2).sum()]
        columns = [{name: float(sums[name][n]) for name in names} for n in range(3)]
        return cls(*columns)

    def error(self, name: str) -> float:
        """RMSSE of a method; not a number where there is nothing to compare."""
        naive = self.squared["last period"]
        return float(np.sqrt(self.squared[name] / naive)) if naive else float("nan")

    def clustering(self, name: str) -> float:
        """How much the variance exceeds a Poisson's: variance = mean + clustering * mean^2."""
        excess = self.squared[name] - self.expected[name]
        # A negative binomial cannot vary less than a Poisson.
        return max(excess / max(self.expected_squared[name], 1e-12), 0.0)


def _num_origins(num_periods: int, season: int | None) -> int:
    """Half of the periods at most, and each origin has a whole season before it."""
    with_past = num_periods - max(season or 1, 1)
    return max(min(_MAX_ORIGINS, num_periods // 2, with_past), 0)


def _interval(expected: np.ndarray, clustering: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of negative binomials with these means, Poisson where nothing clusters."""
    from scipy import stats  # its import takes half a second

    tail = (1 - _SHARE_OF_INTERVAL) / 2
    if clustering < 1e-6:
        distribution = stats.poisson(expected)
    else:
        size = 1 / clustering
        distribution = stats.nbinom(size, size / (size + expected))
    low, high = distribution.ppf(tail), distribution.ppf(1 - tail)
    return np.maximum(low, 0), np.maximum(high, 0)
