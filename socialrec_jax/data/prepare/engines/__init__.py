"""What reads raw tables row by row, and sorts them: one package an engine, all behind `Engine`."""

from __future__ import annotations

import contextlib
from pathlib import Path

from socialrec_jax.data.prepare.engines.engine import Engine


def open_engine(folder: Path) -> contextlib.AbstractContextManager[Engine]:
    """The engine that prepares Worlds; it works in `folder` and leaves it as it was."""
    from socialrec_jax.data.prepare.engines.duckdb.engine import open_duckdb

    return open_duckdb(folder)
