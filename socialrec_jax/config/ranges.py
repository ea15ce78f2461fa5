"""The smallest and largest value of a setting."""

from __future__ import annotations

from typing import get_type_hints

from typing_extensions import Doc


class Range(Doc):
    """Smallest and largest value of a setting, both allowed, and what it means."""

    def __init__(self, low: float, high: float, meaning: str):
        super().__init__(f"{meaning} ({low}..{high}).")
        self.low = low
        self.high = high

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def ranges(section: type) -> dict[str, Range]:
    """The range of each setting of a section that has one."""
    hints = get_type_hints(section, include_extras=True)
    return {
        name: annotation
        for name, hint in hints.items()
        for annotation in getattr(hint, "__metadata__", ())
        if isinstance(annotation, Range)
    }
