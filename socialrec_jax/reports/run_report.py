"""The report of a run as one self-contained page: accuracy, training, speed, data, environment.

Each part of the page is made from a piece of report.json, and is left out where the piece is
missing.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from markupsafe import Markup

from socialrec_jax.config import SELECT_BY
from socialrec_jax.files import write_atomically
from socialrec_jax.reports import figures, html
from socialrec_jax.reports.accuracy import (
    accuracy_table,
    best_baseline,
    best_model,
    gain,
    next_event_table,
)
from socialrec_jax.reports.facts import facts
from socialrec_jax.reports.stages import stage_bars, timeline_summary

_CURVE_POINTS = 400  # of the loss curve: more cannot be seen
_TILES = {"ndcg@10": "NDCG@10", "hr@10": "HR@10"}
_SEGMENT_METRICS = ("ndcg@10", "hr@10")


def write_report(run_dir: Path) -> None:
    """Write run_dir/report.html from report.json, and from metrics.jsonl and config.json where they
    exist.
    """
    report = json.loads((run_dir / "report.json").read_text())
    metrics = _read_lines(run_dir / "metrics.jsonl")
    config_file = run_dir / "config.json"
    config = json.loads(config_file.read_text()) if config_file.exists() else {}

    # All that the page shows is text and markup by here: the template only lays it out.
    values = _values(report, metrics, config)
    page = html.render("run_report.html", name=run_dir.resolve().name, **values)
    write_atomically(run_dir / "report.html", page)


def _values(report: dict, metrics: list[dict], config: dict) -> dict[str, object]:
    """What the template needs."""
    data, train = report.get("data", {}), report.get("train", {})
    test = report.get("test", {})
    loss, validation = _curves(metrics, train.get("stage"))
    return {
        "summary": _summary(report),
        "tiles": _tiles(test, train),
        "test": accuracy_table(test, report.get("intervals", {})),
        "validation": accuracy_table(report.get("validation", {}), {}),
        "learning_curves": _learning_curves(loss, validation, train.get("best_step")),
        "shows_best_step": bool(validation) and "best_step" in train,
        "segment_bars": _segment_bars(report.get("segments", {}), best_baseline(test)),
        "calibration_curve": _calibration_curve(report.get("calibration", {})),
        "next_event": next_event_table(report.get("next_event", {}).get("test", {})),
        "speed": facts({"train": train}),
        "stage_bars": stage_bars(report.get("timeline", {})),
        "timeline_summary": timeline_summary(report.get("timeline", {})),
        "data": facts({"data": data, "targets": report.get("targets", {})}),
        "event_types": data.get("event_types", []),
        "configuration": facts({"config": config}),
        "environment": facts({"environment": report.get("environment", {})}),
    }


def _summary(report: dict) -> str:
    data = report.get("data", {})
    counts = [f"{data[key]:,} {key}" for key in ("users", "items", "events") if key in data]
    settings = [f"{key} {report[key]}" for key in ("split", "seed") if key in report]
    return ", ".join(counts + settings)


def _tiles(test: dict, train: dict) -> dict[str, str]:
    """The figures at the top by their labels."""
    model = test.get(best_model(test), {})
    tiles = {label: f"{model[key]:.4f}" for key, label in _TILES.items() if key in model}

    # What users ask first: is it better than the best simple method?
    baseline = best_baseline(test)
    if baseline and SELECT_BY in model:
        label = f"{SELECT_BY.upper()} against {baseline}, the best baseline"
        tiles[label] = gain(model[SELECT_BY], test[baseline].get(SELECT_BY))

    rate = train.get("trained_events_per_second")
    if rate:
        tiles["events trained a second"] = f"{rate:,.0f}"
    return tiles


def _curves(lines: list[dict], stage: str | None) -> tuple[figures.Curve, figures.Curve]:
    """(loss, validation metric) over steps of one stage, or of all lines without a stage."""
    # Other stages have losses of another scale.
    of_stage = [line for line in lines if stage in (None, line.get("stage"))]
    selected = f"validation_{SELECT_BY}"
    loss = [(line["step"], line["loss"]) for line in of_stage if "loss" in line]
    validation = [(line["step"], line[selected]) for line in of_stage if selected in line]
    return loss, validation


def _learning_curves(
    loss: figures.Curve, validation: figures.Curve, best_step: int | None
) -> list[Markup]:
    drawings = []
    if loss:
        every = max(1, len(loss) // _CURVE_POINTS)
        drawings.append(figures.loss_curve(loss[::every]))
    if validation:
        drawings.append(figures.validation_curve(validation, best_step))
    return drawings


def _segment_bars(models: dict, baseline: str | None) -> list[Markup]:
    """Metrics of the model, and of the best baseline, for each segment that both have."""
    model = best_model(models)
    if not model or not models[model]:
        return []
    # A baseline may lack a segment; bars are drawn for those that both have.
    shown = [model, baseline] if baseline in models else [model]
    counts = {
        segment: values["n"]
        for segment, values in models[model].items()
        if all(segment in models[name] for name in shown)
    }

    drawings = []
    for metric in _SEGMENT_METRICS:
        values = {name: {s: models[name][s][metric] for s in counts} for name in shown}
        drawings.append(figures.bars(f"test {metric.upper()}", values, counts))
    return drawings


def _calibration_curve(curves: dict) -> Markup | None:
    """None where no group has a positive: logarithmic axes show none of them."""
    points = [point for curve in curves.values() for point in curve]
    if not any(observed > 0 for _, observed, _ in points):
        return None
    return figures.reliability(curves)


def _read_lines(file: Path) -> list[dict]:
    """The whole lines of metrics.jsonl: a kill may have cut the last one."""
    lines = []
    for line in file.read_text(errors="replace").splitlines() if file.exists() else []:
        # The line that was being written is no JSON.
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return [line for line in lines if isinstance(line, dict)]
