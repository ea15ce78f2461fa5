"""The configuration of a run: checked, compared with an existing run's, completed from the data."""

from __future__ import annotations

import dataclasses

from socialrec_jax.config import Config, check
from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.load import focus_of
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.auto_config import auto_config


def settle_config(run: RunDirectory, config: Config) -> Config:
    """The configuration, checked. Raises UsageError when it is out of range, or not the one of an
    existing run.
    """
    check(config)
    if run.exists and (differing := _difference(run.config(), config)):
        raise UsageError(
            f"{run.path} was started with {differing}: leave the option out, or choose another --run"
        )
    return config


def _difference(kept: Config, query: Config) -> str | None:
    """The first setting that differs, as the run has it and as it was asked for."""
    ours, theirs = _flat(dataclasses.asdict(kept)), _flat(dataclasses.asdict(query))
    wrong = next((key for key, value in theirs.items() if value != ours[key]), None)
    return wrong and f"--{wrong.replace('_', '-')} {ours[wrong]}, not {theirs[wrong]}"


def _flat(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def write_auto_config(run: RunDirectory, config: Config, world: World) -> Config:
    """Fill in what follows from the data and write it down. Raises UsageError when the two do not
    go together.
    """
    focus_of(config, world)
    resolved = auto_config(config, world)
    run.write_config(resolved)
    return resolved
