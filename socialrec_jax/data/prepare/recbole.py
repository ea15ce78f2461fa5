"""RecBole's atomic files: headers say what a column holds, and tabs separate them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from socialrec_jax.data.prepare.derived import Replaced
from socialrec_jax.data.prepare.published_splits import are_parts, note_joined, place_of
from socialrec_jax.data.prepare.readers import Source, Tables, first_line, glob
from socialrec_jax.data.prepare.schema import TABLES, Field, match
from socialrec_jax.errors import BadData

PATTERNS = {"events": "*.inter", "social": "*.net", "items": "*.item", "users": "*.user"}


def atomic_tables(folder: Path) -> Tables:
    """The sources of each table; none at all without events.

    BadData: the files are of several data sets, or hold the same rows twice.
    """
    paths = {table: glob(folder, pattern) for table, pattern in PATTERNS.items()}
    # MovieLens has files u.item and u.user too, but no events under these names
    if not paths["events"]:
        return {}
    for files in paths.values():
        _refuse_other_data_sets(files)
        _refuse_parts_beside_whole(files)
        files.sort(key=lambda file: (place_of(file), file))
    if are_parts(paths["events"]):
        note_joined(paths["events"])
    return {
        table: [_atomic(file, TABLES[table]) for file in files]
        for table, files in paths.items()
        if files
    }


def _refuse_other_data_sets(files: Sequence[Path]) -> None:
    """BadData: `a.inter` beside `b.inter`, whose users and items have nothing in common."""
    names = {file.name.split(".")[0]: file.name for file in files}
    if len(names) > 1:
        raise BadData(
            f"{files[0].parent}: {' and '.join(names.values())} are of several data sets; keep one"
        )


def _refuse_parts_beside_whole(files: Sequence[Path]) -> None:
    """BadData: `x.inter` beside `x.train.inter`, which holds some of its rows."""
    names = {file.name: file for file in files}
    for file in files:
        first, *middle = file.suffixes
        whole = file.name.removesuffix("".join([first, *middle])) + file.suffix
        if middle and place_of(file) and whole in names:
            raise BadData(
                f"{names[whole]} and {file.name} hold the same rows; keep the one or the others"
            )


def _atomic(path: Path, fields: Sequence[Field]) -> Source:
    """Headers such as `genre:token_seq` say what a column holds; blanks separate sequences."""
    # the type is behind the last part of a name, as in `user_id:token`
    header = [cell.strip().partition(":") for cell in first_line(Source(path, "text")).split("\t")]
    types = {column: kind for column, _, kind in header}
    _refuse_histories(path, types)
    columns = match(fields, types)
    sequences = {
        field.name: Replaced(columns[field.name], " ", "|")
        for field in fields
        if field.kind == "list" and types.get(columns.get(field.name, "")) == "token_seq"
    }
    return Source(path, "text", delimiter="\t", quote="", names=tuple(types), derived=sequences)


def _refuse_histories(path: Path, types: Mapping[str, str]) -> None:
    """BadData: each row holds a user's history and the next item, so most items come often."""
    lists = [name for name in types if name.endswith("_list")]
    if path.suffix == ".inter" and lists:
        raise BadData(
            f"{path}: {lists[0]} holds the history before each row, so events would be read many "
            "times: give the file that this was made of, with one event a row"
        )
