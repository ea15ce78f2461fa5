"""The generations of a run: what each append made, and which one serves.

Generation 0 is the run itself. Generation N lies in RUN/generations/N and is a run directory of its
own: `--run RUN/generations/N` opens it. RUN/generation.json names the one that serves. A generation
with an update.json is finished. One without was interrupted, and the same command goes on with it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from socialrec_jax import checksums
from socialrec_jax.errors import DamagedFile, UsageError
from socialrec_jax.files import write_atomically
from socialrec_jax.runtime.run import RunDirectory

_PARTS = (
    *("config.json", "world", "checkpoints", "text", "features", "report.json"),
    "impressions.npz",
)


UPDATE_RECORD = "update.json"


class Generations:
    """The generations of one run directory."""

    def __init__(self, run: RunDirectory):
        self.run = run
        self.folder = run.path / "generations"

    # ---- Which one serves

    @property
    def current(self) -> int:
        """The number of the generation that serves. DamagedFile where nothing says which."""
        if not self._pointer.exists():
            self._check_nothing_was_added()
            return 0
        try:
            with checksums.readable(self._pointer):
                return int(checksums.read_sealed(self._pointer)["current"])
        except DamagedFile as error:
            raise error.with_advice(self._pointer_advice) from None

    def promote(self, number: int) -> None:
        """Let a generation serve from now on."""
        checksums.write_sealed(self._pointer, {"current": number})

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
        file = self._record(number)
        try:
            return checksums.read_sealed(file)
        except DamagedFile as error:
            raise error.with_advice(f"to let another one serve, {self._pointer_advice}") from None

    def finished(self) -> list[int]:
        """Numbers of the finished generations after the first, the oldest first."""
        # By number, since "10" sorts before "9".
        names = [file.parent.name for file in self.folder.glob(f"*/{UPDATE_RECORD}")]
        return sorted(int(name) for name in names if name.isdigit())

    def finish(self, number: int, record: dict) -> None:
        """Write update.json, which makes a generation count."""
        checksums.write_sealed(self._record(number), record)

    def open_next(self, key: str) -> int:
        """The number of the generation that is being made, and its folder for an append with this
        key. What another append left unfinished is deleted.
        """
        # The one that serves may have lost its record, and must not be deleted below.
        number = max([0, self.current, *self.finished()]) + 1
        self._link_first()
        folder = self.folder / str(number)
        # Half-made Worlds and checkpoints of other tables must not be taken up.
        file = folder / "key"
        if not file.exists() or file.read_bytes() != key.encode():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_atomically(file, key)
        return number

    def discard(self, number: int) -> None:
        """Delete a generation that is not finished."""
        shutil.rmtree(self.folder / str(number), ignore_errors=True)

    def _link_first(self) -> None:
        """generations/0: the run as it was before any append, by links. It serves until then."""
        if not self._pointer.exists():
            self.promote(0)
        first = self.folder / "0"
        first.mkdir(parents=True, exist_ok=True)
        for name in _PARTS:
            # Relative, so that the run can be moved.
            link = first / name
            if (self.run.path / name).exists() and not link.is_symlink():
                link.symlink_to(Path("../..") / name)

    def _check_nothing_was_added(self) -> None:
        """DamagedFile where there are generations, and no file names the one that serves."""
        if self.finished():
            raise DamagedFile(self._pointer, "it is missing", self._pointer_advice)

    @property
    def _pointer_advice(self) -> str:
        return f'write {{"current": N}} into {self._pointer}, N a folder of {self.folder}'

    @property
    def _pointer(self) -> Path:
        return self.run.path / "generation.json"

    def _record(self, number: int) -> Path:
        return self.folder / str(number) / UPDATE_RECORD


def number_of(generation: RunDirectory) -> int:
    """The number of a generation by its folder, 0 for a run itself."""
    path = generation.path.resolve()
    return int(path.name) if path.parent.name == "generations" and path.name.isdigit() else 0


def current_generation(path: Path) -> RunDirectory:
    """The run directory of the generation that serves for a run, itself where nothing was added."""
    generations = Generations(RunDirectory(path))
    return generations.directory(generations.current)
