"""Every range stands beside its setting, is checked, and is shown by --help."""

from __future__ import annotations

import dataclasses

import pytest

from socialrec_jax import config
from socialrec_jax.config import Config, check, from_json, large, to_json
from socialrec_jax.errors import UsageError

SECTIONS = {field.name: type(field.default) for field in dataclasses.fields(Config)[3:]}
RANGES = [
    (section, name, allowed)
    for section, cls in SECTIONS.items()
    for name, allowed in config.ranges(cls).items()
]


def with_setting(section: str, name: str, value: object) -> Config:
    changed = dataclasses.replace(getattr(Config(), section), **{name: value})
    return dataclasses.replace(Config(), **{section: changed})


@pytest.mark.parametrize(("section", "name", "allowed"), RANGES)
def test_values_outside_a_range_are_named_with_it(section, name, allowed):
    option = f"--{section}.{name}".replace("_", "-")
    for value in (allowed.low - 1, allowed.high + 1):
        with pytest.raises(UsageError, match=f"{option} {value} is out of range"):
            check(with_setting(section, name, value))
    assert f"({allowed.low}..{allowed.high})" in allowed.documentation


def test_every_number_has_a_range():
    assert set(config.ranges(Config)) == {"seed"}
    for seed in (-1, 1 << 32):
        with pytest.raises(UsageError, match=f"--seed {seed} is out of range"):
            check(dataclasses.replace(Config(), seed=seed))
    for section, cls in SECTIONS.items():
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        numbers = {n for n, v in defaults.items() if type(v) in (int, float)}
        assert numbers <= set(config.ranges(cls)), section


def test_defaults_are_in_their_ranges():
    for preset in config.PRESETS.values():
        check(preset())


def test_settings_are_few():
    assert sum(len(dataclasses.fields(cls)) for cls in SECTIONS.values()) <= 66


def test_json_gives_the_same_configuration():
    changed = dataclasses.replace(
        large(), train=dataclasses.replace(large().train, focus=("buy", "cart"))
    )
    assert from_json(to_json(changed)) == changed
    with pytest.raises(TypeError, match="nonsense"):
        from_json('{"nonsense": 1}')
