"""Conditions on items, such as `price < 50 and category = 'shoes' and available`.

    condition   = all_of {"or" all_of}
    all_of      = single {"and" single}
    single      = "not" single | "(" condition ")" | comparison
    comparison  = "available" | attribute operator value | attribute ["not"] "in" "(" values ")"
    operator    = "=" | "!=" | "<" | "<=" | ">" | ">=" | "contains"
    value       = number | text in quotes | "user." attribute of the users table

A text is parsed to a function of the items and a user. No part of it is evaluated as code.
"""

from __future__ import annotations

import dataclasses
import difflib
import operator
from collections.abc import Callable, Mapping

import numpy as np

from socialrec_jax.data.world import Items
from socialrec_jax.errors import UsageError
from socialrec_jax.serving.labels import Labels
from socialrec_jax.serving.rules.tokens import Token, mistake, tokens_of

# {attribute of the users table: its value of one user, "" where it has none}
UserAttributes = Mapping[str, str]

# Which items [V] bool satisfy it, for one user.
_Function = Callable[[Items, UserAttributes], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Condition:
    """Which items [V] bool satisfy it, for a user where it reads attributes of the user."""

    function: _Function
    user_attributes: tuple[str, ...]  # that it reads

    def __call__(self, items: Items, user: UserAttributes | None = None) -> np.ndarray:
        return self.function(items, user or {})


_ATTRIBUTES = ("item", "title", "description", "tags", "category", "price", "available")
_COMPARISONS = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NEGATED = ("!=", "<>")
_DEEPEST = 50  # brackets and `not` within each other, so that Python's stack is never full


def parse_where(text: str, option: str = "--where") -> Condition:
    """The condition that a text describes. Raises UsageError with the place of a mistake.

    A text is compared as it is, `contains` without regard to case. An item satisfies a condition on
    tags if one of its tags does, and one without a price no condition on prices. For a user without
    an attribute no comparison with it holds.
    """
    parser = _Parser(text, option)
    function = parser.condition()
    parser.expect_end()
    return Condition(function, tuple(sorted(parser.user_attributes)))


class _Parser:
    """Recursive descent: one method a rule of the grammar."""

    def __init__(self, text: str, option: str):
        self._source = f"{option} {text!r}"
        self._tokens = tokens_of(text, self._source)
        self._next = 0
        self._depth = 0
        self.user_attributes: set[str] = set()

    def condition(self) -> _Function:
        # Each part becomes a function: items are read when the whole text is known to be right.
        parts = [self._all_of()]
        while self._takes("or"):
            parts.append(self._all_of())
        return lambda items, user: np.logical_or.reduce([part(items, user) for part in parts])

    def expect_end(self) -> None:
        if self._token.kind != "end":
            raise self._mistake(self._token, "expected `and`, `or` or the end")

    def _all_of(self) -> _Function:
        parts = [self._single()]
        while self._takes("and"):
            parts.append(self._single())
        return lambda items, user: np.logical_and.reduce([part(items, user) for part in parts])

    def _single(self) -> _Function:
        self._depth += 1
        # Each nested condition is a call of Python.
        if self._depth > _DEEPEST:
            expected = f"expected at most {_DEEPEST} nested conditions"
            raise self._mistake(self._token, expected)
        condition = self._nested()
        self._depth -= 1
        return condition

    def _nested(self) -> _Function:
        if self._takes("not"):
            part = self._single()
            return lambda items, user: ~part(items, user)
        if self._takes("("):
            part = self.condition()
            self._expect(")")
            return part
        return self._comparison()

    def _comparison(self) -> _Function:
        attribute = self._attribute()
        # The only attribute that is a condition by itself.
        if attribute == "available":
            return lambda items, user: np.asarray(items.available, bool)
        if self._takes("not"):
            self._expect("in")
            return self._values(attribute, negated=True)
        if self._takes("in"):
            return self._values(attribute, negated=False)
        if self._takes("contains"):
            return self._containing(attribute)
        return self._compared(attribute)

    def _attribute(self) -> str:
        token = self._advance()
        name = token.value.lower()
        if token.kind == "name" and name in _ATTRIBUTES:
            return name
        close = difflib.get_close_matches(name, _ATTRIBUTES, n=1)
        suggestion = f"; did you mean {close[0]}?" if close else ""
        expected = f"expected one of {', '.join(_ATTRIBUTES)}"
        raise self._mistake(token, expected, suggestion)

    def _compared(self, attribute: str) -> _Function:
        token = self._advance()
        if token.value not in _COMPARISONS:
            raise self._mistake(token, "expected a comparison, `in` or `contains`")
        if attribute == "price":
            number = np.float32(self._value("number", attribute).text)
            compare = _COMPARISONS[token.value]
            # Comparisons with a price that is not known are false, != included.
            return lambda items, user: compare(items.prices, number) & ~np.isnan(items.prices)
        # Texts have no useful order.
        if token.value not in ("=", "==", *_NEGATED):
            raise self._mistake(token, f"{attribute} is no number: use = or !=")
        value = self._value("text", attribute)
        return _equal(attribute, [value], negated=token.value in _NEGATED)

    def _containing(self, attribute: str) -> _Function:
        # Prices are the only numbers.
        if attribute == "price":
            raise self._mistake(self._token, "a price contains nothing; compare it with a number")
        part = self._value("text", attribute)
        return _containing(attribute, part)

    def _values(self, attribute: str, negated: bool) -> _Function:
        kind = "number" if attribute == "price" else "text"
        self._expect("(")
        values = [self._value(kind, attribute)]
        while self._takes(","):
            values.append(self._value(kind, attribute))
        self._expect(")")
        if attribute == "price":
            # As float32, because prices are: 9.99 must equal itself.
            prices = np.array([float(value.text) for value in values], np.float32)
            return lambda items, user: np.isin(items.prices, prices) != negated
        return _equal(attribute, values, negated)

    def _value(self, kind: str, attribute: str) -> _Value:
        token = self._advance()
        if token.kind == "user" and kind == "text":
            name = token.value.split(".", 1)[1]
            self.user_attributes.add(name)
            return _Value(name, is_of_user=True)
        if token.kind != kind:
            example = "a number" if kind == "number" else "a text in quotes, such as 'shoes'"
            raise self._mistake(token, f"{attribute} is compared with {example}")
        return _Value(token.value)

    def _mistake(self, token: Token, expected: str, advice: str = "") -> UsageError:
        return mistake(self._source, token, expected, advice)

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _advance(self) -> Token:
        token = self._token
        # The end stays, so that every mistake there can be named.
        if token.kind != "end":
            self._next += 1
        return token

    def _takes(self, value: str) -> bool:
        """Whether the next token is this keyword or symbol, which is then taken."""
        token = self._token
        # A text in quotes is never a keyword.
        is_taken = token.kind in ("name", "symbol") and token.value.lower() == value
        self._next += is_taken
        return is_taken

    def _expect(self, value: str) -> None:
        if not self._takes(value):
            raise self._mistake(self._token, f"expected {value}")


@dataclasses.dataclass(frozen=True)
class _Value:
    """A text of the condition, or the name of an attribute of the user."""

    text: str
    is_of_user: bool = False

    def of(self, user: UserAttributes) -> str | None:
        """Its text for a user, None where the user does not have it."""
        return (user.get(self.text) or None) if self.is_of_user else self.text


def _equal(attribute: str, values: list[_Value], negated: bool) -> _Function:
    """Whether a text is (or is not) one of the values; of tags, whether one of them is."""

    def function(items: Items, user: UserAttributes) -> np.ndarray:
        texts = [value.of(user) for value in values]
        # Comparisons with what is not known are false, != included.
        if None in texts:
            return np.zeros(len(items.ids), bool)
        return _is_among(items, attribute, [text for text in texts if text is not None]) != negated

    return function


def _is_among(items: Items, attribute: str, texts: list[str]) -> np.ndarray:
    """Which items [V] bool have one of the texts."""
    if attribute != "tags":
        return np.isin(_texts(items, attribute), texts)
    labels = Labels.tags(items)
    is_chosen = np.isin(labels.names, texts)
    chosen = labels.of_items.owners[is_chosen[labels.of_items.items]]
    return np.bincount(chosen, minlength=len(items.ids)) > 0


def _containing(attribute: str, value: _Value) -> _Function:
    def function(items: Items, user: UserAttributes) -> np.ndarray:
        part = value.of(user)
        if part is None:
            return np.zeros(len(items.ids), bool)
        return np.char.find(np.char.lower(_texts(items, attribute)), part.lower()) >= 0

    return function


def _texts(items: Items, attribute: str) -> np.ndarray:
    columns = {
        "item": items.ids,
        "title": items.titles,
        "description": items.descriptions,
        "tags": items.tags,
        "category": items.categories,
    }
    return np.array(columns[attribute].tolist(), dtype=str)
