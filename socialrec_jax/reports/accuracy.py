"""Tables of a report: metrics of the models, and of the next event's type."""

from __future__ import annotations

import dataclasses

from socialrec_jax.config import SELECT_BY

_METRICS = (
    *("ndcg@10", "hr@10", "ndcg@20", "hr@20", "recall@10", "precision@10", "f1@10", "mrr@10"),
    *("coverage@10", "novelty@10"),
)
_MODELS = ("ranker", "retriever")  # the first that was evaluated is the one in the headline
_NEXT_EVENT_METRICS = {"auc": "AUC", "log_loss": "log loss"}
_MISSING = "n/a"


@dataclasses.dataclass(frozen=True)
class Cell:
    text: str
    best: bool = False  # the highest value of its column
    interval: str = ""


@dataclasses.dataclass(frozen=True)
class AccuracyTable:
    metrics: list[str]
    rows: dict[str, list[Cell]]
    has_intervals: bool


def accuracy_table(models: dict, intervals: dict) -> AccuracyTable | None:
    """{model: {metric: value}} as a table, with a last row of the gain over the best baseline; None
    without models. intervals: {model: {metric: (low, high)}}.
    """
    if not models:
        return None
    metrics = [name for name in _METRICS if any(name in values for values in models.values())]
    rows = {
        model: [_cell(metric, model, models, intervals) for metric in metrics] for model in models
    }

    # The last row answers whether the model is worth its effort.
    model, baseline = best_model(models), best_baseline(models)
    if model and baseline:
        gains = [gain(models[model].get(m), models[baseline].get(m)) for m in metrics]
        rows[f"{model} against {baseline}"] = [Cell(text) for text in gains]
    return AccuracyTable(metrics, rows, has_intervals=bool(intervals))


def _cell(metric: str, model: str, models: dict, intervals: dict) -> Cell:
    value = models[model].get(metric)
    if value is None:
        return Cell(_MISSING)
    highest = max(values.get(metric, 0) for values in models.values())
    interval = intervals.get(model, {}).get(metric)
    shown = f"{interval[0]:.4f}–{interval[1]:.4f}" if interval else ""
    return Cell(f"{value:.4f}", best=value == highest, interval=shown)


def gain(value: float | None, baseline: float | None) -> str:
    """The difference in % of the baseline's value."""
    # A baseline of 0 has no percentage.
    if value is None or not baseline:
        return _MISSING
    return f"{value / baseline - 1:+.1%}"


def best_model(models: dict) -> str | None:
    """The ranker, or the retriever of a run without ranker."""
    return next((name for name in _MODELS if name in models), None)


def best_baseline(models: dict) -> str | None:
    # By the metric that selected the model, so that the comparison is fair.
    baselines = [name for name in models if name not in _MODELS]
    return max(baselines, key=lambda name: models[name].get(SELECT_BY, 0), default=None)


def next_event_table(predictors: dict) -> dict | None:
    """{predictor: {event type: metrics}} as head and rows; None without event types."""
    event_types = list(next(iter(predictors.values()), {}))
    if not event_types:
        return None
    # The share of a type is the same for all predictors, so it stands once.
    head = ["the next event is", "share"]
    for predictor in predictors:
        head += [f"{predictor}: {label}" for label in _NEXT_EVENT_METRICS.values()]
    return {"head": head, "rows": [_next_event_row(name, predictors) for name in event_types]}


def _next_event_row(event_type: str, predictors: dict) -> list[str]:
    values = [predictor[event_type] for predictor in predictors.values()]
    figures = [values[0]["share"]]
    for of_predictor in values:
        figures += [of_predictor[metric] for metric in _NEXT_EVENT_METRICS]
    return [event_type, *(f"{figure:.4f}" for figure in figures)]
