"""A catalogue that is sharded over devices answers as a whole one does, ties and masks included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from socialrec_jax.inference import index
from socialrec_jax.runtime import parallel
from tests import workers


def searched(devices: int, folder: Path) -> dict[str, np.ndarray]:
    workers.run("tests.inference.layouts", folder / "found.npz", devices)
    return dict(np.load(folder / "found.npz"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return searched(1, tmp_path_factory.mktemp("layouts"))


def test_one_device_is_a_share_too(alone):
    for name, value in alone.items():
        np.testing.assert_array_equal(value, alone[name.replace("sharded", "whole")], err_msg=name)


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_both_layouts_find_what_one_device_finds(alone, devices, tmp_path):
    results = searched(devices, tmp_path)
    for name, value in results.items():
        if name.endswith("total"):
            np.testing.assert_allclose(value, alone[name], rtol=1e-6, err_msg=name)
        elif name.startswith("smooth") and name.endswith(
            "best"
        ):  # sums in another order: the last bit may differ
            np.testing.assert_allclose(value, alone[name], rtol=1e-6, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(value, alone[name], err_msg=name)


def test_the_case_holds_ties_and_runs_out_of_items(alone):
    best = alone["ties/whole/best"]
    finite = np.isfinite(best)
    assert (finite[:, 1:] & (best[:, 1:] == best[:, :-1])).mean() > 0.3
    assert not finite.all()
    assert len(np.unique(alone["ties/whole/ranks"])) > 20
    for row, items in zip(best, alone["ties/whole/items"], strict=True):
        tied = row[1:] == row[:-1]
        assert (items[1:][tied] > items[:-1][tied]).all(), (
            "among equals the lower number comes first"
        )


def test_the_layout_follows_from_bytes_and_devices(monkeypatch):
    monkeypatch.setattr(parallel, "num_local_devices", lambda: 8)
    assert index.fits_whole(4_000_000, 64)
    assert not index.fits_whole(10_000_000, 64)
    monkeypatch.setattr(parallel, "num_local_devices", lambda: 1)
    assert index.fits_whole(10_000_000, 64), "one device shares with no other"
