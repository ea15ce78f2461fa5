"""One self-contained page about any number of result files: first the devices side by side, then
for each file what bounds each case, how it scales, how long it takes.

Style and drawing are those of the report of a run. The page asks the network for nothing and runs
no script.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from benchmarks.harness.schema import NOT_REACHED, NOT_RUN, OK, Peaks, Results
from benchmarks.output import hardware_comparison, plots
from benchmarks.output.speedups import COMPARED_SUITES, by_preset, speedup_table
from benchmarks.output.tables import UNKNOWN, Table, suite_table
from socialrec_jax.reports.html import stylesheet

_SCALED_CASE = re.compile(r"(strong|weak) \d+")


@dataclasses.dataclass(frozen=True)
class _Section:
    """What the template shows of one result file."""

    title: str
    details: dict[str, str]
    table: Table
    speedups: Table | None
    checks: Table | None
    figures: list[Markup]


def page(
    files: dict[Path, Results],
    prices: Mapping[str, float] | None = None,
    reference_device: str | None = None,
) -> str:
    """The HTML of these results; cases that failed are rows that say so.

    prices: of an hour, by a device's name or a part of it. reference_device: the one that others
    are compared with, one of `hardware_comparison.device_names`; the first by default.
    """
    environment = Environment(
        loader=PackageLoader("benchmarks.output"), autoescape=True, trim_blocks=True
    )
    # The style sheet and the figures are made here, so they are trusted; all else is escaped.
    environment.globals["style"] = Markup(stylesheet())
    return environment.get_template("report.html").render(
        comparison=hardware_comparison.comparison(files.values(), reference_device, prices or {}),
        tiles=_tiles(files),
        sections=[_section(file, results) for file, results in files.items()],
    )


def _tiles(files: dict[Path, Results]) -> dict[str, int]:
    """How much lies below."""
    rows = [row for results in files.values() for row in results.rows]
    failed = [row for row in rows if row.status not in (OK, NOT_RUN, NOT_REACHED)]
    return {"result files": len(files), "cases": len(rows), "cases that are not ok": len(failed)}


def _section(file: Path, results: Results) -> _Section:
    compared = results.run.suite in COMPARED_SUITES
    return _Section(
        title=_name(file, results),
        details=_details(results),
        table=suite_table(results),
        speedups=speedup_table(results.rows) if compared else None,
        checks=_checks(results),
        figures=[Markup(figure) for figure in _figures(results)],
    )


def _checks(results: Results) -> Table | None:
    """What each result was compared with, where the file says so."""
    rows = [[row.case, row.preset, row.checked] for row in results.rows if row.checked]
    return Table(["case", "preset", "compared"], rows) if rows else None


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
