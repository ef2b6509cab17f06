"""Whether a payload's text became markup of a page, as a browser would read it."""

from __future__ import annotations

from html.parser import HTMLParser

from hostile.payload import TOKEN

__all__ = ["active"]

#: Attributes whose values are text, or names within the page.
_TEXT = {"alt", "aria-label", "class", "content", "for", "headers", "id", "name", "summary", "title", "value"}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        for name, value in attrs:
            text = (value or "").strip()
            if TOKEN in name or (TOKEN in text and name not in _TEXT and not _harmless(name, text)):
                self.found.append(f"<{tag} {name}={text[:60]!r}>")
        if TOKEN in tag:
            self.found.append(f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in {"script", "style"} and TOKEN in data:
            self.found.append(f"{self.inside}: {data[max(0, data.index(TOKEN) - 40) :][:100]}")


def _harmless(name: str, text: str) -> bool:
    return name.startswith("data-") or (name == "href" and text.startswith("#")) or text.startswith("data:image/")


def active(page: str) -> str | None:
    """The first tag, attribute or script that the payload's text has become; text of a page, a quoted `alt` among it, is none."""
    reader = _Page()
    reader.feed(page)
    reader.close()
    return reader.found[0] if reader.found else None
