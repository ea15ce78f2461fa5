"""One self-contained page about any number of result files: what bounds each case, how it scales,
how long it takes.

Style and drawing are those of the report of a run. The page asks the network for nothing and runs
no script.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from benchmarks.harness.schema import NOT_RUN, OK, Peaks, Results, Row
from benchmarks.output import plots
from benchmarks.output.speedups import COMPARED_SUITES, by_preset, speedup_table
from benchmarks.output.tables import UNKNOWN, Table, milliseconds, suite_table
from socialrec_jax.reports.run_report import STYLE

_SCALED_CASE = re.compile(r"(strong|weak) \d+")


@dataclasses.dataclass(frozen=True)
class _Section:
    """What the template shows of one result file."""

    title: str
    details: dict[str, str]
    table: Table
    speedups: Table | None
    figures: list[Markup]


def page(files: dict[Path, Results], price_per_hour: float | None = None) -> str:
    """The HTML of these results; cases that failed are rows that say so."""
    environment = Environment(
        loader=PackageLoader("benchmarks.output"), autoescape=True, trim_blocks=True
    )
    # The style sheet and the figures are made here, so they are trusted; all else is escaped.
    environment.globals["style"] = Markup(STYLE)
    return environment.get_template("report.html").render(
        devices=_devices(files),
        tiles=_tiles(files),
        shared_tables=_shared_tables(files),
        sections=[_section(file, results, price_per_hour) for file, results in files.items()],
    )


def _devices(files: dict[Path, Results]) -> list[str]:
    devices = set()
    for results in files.values():
        devices.update(results.run.environment["devices"])
    return sorted(devices)


def _tiles(files: dict[Path, Results]) -> dict[str, int]:
    """The figures of the headline."""
    rows = [row for results in files.values() for row in results.rows]
    failed = [row for row in rows if row.status not in (OK, NOT_RUN)]
    return {"result files": len(files), "cases": len(rows), "cases that are not ok": len(failed)}


def _shared_tables(files: dict[Path, Results]) -> list[Table]:
    """For each suite that several files have: the medians of the cases that they share."""
    suites: dict[str, dict[str, Results]] = {}
    for file, results in files.items():
        suites.setdefault(results.run.suite, {})[_name(file, results)] = results
    # A suite with one file has an empty table.
    tables = [_shared_table(named) for named in suites.values()]
    return [table for table in tables if table.rows]


def _shared_table(named: dict[str, Results]) -> Table:
    """Cases of at least two of these results, by name of the file."""
    columns = [results.by_case() for results in named.values()]
    all_keys = dict.fromkeys(key for column in columns for key in column)
    rows = []
    for key in all_keys:
        if sum(key in column for column in columns) > 1:
            medians = [_median(column.get(key)) for column in columns]
            rows.append([*key, *medians])
    return Table(["case", "preset", *named], rows)


def _median(row: Row | None) -> str:
    if row is None or row.p50 is None:
        return UNKNOWN
    return f"{milliseconds(row.p50)} ({milliseconds(row.p10)}-{milliseconds(row.p90)})"


def _section(file: Path, results: Results, price_per_hour: float | None) -> _Section:
    compared = results.run.suite in COMPARED_SUITES
    return _Section(
        title=_name(file, results),
        details=_details(results),
        table=suite_table(results, price_per_hour),
        speedups=speedup_table(results.rows) if compared else None,
        figures=[Markup(figure) for figure in _figures(results)],
    )


def _name(file: Path, results: Results) -> str:
    return f"{results.run.suite}: {file.parent.name}/{file.name}"


def _details(results: Results) -> dict[str, str]:
    """What was measured, and where."""
    run = results.run
    environment = run.environment
    return {
        "command": run.command,
        "commit": run.commit or UNKNOWN,
        "configuration": run.config_hash,
        "started": run.started,
        "devices": ", ".join(environment["devices"]),
        "processor": f"{environment['cpu']}, {environment['cores']} cores",
        "ceiling": run.hardware["source"],
        "JAX": environment["versions"]["jax"],
    }


def _figures(results: Results) -> list[str]:
    """SVG of the plots that these results allow."""
    measured = [row for row in results.rows if row.p50 is not None]
    if not measured:
        return []
    # It sets the ids of this file's figures apart from those of others.
    salt = results.run.started + results.run.suite
    figures = []
    if results.run.suite in COMPARED_SUITES:
        # Their calls have different sizes, so latencies could not be compared.
        for preset, speedups in by_preset(results.rows).items():
            figures.append(plots.speedup_bars(salt, preset, speedups))
    else:
        figures.append(plots.latency(salt, measured))
    scaled = [row for row in measured if _SCALED_CASE.fullmatch(row.case)]
    if scaled:
        figures.append(plots.scaling(salt, scaled))
    peaks = Peaks(**results.run.hardware)
    has_points = any(row.flops and row.bytes for row in measured)
    if peaks.float32 and peaks.bandwidth and has_points:
        figures.append(plots.roofline(salt, measured, peaks))
    return figures
