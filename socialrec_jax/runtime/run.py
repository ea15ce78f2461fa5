"""The run directory: the files of one training, and the lock of its writer."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from socialrec_jax.config import Config, from_json, to_json
from socialrec_jax.errors import BadData, InputMissing, RunLocked
from socialrec_jax.files import replacing as replacing
from socialrec_jax.files import write_atomically


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """Paths of one run; docs/contracts.md says what each file holds."""

    path: Path

    @property
    def world(self) -> Path:
        return self.path / "world"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def text(self) -> Path:
        return self.path / "text"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def bad_steps(self) -> Path:
        """Steps of trainings that were skipped: see `training/guard.py`."""
        return self.path / "bad_steps.jsonl"

    @property
    def timeline(self) -> Path:
        return self.path / "timeline.json"

    @property
    def report(self) -> Path:
        return self.path / "report.json"

    @property
    def exists(self) -> bool:
        """Whether a training was started here."""
        return (self.path / "config.json").exists()

    def config(self) -> Config:
        """The configuration with every value filled in.

        Raises InputMissing without config.json, BadData when another version wrote it.
        """
        if not self.exists:
            raise InputMissing(
                f"{self.path} is no run directory: it has no config.json; "
                "train one with train.py --run"
            )
        return read_config(self.path / "config.json")

    def write_config(self, config: Config) -> None:
        write_atomically(self.path / "config.json", to_json(config) + "\n")

    def log(self, **values: object) -> None:
        """Append one JSON object to metrics.jsonl."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(values) + "\n")

    def delete_metrics_after(self, stage: str, step: int) -> None:
        """Delete the lines of metrics.jsonl and bad_steps.jsonl that a resumed stage will write
        again.
        """
        # A line of metrics names the step after a call, one of bad_steps the batch of the step.
        for file, last in ((self.metrics, step), (self.bad_steps, step - 1)):
            if file.exists():
                lines = file.read_text(errors="replace").splitlines()
                kept = [line + "\n" for line in lines if not _is_after(line, stage, last)]
                write_atomically(file, "".join(kept))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the only writer. Raises RunLocked when another process has it."""
        with held_lock(self.path, "lock", "choose another --run"):
            yield


@contextlib.contextmanager
def held_lock(folder: Path, name: str, advice: str) -> Iterator[None]:
    """Hold a lock in the file `name` of a folder, which is made where it does not exist.

    Raises RunLocked, with advice, when another process has it. The kernel frees the lock however
    the process ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise RunLocked(
                f"{folder} is in use by process {holder}; wait for it or {advice}"
            ) from None
        # The number of this process is for the message above, in others.
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def read_config(file: Path) -> Config:
    """A configuration file. Raises InputMissing when there is none, BadData when it is none."""
    try:
        return from_json(file.read_text())
    except FileNotFoundError:
        raise InputMissing(f"{file} does not exist") from None
    except (json.JSONDecodeError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise BadData(f"{file} is not a configuration of this version: {error}") from None


def _is_after(line: str, stage: str, step: int) -> bool:
    """Whether a line of metrics.jsonl is of this stage and a later step, or is not what was
    written: cut short by a kill, or damaged.
    """
    try:
        entry = json.loads(line)
        return entry.get("stage") == stage and entry.get("step", 0) > step
    except (json.JSONDecodeError, AttributeError, TypeError):
        return True
