"""Options of the library by their declared types: what the command line and HTTP check themselves.

A wrong value would otherwise end deep in a task with a message of NumPy, or change rows in silence.
"""

from __future__ import annotations

import functools
import numbers
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from socialrec_jax.errors import UsageError

# The types of Python that a declared type takes, numbers of NumPy included, and its name.
_KINDS: dict[Any, tuple[Any, str]] = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    bool: ((bool, np.bool_), "True or False"),
    str: (str, "a text"),
}


def check_types(options: Any) -> None:
    """Raises UsageError for a number, a text, a switch or a choice of another type.

    options: an object of a dataclass. Ids and tables have many types and are checked where they are
    read.
    """
    for name, hint in _hints(type(options)).items():
        _check(f"--{name.replace('_', '-')}", getattr(options, name), hint)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    # Without Annotated, whose limits are those of HTTP.
    return get_type_hints(kind)


def _check(option: str, value: Any, hint: Any) -> None:
    allowed = _alternatives(hint)
    if value is None and NoneType in allowed:
        return
    kinds = [one for one in allowed if one is not NoneType]
    # Of what may be several things, only the choices and plain types are known here.
    if len(kinds) != 1:
        return
    if get_origin(kinds[0]) is Literal:
        _check_choice(option, value, get_args(kinds[0]))
    elif kinds[0] in _KINDS:
        accepted, described = _KINDS[kinds[0]]
        if not isinstance(value, accepted):
            raise UsageError(f"{option} {value!r}: give {described}")


def _check_choice(option: str, value: Any, choices: tuple) -> None:
    if value not in choices:
        raise UsageError(f"{option} {value}: choose one of {', '.join(choices)}")


def _alternatives(hint: Any) -> tuple:
    """What a value may be."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
