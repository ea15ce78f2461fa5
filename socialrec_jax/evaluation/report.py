"""One self-contained page about a run: how good, for whom, how it learnt, how fast, on what."""

from __future__ import annotations

import html
import json
from datetime import UTC, datetime
from pathlib import Path

from socialrec_jax.evaluation import figures
from socialrec_jax.run import write_atomically

_METRICS = ("hr@10", "ndcg@10", "recall@10", "precision@10", "f1@10", "mrr@10", "coverage@10", "hr@20", "ndcg@20")
_MODELS_OF_OURS = ("ranker", "retriever")
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5c6675; --page: #fcfcfb; --line: #dfe2e6;
  --accent: #2f6fdb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ec; --soft: #9aa4b2; --page: #14171c; --line: #2c323b; --accent: #7aa7f2; } }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.2rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem; }
p.soft, figcaption, small { color: var(--soft); } small { font-size: .8rem; }
.tiles { display: flex; flex-wrap: wrap; gap: 1.2rem 2.6rem; margin: 1.6rem 0 0; }
.tiles b { display: block; font-size: 1.7rem; font-weight: 600; line-height: 1.2; color: var(--accent); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .9rem .32rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 500; }
p.soft + .scroll { margin-top: -.4rem; } figure { margin: 1rem 0; }
svg { width: 100%; height: auto; color: var(--ink); } .pairs td { text-align: left; white-space: normal; }
@media print { body { max-width: none; } h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
"""


def write_report(run_dir: Path) -> None:
    """Write run_dir/report.html from its report.json, metrics.jsonl and config.json; what is missing is left out."""
    report = json.loads((run_dir / "report.json").read_text())
    sections = [
        _headline(run_dir.name, report),
        _accuracy("Accuracy on the test part", report.get("test", {}), report.get("intervals", {})),
        _accuracy("Accuracy on the validation part (used for selection)", report.get("validation", {}), {}),
        _learning(_lines(run_dir / "metrics.jsonl"), report.get("train", {})),
        _segments(report.get("segments", {})),
        _pairs("Data", report.get("data", {}) | {f"{k} targets": v for k, v in report.get("targets", {}).items()}),
        _pairs("Speed", report.get("train", {})),
        _card(report),
        _pairs("Configuration", _config(run_dir / "config.json")),
        _pairs("Environment", report.get("environment", {})),
    ]
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(run_dir.name)}: report</title><style>{_STYLE}</style></head>
<body>{"".join(sections)}</body></html>
"""
    write_atomically(run_dir / "report.html", page)


def _headline(name: str, report: dict) -> str:
    test, data, train = report.get("test", {}), report.get("data", {}), report.get("train", {})
    ours = _ours(test)
    rival = _best_rival(test)
    tiles = []
    if ours:
        tiles = [(f"{test[ours]['ndcg@10']:.4f}", "NDCG@10"), (f"{test[ours]['hr@10']:.4f}", "hit rate@10")]
    if ours and rival:
        gain = test[ours]["ndcg@10"] / max(test[rival]["ndcg@10"], 1e-12) - 1
        tiles.append((f"{gain:+.1%}", f"NDCG@10 over {rival}, the best baseline"))
    if train.get("trained_events_per_second"):
        tiles.append((f"{train['trained_events_per_second']:,.0f}", "events trained a second"))
    counts = ", ".join(f"{data[key]:,} {key}" for key in ("users", "items", "events") if key in data)
    shown = "".join(f"<div><b>{_text(value)}</b>{_text(label)}</div>" for value, label in tiles)
    return (
        f"<h1>{_text(name)}</h1><p class=soft>{_text(counts)}; split {_text(report.get('split', 'unknown'))}, "
        f"seed {_text(report.get('seed', 'unknown'))}</p><div class=tiles>{shown}</div>"
    )


def _accuracy(title: str, models: dict, intervals: dict) -> str:
    if not models:
        return ""
    metrics = [name for name in _METRICS if any(name in values for values in models.values())]
    best = {name: max(values.get(name, 0) for values in models.values()) for name in metrics}
    rows = []
    for model, values in models.items():
        cells = [_figure(values.get(name), best[name], intervals.get(model, {}).get(name)) for name in metrics]
        rows.append(f"<tr><td>{_text(model)}</td>{''.join(cells)}</tr>")
    head = "".join(f"<th>{_text(name)}</th>" for name in ("model", *metrics))
    note = ", small is the 95% interval over users" if intervals else ""
    return (
        f"<h2>{_text(title)}</h2><p class=soft>Whole catalogue ranked, history masked, ties counted against the "
        f"model; bold is best{note}.</p><div class=scroll><table>"
        f"<tr>{head}</tr>{''.join(rows)}</table></div>"
    )


def _figure(value: float | None, best: float, interval: list | None) -> str:
    if value is None:
        return "<td>n/a</td>"
    shown = f"<b>{value:.4f}</b>" if value == best else f"{value:.4f}"
    return f"<td>{shown}{f'<br><small>{interval[0]:.4f} to {interval[1]:.4f}</small>' if interval else ''}</td>"


def _learning(lines: list[dict], train: dict) -> str:
    loss = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    validation = [(line["step"], line["validation_ndcg@10"]) for line in lines if "validation_ndcg@10" in line]
    if not loss:
        return ""
    thinned = loss[:: max(1, len(loss) // 400)]
    drawing = figures.curves(thinned, validation, train.get("best_step"))
    return f"<h2>How it learnt</h2><figure>{drawing}</figure>"


def _segments(models: dict) -> str:
    ours, rival = _ours(models), _best_rival({m: {"ndcg@10": _mean(s)} for m, s in models.items()})
    if not ours or not models[ours]:
        return ""
    chosen = [ours, *([rival] if rival else [])]
    counts = {name: values["n"] for name, values in models[ours].items()}
    values = {model: {name: models[model][name]["ndcg@10"] for name in counts} for model in chosen}
    drawing = figures.bars("test NDCG@10", values, counts)
    return f"<h2>For whom it works</h2><figure>{drawing}<figcaption>In brackets: users judged.</figcaption></figure>"


def _mean(segments: dict) -> float:
    return sum(s["n"] * s["ndcg@10"] for s in segments.values()) / max(sum(s["n"] for s in segments.values()), 1)


def _card(report: dict) -> str:
    event_types = ", ".join(report.get("data", {}).get("event_types", []))
    return (
        "<h2>Model card</h2><p>A two-tower retriever: a causal transformer reads a shopper's events"
        f"{f' ({_text(event_types)})' if event_types else ''} and is matched by cosine with every product. Meant for "
        "ranking products for shoppers of the shop whose data it learnt from; shoppers without events get what is "
        "popular lately. It repeats the habits and gaps of that data: products without events are ranked poorly, and "
        "where times tie, the order of the source file counts as order in time (see the segments). It was not judged "
        "for effects on particular groups of people.</p>"
    )


def _pairs(title: str, values: dict) -> str:
    if not values:
        return ""
    named = {str(key).replace("_", " "): _plain(key, value) for key, value in values.items()}
    rows = "".join(f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>" for name, value in named.items())
    return f"<h2>{_text(title)}</h2><div class=scroll><table class=pairs>{rows}</table></div>"


def _plain(key: str, value: object) -> str:
    if key.startswith("time_") and isinstance(value, int):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d")
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(name, part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _ours(models: dict) -> str | None:
    return next((name for name in _MODELS_OF_OURS if name in models), None)


def _best_rival(models: dict) -> str | None:
    rivals = [name for name in models if name not in _MODELS_OF_OURS]
    return max(rivals, key=lambda name: models[name].get("ndcg@10", 0), default=None)


def _config(file: Path) -> dict:
    return json.loads(file.read_text()) if file.exists() else {}


def _lines(file: Path) -> list[dict]:
    """The whole lines of metrics.jsonl: a kill may have torn the last."""
    lines = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def _text(value: object) -> str:
    return html.escape(str(value))
