"""The PyTorch twin is the behavior model: with its parameters it gives the same states, and of
states the same loss.
"""

from __future__ import annotations

import importlib
import json
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

U, T, V, D, H = 3, 12, 30, 32, 2


@pytest.fixture(scope="module")
def twin(torch):
    """The script's module: it imports the other scripts by the path, as scripts do."""
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
        row_ids=np.arange(U, dtype=np.int32),
        segments=ones,
        items=items[:, :-1],
        event_types=0 * ones,
        times=times,
        request_times=times,
        targets=items[:, 1:],
        target_types=0 * ones,
        weights=ones.astype(np.float32),
    )


def _copy(parameter, value) -> None:
    """A value of Flax, kernels as [in, out], into a parameter of torch, kernels as [out, in]."""
    value = np.asarray(value)
    parameter.data = parameter.new_tensor(np.array(value.T if value.ndim == 2 else value))


def _copy_block(params: dict, block) -> None:
    attention, feed_forward = params["attention"], params["feed_forward"]
    # The gates' columns come last.
    qkv, attention_gate = np.split(attention["in"]["kernel"], [3 * D], 1)
    widen, feed_forward_gate = np.split(feed_forward["in"]["kernel"], [4 * D], 1)
    for place, gate in enumerate((attention_gate, feed_forward_gate)):
        part = ("attention", "feed_forward")[place]
        _copy(block.norms[place].scale, params[f"{part}_norm"]["scale"])
        # The gate of the stream itself: the norm's scale is a factor of its kernel.
        _copy(block.gates[place].weight, gate * params[f"{part}_norm"]["scale"][:, None])
        _copy(block.gates[place].bias, params[f"{part}_gate"]["bias"])
    _copy(block.qkv.weight, qkv)
    _copy(block.out.weight, attention["out"]["kernel"])
    for name in ("query", "key"):
        for part in ("scale", "offset"):
            parameter = getattr(block, f"{name}_{part}")
            parameter.data = parameter.new_tensor(np.array(attention[name][part][:, None]))
    _copy(block.widen.weight, widen)
    _copy(block.narrow.weight, feed_forward["out"]["kernel"])


def _copy_model(params: dict, model) -> None:
    behavior = params["behavior"]
    weight = model.items.weight
    weight.data = weight.new_tensor(np.array(params["items"]["ids"]))
    for layer, block in enumerate(model.blocks):
        _copy_block(behavior["blocks"][f"block_{layer}"], block)
    _copy(model.norm.scale, behavior["RMSNorm_0"]["scale"])
    _copy(model.state.weight, behavior["state"]["kernel"])
    _copy(model.state.bias, behavior["state"]["bias"])


def test_the_twin_has_the_same_states(twin, torch):
    batch = _batch()
    config = ModelConfig(width=D, num_heads=H, history_length=T, dropout=0.0)
    flax_model = RecommenderModel(config, V, 1)
    shapes = jax.eval_shape(flax_model.init, jax.random.key(0), batch)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: rng.normal(0.2, 0.4, leaf.shape).astype(np.float32), shapes)
    bound = flax_model.bind({"params": params})
    expected = np.asarray(bound.encode_users(jax.tree.map(jnp.asarray, batch)))

    model = twin.Twin(V, D, 2, H, 0.0).eval()
    _copy_model(params, model)
    items, times = torch.from_numpy(batch.items).long(), torch.from_numpy(batch.times).long()
    with torch.no_grad():
        states = model(items, times)
    np.testing.assert_allclose(states.numpy(), expected, atol=2e-5)


def test_the_twin_has_the_same_loss(twin, torch):
    rng = np.random.default_rng(2)
    states, table = (rng.normal(size=(n, D)).astype(np.float32) for n in (20, V))
    states, unit = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (states, table))
    targets = rng.integers(0, V, 20).astype(np.int32)
    arrays = map(jnp.asarray, (states, unit, targets, np.ones(20, np.float32)))
    expected = losses.full_softmax(*arrays, temperature=0.07).mean()

    model = twin.Twin(V, D, 2, H, 0.0)
    model.items.weight.data = torch.from_numpy(table)
    targets = torch.from_numpy(targets).long()
    loss = twin.full_loss(model, torch.from_numpy(states), targets, 0.07)
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)


def test_the_script_trains_on_a_file_of_sequences(twin, tmp_path, monkeypatch, capsys):
    """Its batches are what the file says, and its last line has the figures."""
    rng = np.random.default_rng(0)
    offsets = 5 * np.arange(9)
    np.savez(
        tmp_path / "s.npz",
        offsets=offsets,
        items=rng.integers(0, V, 40).astype(np.int32),
        times=np.tile(np.arange(5), 8),
        held_out=np.full(8, -1, np.int32),
        num_items=V,
    )
    options = f"--data {tmp_path / 's.npz'} --width 16 --length 6 --batch 8 --steps 1 --negatives 4"
    monkeypatch.setattr(sys, "argv", ["torch_twin.py", *options.split()])
    twin.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["real_positions"] == pytest.approx(4 / 6)
    assert figures["device"] == "cpu"
    assert np.isfinite(figures["losses"]).all()
