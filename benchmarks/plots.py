"""The plots of the benchmarks' page, drawn as the figures of a run's report are."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.gains import Gain
from benchmarks.hardware import Peaks
from benchmarks.schema import OK, Row
from socialrec_jax.evaluation.figures import INK, OURS, RIVAL, as_svg, drawing


def latency(salt: str, rows: Sequence[Row]) -> str:
    """Median seconds of a call with p10 and p99, a bar a case, on a logarithmic axis."""
    with drawing(f"latency {salt}", 0.8 + 0.34 * len(rows)) as (figure, axis):
        places = range(len(rows))
        medians = [(row.p50 or 0) * 1e3 for row in rows]
        below = [((row.p50 or 0) - (row.p10 or 0)) * 1e3 for row in rows]
        above = [((row.p99 or 0) - (row.p50 or 0)) * 1e3 for row in rows]
        axis.barh(places, medians, 0.6, color=OURS, xerr=(below, above), error_kw={"ecolor": INK, "elinewidth": 0.8})
        axis.set_yticks(places, [_label(row) for row in rows], fontsize=8)
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        axis.set(xscale="log", xlabel="latency of a call (ms)")
        _plain_numbers(axis.xaxis)
        return as_svg(figure, "latency of a call by case")


def roofline(salt: str, rows: Sequence[Row], peaks: Peaks) -> str:
    """FLOP/s over FLOPs a byte, beneath what the device can do."""
    assert peaks.float32
    assert peaks.bandwidth
    points = [(row.flops / row.bytes, row.flops / row.p50, row) for row in rows if row.flops and row.bytes and row.p50]
    ridge = peaks.float32 / peaks.bandwidth
    low = min(ridge, *(x for x, *_ in points)) / 3
    high = max(ridge, *(x for x, *_ in points)) * 3
    with drawing(f"roofline {salt}", 3.4) as (figure, axis):
        axis.plot([low, ridge, high], [low * peaks.bandwidth / 1e9, *[peaks.float32 / 1e9] * 2], color=RIVAL)
        for number, (x, y, row) in enumerate(points, 1):
            axis.plot([x], [y / 1e9], "o", color=OURS, markersize=4, label=f"{number} {_label(row)}")
            axis.annotate(str(number), (x, y / 1e9), textcoords="offset points", xytext=(5, 3), fontsize=8)
        axis.set(xscale="log", yscale="log", xlabel="FLOPs a byte of least traffic", ylabel="GFLOP/s")
        for side in (axis.xaxis, axis.yaxis):
            _plain_numbers(side)
        figure.legend(loc="outside lower center", frameon=False, fontsize=8, handlelength=0.8, ncols=1)
        return as_svg(figure, "FLOP/s of each case beneath the device's roofline")


def scaling(salt: str, rows: Sequence[Row]) -> str:
    """Units a second of N devices over those of one."""
    with drawing(f"scaling {salt}", 3.0) as (figure, axis):
        for kind, colour in (("strong", OURS), ("weak", RIVAL)):
            rates = {row.devices: row.units_per_second or 0 for row in rows if row.case.startswith(kind)}
            if 1 in rates:
                devices = sorted(rates)
                axis.plot(devices, [rates[n] / rates[1] for n in devices], "o-", color=colour, label=kind, markersize=4)
        most = max(row.devices for row in rows)
        axis.plot([1, most], [1, most], color=INK, linewidth=0.8, linestyle=":")
        axis.set(xlabel="devices", ylabel="rate over that of one device", ylim=(0, None))
        axis.set_xticks(sorted({row.devices for row in rows}))
        axis.legend(frameon=False)
        return as_svg(figure, "rate by number of devices")


def ladder(salt: str, preset: str, gains: Sequence[Gain]) -> str:
    """Units a second of each rung, a bar each, with its gain over the foot; what was not run has no bar but says so."""
    with drawing(f"ladder {salt} {preset}", 0.9 + 0.34 * len(gains)) as (figure, axis):
        places = range(len(gains))
        rates = [(gain.row.units_per_second or 0) / 1e3 for gain in gains]
        drawn = axis.barh(places, rates, 0.6, color=OURS)
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
    """The usual labels of logarithmic axes are formulas."""
    side.set_major_formatter(lambda value, _: f"{value:g}")
    side.set_minor_formatter(lambda *_: "")
