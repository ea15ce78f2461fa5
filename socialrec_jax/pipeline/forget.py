"""`train.py --forget`: a run without some users and items, as if it had never seen them.

The World keeps tombstones at their numbers (`data/prepare/append.py`). Models are trained again,
from the newest generation that did not know them or from nothing, in a generation of its own. Until
it is whole, the generation before serves. Then it takes over, and everything that learnt from them
is erased (`pipeline/erasure.py`). No id is written to the run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from pathlib import Path

import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.impressions import Impressions
from socialrec_jax.data.prepare.append import append
from socialrec_jax.data.prepare.forget_list import ForgetList, read_forget_list
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData
from socialrec_jax.inference.artefacts import write_text_manifest
from socialrec_jax.pipeline import erasure
from socialrec_jax.pipeline.id_search import IdSearch
from socialrec_jax.pipeline.next_generation import check_trained, write_texts
from socialrec_jax.pipeline.ranker_events import new_events
from socialrec_jax.pipeline.run import train
from socialrec_jax.pipeline.shown_lists import keep_impressions
from socialrec_jax.pipeline.text import text_key
from socialrec_jax.pipeline.update import make_models, open_update, outcome
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.generations import Generations
from socialrec_jax.runtime.run import RunDirectory


@dataclasses.dataclass(frozen=True)
class Forgetting:
    """What has to be done."""

    users: int  # that are forgotten
    items: int
    current: int  # the generation that serves
    base: int | None  # the newest one before it that knows none of them
    number: int  # the generation that serves afterwards
    erased: list[int]  # generations that know one of them

    @property
    def trains(self) -> bool:
        return self.number != self.current


def forget(run: RunDirectory, file: Path, config: Config) -> str:
    """Forget the users and items in a file, and return a line that says what was done.

    config: of the run, with the `update` settings of this command. BadData: no id in the file is
    known to a run that has forgotten nobody yet, or one of them is still in a file of the run.
    After a kill the same command goes on. After the end it says that nothing is left to do.
    """
    started_at = time.perf_counter()
    generations = Generations(run)
    # The models may be whole, and files of the forgotten not yet erased; or all may be done.
    done = processes.broadcast_from_main(
        lambda: _finish_interrupted(run, file) or _done_before(generations, file)
    )
    if done is not None:
        return done

    prepared = processes.broadcast_from_main(lambda: _prepare(generations, file, config))
    forgetting = Forgetting(**prepared)
    trained = (
        _train(generations, forgetting, config)
        if forgetting.trains
        else "no model in use knew them"
    )
    forgotten = f"{forgetting.users:,} users and {forgetting.items:,} items"
    said = f"forgot {forgotten}: {trained}, {time.perf_counter() - started_at:.1f} s"
    return processes.broadcast_from_main(lambda: _erase(generations, forgetting, file, said))


# ---- Which generations know them


def _prepare(generations: Generations, file: Path, config: Config) -> dict:
    """What has to be done, and the World of the new generation."""
    listed = read_forget_list(file)
    check_trained(generations.directory(generations.current), config)
    known = _known_by_generation(generations, listed)
    _check_any_known(generations.run, listed, known)
    current = generations.current
    base = _newest_without(generations, known)
    # The generation that serves may know none of them. Then nothing is trained, and only older
    # generations go.
    here = known[current]
    number = current if base == current else _make_world(generations, base, here, config)
    everywhere = _united(known)
    forgetting = Forgetting(
        users=len(everywhere.users),
        items=len(everywhere.items),
        current=current,
        base=base,
        number=number,
        erased=[number for number, ids in known.items() if ids.ids],
    )
    return dataclasses.asdict(forgetting)


def _known_by_generation(generations: Generations, listed: ForgetList) -> dict[int, ForgetList]:
    """The ids that each finished generation knows."""
    numbers = [0, *generations.finished()]
    return {
        number: listed.known_to(World.open(generations.directory(number).world))
        for number in numbers
    }


def _united(known: dict[int, ForgetList]) -> ForgetList:
    everywhere = ForgetList([], [])
    for ids in known.values():
        everywhere = everywhere.united(ids)
    return everywhere


def _check_any_known(run: RunDirectory, listed: ForgetList, known: dict[int, ForgetList]) -> None:
    """BadData where no id is known; one line where some are not."""
    num_listed, num_known = len(listed.ids), len(_united(known).ids)
    # Most likely a mistake: a file of another shop, or ids in another spelling.
    if not num_known:
        raise BadData(
            f"none of the {num_listed:,} ids to forget is known to {run.path}, which has forgotten "
            "nobody yet: they may be written in another way there; nothing changed"
        )
    print(f"forget  {num_known:,} ids  {num_listed - num_known:,} unknown", flush=True)


def _newest_without(generations: Generations, known: dict[int, ForgetList]) -> int | None:
    """The newest generation that knows none of them, on the way back from the one that serves."""
    number = generations.current
    while known[number].ids:
        if not number:
            return None
        number = generations.record(number)["parent"]
    return number


# ---- The World and the texts without them


def _make_world(generations: Generations, base: int | None, ids: ForgetList, config: Config) -> int:
    """The number of the new generation, with its World and what it is trained with."""
    before = generations.directory(generations.current)
    known = World.open(before.world)
    number = generations.open_next(_key(known, base, ids, config))
    after = generations.directory(number)
    # Trained from nothing, it is no other World than one that never held them.
    room = base is not None
    world = append(
        *(known, None, after.world),
        deleted_users=ids.users,
        deleted_items=ids.items,
        room=room,
    )
    keep_impressions(after, None, world, Impressions.load(before.path))
    if base is not None:
        write_texts(generations.directory(base), after, world)
        return number
    # From nothing: the settings of the run, not those of its updates.
    after.write_config(generations.run.config())
    if not _is_described(known, ids.items):
        _keep_texts(before, after, world)
    return number


def _key(known: World, base: int | None, ids: ForgetList, config: Config) -> str:
    """A hash of all that the generation follows from."""
    users, items = known.user_ids.lookup(ids.users), known.items.ids.lookup(ids.items)
    # Numbers, for the file must not remember ids, not even as a hash.
    numbers = [np.sort(users).tolist(), np.sort(items).tolist()]
    parts = [base, known.manifest["hash"], numbers, dataclasses.asdict(config.update)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _is_described(world: World, items: list[str]) -> bool:
    """Whether the text model has learnt from one of these items."""
    rows = world.items.ids.lookup(items)
    return bool(world.items.has_text[rows].any() or np.asarray(world.items.vectors)[rows].any())


def _keep_texts(before: RunDirectory, after: RunDirectory, world: World) -> None:
    """Texts that did not learn from anybody who is forgotten."""
    if not before.text.exists() or (after.text / "key").exists():
        return
    shutil.rmtree(after.text, ignore_errors=True)
    shutil.copytree(before.text, after.text)
    key = text_key(world, after.config())
    write_text_manifest(after, world, key)
    (after.text / "key").write_text(key)


# ---- Training


def _train(generations: Generations, forgetting: Forgetting, config: Config) -> str:
    """Train the new generation; returns what it was trained from."""
    after = generations.directory(forgetting.number)
    if forgetting.base is None:
        train(after, None, after.config())
        return "trained again from nothing"
    update = open_update(generations, forgetting.base, forgetting.number, config)
    record = make_models(update, new_events(update)) | {"before": None, "drift": None}
    record |= {
        "number": forgetting.number,
        "parent": forgetting.base,
        "key": (after.path / "key").read_text(),
    }
    processes.broadcast_from_main(lambda: generations.finish(forgetting.number, record))
    return f"trained again from generation {forgetting.base}, {outcome(record)}"


# ---- What goes


def _erase(generations: Generations, forgetting: Forgetting, file: Path, said: str) -> str:
    """Let the new generation serve, erase what knew them, and search the run for their ids."""
    run = generations.run
    ids = _ids_at_end(generations, file)
    erased = _paths_to_erase(generations, forgetting)
    # Whatever else lies in the run: recommendations that somebody kept there, or logs.
    others = IdSearch.of(ids).files_with_ids(erasure.files_of(run, without=erased))
    erased += [path.relative_to(run.path).as_posix() for path in others]
    becomes_first = forgetting.trains and forgetting.base is None
    erasure.begin(run, erasure.Erasure(forgetting.number, becomes_first, erased, said))
    erasure.finish(run)
    return _checked(run, ids, said)


def _ids_at_end(generations: Generations, file: Path) -> list[str]:
    """The listed ids that a generation knows: others may be words or numbers of any kind."""
    return _united(_known_by_generation(generations, read_forget_list(file))).ids


def _paths_to_erase(generations: Generations, forgetting: Forgetting) -> list[str]:
    """Paths in the run that knew them, or were recommended by a model that did."""
    kept = forgetting.number if forgetting.trains and forgetting.base is None else None
    numbers = {number for number in forgetting.erased if number}
    # All other generations learnt from the first one, which is gone.
    if kept is not None:
        numbers = {*generations.finished(), *numbers} - {kept}
        return [*erasure.TRAINED, *_folders(numbers)]
    return _folders(numbers) + (["recommendations.parquet"] if forgetting.trains else [])


def _folders(numbers: set[int]) -> list[str]:
    return [f"generations/{number}" for number in sorted(numbers)]


def _finish_interrupted(run: RunDirectory, file: Path) -> str | None:
    """Finish what a killed command has left of its erasure; None where there is nothing."""
    finished = erasure.finish(run)
    if finished is None:
        return None
    # The World does not know the ids any more, so all that are listed are searched.
    return _checked(run, read_forget_list(file).ids, finished.said)


def _done_before(generations: Generations, file: Path) -> str | None:
    """The line for a run that has forgotten before and knows none of the ids; None for others.

    The run keeps no trace of whom it has forgotten: even a hash of an id can be guessed.
    """
    run = generations.run
    if not erasure.recorded(run):
        return None
    listed = read_forget_list(file)
    if _united(_known_by_generation(generations, listed)).ids:
        return None
    said = (
        f"nothing left to forget: {run.path} has forgotten before, and knows none of the "
        f"{len(listed.ids):,} ids as they are written in {file}"
    )
    return _checked(run, listed.ids, said)


def _checked(run: RunDirectory, ids: list[str], said: str) -> str:
    """The line that says what was done. BadData where an id is still in a file of the run."""
    files = erasure.files_of(run)
    left = IdSearch.of(ids).files_with_ids(files)
    if left:
        raise BadData(
            f"{said}; but {len(left)} files hold one of the ids, perhaps as another word, first "
            f"{left[0]}: look at them"
        )
    return (
        f"{said}; {len(files):,} files searched, none holds their ids; tables outside of "
        f"{run.path} are as they were"
    )
