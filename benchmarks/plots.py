"""The plots of the benchmarks' page, drawn as the figures of a run's report are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.gains import Gain
from benchmarks.hardware import Peaks
from benchmarks.schema import OK, Row
from socialrec_jax.reports.figures import BASELINE, INK, MODEL, as_svg, drawing


def latency(salt: str, rows: Sequence[Row]) -> str:
    """Median seconds of a call from p10 to p99, a point a case, on a logarithmic axis."""
    with drawing(f"latency {salt}", 0.8 + 0.26 * len(rows)) as (figure, axis):
        low, median, high = (
            np.array([getattr(row, name) for row in rows]) * 1e3 for name in ("p10", "p50", "p99")
        )
        axis.hlines(range(len(rows)), low, high, color=INK, linewidth=0.8)
        axis.plot(median, range(len(rows)), "o", color=MODEL, markersize=5)
        axis.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set(
            xscale="log", xlabel="latency of a call (ms)", xlim=(low.min() / 2, high.max() * 2)
        )
        _plain_numbers(axis.xaxis)
        return as_svg(figure, "latency of a call by case")


def roofline(salt: str, rows: Sequence[Row], peaks: Peaks) -> str:
    """FLOP/s of a device over FLOPs a byte, beneath what it can do; virtual devices of a CPU are
    one.
    """
    assert peaks.float32
    assert peaks.bandwidth
    rows = [row for row in rows if row.flops and row.bytes and row.p50]
    with drawing(f"roofline {salt}", 2.9 + 0.15 * len(rows)) as (figure, axis):
        for number, row in enumerate(rows, 1):
            assert row.flops and row.bytes and row.p50  # noqa: PT018 - three times the same
            rate = row.flops / row.p50 / (1 if peaks.device == "cpu" else row.devices) / 1e9
            point = row.flops / row.bytes, rate
            axis.plot(*point, "o", color=MODEL, markersize=4, label=f"{number} {_label(row)}")
            axis.annotate(str(number), point, textcoords="offset points", xytext=(5, 3), fontsize=8)
        axis.set(
            xscale="log",
            yscale="log",
            xlabel="FLOPs a byte of least traffic",
            ylabel="GFLOP/s of a device",
        )
        _roof(axis, peaks.float32, peaks.bandwidth, linestyle="-", label="ceiling, float32")
        if peaks.bfloat16 and peaks.bfloat16 != peaks.float32:
            _roof(axis, peaks.bfloat16, peaks.bandwidth, linestyle="--", label="ceiling, bfloat16")
        for side in (axis.xaxis, axis.yaxis):
            _plain_numbers(side)
        figure.legend(
            loc="outside lower center", frameon=False, fontsize=8, handlelength=1.2, ncols=1
        )
        return as_svg(figure, "FLOP/s of each case beneath the device's roofline")


def _roof(axis, flops: float, bandwidth: float, **style: str) -> None:
    """Bandwidth's slope up to the products' ceiling, as wide as what is drawn already, or wider."""
    low, high = axis.get_xlim()
    ridge = flops / bandwidth
    places = [min(low, ridge / 3), ridge, max(high, ridge * 3)]
    axis.plot(
        places, [places[0] * bandwidth / 1e9, flops / 1e9, flops / 1e9], color=BASELINE, **style
    )


def scaling(salt: str, rows: Sequence[Row]) -> str:
    """Units a second of N devices over those of one."""
    with drawing(f"scaling {salt}", 3.0) as (figure, axis):
        for kind, colour in (("strong", MODEL), ("weak", BASELINE)):
            rates = {
                row.devices: row.units_per_second or 0 for row in rows if row.case.startswith(kind)
            }
            if 1 in rates:
                devices = sorted(rates)
                axis.plot(
                    devices,
                    [rates[n] / rates[1] for n in devices],
                    "o-",
                    color=colour,
                    label=kind,
                    markersize=4,
                )
        most = max(row.devices for row in rows)
        axis.plot([1, most], [1, most], color=INK, linewidth=0.8, linestyle=":", label="ideal")
        axis.set(xlabel="devices", ylabel="rate over that of one device", ylim=(0, None))
        axis.set_xticks(sorted({row.devices for row in rows}))
        axis.legend(frameon=False)
        return as_svg(figure, "rate by number of devices")


def ladder(salt: str, preset: str, gains: Sequence[Gain]) -> str:
    """Units a second of each rung, a bar each, with its gain over the foot; what was not run has no
    bar but says so.
    """
    with drawing(f"ladder {salt} {preset}", 0.9 + 0.34 * len(gains)) as (figure, axis):
        places = range(len(gains))
        rates = [(gain.row.units_per_second or 0) / 1e3 for gain in gains]
        drawn = axis.barh(places, rates, 0.6, color=MODEL)
        axis.bar_label(drawn, [_gain(gain) for gain in gains], padding=3, fontsize=8, color=INK)
        axis.set_yticks(places, [gain.row.case for gain in gains], fontsize=8)
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        axis.set_xlim(0, max(rates) * 1.25 or 1)
        unit = next((gain.row.unit for gain in gains if gain.row.unit), "units")
        axis.set(xlabel=f"thousand {unit} a second", title=preset)
        return as_svg(figure, f"{unit} a second of each rung, {preset}")


def _gain(gain: Gain) -> str:
    if gain.over_first is None:
        return gain.row.status
    return f"{gain.over_first[1]:.2f}x" + ("" if gain.row.status == OK else f", {gain.row.status}")


def _label(row: Row) -> str:
    return f"{row.case}, {row.preset}"


def _plain_numbers(side) -> None:
    """Labels of a logarithmic axis as numbers, not formulas; 1, 2, 5, ... where powers of ten would
    be few.
    """
    from matplotlib.ticker import LogLocator

    low, high = side.get_view_interval()
    side.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    side.set_major_formatter(lambda value, _: f"{value:,.7g}")
    side.set_minor_formatter(lambda *_: "")
