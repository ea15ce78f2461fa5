"""One self-contained page about any number of result files: what bounds each case, how it scales,
how long it takes.

Style and drawing are those of the report of a run; the page asks the network for nothing and runs
no script.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from benchmarks import gains, listing, plots
from benchmarks.hardware import Peaks
from benchmarks.schema import NOT_RUN, OK, Results, Row
from socialrec_jax.reports.html import stylesheet
from socialrec_jax.runtime.run import write_atomically

_SCALED = re.compile(r"(strong|weak) \d+")


def write(out: Path, files: dict[Path, Results], price_per_hour: float | None = None) -> None:
    """Write the page of these results; raises nothing for cases that failed: they are rows that say
    so.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    sections = [_headline(files), _HOW_TO_READ, *_side_by_side(files)]
    for file, results in files.items():
        sections += [f"<h2>{_text(_name(file, results))}</h2>", _facts(results)]
        sections.append(_table(listing.table(results, price_per_hour)))
        if results.run.suite == "ladder":
            sections += ["<h3>What each rung brings</h3>", _table(gains.table(results.rows))]
        sections.append(f"<figure><div class=pair>{_drawings(results)}</div></figure>")
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Benchmarks</title><style>{stylesheet()}{_WIDER}</style></head>
<body>{"".join(sections)}</body></html>
"""
    write_atomically(out, page)


_WIDER = "body { max-width: 80rem; } h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }"
_HOW_TO_READ = (
    "<p class=soft>Latency: the point is the median, the line reaches from p10 to p99. Roofline: what the device could "
    "do at most at so many FLOPs a byte, and what it did, with the closed forms of FLOPs and of the least traffic. "
    "Scaling: dotted is the ideal. Ladder: each rung has all optimisations above it too; the figure at a bar is its "
    "gain over the first, the median over rounds in which the rungs took turns.</p>"
)


def _headline(files: dict[Path, Results]) -> str:
    devices = {
        device for results in files.values() for device in results.run.environment["devices"]
    }
    rows = [row for results in files.values() for row in results.rows]
    failed = sum(row.status not in (OK, NOT_RUN) for row in rows)
    tiles = {"result files": len(files), "cases": len(rows), "cases that are not ok": failed}
    shown = "".join(f"<div><b>{value}</b>{label}</div>" for label, value in tiles.items())
    return f"<h1>Benchmarks</h1><p class=soft>{_text(', '.join(sorted(devices)))}</p><div class=tiles>{shown}</div>"


def _side_by_side(files: dict[Path, Results]) -> list[str]:
    """For each suite that several files have: the medians of the cases that they share."""
    suites: dict[str, dict[str, Results]] = {}
    for file, results in files.items():
        suites.setdefault(results.run.suite, {})[_name(file, results)] = results
    tables = [table for several in suites.values() if (table := _shared(several))]
    return [_SIDE_BY_SIDE, *tables] if tables else []


_SIDE_BY_SIDE = (
    "<h2>Side by side</h2><p class=soft>Median milliseconds of a call, p10 to p90 in brackets; whether two differ is "
    "for <code>compare</code> to say.</p>"
)


def _shared(several: dict[str, Results]) -> str:
    cases = [results.by_case() for results in several.values()]
    keys = [
        key
        for key in dict.fromkeys(key for rows in cases for key in rows)
        if sum(key in c for c in cases) > 1
    ]
    if not keys:
        return ""
    head = _cells("th", ["case", "preset", *several])
    body = "".join(
        f"<tr>{_cells('td', [*key, *(_median(rows.get(key)) for rows in cases)])}</tr>"
        for key in keys
    )
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"


def _median(row: Row | None) -> str:
    if row is None or row.p50 is None or row.p10 is None or row.p90 is None:
        return "n/a"
    return f"{row.p50 * 1e3:,.2f} ({row.p10 * 1e3:,.2f}-{row.p90 * 1e3:,.2f})"


def _name(file: Path, results: Results) -> str:
    return f"{results.run.suite}: {file.parent.name}/{file.name}"


def _facts(results: Results) -> str:
    run = results.run
    facts = {
        "command": run.command,
        "commit": run.commit or "n/a",
        "configuration": run.config_hash,
        "started": run.started,
        "devices": ", ".join(run.environment["devices"]),
        "processor": f"{run.environment['cpu']}, {run.environment['cores']} cores",
        "ceiling": run.hardware["source"],
        "JAX": run.environment["versions"]["jax"],
    }
    rows = "".join(
        f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in facts.items()
    )
    return f"<dl class=facts>{rows}</dl>"


def _table(lines: str) -> str:
    """A table for people as HTML."""
    head, _, *rows = (line[2:-2].split(" | ") for line in lines.splitlines())
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return f"<div class=scroll><table><tr>{_cells('th', head)}</tr>{body}</table></div>"


def _drawings(results: Results) -> str:
    measured = [row for row in results.rows if row.p50 is not None]
    if not measured:
        return ""
    salt = results.run.started + results.run.suite
    scaled = [row for row in measured if _SCALED.fullmatch(row.case)]
    if results.run.suite == "ladder":  # calls of different sizes: their latencies say nothing
        drawings = [plots.ladder(salt, *ladder) for ladder in gains.ladders(results.rows).items()]
    else:
        drawings = [plots.latency(salt, measured)]
    if scaled:
        drawings.append(plots.scaling(salt, scaled))
    peaks = Peaks(**results.run.hardware)
    if peaks.float32 and peaks.bandwidth and any(row.flops and row.bytes for row in measured):
        drawings.append(plots.roofline(salt, measured, peaks))
    return "".join(drawings)


def _cells(tag: str, contents: list[str]) -> str:
    return "".join(f"<{tag}>{_text(content)}</{tag}>" for content in contents)


def _text(value: str) -> str:
    return html.escape(value)
