"""A page as one HTML file: the template with its style sheet and script written into it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from edgefed.report.page.blocks import Page


def render(page: Page) -> str:
    """Return a page's HTML. Every name in it is escaped: names come from people's files."""
    environment = Environment(
        loader=PackageLoader("edgefed.report.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": prose, "sortkey": sortkey, "together": together}
    sections = [section for section in page.sections if section.blocks]
    return environment.get_template("page.html.j2").render(page=page, sections=sections)


def prose(text: str | Markup) -> Markup:
    """Return text with what stands in back quotes as code; all else is escaped, but for mark-up of our own."""
    if isinstance(text, Markup):
        return text
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def together(text: Markup) -> Markup:
    """Return text whose percent signs stay on the line of their number."""
    return Markup(str(text).replace(" %", "\N{NO-BREAK SPACE}%"))


def sortkey(value: Any) -> str:
    """Return a number as the page's script reads it: empty text for what sorts last."""
    if math.isnan(value):
        return ""
    return ("-" if value < 0 else "") + "Infinity" if math.isinf(value) else f"{value:.10g}"
