"""A lower learning rate for what is left of a run, written down in RUN/learning_rates.jsonl."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from socialrec_jax import checksums
from socialrec_jax.config import Config
from socialrec_jax.errors import DamagedFile, UsageError
from socialrec_jax.files import write_atomically
from socialrec_jax.inference.artefacts import recorded_stages
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.run import RunDirectory


def is_lowered(run: RunDirectory, config: Config) -> bool:
    """Whether config asks an existing run for a lower learning rate. UsageError where nothing is
    left to train.
    """
    if not run.exists or config.train.learning_rate >= run.config().train.learning_rate:
        return False
    if recorded_stages(run) is not None:
        raise UsageError(
            f"{run.path} is trained to its end: --train.learning-rate {config.train.learning_rate} "
            "needs another --run"
        )
    return True


def with_rate_of(config: Config, other: Config) -> Config:
    """A configuration with the learning rate of another one."""
    return _with_rate(config, other.train.learning_rate)


def write_down(run: RunDirectory, config: Config) -> None:
    """Add the change to the record, with the steps at which it was made.

    It is written before config.json: a run that is killed between the two has changed nothing.
    """
    rates = (run.config().train.learning_rate, config.train.learning_rate)
    entry = {"from": rates[0], "to": rates[1], "steps": _newest_steps(run)}
    earlier = [line for line in _entries(run) if line["to"] != rates[1]]
    lines = [json.dumps(checksums.sealed(line)) + "\n" for line in (*earlier, entry)]
    write_atomically(file_of(run), "".join(lines))


def rate_share(run: RunDirectory, config: Config) -> float:
    """The learning rate of now over that of the start."""
    return config.train.learning_rate / at_start(run, config).train.learning_rate


def at_start(run: RunDirectory, config: Config) -> Config:
    """The configuration with the learning rate that the run was started with."""
    entries = _entries(run)
    return _with_rate(config, entries[0]["from"]) if entries else config


def _with_rate(config: Config, rate: float) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, learning_rate=rate))


def _newest_steps(run: RunDirectory) -> dict[str, int]:
    """The newest saved step of each stage."""
    folders = sorted(path for path in run.checkpoints.glob("*") if path.is_dir())
    steps = {folder.name: Checkpoints(folder).steps() for folder in folders}
    return {stage: saved[-1] for stage, saved in steps.items() if saved}


def file_of(run: RunDirectory) -> Path:
    """Where lowered rates are written down."""
    return run.path / "learning_rates.jsonl"


def _entries(run: RunDirectory) -> list[dict]:
    if not file_of(run).exists():
        return []
    file = file_of(run)
    try:
        with checksums.readable(file):
            lines = file.read_text().splitlines()
        return [checksums.unsealed(file, line) for line in lines]
    except DamagedFile as error:
        # The ranker's rate follows from it: without the file it would learn at another one.
        advice = "it says from which learning rate the run started: take it from a copy of the run"
        raise error.with_advice(advice) from None
