"""Which columns of a file of events are the ids, where several may be."""

from __future__ import annotations

import logging

from socialrec_jax.data.prepare import samples, schema
from socialrec_jax.data.prepare.engines.duckdb.sampling import Choice, SampledFile
from socialrec_jax.data.prepare.rules import Rules, plain_name

log = logging.getLogger(__name__)
_EMPTY = "%s: column %s is empty: %s is read from %s"
_OTHER_IDS = (
    "%s: the %s is column %s, but %s may be it as well: --data.map %s=%s takes that, --data.ignore "
    "%s says that it is not"
)
# columns that name the thing itself; bare words beside them are names of it
_IDS = {"user": (*schema.USER_IDS, "user"), "item": (*schema.ITEM_IDS, "item", *schema.ITEM_CODES)}
# an item of Amazon, and the one that its variants belong to
_VARIANTS = {"parentasin": "asin"}


def choose_ids(file: SampledFile, choice: Choice, rules: Rules) -> None:
    """Take another column where the first has no ids at all, and name others that may be it."""
    for field, synonyms in schema.IDS.items():
        column = choice.columns.get(field)
        # what the user or a public layout says is not second-guessed
        if column is None or field in rules.columns or field in choice.derived:
            continue
        others = _others(file, choice, synonyms, rules)
        if others and _is_empty(file, column):
            _take_other(file, choice, field, others)
        else:
            _warn_of_others(file, field, column, others)


def _others(
    file: SampledFile, choice: Choice, synonyms: tuple[str, ...], rules: Rules
) -> list[str]:
    """Further columns with names of the field, in the order of the names."""
    used = choice.columns_used
    free = {plain_name(c): c for c in reversed(list(file.types)) if c not in used}
    names = [name for name in synonyms if name in free and name not in rules.ignored]
    return [free[name] for name in names]


def _is_empty(file: SampledFile, column: str) -> bool:
    return not samples.given_values(file.sample([column])[column])


def _take_other(file: SampledFile, choice: Choice, field: str, others: list[str]) -> None:
    filled = [column for column in others if not _is_empty(file, column)]
    if filled:
        log.warning(_EMPTY, file.source.path, choice.columns[field], field, filled[0])
        choice.columns[field] = filled[0]


def _warn_of_others(file: SampledFile, field: str, column: str, others: list[str]) -> None:
    chosen = plain_name(column)
    # user_id beside user is the id of what that names
    odd = [
        other
        for other in others
        if (plain := plain_name(other)) in _IDS[field]
        if plain.removesuffix("id") != chosen.removesuffix("id")
        if plain not in ("uid", "iid", _VARIANTS.get(chosen))
    ]
    if odd:
        shown = ", ".join(odd)
        log.warning(_OTHER_IDS, file.source.path, field, column, shown, field, odd[0], shown)
