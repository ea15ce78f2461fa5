"""What the names of several files of events say together."""

from __future__ import annotations

import re
from collections.abc import Mapping

from socialrec_jax.data.prepare.derived import Constant
from socialrec_jax.data.prepare.engines.duckdb.sampling import Choice
from socialrec_jax.data.prepare.readers import Source

_TYPES = re.compile(
    "(page_?)?(view|click|visit|impression|purchase|order|transaction|buy|sale|cart|add_?to_?cart|"
    "like|rating|review|favou?rite|wish_?list|share|comment|play|listen|checkin|bookmark)s?"
)


def take_types_of_file_names(choices: Mapping[Source, Choice]) -> None:
    """Files such as views.csv beside purchases.csv say the type of their events."""
    # what a column or a layout says goes before names
    if any("event_type" in (*choice.columns, *choice.derived) for choice in choices.values()):
        return
    names = {source: source.path.name.split(".")[0].lower() for source in choices}
    # a single file, or part-0.csv, says nothing of its events
    if len(set(names.values())) < 2 or not all(map(_TYPES.fullmatch, names.values())):
        return
    for source, choice in choices.items():
        choice.derived["event_type"] = Constant(names[source])
