"""Fields that are made of a file's columns, where a synonym is not enough.

`columns_used` are the columns, `shown` is what the summary calls them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class Constant:
    """The same value in every row."""

    value: str
    columns_used: ClassVar[tuple[str, ...]] = ()

    @property
    def shown(self) -> str:
        return repr(self.value)


@dataclasses.dataclass(frozen=True)
class _OfColumn:
    """What is made of one column."""

    column: str

    @property
    def columns_used(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def shown(self) -> str:
        return self.column


# Neither is the other: readers tell them apart by their class.
@dataclasses.dataclass(frozen=True)
class Column(_OfColumn):
    """A column that no synonym names, or names for another field."""


@dataclasses.dataclass(frozen=True)
class Replaced(_OfColumn):
    """A column's text with every `old` replaced by `new`."""

    old: str
    new: str


@dataclasses.dataclass(frozen=True)
class FlaggedColumns:
    """The names of those columns that hold 1, separated by `|`."""

    columns_used: tuple[str, ...]

    @property
    def shown(self) -> str:
        return f"{len(self.columns_used)} flags"


@dataclasses.dataclass(frozen=True)
class FirstFlag:
    """What the first of some columns that holds 1 stands for; `default` where none does."""

    meanings: Mapping[str, str]
    default: str

    @property
    def columns_used(self) -> tuple[str, ...]:
        return tuple(self.meanings)

    @property
    def shown(self) -> str:
        return f"{len(self.meanings)} flags"


@dataclasses.dataclass(frozen=True)
class Later:
    """A date, and milliseconds after its begin."""

    date: str
    milliseconds: str

    @property
    def columns_used(self) -> tuple[str, ...]:
        return (self.date, self.milliseconds)

    @property
    def shown(self) -> str:
        return "+".join(self.columns_used)


@dataclasses.dataclass(frozen=True)
class Joined:
    """The texts of some columns, such as a date and the time of the day."""

    columns_used: tuple[str, ...]
    separator: str

    @property
    def shown(self) -> str:
        return "+".join(self.columns_used)


@dataclasses.dataclass(frozen=True)
class ClockColumns:
    """A date in one or three columns, and the hour, minute and second in others."""

    date: tuple[str, ...]
    clock: tuple[str, ...]

    @property
    def columns_used(self) -> tuple[str, ...]:
        return (*self.date, *self.clock)

    @property
    def shown(self) -> str:
        return "+".join(self.columns_used)


@dataclasses.dataclass(frozen=True)
class ClockDigits:
    """A date, and a time of the day such as 905 or 130500."""

    columns_used: tuple[str, ...]
    width: int  # 4: hours and minutes, 6: seconds as well

    @property
    def shown(self) -> str:
        return "+".join(self.columns_used)


_Moment = Later | Joined | ClockColumns | ClockDigits
Derived = Constant | Column | Replaced | FlaggedColumns | FirstFlag | _Moment
