"""Trains a table on several devices in processes of its own; `test_embeddings.py` looks at what
they leave.

python -m tests.training.tables_worker FOLDER --devices N --steps N What is learnt is saved, and
what others have saved in FOLDER is read. Eight devices also try ids of one owner.
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from tests import workers

NUM_ROWS, WIDTH, IDS, RATE = 4001, 8, 1024, 0.1


def ids_of(step: int, skewed: bool = False) -> np.ndarray:
    """Ids [IDS] of a step over all devices; some are met often. Skewed: all lie on the first device
    of eight.
    """
    rng = np.random.default_rng(step)
    spread = rng.integers(0, 500 if skewed else NUM_ROWS, IDS)
    return np.where(rng.random(IDS) < 0.3, spread % 7, spread).astype(np.int32)


def goals_of(step: int) -> np.ndarray:
    """Where each row should go [IDS, WIDTH]."""
    return np.random.default_rng(1000 + step).normal(size=(IDS, WIDTH)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    options = workers.options(parser)

    from socialrec_jax.runtime import parallel, processes
    from socialrec_jax.runtime.checkpoint import Checkpoints
    from socialrec_jax.training import row_adagrad

    processes.initialize()
    name = f"{parallel.process()[1]}x{options.devices}"

    def fresh():
        return row_adagrad.initial_table(NUM_ROWS, WIDTH, 1.0, jax.random.key(0))

    others = processes.broadcast_from_main(
        lambda: [folder.name for folder in options.place.glob("?x?")]
    )
    seen = {"start": np.asarray(fresh().parameter)}
    for other in others:
        restored = Checkpoints(options.place / other).restore({"table": fresh()})
        assert restored is not None
        seen[f"from {other}"] = np.asarray(restored[0]["table"].parameter)
    table, seen["losses"], seen["lost"] = train(fresh(), options.steps, skewed=False)
    seen["end"] = np.asarray(table.parameter)
    Checkpoints(options.place / name).save(options.steps, {"table": table}, {}, set())
    if options.devices == 8:
        table, _, seen["skewed_lost"] = train(fresh(), 1, skewed=True)
        seen["skewed_end"] = np.asarray(table.parameter)
    if processes.is_main():
        np.savez(options.place / f"{name}.npz", **seen)


def train(table, steps: int, skewed: bool):
    """(the table, losses, lost rows) after so many steps of one call."""
    from socialrec_jax.runtime import parallel
    from socialrec_jax.training import row_adagrad

    def step(table, _, part):
        ids, goals = part
        found = row_adagrad.look_up(table, ids)
        loss, gradients = jax.value_and_grad(
            lambda r: 0.5 * jnp.sum((r[found.places] - goals) ** 2)
        )(found.rows)
        table = row_adagrad.update_rows(
            table, found, gradients, jnp.float32(IDS), jnp.float32(RATE)
        )
        return table, parallel.sum_over_devices((loss / IDS, found.lost))

    def ours(rows: np.ndarray) -> np.ndarray:
        return parallel.split_over_devices(parallel.of_this_process(rows))

    parts = [(ours(ids_of(n, skewed)), ours(goals_of(n))) for n in range(steps)]
    call = parallel.scan_steps(step, axes=0)
    batches = jax.tree.map(lambda *leaves: np.stack(leaves, 1), *parts)
    table, (losses, lost) = call(parallel.as_shards(table), batches)
    return parallel.as_rows(table), np.asarray(losses), int(np.asarray(lost).sum())


if __name__ == "__main__":
    main()
