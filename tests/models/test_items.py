"""An item is its id plus its text; without its id it is its text alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.items import ID_DROPOUT, ItemTower
from socialrec_jax.models.recommender import fixed_variables

V, D, F = 2000, 8, 5
KNOWN = np.arange(V) % 4 > 0


def dropout_rng(seed: int) -> DropoutRng:
    return DropoutRng(jnp.uint32(seed), jnp.arange(2))


@pytest.fixture(scope="module")
def tower():
    """(item tower with texts, its variables)."""
    rng = np.random.default_rng(0)
    module = ItemTower(V, D, F)
    params = jax.jit(module.init)(jax.random.key(0), jnp.arange(3))["params"]
    params = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), params)
    texts = rng.normal(size=(V, F)).astype(np.float32)
    return module, {"params": params} | {"fixed": fixed_variables(texts, KNOWN)["fixed"]["items"]}


def catalogue(tower, seed: int | None = None, **params) -> np.ndarray:
    module, variables = tower
    changed = variables | {"params": variables["params"] | params}
    return np.asarray(module.bind(changed).catalogue(None if seed is None else dropout_rng(seed)))


def lookup(tower, items: np.ndarray, seed: int | None = None) -> np.ndarray:
    return np.asarray(tower[0].bind(tower[1])(items, None if seed is None else dropout_rng(seed)))


def test_unknown_ids_do_not_count(tower):
    other = jax.random.normal(jax.random.key(5), (V, D))
    moved = np.abs(catalogue(tower) - catalogue(tower, ids=other)).max(1) > 0
    np.testing.assert_array_equal(moved, KNOWN)


def test_an_unknown_item_is_the_direction_of_its_projected_text(tower):
    texts, params = np.asarray(tower[1]["fixed"]["texts"]), tower[1]["params"]
    alone = texts @ np.asarray(params["project"]["kernel"]) * float(params["gate"])
    alone /= np.linalg.norm(alone, axis=1, keepdims=True)
    np.testing.assert_allclose(catalogue(tower)[~KNOWN], alone[~KNOWN], rtol=1e-4, atol=1e-5)


def test_training_drops_a_tenth_of_the_ids_anew_at_every_step(tower):
    whole, alone = catalogue(tower), catalogue(tower, ids=jnp.zeros((V, D)))
    dropped = []
    for seed in range(4):
        found = catalogue(tower, seed)
        changed = np.abs(found - whole).max(1) > 1e-6
        np.testing.assert_allclose(found[changed], alone[changed], rtol=1e-5, atol=1e-6)
        assert not changed[~KNOWN].any()
        # Binomial: five deviations around the rate.
        n = KNOWN.sum()
        assert abs(changed.sum() - ID_DROPOUT * n) < 5 * np.sqrt(ID_DROPOUT * (1 - ID_DROPOUT) * n)
        dropped.append(frozenset(np.flatnonzero(changed)))
    assert len(set(dropped)) == 4


@pytest.mark.parametrize("seed", [None, 7])
def test_a_lookup_is_a_row_of_the_catalogue(tower, seed):
    items = np.random.default_rng(0).integers(0, V, (30, 20))
    np.testing.assert_allclose(
        lookup(tower, items, seed), catalogue(tower, seed)[items], rtol=1e-5, atol=1e-6
    )


def test_vectors_have_length_one(tower):
    for seed in (None, 3):
        np.testing.assert_allclose(np.linalg.norm(catalogue(tower, seed), axis=1), 1, rtol=1e-4)


def test_without_texts_an_item_is_its_id_in_training_too():
    module = ItemTower(V, D)
    variables = module.init(jax.random.key(0), jnp.arange(3))
    assert variables.keys() == {"params"}
    assert variables["params"].keys() == {"ids"}
    assert fixed_variables(np.zeros((V, 0), np.float32), KNOWN) == {}
    bound, ids = module.bind(variables), np.asarray(variables["params"]["ids"])
    expected = ids / np.linalg.norm(ids, axis=1, keepdims=True)
    for found in (
        bound.catalogue(),
        bound.catalogue(dropout_rng(1)),
        bound(jnp.arange(V)),
        bound(jnp.arange(V), dropout_rng(1)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_an_item_without_id_and_text_has_a_finite_gradient(tower):
    module, variables = tower
    fixed = variables["fixed"] | {"texts": jnp.zeros((V, F))}

    def loss(params):
        return jnp.sum(module.bind({"params": params, "fixed": fixed}).catalogue()[:, 0])

    assert all(
        np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(loss)(variables["params"]))
    )
