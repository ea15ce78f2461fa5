"""The commands that are killed: a training, an append, forgetting, serving."""

from __future__ import annotations

from pathlib import Path

from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import World
from tests.torture.kills import Target

TINY = (
    *("--preset", "tiny", "--model.width", "16", "--model.num-layers", "1"),
    *("--model.social-queries", "0", "--text.width", "16", "--text.num-layers", "1"),
    *("--text.vocabulary", "300", "--train.epochs", "2", "--train.evaluations", "2"),
)
LENIENT = (
    *("--update.least-accuracy", "0", "--update.max-rate", "1000", "--update.max-type-drift", "1"),
    *("--update.max-known-share", "1", "--update.epochs", "2"),
)
STAGES = tuple(
    f"stage {name}"
    for name in (
        *("prepare", "text", "retriever", "candidates", "ranker"),
        *("evaluation", "baselines", "report", "refit"),
    )
)
UPDATE = ("new ", "before", "update", "held out")  # what an append prints
SIZES = {"num_users": 60, "num_items": 40, "events_per_user": 6}


def targets(folder: Path) -> list[Target]:
    """The commands, with tables and a trained run in folder, where they are not there yet."""
    write_tables(folder / "shop", **SIZES, seed=0)
    write_tables(folder / "more", **SIZES, seed=1)
    (folder / "empty").mkdir(exist_ok=True)
    run = ("train.py", "--run", "{folder}")
    train = Target("train.py", folder / "empty", STAGES, *run, "--data", folder / "shop", *TINY)
    trained = folder / "trained"
    if not (trained / "MANIFEST.json").exists():
        ended = train.process(train.prepared(trained)).wait()
        assert not ended.code, ended.errors

    forgotten = folder / "forgotten.txt"
    forgotten.write_text("\n".join(World.open(trained / "world").user_ids[:2]))
    serve = ("serve.py", "recommend", "--run", "{folder}", "--out", "{folder}/answers.parquet")
    return [
        train,
        Target("train.py --add", trained, UPDATE, *run, "--add", folder / "more", *LENIENT),
        Target("train.py --forget", trained, STAGES, *run, "--forget", forgotten),
        Target("serve.py recommend", trained, (), *serve),
    ]
