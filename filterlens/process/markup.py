"""Text of others within Markdown, shown as it is: never a heading, a link, a mention, an image, mathematics or HTML."""

from __future__ import annotations

import re
from typing import Final

from filterlens.process.printable import printable

__all__ = ["markdown_code", "markdown_text"]

_MARKUP: Final = re.compile(r"[&<>\\`*_{}\[\]#|~@:!$\"']|(?<=www)\.", re.IGNORECASE)


def markdown_text(text: str) -> str:
    """Write every character that Markdown may take for something as HTML's number of it.

    Examples
    --------
    >>> markdown_text("![a](https://b) @c | <d>")
    '&#33;&#91;a&#93;(https&#58;//b) &#64;c &#124; &#60;d&#62;'
    """
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", printable(text))


def markdown_code(text: str) -> str:
    """Write a name in the font of code; as HTML, since a span of backticks shows numbers of characters as they are."""
    return f"<code>{markdown_text(text)}</code>"
