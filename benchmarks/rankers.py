"""The ranker as work to be timed, learning and scoring, and random judgements for it to read."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flops
from benchmarks.cases import Work, expect_close
from benchmarks.steps import STEPS, as_call, loss_holds, num_parameters
from benchmarks.workloads import CATALOGUES, EVENT_TYPES, Catalogue
from socialrec_jax.batch import Candidates, LabelledCandidates
from socialrec_jax.config import Config
from socialrec_jax.data.features.ranker_features import NAMES
from socialrec_jax.models.ranker import HIDDEN, Ranker
from socialrec_jax.runtime import parallel
from socialrec_jax.training import ranker

CANDIDATES = 100  # of a query
INTERACTIONS = 8


def learning(name: str) -> Work:
    """The step of the three rankers that learn side by side."""
    workload, rng = CATALOGUES[name], np.random.default_rng(0)
    Q, C, I = ranker.QUERIES_PER_STEP, CANDIDATES, INTERACTIONS  # noqa: E741
    evaluated = random_judgements(Q, C, workload, rng)
    catalogue = rng.normal(size=(workload.items, workload.width)).astype(np.float32)
    trainer = ranker.RankerTrainer(Config(), Ranker(EVENT_TYPES, I), STEPS, catalogue)
    state, call = trainer.init(evaluated), trainer.compile()
    one = jax.tree.map(lambda leaf: leaf[0], state.params)
    loss = jax.jit(
        lambda p: trainer.loss_sums(p, jnp.asarray(catalogue), evaluated, jnp.ones(Q)).mean()
    )
    with jax.default_matmul_precision("highest"):
        expected = loss(one)
    carry = call(state, as_call(evaluated))
    first, sizes = np.asarray(carry[1]), (len(NAMES), I, HIDDEN, EVENT_TYPES)
    return Work(
        call=lambda carry: call(carry[0], as_call(evaluated)),
        carry=carry,
        check=lambda carry: loss_holds(first, expected, carry[1]),
        unit="candidates",
        units_per_call=Q * C,
        flops=flops.TRAINING
        * ranker.MEMBERS
        * flops.ranker(Q, C, workload.items, workload.width, sizes),
        bytes=4.0 * catalogue.size + ranker.MEMBERS * 4 * 2 * Q * C * (len(NAMES) + I + 2 * HIDDEN),
        network_bytes=flops.all_reduce_bytes(
            num_parameters(carry[0].params), parallel.num_devices()
        ),
        devices=parallel.num_devices(),
    )


def scoring(name: str) -> Work:
    """The ranker's logits of 100 candidates a user."""
    workload, rng = CATALOGUES[name], np.random.default_rng(0)
    Q, C = workload.queries, CANDIDATES
    asked = jax.device_put(random_judgements(Q, C, workload, rng).candidates)
    catalogue = jnp.asarray(rng.normal(size=(workload.items, workload.width)), jnp.float32)
    ranker = Ranker(EVENT_TYPES, INTERACTIONS)
    params = ranker_params(ranker, asked, catalogue)
    projected = jax.jit(ranker.bind({"params": params}).project)(catalogue)

    @jax.jit
    def call(carry):
        states, before = carry
        states = states + 1e-9 * jnp.mean(before)  # too little to matter, enough to wait for
        return states, ranker.apply({"params": params}, asked.replace(states=states), projected)

    def check(carry) -> None:
        with jax.default_matmul_precision("highest"):
            alone = asked.replace(
                items=asked.items[:, 7:8],
                exists=asked.exists[:, 7:8],
                features=asked.features[:, 7:8],
            )
            expect_close(
                "a candidate alone",
                carry[1][:, 7:8],
                ranker.apply({"params": params}, alone, projected),
                1e-2,
            )

    sizes = (len(NAMES), INTERACTIONS, HIDDEN, EVENT_TYPES)
    return Work(
        call=call,
        carry=(asked.states, jnp.zeros(())),
        check=check,
        unit="users",
        units_per_call=Q,
        flops=flops.ranker(Q, C, 0, workload.width, sizes),
        bytes=4.0 * Q * C * (len(NAMES) + INTERACTIONS + EVENT_TYPES),
    )


def ranker_params(ranker: Ranker, asked, catalogue) -> dict:
    """Fresh parameters whose logits are not all alike, as those of an untrained ranker are."""
    touch = lambda ranker, asked, catalogue: ranker(asked, ranker.project(catalogue))  # noqa: E731
    params: dict = jax.jit(partial(ranker.init, method=touch))(jax.random.key(0), asked, catalogue)[
        "params"
    ]
    kernel = jax.random.normal(jax.random.key(1), params["logits"]["kernel"].shape) * 0.1
    return params | {"logits": params["logits"] | {"kernel": kernel}}


def random_judgements(
    Q: int,
    C: int,
    workload: Catalogue,
    rng: np.random.Generator,  # noqa: N803
) -> LabelledCandidates:
    candidates = Candidates(
        states=rng.normal(size=(Q, workload.width)).astype(np.float32),
        items=rng.integers(0, workload.items, (Q, C)).astype(np.int32),
        exists=np.ones((Q, C), bool),
        features=rng.normal(size=(Q, C, len(NAMES))).astype(np.float32),
    )
    labels = np.zeros((Q, C, EVENT_TYPES), np.float32)
    labels[np.arange(Q), rng.integers(0, C, Q), rng.integers(0, EVENT_TYPES, Q)] = 1
    return LabelledCandidates(candidates, labels, np.ones((Q, ranker.MEMBERS), np.float32))
