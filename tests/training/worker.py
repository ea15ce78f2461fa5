"""Trains the cyclic World into a run directory: a process of its own that tests kill, or start on
several devices or beside others.

python -m tests.training.worker RUN --steps N --evaluations N [--devices N] [--friends] [--tables]

Prints a line a validation, and at the end the digest of the final parameters, which all devices
hold alike.
"""

from __future__ import annotations

import argparse
import hashlib

import jax
import numpy as np

from tests import workers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--evaluations", type=int, required=True)
    parser.add_argument("--friends", action="store_true", help="give users some friends")
    parser.add_argument(
        "--tables", action="store_true", help="train items, and users with friends, row by row"
    )
    options = workers.options(parser)

    from socialrec_jax.runtime import launch, processes

    launch.initialize()
    state, losses = train(options)
    served = state.served
    if processes.is_main():
        np.save(options.place / "losses.npy", losses)
        leaves = jax.tree.leaves_with_path((state.params, served))
        np.savez(
            options.place / "params.npz",
            **{jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves},
        )
    replicas = state.replace(tables={})  # which are split
    assert len({digest(replicas, device) for device in range(options.devices)}) == 1, (
        "replicas drifted apart"
    )
    print("parameters", digest(state.average), digest(state.params), flush=True)


def train(options: argparse.Namespace):
    """The trained state, and the losses that were logged."""
    import json
    import time

    from socialrec_jax.config import Config, ModelConfig, TrainConfig
    from socialrec_jax.data.world import BEFORE_VALIDATION, NO_TIME
    from socialrec_jax.inference.load import model_for
    from socialrec_jax.pipeline.retriever import training_batches
    from socialrec_jax.runtime.run import RunDirectory
    from socialrec_jax.training.loop import fit
    from socialrec_jax.training.retriever import RetrieverTrainer
    from tests.worlds import cyclic_world, random_edges, with_friends

    config = Config(
        model=ModelConfig(width=16, num_layers=1, num_heads=2, history_length=8, dropout=0.2),
        train=TrainConfig(
            tokens_per_step=256,
            steps_per_call=2,
            evaluations=options.evaluations,
            negatives=8 if options.tables else 0,
        ),
    )
    world = cyclic_world(options.place / "world")
    if options.friends:
        world = with_friends(world, random_edges(world.num_users, 2000, int(NO_TIME)))
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    tables = (("items", "users") if options.friends else ("items",)) if options.tables else ()
    counts = batches.item_counts(world.num_items)
    trainer = RetrieverTrainer(
        config, model_for(config, world), options.steps, counts, tables=tables
    )

    def validate(params: dict) -> dict[str, float]:
        print("validating", flush=True)
        return {"hr@10": 0.0, "ndcg@10": time.time()}  # each is the best so far

    run = RunDirectory(options.place)
    run.path.mkdir(parents=True, exist_ok=True)
    state, _ = fit(run, "retriever", trainer, batches, validate)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return state, np.array([line["loss"] for line in lines if "loss" in line])


def digest(tree, device: int = 0) -> str:
    """Of what one of this process's devices holds."""
    leaves = [np.asarray(leaf.addressable_shards[device].data) for leaf in jax.tree.leaves(tree)]
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()[:16]


if __name__ == "__main__":
    main()
