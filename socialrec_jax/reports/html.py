"""HTML pages from the templates beside this file.

Every value is escaped (figures are markup already). The pages ask the network for nothing and run
no script, so that they can be mailed, archived and printed.
"""

from __future__ import annotations

import functools
from pathlib import Path

import jinja2

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: object) -> str:
    """The text of a page. A value that the template needs and does not get is an error."""
    return _environment().get_template(template).render(**values)


def stylesheet() -> str:
    """The style of all pages, which `page.html` includes."""
    return (_TEMPLATES / "style.css").read_text()


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        # A missing value is a mistake of the program, not an empty place of the page.
        undefined=jinja2.StrictUndefined,
        # Lines that hold only a statement leave no empty line.
        trim_blocks=True,
        lstrip_blocks=True,
    )
