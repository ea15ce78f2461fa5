"""Trains a table on several devices in processes of its own, for `test_row_adagrad.py`.

python -m tests.training.tables_worker FOLDER --devices N --steps N

Saves the trained table, and reads those that others have saved in FOLDER. With eight devices it
also trains a step whose ids all have one owner.
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from tests import workers

NUM_ROWS, WIDTH, IDS, RATE = 4001, 8, 1024, 0.1


def ids_of(step: int) -> np.ndarray:
    """Ids [IDS] of a step over all devices; a few are frequent."""
    rng = np.random.default_rng(step)
    ids = rng.integers(0, NUM_ROWS, IDS)
    return np.where(rng.random(IDS) < 0.3, ids % 7, ids).astype(np.int32)


def ids_of_one_owner() -> np.ndarray:
    """Ids [IDS] whose rows all lie on the first of eight devices."""
    from socialrec_jax.models.embedding_tables import numbers_at, rows_per_shard

    shard_size = rows_per_shard(NUM_ROWS)
    # The last index of a shard may be padding.
    owned = [np.arange(shard * shard_size, (shard + 1) * shard_size - 1) for shard in range(8)]
    places = np.random.default_rng(0).choice(np.concatenate(owned), IDS)
    return numbers_at(places, shard_size).astype(np.int32)


def goals_of(step: int) -> np.ndarray:
    """The target [IDS, WIDTH] of each row."""
    return np.random.default_rng(1000 + step).normal(size=(IDS, WIDTH)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    options = workers.options(parser)

    from socialrec_jax.runtime import launch, parallel, processes
    from socialrec_jax.runtime.checkpoint import Checkpoints
    from socialrec_jax.training import row_adagrad

    launch.initialize()
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
    ids = [ids_of(step) for step in range(options.steps)]
    table, seen["losses"], seen["lost"] = train(fresh(), ids)
    seen["end"] = np.asarray(table.parameter)
    Checkpoints(options.place / name).save(options.steps, {"table": table}, {}, set())
    if options.devices == 8:
        table, _, seen["skewed_lost"] = train(fresh(), [ids_of_one_owner()])
        seen["skewed_end"] = np.asarray(table.parameter)
    if processes.is_main():
        np.savez(options.place / f"{name}.npz", **seen)


def train(table, ids_of_steps: list[np.ndarray]):
    """(the table, losses, lost rows) after one call of these steps."""
    from socialrec_jax.runtime import parallel
    from socialrec_jax.training import row_adagrad

    def step(table, _, part):
        ids, goals = part
        lookup = row_adagrad.look_up(table, ids)

        def squared_error(rows):
            return 0.5 * jnp.sum((rows[lookup.places] - goals) ** 2)

        loss, gradients = jax.value_and_grad(squared_error)(lookup.rows)
        weight, rate = jnp.float32(IDS), jnp.float32(RATE)
        table = row_adagrad.update_rows(table, lookup, gradients, weight, rate)
        return table, parallel.sum_over_devices((loss / IDS, lookup.lost))

    def local(rows: np.ndarray) -> np.ndarray:
        return parallel.split_over_devices(parallel.of_this_process(rows))

    parts = [(local(ids), local(goals_of(n))) for n, ids in enumerate(ids_of_steps)]
    call = parallel.scan_steps(step, axes=0)
    batches = jax.tree.map(lambda *leaves: np.stack(leaves, 1), *parts)
    table, (losses, lost) = call(parallel.as_shards(table), batches)
    return parallel.as_rows(table), np.asarray(losses), int(np.asarray(lost).sum())


if __name__ == "__main__":
    main()
