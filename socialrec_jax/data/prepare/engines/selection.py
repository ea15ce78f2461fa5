"""Which engine prepares Worlds. Another engine gets its line here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from socialrec_jax.data.prepare.engines.duckdb.engine import open_duckdb
from socialrec_jax.data.prepare.engines.engine import Engine
from socialrec_jax.data.prepare.rules import Rules


def open_engine(
    folder: Path, files: Iterable[Path], rules: Rules | None = None
) -> contextlib.AbstractContextManager[Engine]:
    """The engine that reads these files; it works in `folder` and leaves it as it was."""
    return open_duckdb(folder, files, rules)
