"""Columns that say that a row is no interest, and that nothing reads.

A row counts as an event or a friendship whatever its status says. So such columns are named.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from socialrec_jax.data.prepare import samples
from socialrec_jax.data.prepare.engines.duckdb.sampling import Choice, SampledFile
from socialrec_jax.data.prepare.rules import Rules, plain_name

log = logging.getLogger(__name__)
_UNREAD = (
    "%s: column %s is not read, and says of some rows that they are no interest (such as %r): "
    "they count like all others unless you leave them out"
)
_FLAGS = re.compile(
    "(is)?(click|clicked|label|target|buy|bought|purchase|purchased|convert|converted|conversion|"
    "like|liked|follow|read|relevant|recommend|recommended|active|valid|positive|accept|accepted|"
    "confirmed|approved)"
)
_REVERSED_FLAGS = re.compile(
    "(is)?(deleted|archived|hidden|blocked|cancel+ed|returned|refunded|refund|bot|test|spam|"
    "discontinued)"
)
# of a row that is still good, these are blank
_ENDS = re.compile("(deleted|removed|trashed|archived|cancel+ed|refunded|voided)(at|on|date)")
_STATUSES = re.compile(".*(status|state|kind|relation|relationship|reaction|trusttype|edgetype)")
_NO_DATE = re.compile("0|0000-00-00.*|f|false|no")
_COUNTS = re.compile("(quantity|qty|units|count|feedback|amount|polarity|sentiment)")
_TRUE, _FALSE = ("1", "1.0", "true", "t", "yes", "y"), ("0", "0.0", "false", "f", "no", "n")
_OPPOSITE = re.compile(
    r"refund|return|cancel|remove|delete|dislike|unlike|unfollow|block|reject|declin|denied|fail|"
    r"void|distrust|enemy|foe|pending|mute|ignore|archiv|draft|disabled|inactive|trash|chargeback|"
    r"取消|关闭|退款|退货"
)
TABLES = ("events", "social", "items")


def warn_of_unread_refusals(file: SampledFile, table: str, choice: Choice, rules: Rules) -> None:
    """Log columns such as `status`, `clicked` and `quantity` where some rows say the opposite."""
    if table not in TABLES:
        return
    used = choice.columns_used
    free = [column for column in file.types if column not in used]
    named = [
        column for column in free if _is_named(column) and plain_name(column) not in rules.ignored
    ]
    for column, values in file.sample(named).items():
        example = _refusal(plain_name(column), samples.given_values(values))
        if example is not None:
            log.warning(_UNREAD, file.source.path, column, example[:60])


def _is_named(column: str) -> bool:
    patterns = (_FLAGS, _REVERSED_FLAGS, _ENDS, _STATUSES, _COUNTS)
    return any(pattern.fullmatch(plain_name(column)) for pattern in patterns)


def _refusal(column: str, values: Sequence[str]) -> str | None:
    """The first value that says that its row is no interest."""
    folded = [value.lower() for value in values]
    refusals: list[str] = []
    if _FLAGS.fullmatch(column) and all(value in (*_TRUE, *_FALSE) for value in folded):
        refusals = [value for value in folded if value in _FALSE]
    elif _REVERSED_FLAGS.fullmatch(column):
        refusals = [value for value in folded if value in _TRUE]
    elif _ENDS.fullmatch(column):
        refusals = [value for value in folded if not _NO_DATE.fullmatch(value)]
    elif _STATUSES.fullmatch(column):
        refusals = [value for value in folded if _OPPOSITE.search(value)]
    elif _COUNTS.fullmatch(column):
        refusals = [value for value in folded if value.startswith("-")]
    return refusals[0] if refusals else None
