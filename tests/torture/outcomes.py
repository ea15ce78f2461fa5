"""What was tried and how it ended: rows of a JSON file, and the tables of docs/reliability.md."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections import Counter
from pathlib import Path

from socialrec_jax.runtime.environment import environment

ROWS, TABLE = "torture.jsonl", "torture.md"
_RECORDED = ("commit", "cpu", "cores", "command")  # of the environment, for each row


@dataclasses.dataclass
class Outcome:
    """How the tries of one kind ended."""

    kind: str
    tries: int = 0
    compared: int = 0  # runs that were let to their end and compared with one left alone
    problems: list[str] = dataclasses.field(default_factory=list)
    endings: Counter[str] = dataclasses.field(default_factory=Counter)
    places: Counter[str] = dataclasses.field(default_factory=Counter)
    megabytes: float = 0.0  # of memory beyond a plain run
    seconds: float = 0.0  # of the longest try

    def __str__(self) -> str:
        return "\n    ".join([as_row(self), *self.problems])


def write(folder: Path, outcome: Outcome, seed: int) -> None:
    """Add an outcome to the rows in a folder, and write the tables of all rows anew."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = {name: value for name, value in environment().items() if name in _RECORDED}
    row = {**vars(outcome), **machine, "seed": seed}
    row["date"] = datetime.date.today().isoformat()
    with (folder / ROWS).open("a") as file:
        file.write(json.dumps(row) + "\n")
    rows = [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]
    (folder / TABLE).write_text(markdown(rows))


def markdown(rows: list[dict]) -> str:
    """The tables of all rows; rows of one kind are added up."""
    outcomes = list(_added_up(rows).values())
    machines = {f"{row['cores']} cores of {row['cpu']}" for row in rows}
    when = sorted({row["date"] for row in rows})
    commits = sorted({str(row["commit"]) for row in rows})
    return "\n".join(
        [
            f"{', '.join(when)}, {', '.join(sorted(machines))}, commit {', '.join(commits)}.",
            "",
            "| what | tries | how they ended | compared | problems |",
            "|---|---|---|---|---|",
            *map(as_row, outcomes),
            "",
            *_places(outcomes),
        ]
    )


def as_row(outcome: Outcome) -> str:
    """One line of the table."""
    endings = ", ".join(f"{number} {name}" for name, number in sorted(outcome.endings.items()))
    if outcome.megabytes:
        endings += f"; {outcome.megabytes:.0f} MB more than a plain run"
    if outcome.seconds:
        endings += f"; longest {outcome.seconds:.1f} s"
    cells = (outcome.kind, outcome.tries, endings, outcome.compared, len(outcome.problems))
    return f"| {' | '.join(map(str, cells))} |"


def _places(outcomes: list[Outcome]) -> list[str]:
    """A line for each kind with the places where it was stopped."""
    lines = []
    for outcome in outcomes:
        places = ", ".join(f"{place} {number}" for place, number in outcome.places.items())
        if places:
            lines.append(f"- {outcome.kind}, by the place where it was stopped: {places}")
    return [*lines, ""]


def _added_up(rows: list[dict]) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    for row in rows:
        total = outcomes.setdefault(row["kind"], Outcome(row["kind"]))
        total.tries += row["tries"]
        total.compared += row["compared"]
        total.problems += row["problems"]
        total.endings.update(row["endings"])
        total.places.update(row["places"])
        total.megabytes = max(total.megabytes, row["megabytes"])
        total.seconds = max(total.seconds, row["seconds"])
    return outcomes
