"""The tokens of a condition, and its mistakes with their places."""

from __future__ import annotations

import dataclasses
import re

from socialrec_jax.errors import UsageError

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>-?\d+(?:\.\d+)?)(?![\w.])
      | (?P<text>'(?:[^']|'')*'|"[^"]*")
      | (?P<symbol><=|>=|!=|<>|==|[=<>(),])
      | (?P<user>user\.[^\W\d]\w*)
      | (?P<name>[^\W\d]\w*)
    )""",
    re.VERBOSE,
)


@dataclasses.dataclass(frozen=True)
class Token:
    kind: str  # number, text, user, symbol, name or end
    value: str
    place: int  # of its first character, from 1 on


def tokens_of(text: str, source: str) -> list[Token]:
    """The tokens of a text, and one for its end. source: how a mistake names the text."""
    tokens, begin = [], 0
    while text[begin:].strip():
        match = _TOKEN.match(text, begin)
        if match is None or match.lastgroup is None:
            place = begin + len(text[begin:]) - len(text[begin:].lstrip())
            token = Token("?", text[place], place + 1)
            raise mistake(source, token, "expected no such character")
        kind = match.lastgroup
        value = match[kind]
        if kind == "text":
            value = value[1:-1].replace("''", "'") if value[0] == "'" else value[1:-1]
        tokens.append(Token(kind, value, match.start(kind) + 1))
        begin = match.end()
    return [*tokens, Token("end", "", len(text) + 1)]


def mistake(source: str, token: Token, expected: str, advice: str = "") -> UsageError:
    """source: the option and its text."""
    found = "the end" if token.kind == "end" else repr(token.value)
    return UsageError(f"{source}: {expected}, found {found} at character {token.place}{advice}")
