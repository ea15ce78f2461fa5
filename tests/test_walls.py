"""The walls of the house: which room may import which."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "socialrec_jax"

# The ground comes first; a room may import only rooms that stand before it.
FLOORS = [
    {"config", "errors", "shapes", "batch"},
    {"data", "models", "runtime"},
    {"training", "inference", "reports"},
    {"evaluation"},
    {"pipeline", "serving"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("socialrec_jax"):
            names |= {f"{node.module}.{alias.name}".split(".")[1] for alias in node.names}
    return names & set(FLOOR_OF)


def test_a_room_imports_only_rooms_of_lower_floors():
    climbing = [
        (str(file.relative_to(PACKAGE)), room)
        for file in sorted(PACKAGE.rglob("*.py"))
        for room in imported_rooms(file) - {room_of(file)}
        if FLOOR_OF.get(room_of(file), 9) < FLOOR_OF[room]
    ]
    assert not climbing
