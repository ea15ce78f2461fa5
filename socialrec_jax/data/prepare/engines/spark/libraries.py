"""What this engine needs and not everybody has: pyspark, sqlglot and Java."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

from socialrec_jax.errors import Unavailable


def library(module: str) -> Any:
    """A module of the extra `spark`. Unavailable: it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unavailable(
            f"--data.engine spark needs {module.split('.')[0]}: pip install '.[spark]' in the "
            "repository"
        ) from error


def check_java() -> None:
    """Unavailable: there is no Java, in which Spark runs."""
    home = os.environ.get("JAVA_HOME")
    # as Spark's own scripts look for it
    found = (Path(home) / "bin" / "java").exists() if home else shutil.which("java")
    if not found:
        where = (
            f"JAVA_HOME is {home}, which has no bin/java" if home else "there is no java in PATH"
        )
        raise Unavailable(
            f"--data.engine spark needs Java 17 or newer, and {where}: install a JRE, such as "
            "openjdk-17-jre-headless"
        )
