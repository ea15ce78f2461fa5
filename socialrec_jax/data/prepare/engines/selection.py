"""Which engine prepares Worlds. Another engine gets its line here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.engines.duckdb.engine import open_duckdb
from socialrec_jax.data.prepare.engines.engine import Engine
from socialrec_jax.data.prepare.engines.spark.engine import open_spark
from socialrec_jax.data.prepare.rules import Rules


def open_engine(
    folder: Path,
    files: Iterable[Path],
    rules: Rules | None = None,
    config: DataConfig | None = None,
) -> contextlib.AbstractContextManager[Engine]:
    """The engine that reads these files; it works in `folder` and leaves it as it was.

    config: names the engine; None: DuckDB. Unavailable: the engine is not installed.
    """
    if config is not None and config.engine == "spark":
        return open_spark(folder, files, rules, config.master)
    return open_duckdb(folder, files, rules)
