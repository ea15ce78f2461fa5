"""The file of users and items that a run must forget."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare import schema
from socialrec_jax.data.prepare.histories import read_ids, read_texts
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData, InputMissing

_FIELDS = (schema.Field("user", "id", schema.USER), schema.Field("item", "id", schema.ITEM))


@dataclasses.dataclass(frozen=True)
class ForgetList:
    """Ids of users and items, each once, in sorted order."""

    users: list[str]
    items: list[str]

    @property
    def ids(self) -> list[str]:
        return [*self.users, *self.items]

    def known_to(self, world: World) -> ForgetList:
        """Those that a World has."""
        return ForgetList(_ids_in(world.user_ids, self.users), _ids_in(world.items.ids, self.items))

    def united(self, other: ForgetList) -> ForgetList:
        """The ids of both."""
        return _sorted_list([*self.users, *other.users], [*self.items, *other.items])


def read_forget_list(file: Path) -> ForgetList:
    """The users and items in a file: users one a line (.txt), or the user and item columns of a
    table.

    InputMissing: no such file. BadData: no such column, or no ids.
    """
    if not file.is_file():
        raise InputMissing(f"{file}: no such file of ids to forget")
    if file.suffix == ".txt":
        return _sorted_list(read_ids(file, "user"), [])
    columns = read_texts(file)
    matched = schema.match(_FIELDS, columns)
    if not matched:
        raise BadData(f"{file}: no user or item column; found: {', '.join(columns)}")
    ids = {name: columns[matched[name]] if name in matched else [] for name in ("user", "item")}
    listed = _sorted_list(ids["user"], ids["item"])
    if not listed.ids:
        raise BadData(f"{file}: holds no ids")
    return listed


def _sorted_list(users: list[str], items: list[str]) -> ForgetList:
    # A table with both columns has blanks in one of them.
    return ForgetList(sorted(set(filter(None, users))), sorted(set(filter(None, items))))


def _ids_in(column: Strings, ids: list[str]) -> list[str]:
    is_known = column.lookup(ids) >= 0
    return [name for name, is_in_column in zip(ids, is_known, strict=True) if is_in_column]
