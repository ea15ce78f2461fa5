"""The growth of the host's work: exponents, least seconds, and a table of both."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from benchmarks import studies
from benchmarks.__main__ import Run
from benchmarks.output.studies import growth_table
from benchmarks.suites import scale_host
from benchmarks.work import host_pieces
from benchmarks.work.host_pieces import Piece
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.world import NOW
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.index import Index


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_an_exponent_is_that_of_the_growth(power):
    sizes = [1e4, 1e5, 1e6]
    costs = [3e-6 * size**power for size in sizes]
    assert scale_host.exponent(sizes, costs) == pytest.approx(power)


def test_one_size_has_no_growth():
    assert scale_host.exponent([1e4], [1.0]) == 0


def test_what_holds_more_in_a_larger_shop_has_an_exponent(tmp_path, monkeypatch, capsys):
    def pieces(num_items: int):
        yield Piece("a row over the catalogue", lambda: np.ones(num_items), "user", 2)
        yield Piece("a list", lambda: np.ones(100_000), "user", 2, is_long=True)

    monkeypatch.setattr(scale_host, "made_up_world", lambda folder, num_items: num_items)
    monkeypatch.setattr(scale_host, "pieces", pieces)
    dense, short = scale_host.run([10_000, 1_000_000], tmp_path)
    assert "10,000" in capsys.readouterr().out
    assert dense.costs[0].bytes == pytest.approx(40_000, rel=0.1)
    assert dense.exponent_of_bytes == pytest.approx(1, abs=0.05)
    assert short.exponent_of_bytes == pytest.approx(0, abs=0.05)
    assert len(scale_host.run([10_000], tmp_path, only="list")) == 1

    table = growth_table([dense, short]).markdown()
    assert "V = 1,000,000" in table
    assert "a row over the catalogue" in table


def test_pieces_compute_something_of_a_world(world):
    item_knn = ItemKNN.fit(world.events, world.history_ends(NOW), 40, ItemKNNSettings())
    counted = list(host_pieces._counted_once(world))
    evaluated = list(host_pieces._evaluated(world, item_knn))
    for piece in counted + evaluated:
        assert piece.call() is not None
        assert piece.units > 0
        assert piece.name in host_pieces.NAMES


@pytest.mark.parametrize("options", [{"items": (1000,)}, {"items": (10, 1000)}, {"only": "x y"}])
def test_a_mistake_is_found_before_a_shop_is_made(options):
    with pytest.raises(UsageError, match=r"--items|--only"):
        studies.scale_host(Run(suite="scale-host", **options))


def test_kept_lists_stand_in_for_every_search():
    """A new argument of the search must not end the suite."""
    assert inspect.signature(host_pieces._KeptSearch.top) == inspect.signature(Index.top)
