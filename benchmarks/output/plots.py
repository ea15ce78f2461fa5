"""The plots of the benchmarks' page, drawn like the figures of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness.schema import OK, Peaks, Row
from benchmarks.output.speedups import Speedup
from socialrec_jax.reports.figures import BASELINE, INK, OURS, as_svg, drawing

_SMALL = 8  # points, of labels
# Of the two kinds of scaling.
_COLOURS = {"strong": OURS, "weak": BASELINE}


def latency(salt: str, rows: Sequence[Row]) -> str:
    """Median milliseconds of a call from p10 to p99, a point a case, on a logarithmic axis."""
    places = range(len(rows))
    low, median, high = (_milliseconds(rows, name) for name in ("p10", "p50", "p99"))
    with drawing(f"latency {salt}", 0.8 + 0.26 * len(rows)) as (figure, axis):
        axis.hlines(places, low, high, color=INK, linewidth=0.8)
        axis.plot(median, places, "o", color=OURS, markersize=5)
        axis.set_yticks(places, [_label(row) for row in rows], fontsize=_SMALL)
        # The first case is at the top.
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set(xscale="log", xlabel="latency of a call (ms)")
        axis.set_xlim(low.min() / 2, high.max() * 2)
        _format_logarithmic(axis.xaxis)
        return as_svg(figure, "latency of a call by case")


def _milliseconds(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([getattr(row, name) for row in rows]) * 1e3


def roofline(salt: str, rows: Sequence[Row], peaks: Peaks) -> str:
    """GFLOP/s of a device over FLOPs a byte, and the most that it can do."""
    rows = [row for row in rows if row.flops and row.bytes and row.p50]
    with drawing(f"roofline {salt}", 2.9 + 0.15 * len(rows)) as (figure, axis):
        for number, row in enumerate(rows, 1):
            _mark_point(axis, number, row, peaks)
        axis.set(xscale="log", yscale="log")
        axis.set(xlabel="FLOPs a byte of least traffic", ylabel="GFLOP/s of a device")
        _draw_ceilings(axis, peaks)
        for side in (axis.xaxis, axis.yaxis):
            _format_logarithmic(side)
        place = "outside lower center"
        # Below the plot: names are long, and points may be anywhere.
        figure.legend(loc=place, frameon=False, fontsize=_SMALL, handlelength=1.2, ncols=1)
        return as_svg(figure, "FLOP/s of each case and the device's roofline")


def _mark_point(axis: Any, number: int, row: Row, peaks: Peaks) -> None:
    """A point with its number, which the legend explains."""
    assert row.flops
    assert row.bytes
    assert row.p50
    # Virtual devices share one CPU.
    devices = 1 if peaks.device == "cpu" else row.devices
    point = row.flops / row.bytes, row.flops / row.p50 / devices / 1e9
    axis.plot(*point, "o", color=OURS, markersize=4, label=f"{number} {_label(row)}")
    offset = {"textcoords": "offset points", "xytext": (5, 3)}
    axis.annotate(str(number), point, fontsize=_SMALL, **offset)


def _draw_ceilings(axis: Any, peaks: Peaks) -> None:
    """One for each precision that has a ceiling of its own."""
    assert peaks.float32
    assert peaks.bandwidth
    _draw_ceiling(axis, peaks.float32, peaks.bandwidth, "-", "ceiling, float32")
    if peaks.bfloat16 and peaks.bfloat16 != peaks.float32:
        _draw_ceiling(axis, peaks.bfloat16, peaks.bandwidth, "--", "ceiling, bfloat16")


def _draw_ceiling(axis: Any, flops: float, bandwidth: float, style: str, label: str) -> None:
    """The bandwidth's slope up to the products' ceiling, at least as wide as the points."""
    low, high = axis.get_xlim()
    # At this intensity a case stops being bound by the memory.
    ridge = flops / bandwidth
    x = [min(low, ridge / 3), ridge, max(high, ridge * 3)]
    y = [x[0] * bandwidth / 1e9, flops / 1e9, flops / 1e9]
    axis.plot(x, y, color=BASELINE, linestyle=style, label=label)


def scaling(salt: str, rows: Sequence[Row]) -> str:
    """Units a second of N devices over those of one."""
    counts = sorted({row.devices for row in rows})
    with drawing(f"scaling {salt}", 3.0) as (figure, axis):
        for kind, colour in _COLOURS.items():
            rates = _rates_by_devices(rows, kind)
            # Without the rate of one device there is nothing to compare with.
            if 1 in rates:
                ratios = [rate / rates[1] for rate in rates.values()]
                axis.plot(rates.keys(), ratios, "o-", color=colour, label=kind, markersize=4)
        ideal = [1, counts[-1]]
        axis.plot(ideal, ideal, color=INK, linewidth=0.8, linestyle=":", label="ideal")
        axis.set(xlabel="devices", ylabel="rate over that of one device", ylim=(0, None))
        axis.set_xticks(counts)
        axis.legend(frameon=False)
        return as_svg(figure, "rate by number of devices")


def _rates_by_devices(rows: Sequence[Row], kind: str) -> dict[int, float]:
    """Units a second by number of devices, in its order."""
    rates = {}
    for row in sorted(rows, key=lambda row: row.devices):
        if row.case.startswith(kind):
            rates[row.devices] = row.units_per_second or 0
    return rates


def speedup_bars(salt: str, preset: str, speedups: Sequence[Speedup]) -> str:
    """Units a second of each case, a bar each, with its speedup over the first; a case that was not
    run has no bar but says so.
    """
    places = range(len(speedups))
    rates = [(speedup.row.units_per_second or 0) / 1e3 for speedup in speedups]
    unit = next((speedup.row.unit for speedup in speedups if speedup.row.unit), "units")
    with drawing(f"speedups {salt} {preset}", 0.9 + 0.34 * len(speedups)) as (figure, axis):
        bars = axis.barh(places, rates, 0.6, color=OURS)
        labels = [_bar_label(speedup) for speedup in speedups]
        axis.bar_label(bars, labels, padding=3, fontsize=_SMALL, color=INK)
        axis.set_yticks(places, [speedup.row.case for speedup in speedups], fontsize=_SMALL)
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        # Room for the labels beside the bars.
        axis.set_xlim(0, max(rates) * 1.25 or 1)
        axis.set(xlabel=f"thousand {unit} a second", title=preset)
        return as_svg(figure, f"{unit} a second of each case, {preset}")


def _bar_label(speedup: Speedup) -> str:
    status = speedup.row.status
    if speedup.over_first is None:
        return status
    ratio = f"{speedup.over_first.median:.2f}x"
    return ratio if status == OK else f"{ratio}, {status}"


def _label(row: Row) -> str:
    return f"{row.case}, {row.preset}"


def _format_logarithmic(side: Any) -> None:
    """Labels of a logarithmic axis as numbers, not formulas."""
    from matplotlib.ticker import LogLocator

    low, high = side.get_view_interval()
    # Powers of ten would be few on a short axis.
    steps = (1, 2, 5) if high < 100 * low else (1,)
    side.set_major_locator(LogLocator(subs=steps))
    side.set_major_formatter(lambda value, _: f"{value:,.7g}")
    side.set_minor_formatter(lambda *_: "")
