"""Devices side by side: the rate of each case, its ratio to a chosen device, shares and costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmarks.harness.schema import OK, Results, Row
from benchmarks.output.tables import share

# A smaller difference is shown without colour: whether it is one is for `compare` to say.
_EVEN = 0.05
# What an owner of a device looks for first; other suites follow in the order of their files.
_FIRST_SUITES = ("accelerator", "train", "serve")

Key = tuple[str, str, str]  # suite, case, preset
Rows = Mapping[Key, Row]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One case on one device."""

    rate: str  # or why there is none
    ratio: str = ""  # of the rates, to that of the chosen device
    colour: str = ""  # the name of a class: faster, slower or none
    # Seconds of a call, shares of the device, cost of a billion units.
    details: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class CaseLine:
    case: str
    preset: str
    cells: list[Cell]


@dataclasses.dataclass(frozen=True)
class Device:
    """The head of a column."""

    name: str
    ratio: str  # the geometric mean over the cases that it shares with the chosen device
    summary: str


@dataclasses.dataclass(frozen=True)
class Published:
    """A figure of others, and what each device reached in the same unit."""

    case: str
    name: str
    figure: str
    origin: str  # hardware and source
    measured: list[str]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What the page shows first."""

    reference_device: str
    devices: list[Device]
    suites: dict[str, list[CaseLine]]
    published: list[Published]


def comparison(
    results: Iterable[Results], reference_device: str | None, prices: Mapping[str, float]
) -> Comparison:
    """All devices of these results, the chosen one first.

    reference_device: one of `device_names`, the first by default. prices: of an hour of a device,
    by its name or a part of it.
    """
    by_device = _newest_rows(results)
    reference = reference_device or next(iter(by_device), "")
    # The chosen device first, then the others in the order of their files.
    names = sorted(by_device, key=lambda name: name != reference)
    columns = [by_device[name] for name in names]
    hourly = [_price_of(name, prices) for name in names]
    return Comparison(
        reference_device=reference,
        devices=_devices(names, columns, hourly),
        suites=_suites(columns, hourly),
        published=_published(columns),
    )


def device_names(results: Iterable[Results]) -> list[str]:
    return list(dict.fromkeys(device_name(each) for each in results))


def device_name(results: Results) -> str:
    """The kind of the devices, and how many; a CPU by its processor and cores."""
    environment = results.run.environment
    devices = environment["devices"]
    if set(devices) == {"cpu"}:
        return f"{environment['cpu']}, {environment['cores']} cores"
    return devices[0] if len(devices) == 1 else f"{len(devices)} x {devices[0]}"


def _newest_rows(results: Iterable[Results]) -> dict[str, dict[Key, Row]]:
    """{device: rows}; of a case that was measured several times the newest row with figures."""
    results = list(results)
    by_device: dict[str, dict[Key, Row]] = {name: {} for name in device_names(results)}
    for each in sorted(results, key=lambda each: each.run.started):
        rows = by_device[device_name(each)]
        for row in each.rows:
            key = (row.suite, row.case, row.preset)
            if row.p50 is not None or key not in rows:
                rows[key] = row
    return by_device


def _price_of(device: str, prices: Mapping[str, float]) -> float | None:
    for name, price in prices.items():
        if name.lower() in device.lower():
            return price
    return None


def _devices(
    names: Sequence[str], columns: Sequence[Rows], prices: Sequence[float | None]
) -> list[Device]:
    devices = []
    for name, rows, price in zip(names, columns, prices, strict=True):
        ratios = [_ratio(row, columns[0].get(key)) for key, row in rows.items()]
        known = [ratio for ratio in ratios if ratio is not None]
        mean = float(np.exp(np.mean(np.log(known)))) if known else None
        summary = f"geometric mean of {len(known)} shared cases"
        if rows is columns[0]:
            summary = "what the others are compared with"
        if price is not None:
            summary += f"; {price:g} an hour"
        devices.append(Device(name, _shown_ratio(mean), summary))
    return devices


def _ratio(row: Row, reference: Row | None) -> float | None:
    """How many times the units a second of the reference's row."""
    if reference is None or row.status != OK or reference.status != OK:
        return None
    if not row.units_per_second or not reference.units_per_second:
        return None
    return row.units_per_second / reference.units_per_second


def _suites(columns: Sequence[Rows], prices: Sequence[float | None]) -> dict[str, list[CaseLine]]:
    """A line for each case that any device has, by suite."""
    distinct = dict.fromkeys(key for rows in columns for key in rows)
    keys = sorted(distinct, key=_place_of_suite)
    suites: dict[str, list[CaseLine]] = {}
    for key in keys:
        suite, case, preset = key
        reference = columns[0].get(key)
        cells = [
            _cell(rows.get(key), reference, price)
            for rows, price in zip(columns, prices, strict=True)
        ]
        suites.setdefault(suite, []).append(CaseLine(case, preset, cells))
    return suites


def _place_of_suite(key: Key) -> int:
    suite = key[0]
    return _FIRST_SUITES.index(suite) if suite in _FIRST_SUITES else len(_FIRST_SUITES)


def _cell(row: Row | None, reference: Row | None, price: float | None) -> Cell:
    if row is None:
        return Cell("")
    if row.p50 is None or not row.units_per_second:
        return Cell(row.status)
    ratio = _ratio(row, reference)
    return Cell(
        rate=f"{_compact(row.units_per_second)} {row.unit}/s",
        # Nobody needs to read that a device is as fast as itself.
        ratio="" if row is reference else _shown_ratio(ratio),
        colour=_colour(ratio),
        details=_details(row, price),
    )


def _colour(ratio: float | None) -> str:
    if ratio is None or abs(ratio - 1) < _EVEN:
        return ""
    return "faster" if ratio > 1 else "slower"


def _details(row: Row, price: float | None) -> list[str]:
    assert row.p50 is not None
    details = [_duration(row.p50)]
    if row.mfu is not None:
        details.append(f"MFU {share(row.mfu)}")
    if row.bandwidth_share is not None:
        details.append(f"memory {share(row.bandwidth_share)}")
    if price is not None and row.units_per_second:
        cost = price / 3600 / row.units_per_second * 1e9
        details.append(f"{_digits(cost)} per billion")
    if row.status != OK:
        details.append(row.status)
    return details


def _duration(seconds: float) -> str:
    return f"{_digits(seconds)} s" if seconds >= 1 else f"{_digits(seconds * 1e3)} ms"


def _digits(value: float) -> str:
    """Three digits that mean something, never in scientific notation."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _shown_ratio(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2g}x"


def _compact(value: float) -> str:
    """Three digits and a letter: 2.66M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{_digits(value / size)}{letter}"
    return _digits(value)


def _published(columns: Sequence[Rows]) -> list[Published]:
    """Each figure once, in the order of the cases."""
    lines: dict[tuple, Published] = {}
    for rows in columns:
        for key, row in rows.items():
            for reference in row.references:
                measured = [_in_unit(other.get(key), reference["unit"]) for other in columns]
                identity = (key, reference["name"])
                lines.setdefault(identity, _line(row, reference, measured))
    return list(lines.values())


def _line(row: Row, reference: dict, measured: list[str]) -> Published:
    remark = f" ({reference['remark']})" if reference["remark"] else ""
    return Published(
        case=f"{row.case}, {row.preset}",
        name=reference["name"] + remark,
        figure=f"{_compact(reference['figure'])} {reference['unit']}",
        origin=f"{reference['hardware']}; {reference['source']}",
        measured=measured,
    )


def _in_unit(row: Row | None, unit: str) -> str:
    if row is None or row.p50 is None:
        return ""
    if unit == "TFLOP/s":
        return f"{_compact(row.flops / row.p50 / 1e12)} {unit}" if row.flops else ""
    return f"{_compact(row.units_per_second or 0)} {unit}" if unit == f"{row.unit}/s" else ""
