"""The parameters of a model by name: what checkpoints of another version are compared with."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from socialrec_jax.config import tiny
from socialrec_jax.errors import DamagedFile
from socialrec_jax.inference import load_checks
from socialrec_jax.inference.parameters import parameter_shapes
from socialrec_jax.models.recommender import PARAMETERS_VERSION, RecommenderModel
from socialrec_jax.runtime.run import RunDirectory

CONFIG = dataclasses.replace(tiny().model, width=16, num_layers=1, history_length=8, dropout=0.1)
EXPECTED = {1: "31cb450a4cb2"}


@pytest.mark.parametrize("num_users", [0, 7])
def test_shapes_follow_from_the_model(num_users):
    shapes = parameter_shapes(RecommenderModel(CONFIG, 5, 2, num_users, text_width=3))
    assert shapes["items/ids"] == (5, 16)
    assert shapes["items/project/kernel"] == (3, 16)
    assert any(name.startswith("social/") for name in shapes) == bool(num_users)


def test_a_change_of_the_parameters_needs_the_next_version():
    shapes = parameter_shapes(RecommenderModel(CONFIG, 5, 2, 7, text_width=3))
    text = json.dumps(shapes, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert EXPECTED[PARAMETERS_VERSION] == digest, "raise PARAMETERS_VERSION, and add its digest"


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite_do_not_serve(tmp_path, number):
    run, step = RunDirectory(tmp_path), tmp_path / "checkpoints" / "retriever" / "8"
    params = {"items": {"ids": np.ones((3, 2), np.float32)}}
    load_checks.check_finite(run, step, params)
    params["items"]["ids"][2, 1] = number
    with pytest.raises(DamagedFile, match="retriever/8 is damaged: a parameter"):
        load_checks.check_finite(run, step, params)
