"""A Spark session for one preparation."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from socialrec_jax.data.prepare.engines.spark.libraries import check_java, library
from socialrec_jax.errors import Unavailable, UsageError

_MASTER = re.compile(r"local(\[([0-9]+|\*)(,[0-9]+)?\])?|spark://.+|yarn|k8s://.+")
_PACKAGE = Path(__file__).parents[5]  # the folder that `import socialrec_jax` finds it in
# what answers depend on; all else a user may set in spark-defaults.conf
_ANSWERS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "false",
}
# one machine has a few cores, and nobody who looks at Spark's pages
_LOCAL = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "16",
}
LOCAL_MEMORY = "2g"  # of Spark, where SPARK_DRIVER_MEMORY does not say


@contextlib.contextmanager
def open_session(master: str, spill: Path) -> Iterator[Any]:
    """A session of its own; a Spark that runs in this process already is used, and goes on.

    master: Spark's URL of a cluster, or local[N]. spill: where a local Spark keeps what does not
    fit into memory. UsageError: there is no such kind of master. Unavailable: pyspark or Java is
    not there, Spark does not start, or a task of it failed.
    """
    _check_master(master)
    spark = library("pyspark.sql").SparkSession
    running = spark.getActiveSession()
    started = running or _start(spark.builder, master, spill)
    try:
        yield _session_of(started)
    except _errors_of_spark() as error:
        reason = f"Spark failed ({_reason(error)})"
        raise Unavailable(f"--data.master {master}: {reason}; its log says more") from error
    finally:
        if not running:
            started.stop()


def _check_master(master: str) -> None:
    if not _MASTER.fullmatch(master):
        raise UsageError(
            f"--data.master {master}: write local[N], local[*], spark://HOST:PORT, yarn or "
            "k8s://HOST:PORT"
        )


def _session_of(started: Any) -> Any:
    # temporary views of a session are its own
    session = started.newSession()
    for option, value in _ANSWERS.items():
        session.conf.set(option, value)
    return session


def _start(builder: Any, master: str, spill: Path) -> Any:
    check_java()
    builder = builder.master(master).appName("socialrec_jax")
    if master.startswith("local"):
        for option, value in _local_options(spill).items():
            builder = builder.config(option, value)
        # the tasks run in the Python of this process
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    try:
        with warnings.catch_warnings():
            # pyspark forks to start Java, and JAX warns of that: the fork runs no JAX
            warnings.filterwarnings("ignore", r"os\.fork", RuntimeWarning)
            return builder.getOrCreate()
    except _errors_of_spark() as error:
        reason = f"Spark does not start ({_reason(error)})"
        raise Unavailable(f"--data.master {master}: {reason}") from error


def _errors_of_spark() -> tuple[type[Exception], ...]:
    java = library("py4j.protocol").Py4JError
    python = library("pyspark.errors").PySparkException
    return java, python


def _reason(error: Exception) -> str:
    """What Java says, or else the first line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    of_java = [line[2:] for line in lines if line.startswith(": ")]
    return (of_java or lines)[0]


def _local_options(spill: Path) -> dict[str, str]:
    paths = [str(_PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **_LOCAL,
        "spark.driver.memory": os.environ.get("SPARK_DRIVER_MEMORY", LOCAL_MEMORY),
        "spark.local.dir": str(spill.resolve()),
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(paths),
    }
