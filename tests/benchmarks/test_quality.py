"""The suite trains every arm, and does not train a finished run again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.output.studies import quality_table
from benchmarks.suites import quality
from socialrec_jax.config import Config, ModelConfig, TextConfig, TrainConfig
from socialrec_jax.evaluation import baselines
from tests.pipeline.short_run import shorten_training

USERS = 60


def test_a_summary_is_mean_deviation_and_values_over_the_seeds():
    rng = np.random.default_rng(0)

    def random_run() -> dict:
        models = ("ranker", "popular")
        return {model: {m: float(rng.random()) for m in quality.METRICS} for model in models}

    runs = [random_run() for _ in range(3)]
    for model, metrics in quality.summary(runs).items():
        for metric, figures in metrics.items():
            values = [run[model][metric] for run in runs]
            assert figures["values"] == [round(v, 5) for v in values]
            assert figures["mean"] == pytest.approx(np.mean(values), abs=1e-5)
            assert figures["deviation"] == pytest.approx(np.std(values, ddof=1), abs=1e-5)
    assert quality.summary(runs[:1])["ranker"]["hr@10"]["deviation"] == 0


def test_a_suite_trains_every_arm_once(tmp_path, world, monkeypatch):
    monkeypatch.setattr(baselines, "_ITEM_KNN_CHOICES", {})
    monkeypatch.setattr(baselines, "_USER_KNN_CHOICES", {})
    shorten_training(monkeypatch)
    counts = {
        "counts": {"users": USERS, "items": 40, "events": len(world.events.items)},
        "time_max": 2_000_000,
    }
    world = dataclasses.replace(world, manifest=world.manifest | counts)
    config = Config(
        model=ModelConfig(width=16, num_heads=2, num_layers=1, history_length=8, dropout=0.1),
        train=TrainConfig(tokens_per_step=128, epochs=2, evaluations=1, steps_per_call=8),
        text=TextConfig(vocabulary=300, epochs=1),
    )
    arms, folder = ["all", "no order"], tmp_path / "runs"
    results = quality.run(world, config, arms, [0], folder)
    logs = {path: path.read_bytes() for path in sorted(folder.glob("*/metrics.jsonl"))}
    assert [path.parent.name for path in logs] == ["all-0", "no-order-0"]
    for arm in arms:
        for part in ("validation", "test"):
            assert {"ranker", "retriever", "item-kNN", "user-kNN"} <= results[arm][part].keys()
            for metrics in results[arm][part].values():
                assert all(0 <= figures["mean"] <= 1 for figures in metrics.values())
    assert results["all"]["test"]["popular"] == results["no order"]["test"]["popular"]
    assert results["all"]["test"]["item-kNN"] != results["no order"]["test"]["item-kNN"]
    assert quality.run(world, config, ["all"], [0], folder) == {"all": results["all"]}
    assert {path: path.read_bytes() for path in logs} == logs, "nothing is trained again"
    shown = quality_table(results).markdown()
    assert shown.count("| ranker |") == 2, "one of each arm"
    assert shown.count("| popular |") == 1, "baselines are those of the first arm"
