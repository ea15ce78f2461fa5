"""The softmax over a catalogue that several devices share, in a process of its own.

python -m tests.training.shares FILE --devices N    writes loss and gradients
"""

from __future__ import annotations

import jax
import numpy as np

from tests import workers

USERS, ITEMS, WIDTH, TEMPERATURE = 48, 40, 8, 0.1


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Users, items, targets and weights."""
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(USERS, WIDTH)), rng.normal(size=(ITEMS, WIDTH))
    users, items = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (users, items))
    weights = rng.random(USERS) * (rng.random(USERS) > 0.2)
    return (
        users.astype(np.float32),
        items.astype(np.float32),
        rng.integers(0, ITEMS, USERS),
        weights.astype(np.float32),
    )


def main() -> None:
    options = workers.options()

    from socialrec_jax.runtime import parallel
    from socialrec_jax.training import losses

    losses.CHUNK_LOGITS = 100  # many chunks, the last not full

    def gradients(_, part):
        users, items, targets, weights = part

        def local(users, items, weights):
            return losses.sharded_softmax(users, items, targets, weights, TEMPERATURE)

        value, pull = jax.vjp(lambda *x: local(*x).total, users, items, weights)
        total = parallel.sum_over_devices(local(users, items, weights))
        return pull(value * 0 + 1), total.total, total.weight

    found = parallel.map_devices(gradients)(0.0, parallel.split_over_devices(problem()))
    (users, items, weights), total, weight = found
    users, items, weights = parallel.join_devices((users, items, weights))
    np.savez(options.place, users=users, items=items, weights=weights, total=total, weight=weight)


if __name__ == "__main__":
    main()
