"""The run directory: where everything of one training lies, who may write there, and how files come
to be whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from socialrec_jax.config import Config, from_json, to_json
from socialrec_jax.errors import BadData, InputMissing, RunLocked


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """Paths of one run; see docs/architecture.md for what each file holds."""

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
    def report(self) -> Path:
        return self.path / "report.json"

    @property
    def exists(self) -> bool:
        return (self.path / "config.json").exists()

    def config(self) -> Config:
        """The resolved configuration; InputMissing without one, BadData when it is not ours."""
        file = self.path / "config.json"
        if not file.exists():
            raise InputMissing(
                f"{self.path} is no run directory: it has no config.json; train one with train.py --run"
            )
        return read_config(file)

    def write_config(self, config: Config) -> None:
        write_atomically(self.path / "config.json", to_json(config) + "\n")

    def log(self, **values: object) -> None:
        """Append one JSON object to metrics.jsonl."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(values) + "\n")

    def forget_metrics_after(self, stage: str, step: int) -> None:
        """Drop logged lines that a resumed stage will write again."""
        if not self.metrics.exists():
            return
        lines = [
            line for line in self.metrics.read_text().splitlines() if _is_before(line, stage, step)
        ]
        write_atomically(self.metrics, "".join(line + "\n" for line in lines))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One writer at a time; the kernel frees the lock however the process ends. RunLocked when
        it is taken.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise RunLocked(
                    f"{self.path} is in use by process {holder}; wait for it or choose another --run"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def read_config(file: Path) -> Config:
    """A configuration file; InputMissing or BadData with one line otherwise."""
    try:
        return from_json(file.read_text())
    except FileNotFoundError:
        raise InputMissing(f"{file} does not exist") from None
    except (json.JSONDecodeError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise BadData(f"{file} is not a configuration of this version: {error}") from None


def write_atomically(path: Path, text: str) -> None:
    """The file is either the old one or the whole new one, whenever the process dies."""
    with replacing(path) as temporary:
        temporary.write_text(text)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name in path's folder that becomes path when the block ends well, and vanishes
    otherwise.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_before(line: str, stage: str, step: int) -> bool:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:  # the line that a kill cut short
        return False
    return entry.get("stage") != stage or entry.get("step", 0) <= step
