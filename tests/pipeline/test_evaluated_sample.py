"""Of very many users a sample is evaluated: during training a part of the one in the report."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from socialrec_jax.config import Config, EvaluationConfig
from socialrec_jax.data.world import VALIDATION
from socialrec_jax.evaluation import protocol
from socialrec_jax.pipeline import evaluate, retriever
from tests.worlds import random_world


@pytest.fixture
def world(tmp_path):
    return random_world(tmp_path, num_users=80)


def config_of(num_users: int) -> Config:
    return dataclasses.replace(Config(), evaluation=EvaluationConfig(users=num_users))


def validated(world, config: Config) -> np.ndarray:
    """The users on whom the retriever is validated during training."""
    trainer: Any = SimpleNamespace(model=None, known=None)
    validate: Any = retriever.validation(world, config, trainer, np.zeros((0, 0), np.float32))
    return validate.__self__.queries.users


def test_the_report_says_how_many_users_it_evaluated(world):
    whole = evaluate._held_out_queries(world, config_of(80))
    sampled = evaluate._held_out_queries(world, config_of(20))
    for part, queries in sampled.items():
        counts = evaluate._target_counts(queries)
        assert counts["users"] == 20
        assert counts["share_of_users"] == 20 / len(whole[part])
        assert counts["seen_before"] == whole[part].dropped
        assert evaluate._target_counts(whole[part])["share_of_users"] == 1
        assert set(queries.users) < set(whole[part].users)


def test_few_users_are_all_evaluated(world):
    everybody = protocol.held_out(world, VALIDATION).users
    np.testing.assert_array_equal(validated(world, Config()), everybody)
    queries = evaluate._held_out_queries(world, Config())
    np.testing.assert_array_equal(queries["validation"].users, everybody)


def test_validation_during_training_takes_a_part_of_the_sample(world, monkeypatch):
    monkeypatch.setattr(retriever, "_VALIDATED_USERS", 10)
    during_training = validated(world, config_of(20))
    assert len(during_training) == 10
    in_report = evaluate._held_out_queries(world, config_of(20))["validation"].users
    assert set(during_training) < set(in_report)
    assert len(validated(world, config_of(5))) == 5
