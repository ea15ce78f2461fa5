"""What the terminal shows: the data, the model, and the accuracy table at the end."""

from __future__ import annotations

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from socialrec_jax.config import Config
from socialrec_jax.data.prepare.event_checks import users_with_new_items
from socialrec_jax.data.world import TEST, World
from socialrec_jax.inference.load import model_for, uses_friends
from socialrec_jax.models.sequence import describe_attention
from socialrec_jax.reports.stages import TIMELINE_LABELS
from socialrec_jax.runtime import parallel, processes
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training import device_data, local_vocabulary

# The terminal has room for five; the report has all.
_METRICS = ("hr@10", "ndcg@10", "f1@10", "mrr@10", "coverage@10")


def describe(world: World, config: Config) -> None:
    """Print what there is to learn from, the settings that follow from it, and where it lies."""
    model = model_for(config, world)
    num_negatives = config.train.negatives or 0
    lines = {
        "data": _data(world),
        "columns": _columns(world),
        "times": _times(world),
        "to test": _to_test(world),
        "texts": _texts(world),
        "friends": _friends(world, config),
        "model": _model(config),
        "devices": f"{parallel.num_devices()} x {parallel.device_kinds()[0]}",
        "attention": describe_attention(config.model),
        "events": device_data.describe(len(world.events.items)),
        "tables": local_vocabulary.describe(model, num_negatives),
    }
    # Flushed, so that a log shows them before the first stage.
    for name, text in lines.items():
        print(f"{name}  {text}", flush=True)


def _data(world: World) -> str:
    counts = world.manifest["counts"]
    parts = [f"{counts[name]:,} {name}" for name in ("users", "items", "events")]
    parts.append(f"types {', '.join(world.event_types)}")
    # Rejected rows are never dropped silently.
    rejected = sum(counts["rejected"].values())
    if rejected:
        parts.append(f"{rejected:,} bad rows, see {world.path / 'rejected.parquet'}")
    return "  ".join(parts)


def _columns(world: World) -> str:
    """Which column was read as which field, so that a wrong one is seen at once."""
    tables = world.manifest.get("columns", {})
    parts = [
        f"{table}: {', '.join(f'{field}={column}' for field, column in fields.items())}"
        for table, fields in tables.items()
    ]
    joins = world.manifest.get("joins", {})
    parts += [f"{share:.0%} of {table} occur in events" for table, share in joins.items()]
    return "  ".join(parts) or "no tables"


def _times(world: World) -> str:
    first, last = world.manifest["time_min"], world.manifest["time_max"]
    return f"{np.datetime64(first, 's')} to {np.datetime64(last, 's')}"


def _to_test(world: World) -> str:
    """Who can be tested, and what makes the figures doubtful."""
    is_test = np.asarray(world.event_splits) == TEST
    split = world.manifest["split"]
    parts = [f"{users_with_new_items(world.events, is_test):,} users with a new item by {split}"]
    tied = world.manifest["counts"].get("share_of_tied_times", 0)
    if tied:
        parts.append(f"{tied:.0%} of consecutive events share a time")
    return "  ".join([*parts, "python -m socialrec_jax.data check DIR says more of the tables"])


def _texts(world: World) -> str:
    has_text = world.items.has_text
    vector_width = world.items.vectors.shape[1]

    text = f"{has_text.sum():,} products with text" if has_text.any() else "no product texts"
    return f"{text}  fixed vectors of width {vector_width}" if vector_width else text


def _friends(world: World, config: Config) -> str:
    edges = f"{world.manifest['counts']['social_edges']:,} friendships"
    if uses_friends(config, world):
        return f"{edges}  at {config.model.social_queries} positions a row"
    if len(world.friends.ids):
        return f"{edges}  in the ranker alone"
    return "no friends"


def _model(config: Config) -> str:
    model, negatives = config.model, config.train.negatives
    softmax = f"{negatives} sampled negatives" if negatives else "full softmax"
    return (
        f"width {model.width}  {model.num_layers} layers  history {model.history_length}  "
        f"dropout {model.dropout}  {softmax}  split {config.split}"
    )


def print_summary(run: RunDirectory, report: dict) -> None:
    """Print the accuracy table, the speed, and where the report lies."""
    if not processes.is_main():
        return  # all have the report, one prints it
    # A fixed width: logs have no terminal to ask for one.
    Console(width=80).print(_accuracy_table(report))
    Console(width=80).print(_timeline_table(report["timeline"]))
    speed = report["train"]
    print(
        f"trained {speed['steps']} steps in {speed['seconds']:.0f} s, "
        f"{speed['trained_events_per_second']:,} events/s"
    )
    print(f"data    {run.path / 'data.html'}")
    print(f"report  {run.path / 'report.html'}", flush=True)


def _accuracy_table(report: dict) -> Table:
    num_targets = report["targets"]["test"]["new"]
    title = f"test accuracy, {report['split']}, whole catalogue, {num_targets:,} targets"
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for metric in _METRICS:
        table.add_column(metric, justify="right", no_wrap=True)

    for name, metrics in report["test"].items():
        table.add_row(name, *(f"{metrics[metric]:.4f}" for metric in _METRICS))
    return table


def _timeline_table(timeline: dict) -> Table:
    """Seconds and programs of each stage, and their sums."""
    table = Table(title="seconds of each stage", box=SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("stage", "sum", no_wrap=True)
    stages = timeline["stages"]
    for field, label in TIMELINE_LABELS.items():
        total = sum(stage[field] for stage in stages)
        table.add_column(label, _number(total), justify="right", no_wrap=True)

    for stage in stages:
        table.add_row(stage["stage"], *(_number(stage[field]) for field in TIMELINE_LABELS))
    return table


def _number(value: float) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
