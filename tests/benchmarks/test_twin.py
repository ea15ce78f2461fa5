"""The PyTorch twin is our behavior model: with our parameters it gives our states, and of states
our loss.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.batch import Batch
from socialrec_jax.config import ModelConfig
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.training import losses

torch = pytest.importorskip("torch")
U, T, V, D, H = 3, 12, 30, 32, 2


@pytest.fixture(scope="module")
def twin():
    """The script's module: it stands alone and finds its neighbours by the path, as scripts do."""
    folder = Path(__file__).parents[2] / "benchmarks" / "peers"
    sys.path.insert(0, str(folder))
    yield importlib.import_module("torch_twin")
    sys.path.remove(str(folder))


def _batch() -> Batch:
    rng = np.random.default_rng(0)
    items = rng.integers(0, V, (U, T + 1)).astype(np.int32)
    times = np.cumsum(rng.integers(0, 10_000, (U, T)), axis=1).astype(np.int32)
    ones = np.ones((U, T), np.int32)
    return Batch(
        row_ids=np.arange(U, dtype=np.int32), segments=ones, items=items[:, :-1], event_types=0 * ones,
        times=times, request_times=times, targets=items[:, 1:], target_types=0 * ones, weights=ones.astype(np.float32),
    )  # fmt: skip


def _carry_over(params: dict, model) -> None:
    """Our parameters [in, out] into torch's [out, in]."""
    behavior = params["behavior"]

    def put(there, value, width=None) -> None:
        value = np.asarray(value).reshape(width or np.shape(value))
        there.data = torch.from_numpy(np.array(value.T if value.ndim == 2 else value))

    model.items.weight.data = torch.from_numpy(np.array(params["items"]["ids"]))
    for layer, block in enumerate(model.blocks):
        ours = behavior[f"block_{layer}"]
        for place in range(2):
            put(block.norms[place].scale, ours[f"RMSNorm_{place}"]["scale"])
            gate = ours[("attention_gate", "feed_forward_gate")[place]]
            put(block.gates[place].weight, gate["kernel"])
            put(block.gates[place].bias, gate["bias"])
        put(block.qkv.weight, ours["attention"]["qkv"]["kernel"], (D, 3 * D))
        put(block.out.weight, ours["attention"]["out"]["kernel"], (D, D))
        put(block.query_norm.scale, ours["attention"]["query_norm"]["scale"])
        put(block.key_norm.scale, ours["attention"]["key_norm"]["scale"])
        put(block.widen.weight, ours["feed_forward"]["in"]["kernel"])
        put(block.narrow.weight, ours["feed_forward"]["out"]["kernel"])
    for name in ("time_bias", "position_bias"):
        getattr(model, name).weight.data = torch.from_numpy(np.array(behavior[name]["table"]))
    put(model.norm.scale, behavior["RMSNorm_0"]["scale"])
    put(model.state.weight, behavior["state"]["kernel"])
    put(model.state.bias, behavior["state"]["bias"])


def test_the_twin_has_our_states(twin):
    batch = _batch()
    ours = RecommenderModel(ModelConfig(width=D, num_heads=H, history_length=T, dropout=0.0), V, 1)
    shapes = jax.eval_shape(ours.init, jax.random.key(0), batch)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: rng.normal(0.2, 0.4, leaf.shape).astype(np.float32), shapes)
    expected = np.asarray(
        ours.bind({"params": params}).encode_users(jax.tree.map(jnp.asarray, batch))
    )
    model = twin.Twin(V, D, 2, H, 0.0).eval()
    _carry_over(params, model)
    with torch.no_grad():
        found = model(torch.from_numpy(batch.items).long(), torch.from_numpy(batch.times).long())
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_the_twin_has_our_loss(twin):
    rng = np.random.default_rng(2)
    states, table = (rng.normal(size=(n, D)).astype(np.float32) for n in (20, V))
    states, unit = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (states, table))
    targets = rng.integers(0, V, 20)
    ours = losses.full_softmax(
        *map(jnp.asarray, (states, unit, targets.astype(np.int32), np.ones(20, np.float32))), 0.07
    )
    model = twin.Twin(V, D, 2, H, 0.0)
    model.items.weight.data = torch.from_numpy(table)
    found = twin.full_loss(model, torch.from_numpy(states), torch.from_numpy(targets), 0.07)
    assert found.item() == pytest.approx(float(ours.mean()), rel=1e-5)
