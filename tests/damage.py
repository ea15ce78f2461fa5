"""Ways to damage a file, for tests of what is noticed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np

from socialrec_jax.errors import DamagedFile

Damage = Callable[[Path, Path], bool]  # (file, the same file of another run) -> whether it changed


class Payload:
    """What must never run: unpickling it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def _rewritten(file: Path, content: bytes) -> bool:
    changed = content != file.read_bytes()
    file.write_bytes(content)
    return changed


def cut(file: Path, _: Path) -> bool:
    content = file.read_bytes()
    return _rewritten(file, content[: len(content) // 2])


def emptied(file: Path, _: Path) -> bool:
    return _rewritten(file, b"")


def removed(file: Path, _: Path) -> bool:
    file.unlink()
    return True


def one_byte(file: Path, _: Path) -> bool:
    """The last byte: in the data, where there are any."""
    content = file.read_bytes()
    return _rewritten(file, content[:-1] + bytes([content[-1] ^ 1]))


def header(file: Path, _: Path) -> bool:
    content = bytearray(file.read_bytes())
    content[min(9, len(content) - 1)] ^= 0x10
    return _rewritten(file, bytes(content))


def other_type(file: Path, _: Path) -> bool:
    if file.suffix != ".npy":
        return False
    numbers = np.load(file)
    np.save(file, numbers.astype(np.float64 if numbers.dtype != np.float64 else np.int32))
    return True


def not_a_number(file: Path, _: Path) -> bool:
    numbers = np.load(file) if file.suffix == ".npy" else np.zeros(0)
    if numbers.dtype != np.float32 or not numbers.size or np.isnan(numbers).all():
        return False
    numbers.flat[0] = np.nan
    np.save(file, numbers)
    return True


def objects(file: Path, _: Path) -> bool:
    payload = Payload(file.with_suffix(".executed"))
    if file.suffix == ".npy":
        np.save(file, np.array([payload], object), allow_pickle=True)
    elif file.suffix == ".npz":
        np.savez(file, np.array([payload], object))
    else:
        file.write_bytes(pickle.dumps(payload))
    return True


def of_another_run(file: Path, other: Path) -> bool:
    return _rewritten(file, other.read_bytes())


def named_by(function: Callable[[], object]) -> str | None:
    """What is said of the damage that a function finds; None where it finds none."""
    try:
        function()
    except DamagedFile as error:
        return str(error)
    return None


KINDS: tuple[Damage, ...] = (
    *(cut, emptied, removed, one_byte, header, other_type, not_a_number, objects, of_another_run),
)
