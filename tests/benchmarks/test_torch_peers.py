"""The scripts of the peers: what PyTorch computes is right, and every script can be started."""

from __future__ import annotations

import functools
import importlib
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("torch")
FOLDER = Path(__file__).parents[2] / "benchmarks" / "peers"
SCRIPTS = sorted(
    file.stem for file in FOLDER.glob("*.py") if file.stem not in ("__init__", "common")
)
# What may be absent here: the scripts run in an environment of their own.
LIBRARIES = (
    "pandas",
    "pytorch_lightning",
    "rectools",
    "rectools.dataset",
    "rectools.models",
    "recbole",
    "recbole.config",
    "recbole.data",
    "recbole.model",
    "recbole.model.sequential_recommender",
    "torch_geometric",
    "torch_geometric.nn",
    "transformers",
)


@pytest.fixture
def script(monkeypatch):
    """Imports a script as Python does: its folder comes first on the path."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def run(script, name: str, options: str, monkeypatch, capsys) -> dict:
    """The figures of a script's last line."""
    # PyTorch's threads wait for each other by spinning: beside other tests that takes ten times
    # as long as one thread.
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *options.split(), "--threads", "1"])
    script(name).main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_finds_its_imports_and_options(name, monkeypatch, capsys):
    """Libraries are stand-ins: it is the script's own part that is checked."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with mock.patch.dict(sys.modules, {library: mock.MagicMock() for library in LIBRARIES}):
        with pytest.raises(SystemExit) as end:
            importlib.import_module(name).main()
        sys.modules.pop(name, None)
    assert not end.value.code
    assert "--device {cpu,cuda}" in capsys.readouterr().out


def test_the_search_finds_the_best_items(script, torch):
    search = script("torch_search").search
    rng = np.random.default_rng(0)
    catalogue, users = (torch.from_numpy(rng.normal(size=(n, 8))) for n in (200, 30))
    # The last chunk is smaller.
    scores, items = search(catalogue, users, k=5, chunk=16)
    expected = users.numpy() @ catalogue.numpy().T
    order = np.argsort(-expected, axis=1)[:, :5]
    np.testing.assert_array_equal(items.numpy(), order)
    np.testing.assert_allclose(scores.numpy(), np.take_along_axis(expected, order, 1))


def test_the_search_has_figures(script, monkeypatch, capsys):
    options = "--items 500 --width 8 --users 40 --k 3 --chunk 16 --repeats 1"
    figures = run(script, "torch_search", options, monkeypatch, capsys)
    assert figures["users_per_second"].keys() == {"float32"}, "a CPU has no TF32"
    assert figures["users_per_second"]["float32"] > 0


@pytest.mark.parametrize("options", ["", "--bf16 1"])
def test_the_language_model_learns(script, options, tmp_path, monkeypatch, capsys):
    pytest.importorskip("transformers")
    tokens = np.random.default_rng(0).integers(0, 40, (8, 16)).astype(np.int32)
    np.save(tmp_path / "tokens.npy", tokens)
    sizes = "--width 16 --layers 1 --heads 2 --vocabulary 40 --batch 4 --steps 12"
    options = f"--tokens {tmp_path / 'tokens.npy'} {sizes} {options}"
    figures = run(script, "torch_gpt2", options, monkeypatch, capsys)
    assert figures["losses"][-1] < figures["losses"][0]
    assert ("bf16" in figures["system"]) == ("bf16" in options)


# torch.compile uses torch.jit itself.
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_compiled_twin_learns_what_the_eager_one_does(
    script, torch, tmp_path, monkeypatch, capsys
):
    # Traced and differentiated as for a GPU. The C++ of a CPU takes minutes to compile.
    traced = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", traced)
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "s.npz",
        offsets=5 * np.arange(9),
        items=rng.integers(0, 30, 40).astype(np.int32),
        times=np.tile(np.arange(5), 8),
        held_out=np.full(8, -1, np.int32),
        num_items=30,
    )
    options = f"--data {tmp_path / 's.npz'} --width 16 --layers 1 --length 6 --batch 8 --steps 1"
    options += " --negatives 0 --dropout 0"
    losses = [
        run(script, "torch_twin", f"{options} --compile {way}", monkeypatch, capsys)["losses"]
        for way in (0, 1)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)
