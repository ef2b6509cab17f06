r"""Text of others made safe to show: what a terminal would obey, or would not show, becomes a visible escape.

Names of layers, models, pickled classes and files, and what a server says, are whatever their authors wrote: escape
sequences that set a title or hide a line, overrides of the direction of writing, characters without width. They are
shown as Python would write them (`\x1b`, `\u202e`), where text leaves the program and nowhere else: data keep them.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["printable", "printable_json"]

# Controls, separators of lines, surrogates, and all that Unicode lets a font leave out (Default_Ignorable_Code_Point),
# save the selector that turns a sign into an emoji.
_HIDDEN: Final = (
    "\x00-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_EMOJI: Final = "\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
_FAMILY: Final = f"(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])"  # the joiner within an emoji of several people
_FOUND: Final = re.compile(f"(?P<kept>{_FAMILY})|[{_HIDDEN}]")
_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str, *, lines: bool = False) -> str:
    r"""Make visible what a terminal or a page would obey, hide or run together.

    Parameters
    ----------
    text
        Any.
    lines
        Whether the text is ours and of several lines: line feeds and tabs stay.

    Returns
    -------
        The text with escapes; ordinary text of any language, and emoji, stays as it is.

    Examples
    --------
    >>> print(printable("conv\x1b[2J\u202e.weight, größe, 層, 👩‍🔬"))
    conv\x1b[2J\u202e.weight, größe, 層, 👩‍🔬
    """

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        if found["kept"] or (lines and character in "\n\t"):
            return character
        return _SHORT.get(character) or _escaped(character)

    return _FOUND.sub(escape, text)


def printable_json(text: str) -> str:
    r"""Write hidden characters of a JSON text as JSON's own escapes: it means the same.

    Examples
    --------
    >>> print(printable_json('["\x9b2J"]'))
    ["\u009b2J"]
    """

    def escape(found: re.Match[str]) -> str:
        if found[0] == "\n":  # between values: within them it is an escape already
            return "\n"
        units = found[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))

    return _FOUND.sub(escape, text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
