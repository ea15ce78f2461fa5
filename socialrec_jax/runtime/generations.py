"""The generations of a run: what each append made, and which one serves.

Generation 0 is the run itself. Generation N lies in RUN/generations/N and is a run directory of its
own: `--run RUN/generations/N` opens it. RUN/generation.json names the one that serves. A generation
with an update.json is finished. One without was interrupted, and the same command goes on with it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from socialrec_jax.errors import UsageError
from socialrec_jax.files import write_atomically
from socialrec_jax.runtime.run import RunDirectory

_PARTS = (
    *("config.json", "world", "checkpoints", "text", "features", "report.json"),
    "impressions.npz",
)


class Generations:
    """The generations of one run directory."""

    def __init__(self, run: RunDirectory):
        self.run = run
        self.folder = run.path / "generations"

    # ---- Which one serves

    @property
    def current(self) -> int:
        """The number of the generation that serves."""
        file = self._pointer
        return json.loads(file.read_text())["current"] if file.exists() else 0

    def promote(self, number: int) -> None:
        """Let a generation serve from now on."""
        write_atomically(self._pointer, json.dumps({"current": number}) + "\n")

    def roll_back(self) -> int:
        """Let the parent of the current generation serve. Returns its number."""
        if not self.current:
            forgotten = self.run.path / "forgotten.json"
            why = ", or it was erased with what was forgotten" if forgotten.exists() else ""
            raise UsageError(
                f"{self.run.path} is at its first generation: there is none before it{why}"
            )
        parent = self.record(self.current)["parent"]
        self.promote(parent)
        return parent

    # ---- One generation

    def directory(self, number: int) -> RunDirectory:
        """The run directory of a generation."""
        return RunDirectory(self.folder / str(number)) if number else self.run

    def record(self, number: int) -> dict:
        """What update.json of a finished generation says."""
        return json.loads(self._record(number).read_text())

    def finished(self) -> list[int]:
        """Numbers of the finished generations after the first, the oldest first."""
        # By number, since "10" sorts before "9".
        names = [file.parent.name for file in self.folder.glob("*/update.json")]
        return sorted(int(name) for name in names if name.isdigit())

    def finish(self, number: int, record: dict) -> None:
        """Write update.json, which makes a generation count."""
        write_atomically(self._record(number), json.dumps(record, indent=1) + "\n")

    def open_next(self, key: str) -> int:
        """The number of the generation that is being made, and its folder for an append with this
        key. What another append left unfinished is deleted.
        """
        self._link_first()
        number = max([0, *self.finished()]) + 1
        folder = self.folder / str(number)
        # Half-made Worlds and checkpoints of other tables must not be taken up.
        file = folder / "key"
        if not file.exists() or file.read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_atomically(file, key)
        return number

    def discard(self, number: int) -> None:
        """Delete a generation that is not finished."""
        shutil.rmtree(self.folder / str(number), ignore_errors=True)

    def _link_first(self) -> None:
        """generations/0: the run as it was before any append, by links."""
        first = self.folder / "0"
        first.mkdir(parents=True, exist_ok=True)
        for name in _PARTS:
            # Relative, so that the run can be moved.
            link = first / name
            if (self.run.path / name).exists() and not link.is_symlink():
                link.symlink_to(Path("../..") / name)

    @property
    def _pointer(self) -> Path:
        return self.run.path / "generation.json"

    def _record(self, number: int) -> Path:
        return self.folder / str(number) / "update.json"


def current_generation(path: Path) -> RunDirectory:
    """The run directory of the generation that serves for a run, itself where nothing was added."""
    generations = Generations(RunDirectory(path))
    return generations.directory(generations.current)
