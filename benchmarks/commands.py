"""The commands `run` (of timed suites), `compare` and `report`."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import schema
from benchmarks.harness.schema import NOT_REACHED, NOT_RUN, OK, OUT_OF_MEMORY, Results, Row
from benchmarks.output import speedups, tables
from socialrec_jax.errors import INTERNAL, UsageError

if TYPE_CHECKING:
    from benchmarks.__main__ import Report, Run
    from benchmarks.harness.cases import Case

_SHOWN = (
    "case",
    "preset",
    "status",
    "unit",
    "p50",
    "spread",
    "units_per_second",
    "mfu",
    "bound_by",
)


def run_suite(options: Run) -> int:
    """Measure a suite of cases; returns the exit code."""
    if min(options.budget, options.seconds) <= 0:
        raise UsageError("choose --budget and --seconds above 0")
    if options.suite == "serve":
        from socialrec_jax.runtime.memory import keep_freed_memory

        # serve.py does so too. It must come before JAX starts its threads.
        keep_freed_memory()
    from benchmarks.harness import memory, runner

    memory.limit_allocations()
    out = options.out or Path(tempfile.mkdtemp(prefix="benchmarks-"))
    file = out / f"{options.suite}.jsonl"
    effort = runner.Effort(seconds_per_case=options.seconds)
    cases = _chosen_cases(options)
    try:
        results = runner.run_suite(
            options.suite, cases, effort, out, budget_seconds=options.budget, show=_print_row
        )
    except KeyboardInterrupt:
        print(f"the rows that were measured are in {file}", file=sys.stderr)
        raise
    _print_results(results, file, options.price_per_hour)
    # A machine without the memory, what is not built, or too short a budget is no failure.
    harmless = (OK, OUT_OF_MEMORY, NOT_RUN, NOT_REACHED)
    failed = [row for row in results.rows if row.status not in harmless]
    return INTERNAL if failed else 0


def _print_row(row: Row) -> None:
    """A line as soon as a case is measured: the next one may take minutes, or fail."""
    print(tables.row_line(row), flush=True)


def _chosen_cases(options: Run) -> list[Case]:
    from benchmarks.suites import cases_of

    cases = cases_of(options.suite, options.tiny, options.data)
    chosen = [case for case in cases if options.only in f"{case.name} {case.preset}"]
    if not chosen:
        raise UsageError(f"--only {options.only} leaves no case of the suite {options.suite}")
    return chosen


def _print_results(results: Results, file: Path, price_per_hour: float | None) -> None:
    print(tables.suite_table(results, price_per_hour).markdown())
    if results.run.suite in speedups.COMPARED_SUITES:
        print(speedups.speedup_table(results.rows).markdown())
    rows = [{name: getattr(row, name) for name in _SHOWN} for row in results.rows]
    _print_json(
        benchmark=results.run.suite, file=str(file), commit=results.run.commit, results=rows
    )


def compare(old_file: Path, new_file: Path, gate: bool) -> int:
    """Print a verdict for each case; returns the exit code."""
    # It imports scipy, which `run` need not wait for.
    from benchmarks.output.compare import compare, verdict_table

    old, new = schema.read(old_file), schema.read(new_file)
    if old.run.config_hash != new.run.config_hash:
        print("the two runs have other cases or another effort", file=sys.stderr)
    verdicts = compare(old, new)
    print(verdict_table(verdicts).markdown())
    results = [dataclasses.asdict(verdict) for verdict in verdicts]
    _print_json(benchmark="compare", results=results)
    # Times never count: CI's machines are too noisy.
    is_worse = any(verdict.counts for verdict in verdicts)
    return INTERNAL if gate and is_worse else 0


def report(options: Report) -> int:
    """Write the page of some result files; returns the exit code."""
    # It imports Jinja2 and matplotlib, which the other commands need not wait for.
    from benchmarks.output.hardware_comparison import device_names
    from benchmarks.output.report import page
    from socialrec_jax.files import write_atomically

    if not options.files:
        raise UsageError(
            "name at least one result file: python -m benchmarks report FILE... --out PAGE.html"
        )
    results = {file: schema.read(file) for file in options.files}
    reference = _one_device(options.reference_device, device_names(results.values()))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, page(results, _prices(options.price), reference))
    _print_json(benchmark="report", file=str(options.out))
    return 0


def _one_device(name: str | None, devices: list[str]) -> str | None:
    """The device with this in its name."""
    if name is None:
        return None
    matching = [device for device in devices if name.lower() in device.lower()]
    if len(matching) != 1:
        raise UsageError(
            f"--reference-device {name} names {len(matching)} of the devices: {'; '.join(devices)}"
        )
    return matching[0]


def _prices(options: tuple[str, ...]) -> dict[str, float]:
    """{device: price of an hour} of options NAME=PRICE."""
    prices = {}
    for option in options:
        name, _, price = option.rpartition("=")
        try:
            prices[name] = float(price)
        except ValueError:
            raise UsageError(f'--price {option} is not like "NVIDIA H100 80GB HBM3=2.5"') from None
    return prices


def _print_json(**values: Any) -> None:
    """The last line of every command."""
    print(json.dumps(values))
