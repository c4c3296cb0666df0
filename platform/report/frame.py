"""The frame that all reports share: head, colours for light and dark, tables; and how templates escape text.

In: a template that extends `frame.html.jinja`. Out: a page that loads and runs nothing.
"""

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from platform.text import printable

HERE = Path(__file__).parent
COLOURS = HERE.with_name("drawing")  # the style sheets that pictures have, too


@functools.cache
def template(path: Path) -> Template:
    """The template in the file `path`; it may include those beside this module and of the pictures."""
    environment = Environment(
        loader=FileSystemLoader([path.parent, HERE, COLOURS]),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(path.name)


def _shown(value: object) -> object:
    """What a template writes, before it is escaped; what its own macros made is HTML already."""
    return value if hasattr(value, "__html__") else printable(str(value))
