"""What a trained run answers, written to a file.

    python serve.py recommend --run RUN --out OUT.parquet                    every user, as of now
    python serve.py recommend --run RUN --out OUT.parquet --as-of test       as the test saw them
    python serve.py recommend --run RUN --out OUT.parquet --histories DIR    unknown users
    python serve.py recommend --run RUN --out OUT.parquet --recent DIR       with events since then
    python serve.py recommend --run RUN --out FOLDER                         in shards
    python serve.py recommend --run RUN --out OUT.parquet --report PAGE.html a page to look at
    python serve.py score --run RUN --out OUT.parquet --pairs PAIRS.csv      given users and items
    python serve.py audience --run RUN --out OUT.parquet --categories coffee users for a campaign
    python serve.py profile --run RUN --out OUT.parquet                      portraits of users
    python serve.py similar --run RUN --out OUT.parquet --by events          items like each item
    python serve.py search --run RUN --out OUT.parquet --queries "red shoes" items for a text
    python serve.py demand --run RUN --out OUT.parquet --by category region  expected events
    python serve.py http --run RUN --port 8000                               a service
    python serve.py --version                                                what is installed

Exit codes and columns: docs/contracts.md.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before all other imports, which take seconds.
    from socialrec_jax.runtime.signals import exit_at_once

    exit_at_once()

from collections.abc import Sequence

from socialrec_jax.runtime import cli
from socialrec_jax.runtime.memory import keep_freed_memory
from socialrec_jax.serving.commands.for_items import Demand, Search, Similar
from socialrec_jax.serving.commands.for_users import Audience, Profile, Recommend, Score
from socialrec_jax.serving.commands.http import Http

TASKS = {
    "recommend": Recommend,
    "score": Score,
    "audience": Audience,
    "profile": Profile,
    "similar": Similar,
    "search": Search,
    "demand": Demand,
    "http": Http,
}

# ---- The program


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the task that the arguments (by default the command line's) name; exit by the contract."""
    cli.main(serve, arguments)


def serve(arguments: list[str]) -> None:
    """Parse the arguments, answer, write the file."""
    task = cli.parse_task(TASKS, args=arguments or ["--help"], prog="serve.py", description=__doc__)
    keep_freed_memory()
    cli.prepare_jax(task.run)
    task.execute()


if __name__ == "__main__":
    main()
