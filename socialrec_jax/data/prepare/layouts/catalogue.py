"""All public formats that are read, as code and as a table."""

from __future__ import annotations

from socialrec_jax.data.prepare.layouts.layout import Layout
from socialrec_jax.data.prepare.layouts.media import MEDIA
from socialrec_jax.data.prepare.layouts.movies import HETREC, MOVIELENS, REVIEWS
from socialrec_jax.data.prepare.layouts.places import PLACES
from socialrec_jax.data.prepare.layouts.shops import SHOPS

# of two that could be meant, the first whose files exist is taken
LAYOUTS: tuple[Layout, ...] = (*MOVIELENS, *HETREC, *REVIEWS, *SHOPS, *MEDIA, *PLACES)

# formats that are known by what their files hold, or by rules of names
BY_CONTENT = (
    ("RecBole atomic files", "*.inter", "*.net, *.item, *.user", "", ""),
    ("RetailRocket", "events.csv", "", "", "item_properties*.csv, category_tree.csv"),
    (
        *("Amazon reviews, 2014, 2018 and 2023", "JSON lines with a user and an item"),
        *("metadata: JSON lines with an item and a title", "", ""),
    ),
    (
        *(
            "Amazon ratings alone, 2014 and 2018",
            "lines of user, item, rating, time without header",
        ),
        *("", "", ""),
    ),
    (
        *("one table of any name", "the only text file with a user, an item and a time"),
        *("the only one with an item and a title; with two ends of an edge", "", ""),
    ),
)
HEADER = ("format", "events", "also read", "say", "not read")
NO_TIMES = "--data.order file"


def rows() -> list[tuple[str, ...]]:
    """One row of HEADER's columns for each format."""
    return [*BY_CONTENT, *(_row(layout) for layout in LAYOUTS)]


def _row(layout: Layout) -> tuple[str, ...]:
    events = ", ".join(files.pattern for files in layout.tables["events"])
    others = [
        files.pattern
        for table, of_table in layout.tables.items()
        if table != "events"
        for files in of_table
    ]
    option = "" if layout.has_times else NO_TIMES
    return layout.title, events, ", ".join(others), option, layout.left_out


def as_markdown() -> str:
    """The table of the formats for the documentation."""
    lines = [HEADER, ("---",) * len(HEADER), *map(_with_code, rows())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_text() -> str:
    """One block a format for the terminal."""
    blocks = []
    for title, *cells in rows():
        named = zip(HEADER[1:], cells, strict=True)
        given = [f"    {name:10}  {cell}" for name, cell in named if cell]
        blocks.append("\n".join([title, *given]))
    return "\n".join(blocks)


def _with_code(row: tuple[str, ...]) -> tuple[str, ...]:
    title, events, others, option, left_out = row
    return title, _quoted(events), _quoted(others), f"`{option}`" if option else "", left_out


def _quoted(names: str) -> str:
    """File names as code; words stay."""
    return ", ".join(f"`{name}`" if "." in name else name for name in names.split(", "))
