"""Conditions on items, such as `price < 50 and category = 'shoes' and available`.

    condition   = all_of {"or" all_of}
    all_of      = single {"and" single}
    single      = "not" single | "(" condition ")" | comparison
    comparison  = "available" | attribute operator value | attribute ["not"] "in" "(" values ")"
    operator    = "=" | "!=" | "<" | "<=" | ">" | ">=" | "contains"

A text is parsed to a function of the items. No part of it is evaluated as code.
"""

from __future__ import annotations

import dataclasses
import difflib
import operator
import re
from collections.abc import Callable

import numpy as np

from socialrec_jax.data.world import Items
from socialrec_jax.errors import UsageError
from socialrec_jax.serving.labels import Labels

# Which items [V] bool satisfy it.
Condition = Callable[[Items], np.ndarray]

_ATTRIBUTES = ("item", "title", "description", "tags", "category", "price", "available")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>-?\d+(?:\.\d+)?)(?![\w.])
      | (?P<text>'(?:[^']|'')*'|"[^"]*")
      | (?P<symbol><=|>=|!=|<>|==|[=<>(),])
      | (?P<name>[^\W\d]\w*)
    )""",
    re.VERBOSE,
)
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


@dataclasses.dataclass(frozen=True)
class _Token:
    kind: str  # number, text, symbol, name or end
    value: str
    place: int  # of its first character, from 1 on


def parse_where(text: str) -> Condition:
    """The condition that a text describes. Raises UsageError with the place of a mistake.

    A text is compared as it is, `contains` without regard to case. An item satisfies a condition on
    tags if one of its tags does, and one without a price no condition on prices.
    """
    parser = _Parser(text)
    condition = parser.condition()
    parser.expect_end()
    return condition


class _Parser:
    """Recursive descent: one method a rule of the grammar."""

    def __init__(self, text: str):
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0

    def condition(self) -> Condition:
        # Each part becomes a function: items are read when the whole text is known to be right.
        parts = [self._all_of()]
        while self._takes("or"):
            parts.append(self._all_of())
        return lambda items: np.logical_or.reduce([part(items) for part in parts])

    def expect_end(self) -> None:
        if self._token.kind != "end":
            raise _mistake(self._text, self._token, "expected `and`, `or` or the end")

    def _all_of(self) -> Condition:
        parts = [self._single()]
        while self._takes("and"):
            parts.append(self._single())
        return lambda items: np.logical_and.reduce([part(items) for part in parts])

    def _single(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            expected = f"expected at most {_DEEPEST} nested conditions"
            raise _mistake(self._text, self._token, expected)
        condition = self._nested()
        self._depth -= 1
        return condition

    def _nested(self) -> Condition:
        if self._takes("not"):
            part = self._single()
            return lambda items: ~part(items)
        if self._takes("("):
            part = self.condition()
            self._expect(")")
            return part
        return self._comparison()

    def _comparison(self) -> Condition:
        attribute = self._attribute()
        # The only attribute that is a condition by itself.
        if attribute == "available":
            return lambda items: np.asarray(items.available, bool)
        if self._takes("not"):
            self._expect("in")
            contained = self._values(attribute)
            return lambda items: ~contained(items)
        if self._takes("in"):
            return self._values(attribute)
        if self._takes("contains"):
            return _containing(attribute, self._value("text", attribute))
        return self._compared(attribute)

    def _attribute(self) -> str:
        token = self._advance()
        name = token.value.lower()
        if token.kind == "name" and name in _ATTRIBUTES:
            return name
        close = difflib.get_close_matches(name, _ATTRIBUTES, n=1)
        suggestion = f"; did you mean {close[0]}?" if close else ""
        expected = f"expected one of {', '.join(_ATTRIBUTES)}{suggestion}"
        raise _mistake(self._text, token, expected)

    def _compared(self, attribute: str) -> Condition:
        token = self._advance()
        if token.value not in _COMPARISONS:
            raise _mistake(self._text, token, "expected a comparison, `in` or `contains`")
        if attribute == "price":
            number = np.float32(self._value("number", attribute))
            compare = _COMPARISONS[token.value]
            # Comparisons with a price that is not known are false, != included.
            return lambda items: compare(items.prices, number) & ~np.isnan(items.prices)
        # Texts have no useful order.
        if token.value not in ("=", "==", *_NEGATED):
            raise _mistake(self._text, token, f"{attribute} is no number: use = or !=")
        equal = _equal(attribute, [self._value("text", attribute)])
        return (lambda items: ~equal(items)) if token.value in _NEGATED else equal

    def _values(self, attribute: str) -> Condition:
        kind = "number" if attribute == "price" else "text"
        self._expect("(")
        values = [self._value(kind, attribute)]
        while self._takes(","):
            values.append(self._value(kind, attribute))
        self._expect(")")
        if attribute == "price":
            # As float32, because prices are: 9.99 must equal itself.
            prices = np.array([float(value) for value in values], np.float32)
            return lambda items: np.isin(items.prices, prices)
        return _equal(attribute, values)

    def _value(self, kind: str, attribute: str) -> str:
        token = self._advance()
        if token.kind != kind:
            example = "a number" if kind == "number" else "a text in quotes, such as 'shoes'"
            raise _mistake(self._text, token, f"{attribute} is compared with {example}")
        return token.value

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _advance(self) -> _Token:
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
            raise _mistake(self._text, self._token, f"expected {value}")


def _tokens(text: str) -> list[_Token]:
    """The tokens of a text, and one for its end."""
    tokens, begin = [], 0
    while text[begin:].strip():
        match = _TOKEN.match(text, begin)
        if match is None or match.lastgroup is None:
            place = begin + len(text[begin:]) - len(text[begin:].lstrip())
            raise _mistake(text, _Token("?", text[place], place + 1), "expected no such character")
        kind = match.lastgroup
        value = match[kind]
        if kind == "text":
            value = value[1:-1].replace("''", "'") if value[0] == "'" else value[1:-1]
        tokens.append(_Token(kind, value, match.start(kind) + 1))
        begin = match.end()
    return [*tokens, _Token("end", "", len(text) + 1)]


def _mistake(text: str, token: _Token, expected: str) -> UsageError:
    found = "the end" if token.kind == "end" else repr(token.value)
    return UsageError(f"--where {text!r}: {expected}, found {found} at character {token.place}")


def _equal(attribute: str, values: list[str]) -> Condition:
    """Whether a text is one of the values; of tags, whether one of them is."""

    def condition(items: Items) -> np.ndarray:
        if attribute == "tags":
            labels = Labels.tags(items)
            is_chosen = np.isin(labels.names, values)
            chosen = labels.of_items.owners[is_chosen[labels.of_items.items]]
            return np.bincount(chosen, minlength=len(items.ids)) > 0
        return np.isin(_texts(items, attribute), values)

    return condition


def _containing(attribute: str, part: str) -> Condition:
    if attribute == "price":
        raise UsageError("--where: a price contains nothing; compare it with a number")
    return lambda items: np.char.find(np.char.lower(_texts(items, attribute)), part.lower()) >= 0


def _texts(items: Items, attribute: str) -> np.ndarray:
    columns = {
        "item": items.ids,
        "title": items.titles,
        "description": items.descriptions,
        "tags": items.tags,
        "category": items.categories,
    }
    return np.array(columns[attribute].tolist(), dtype=str)
