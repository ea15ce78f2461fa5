"""The configuration of a run: checked, compared with an existing run's, completed from the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from socialrec_jax.config import Config, check
from socialrec_jax.data.world import World
from socialrec_jax.errors import InputMissing, UsageError
from socialrec_jax.inference.load import focus_of
from socialrec_jax.pipeline import learning_rate
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.auto_config import auto_config


def check_settings(run: RunDirectory, config: Config, may_lower_rate: bool = False) -> None:
    """Raise UsageError when a setting is out of its range, or differs from an existing run's.

    may_lower_rate: a lower learning rate is no difference.
    """
    check(config)

    if not run.exists and any(run.checkpoints.glob("*/*/about.json")):
        raise InputMissing(
            f"{run.path} has checkpoints and no config.json: put it back (`config` in the "
            "about.json of a checkpoint is its content), or choose another --run"
        )

    # An existing run keeps its settings: with others it would not be the same training.
    if may_lower_rate and learning_rate.is_lowered(run, config):
        config = learning_rate.with_rate_of(config, run.config())
    if run.exists and (difference := _difference(run.config(), config)):
        raise UsageError(
            f"{run.path} was started with {difference}: "
            "leave the option out, or choose another --run"
        )


def with_absolute_paths(run: RunDirectory, config: Config) -> Config:
    """A configuration whose paths do not depend on the working folder, unless they are the run's
    own.
    """
    given = config.text.pretrained
    kept = run.config().text.pretrained if run.exists else None
    if given is None or given == kept:
        return config
    text = dataclasses.replace(config.text, pretrained=str(Path(given).resolve()))
    return dataclasses.replace(config, text=text)


def _difference(kept: Config, given: Config) -> str | None:
    """The first setting that differs, as an option with both values."""
    kept_values = _flatten(dataclasses.asdict(kept))
    given_values = _flatten(dataclasses.asdict(given))
    for name, value in given_values.items():
        if value != kept_values[name]:
            return f"--{name.replace('_', '-')} {kept_values[name]}, not {value}"
    return None


def _flatten(settings: dict, prefix: str = "") -> dict:
    """Settings by their dotted names."""
    flat = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= _flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def write_auto_config(run: RunDirectory, config: Config, world: World) -> Config:
    """Fill in what follows from the data, and write config.json. Raises UsageError when
    configuration and data do not fit.
    """
    # An event type that the World does not have is found here, before any training.
    focus_of(config, world)
    resolved = auto_config(config, world)
    if learning_rate.is_lowered(run, resolved):
        learning_rate.write_down(run, resolved)
    run.write_config(resolved)
    return resolved
