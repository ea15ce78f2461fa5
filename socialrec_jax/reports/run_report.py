"""One self-contained page about a run: how good, for whom, how it learnt, how fast, on what.

The page asks the network for nothing and runs no script, so that it can be mailed, archived and
printed. Every part is a function from a piece of report.json to HTML, and is empty when its piece
is missing.
"""

from __future__ import annotations

import html
import json
from datetime import UTC, datetime
from pathlib import Path

from socialrec_jax.config import SELECT_BY
from socialrec_jax.reports import figures
from socialrec_jax.runtime.run import write_atomically

_METRICS = (
    *("ndcg@10", "hr@10", "ndcg@20", "hr@20", "recall@10", "precision@10", "f1@10", "mrr@10"),
    *("coverage@10", "novelty@10"),
)
_OURS = ("ranker", "retriever")  # the first that was judged is the one in the headline
_POINTS = 400  # of the loss curve: more cannot be seen
_LEGEND = (
    "<p class=soft>The whole catalogue is ranked, the history left out; ties count against the model. HR: share of "
    "users with a held-out item among their top k. NDCG: the same, higher places counting more. Coverage: share of "
    "the catalogue in anybody's top k. Novelty: mean surprise of the top k, bits.</p>"
)
_NAMES = {
    "data.social_edges": "friendships",
    "data.share_of_tied_times": "share of events at the same time as the one before",
    "data.time_min": "first event",
    "data.time_max": "last event",
    "targets.validation.new": "validation targets",
    "targets.validation.seen_before": "validation targets left out: in the history already",
    "targets.test.new": "test targets",
    "targets.test.seen_before": "test targets left out: in the history already",
    "train.seconds": "training time, seconds (without compilation and validation)",
    "train.compile_seconds": "compilation time, seconds",
    "train.trained_events_per_second": "events trained a second",
    "train.steps": "optimiser steps",
    "train.best_step": "step that was kept",
}
STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5c6675; --page: #fcfcfb; --line: #dfe2e6;
  --ours: #2f6fdb; --rival: #d9822b; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ec; --soft: #9aa4b2; --page: #14171c; --line: #2c323b; --ours: #7aa7f2; --rival: #d99a5b; } }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.2rem 4rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem; }
.soft, figcaption, small { color: var(--soft); } .soft, figcaption { font-size: .9rem; margin: .3rem 0 .8rem; }
.tiles { display: flex; flex-wrap: wrap; gap: 1.2rem 2.6rem; margin: 1.6rem 0 0; }
.tiles b { display: block; font-size: 1.7rem; font-weight: 600; line-height: 1.2; color: var(--ours); }
.scroll { overflow-x: auto; }
table { border-spacing: 0; border-bottom: 1px solid var(--line); font-size: .85rem; }
table, dd { font-variant-numeric: tabular-nums; } small { font-size: .75rem; }
th, td { padding: .32rem 0 .32rem .8rem; text-align: right; border-top: 1px solid var(--line); white-space: nowrap; }
th { border-top: 0; color: var(--soft); font-weight: 500; } td { vertical-align: top; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--page); padding: .32rem .4rem .32rem 0;
  text-align: left; white-space: normal; min-width: 6.5rem; }
figure { margin: 1rem 0; } .pair { display: grid; gap: 1.6rem; }
.pair, .facts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
svg { width: 100%; max-width: 34rem; height: auto; } svg text { font-family: inherit !important; }
dl { margin: 0; } .facts { display: grid; column-gap: 2.6rem; font-size: .9rem; }
.facts div { display: flex; justify-content: space-between; gap: 1.2rem; padding: .25rem 0;
  border-bottom: 1px solid var(--line); }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; flex-shrink: 0; max-width: 65%; text-align: right; overflow-wrap: anywhere; }
.card dt { font-weight: 600; margin-top: .7rem; } .card dd { margin: 0; max-width: 44rem; }
@media print { html { font-size: 11px; } body { max-width: none; padding: 0; } h2 { break-after: avoid; }
  svg, tr, .facts div { break-inside: avoid; } .scroll { overflow: visible; } }
"""


def write_report(run_dir: Path) -> None:
    """Write run_dir/report.html from its report.json; metrics.jsonl and config.json add to it where
    they exist.
    """
    report = json.loads((run_dir / "report.json").read_text())
    name = run_dir.resolve().name
    test, intervals = report.get("test", {}), report.get("intervals", {})
    sections = [
        _headline(name, report),
        _accuracy("Accuracy on the test part", test, intervals),
        _LEGEND if test else "",
        _accuracy(
            "Accuracy on the validation part, which chose the model (the ranker learnt from it: out of fold)",
            report.get("validation", {}),
            {},
        ),
        _learning(_lines(run_dir / "metrics.jsonl"), report.get("train", {})),
        _segments(report.get("segments", {}), _best_baseline(test)),
        _calibration(report.get("calibration", {})),
        _next_event(report.get("next_event", {}).get("test", {})),
        _facts("Speed", {"train": report.get("train", {})}),
        _facts("Data", {"data": report.get("data", {}), "targets": report.get("targets", {})}),
        _card(report.get("data", {})),
        _facts("Configuration", {"config": _config(run_dir / "config.json")}),
        _facts("Environment", {"environment": report.get("environment", {})}),
    ]
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(name)}: report</title><style>{STYLE}</style></head>
<body>{"".join(sections)}</body></html>
"""
    write_atomically(run_dir / "report.html", page)


def _headline(name: str, report: dict) -> str:
    test, data, train = report.get("test", {}), report.get("data", {}), report.get("train", {})
    ours, baseline = test.get(_ours(test), {}), _best_baseline(test)
    tiles = {
        label: f"{ours[key]:.4f}"
        for key, label in (("ndcg@10", "NDCG@10"), ("hr@10", "HR@10"))
        if key in ours
    }
    if baseline and SELECT_BY in ours:
        gain = _gain(ours[SELECT_BY], test[baseline].get(SELECT_BY))
        tiles[f"{SELECT_BY.upper()} against {baseline}, the best baseline"] = gain
    if train.get("trained_events_per_second"):
        tiles["events trained a second"] = f"{train['trained_events_per_second']:,.0f}"
    counts = [f"{data[key]:,} {key}" for key in ("users", "items", "events") if key in data]
    setting = [f"{key} {report[key]}" for key in ("split", "seed") if key in report]
    shown = "".join(
        f"<div><b>{_text(value)}</b>{_text(label)}</div>" for label, value in tiles.items()
    )
    return f"<h1>{_text(name)}</h1><p class=soft>{_text(', '.join(counts + setting))}</p><div class=tiles>{shown}</div>"


def _accuracy(title: str, models: dict, intervals: dict) -> str:
    if not models:
        return ""
    metrics = [name for name in _METRICS if any(name in values for values in models.values())]
    best = {name: max(values.get(name, 0) for values in models.values()) for name in metrics}
    rows = {
        model: [
            _figure(values.get(name), best[name], intervals.get(model, {}).get(name))
            for name in metrics
        ]
        for model, values in models.items()
    }
    ours, baseline = _ours(models), _best_baseline(models)
    if ours and baseline:
        gains = [_gain(models[ours].get(name), models[baseline].get(name)) for name in metrics]
        rows[f"{ours} against {baseline}"] = gains
    body = "".join(
        f"<tr><td>{_text(name)}</td>{_cells('td', cells)}</tr>" for name, cells in rows.items()
    )
    note = "; the small range is its 95% bootstrap interval over users" if intervals else ""
    return (
        f"<h2>{_text(title)}</h2><p class=soft>Bold is the highest of a column{note}.</p><div class=scroll><table>"
        f"<tr>{_cells('th', ['model', *metrics])}</tr>{body}</table></div>"
    )


def _cells(tag: str, contents: list[str]) -> str:
    return "".join(f"<{tag}>{content}</{tag}>" for content in contents)


def _figure(value: float | None, best: float, interval: list | None) -> str:
    if value is None:
        return "n/a"
    shown = f"<b>{value:.4f}</b>" if value == best else f"{value:.4f}"
    return shown + (f"<br><small>{interval[0]:.4f}–{interval[1]:.4f}</small>" if interval else "")


def _gain(ours: float | None, baseline: float | None) -> str:
    """The difference in % of the rival's figure."""
    return f"{ours / baseline - 1:+.1%}" if ours is not None and baseline else "n/a"


def _learning(lines: list[dict], train: dict) -> str:
    stage, chosen = train.get("stage"), f"validation_{SELECT_BY}"
    lines = [line for line in lines if stage in (None, line.get("stage"))]
    loss = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    validation = [(line["step"], line[chosen]) for line in lines if chosen in line]
    drawings = figures.loss_curve(loss[:: max(1, len(loss) // _POINTS)]) if loss else ""
    drawings += figures.validation_curve(validation, train.get("best_step")) if validation else ""
    if not drawings:
        return ""
    caption = (
        "<figcaption>Dotted: the step that was kept.</figcaption>"
        if "best_step" in train and validation
        else ""
    )
    return f"<h2>How it learnt</h2><figure><div class=pair>{drawings}</div>{caption}</figure>"


def _segments(models: dict, baseline: str | None) -> str:
    ours = _ours(models)
    if not ours or not models[ours]:
        return ""
    chosen = [ours, *([baseline] if baseline in models else [])]
    counts = {
        name: values["n"]
        for name, values in models[ours].items()
        if all(name in models[m] for m in chosen)
    }
    drawings = "".join(
        figures.bars(
            f"test {metric.upper()}",
            {m: {s: models[m][s][metric] for s in counts} for m in chosen},
            counts,
        )
        for metric in ("ndcg@10", "hr@10")
    )
    return (
        f"<h2>For whom it works</h2><figure><div class=pair>{drawings}</div>"
        "<figcaption>In brackets: users judged.</figcaption></figure>"
    )


def _calibration(curves: dict) -> str:
    if not any(observed > 0 for curve in curves.values() for _, observed, _ in curve):
        return ""
    return (
        f"<h2>Can its chances be believed?</h2><figure>{figures.reliability(curves)}<figcaption>Candidates of the test "
        "part in ten groups of one size by the ranker's chance; groups where nothing came true are not drawn. On the "
        "dotted line what was predicted came true.</figcaption></figure>"
    )


def _next_event(ways: dict) -> str:
    """AUC and log loss of the next event's type by each way of foretelling it."""
    kinds = list(next(iter(ways.values()), {}))
    if not kinds:
        return ""
    head = _cells(
        "th",
        [
            "the next event is",
            "share",
            *(f"{way}: {m}" for way in ways for m in ("AUC", "log loss")),
        ],
    )
    rows = []
    for kind in kinds:
        of_kind = [way[kind] for way in ways.values()]
        cells = [f"{evaluated[m]:.4f}" for evaluated in of_kind for m in ("auc", "log_loss")]
        share = f"{of_kind[0]['share']:.4f}"
        rows.append(f"<tr>{_cells('td', [_text(kind), share, *cells])}</tr>")
    return (
        "<h2>What will they do next?</h2><p class=soft>The type of a user's next event, whatever product it is about, "
        f"on the test part.</p><div class=scroll><table><tr>{head}</tr>{''.join(rows)}</table></div>"
    )


def _card(data: dict) -> str:
    kinds = f" ({', '.join(data['event_types'])})" if data.get("event_types") else ""
    card = {
        "What it is": f"A causal transformer reads a shopper's events{kinds}, a graph convolution what friends did, a "
        "language model the products' texts; the best matches and what was bought together, friends had or trends are "
        "put in order by a ranker that learnt from the validation part.",
        "Intended use": "Ranking products for shoppers of the shop whose data it learnt from.",
        "Data": "The tables counted above, and nothing else: no weights from elsewhere. What was held out for "
        "validation and test was not trained on.",
        "Limits": "Shoppers without events get what is popular lately. It repeats the habits and gaps of its data: "
        "products without events are known by their texts alone, and where times tie, the order of the source file "
        "counts as order in time (see the segments). It was not judged for effects on particular groups of people.",
    }
    points = "".join(f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in card.items())
    return f"<h2>Model card</h2><dl class=card>{points}</dl>"


def _facts(title: str, tree: dict) -> str:
    facts = _flat(tree)
    if not facts:
        return ""
    rows = "".join(
        f"<div><dt>{_text(_name(k))}</dt><dd>{_text(_shown(k, v))}</dd></div>"
        for k, v in facts.items()
    )
    return f"<h2>{_text(title)}</h2><dl class=facts>{rows}</dl>"


def _flat(tree: dict, prefix: str = "") -> dict:
    """Leaves by the path of their keys, joined with dots."""
    leaves = {}
    for key, value in tree.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        leaves |= _flat(value, path) if isinstance(value, dict) else {path: value}
    return leaves


def _name(path: str) -> str:
    """Settings keep the name that sets them; what was measured is told in words."""
    section, _, rest = path.partition(".")
    return (
        rest if section == "config" else _NAMES.get(path, rest.replace(".", ", ").replace("_", " "))
    )


def _shown(path: str, value: object) -> str:
    if path.startswith("data.time_") and isinstance(value, int):
        return _date(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "none" if value is None else str(value)
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}"


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):  # beyond the calendar, as milliseconds are
        return f"{seconds:,} s"


def _ours(models: dict) -> str | None:
    return next((name for name in _OURS if name in models), None)


def _best_baseline(models: dict) -> str | None:
    baselines = [name for name in models if name not in _OURS]
    return max(baselines, key=lambda name: models[name].get(SELECT_BY, 0), default=None)


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
