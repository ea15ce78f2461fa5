"""What a person reads on the terminal: the data, the model and the accuracy table."""

from __future__ import annotations

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from socialrec_jax.config import Config
from socialrec_jax.data.world import World
from socialrec_jax.inference.load import model_for, uses_friends
from socialrec_jax.runtime import parallel, processes
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training import device_data, local_vocabulary

_SHOWN = (
    "hr@10",
    "ndcg@10",
    "f1@10",
    "mrr@10",
    "coverage@10",
)  # on the terminal; the report has them all


def describe(world: World, config: Config) -> None:
    """Lines for a person: what there is to learn from, what settings followed from it, where it
    lies.
    """
    counts, m, t = world.manifest["counts"], config.model, config.train
    rejected = sum(counts["rejected"].values())
    print(
        f"data  {counts['users']:,} users  {counts['items']:,} items  {counts['events']:,} events "
        f"({', '.join(world.event_types)})  {counts['social_edges']:,} friendships"
        + (f"  {rejected:,} bad rows, see {world.path / 'rejected.parquet'}" if rejected else "")
    )
    friends = "friends in the ranker alone" if len(world.friends.ids) else "no friends"
    friends = f"friends at {m.social_queries} a row" if uses_friends(config, world) else friends
    parts = (world.items.titles, world.items.descriptions, world.items.tags, world.items.categories)
    described = np.any([np.diff(part.offsets) > 0 for part in parts], axis=0).sum()
    texts = f"texts of {described:,} products" if described else "no product texts"
    texts += (
        f", vectors of width {world.items.vectors.shape[1]}" if world.items.vectors.shape[1] else ""
    )
    softmax = f"{t.negatives} sampled negatives" if t.negatives else "full softmax"
    print(
        f"model  width {m.width}  {m.num_layers} layers  history {m.history_length}  dropout {m.dropout}  {softmax}  "
        f"{texts}  {friends}  split {config.split}  on {parallel.num_devices()} x {parallel.device_kinds()[0]}"
    )
    print(f"events  {device_data.describe(len(world.events.items))}")
    print(
        f"tables  {local_vocabulary.describe(model_for(config, world), t.negatives or 0)}",
        flush=True,
    )


def finish(run: RunDirectory, report: dict) -> None:
    """The accuracy table on the terminal, and where the rest lies."""
    if not processes.is_main():
        return
    evaluated = report["targets"]["test"]["new"]
    title = f"test accuracy, {report['split']}, whole catalogue, {evaluated:,} targets"
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for metric in _SHOWN:
        table.add_column(metric, justify="right", no_wrap=True)
    for name, values in report["test"].items():
        table.add_row(name, *(f"{values[metric]:.4f}" for metric in _SHOWN))
    Console(width=80).print(table)
    speed = report["train"]
    print(
        f"trained {speed['steps']} steps in {speed['seconds']:.0f} s, {speed['trained_events_per_second']:,} events/s"
    )
    print(f"report  {run.path / 'report.html'}", flush=True)
