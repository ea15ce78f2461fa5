"""The reasons of recommendations as columns: structured, and in sentences for people."""

from __future__ import annotations

import string

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from socialrec_jax.data.csr import Pairs, offsets_of
from socialrec_jax.data.world import Items, World
from socialrec_jax.inference.explain import FRIENDS, KINDS, POPULARITY, TEXT, Reasons
from socialrec_jax.serving.frames import arrow_strings
from socialrec_jax.serving.reason_options import ReasonOptions
from socialrec_jax.serving.reason_templates import TEMPLATES
from socialrec_jax.serving.top_rows import list_column

_LONGEST_TITLE = 60  # characters in a sentence

_REASON = pa.struct(
    [
        ("kind", pa.string()),
        ("item_id", pa.string()),
        ("friends", pa.int32()),
        ("friend_ids", pa.list_(pa.string())),
        ("terms", pa.list_(pa.string())),
        ("place", pa.int32()),
        ("contribution", pa.float32()),
    ]
)
REASONS = pa.list_(_REASON)


def without_reasons(count: int) -> tuple[pa.Array, pa.Array]:
    """(reasons, explanation) of recommendations without any."""
    return pa.nulls(count, REASONS).fill_null([]), pa.nulls(count, pa.string()).fill_null("")


class ReasonColumns:
    """Makes the columns `reasons` and `explanation`."""

    def __init__(
        self,
        world: World,
        term_names: np.ndarray,
        friend_names: pa.Array,
        options: ReasonOptions,
    ):
        """term_names [W]: of the terms that reasons refer to. friend_names: of users by number."""
        self._options = options
        self._templates = TEMPLATES[options.language]
        self._friend_names = friend_names.cast(pa.string())
        self._item_names = arrow_strings(world.items.ids).cast(pa.string())
        # Once for all rows: a title is in many sentences.
        self._titles = pa.array(short_titles(world.items), pa.string())
        self._terms = pa.array(term_names.tolist(), pa.string())

    def columns(self, reasons: Reasons, count: int) -> tuple[pa.Array, pa.Array]:
        """(reasons, explanation) of `count` recommendations."""
        fields = self._fields(reasons)
        sentences = self._sentences(reasons.kinds, reasons.items, fields)
        return list_column(reasons.owners, count, fields), self._joined(reasons, sentences, count)

    def _fields(self, reasons: Reasons) -> dict[str, pa.Array]:
        """The fields of each reason [m]; those of other kinds are null."""
        evidence = reasons.evidence
        friends = evidence.friends.of(reasons.owners)
        terms = evidence.terms.of(reasons.owners)
        # Users with fewer friends than the options ask for have no such reason.
        num_friends = np.diff(friends.offsets)
        kinds = reasons.kinds
        names_friends = (kinds == FRIENDS) & self._options.privacy.friend_ids
        return {
            "kind": pa.array(KINDS).take(pa.array(kinds)),
            "item_id": _taken(self._item_names, reasons.items),
            "friends": _numbers(num_friends, kinds == FRIENDS),
            "friend_ids": _names(self._friend_names, friends, names_friends),
            "terms": _names(self._terms, terms, kinds == TEXT),
            "place": _numbers(evidence.places[reasons.owners], kinds == POPULARITY),
            "contribution": pa.array(reasons.contributions, from_pandas=True),
        }

    def _sentences(self, kinds: np.ndarray, items: np.ndarray, fields: dict) -> pa.Array:
        """One sentence a reason [m]."""
        terms = pc.call_function("binary_join", [fields["terms"], self._templates["between terms"]])
        values = {
            "item": _taken(self._titles, items),
            "friends": fields["friends"].cast(pa.string()),
            "terms": terms,
            "place": fields["place"].cast(pa.string()),
        }
        # Column by column: a sentence of a kind is null where a value of another kind is.
        sentences = pa.nulls(len(kinds), pa.string())
        for number, kind in enumerate(KINDS):
            filled = _filled(self._templates[kind], values)
            sentences = pc.call_function("if_else", [pa.array(kinds == number), filled, sentences])
        # A number of one has a sentence of its own in many languages.
        single = pa.scalar(self._templates["one friend"])
        is_one = pc.call_function("equal", [fields["friends"], pa.scalar(1)]).fill_null(False)
        return pc.call_function("if_else", [is_one, single, sentences])

    def _joined(self, reasons: Reasons, sentences: pa.Array, count: int) -> pa.Array:
        # Arrow's lists have offsets of 32 bits.
        offsets = offsets_of(reasons.owners, count).astype(np.int32)
        texts = pa.ListArray.from_arrays(pa.array(offsets), sentences)
        return pc.call_function("binary_join", [texts, self._templates["between"]])


def short_titles(items: Items) -> list[str]:
    """What people call each item [V]: its title, shortened, or the id where it has none."""
    names = zip(items.titles.tolist(), items.ids.tolist(), strict=True)
    return [_shortened(title) or name for title, name in names]


def _shortened(title: str) -> str:
    return title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"


def _filled(template: str, values: dict[str, pa.Array]) -> pa.Array:
    """A template with the values [m] of its names; null where a value is."""
    parts = []
    for text, name, _, _ in string.Formatter().parse(template):
        # The formatter gives the text before each name, and the name.
        parts += [pa.scalar(text)] if text else []
        parts += [values[name]] if name else []
    return pc.call_function("binary_join_element_wise", [*parts, pa.scalar("")])


def _taken(names: pa.Array, numbers: np.ndarray) -> pa.Array:
    """The names of numbers [m], null where a number is negative."""
    return names.take(pa.array(numbers, mask=numbers < 0))


def _numbers(values: np.ndarray, is_given: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.int32), mask=~is_given)


def _names(names: pa.Array, numbers: Pairs, is_given: np.ndarray) -> pa.Array:
    """A list of names for each row [m] of numbers, null where it is not given."""
    # Names that are not given must not lie in the file either.
    given = np.flatnonzero(is_given)
    lengths = np.where(is_given, np.diff(numbers.offsets), 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = names.take(pa.array(numbers.of(given).items))
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(~is_given))
