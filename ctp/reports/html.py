"""Make HTML that cannot be broken by what people or exchanges call things.

Invariant: whatever is not `Markup` already is escaped; attributes never carry words of people.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

_EMPTY = ("br", "hr", "meta")


class Part(str):
    """A piece of the page as a notebook shows it."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return the markup; IPython asks for it."""
        return str(self)


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element.

    children: text is escaped, `Markup` is not, None is left out, lists are laid out one after another. attributes: `_` in
    their names is `-`, one at the end is dropped (`class_`); None is left out.
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY and not children:
        return Markup(f"<{name}{told}>")  # noqa: S704 - name is ours, the values are escaped
    return Markup(f"<{name}{told}>{together(children)}</{name}>")  # noqa: S704 - likewise


def together(children: Iterable[object]) -> Markup:
    """Return pieces one after another."""
    made = Markup()
    for child in children:
        if child is None:
            continue
        made += together(child) if isinstance(child, list | tuple) else escape(child)
    return made


def table(
    columns: Iterable[object], rows: Iterable[Iterable[object]], *, numeric: Iterable[int] = (), wide: bool = False
) -> Markup:
    """Return a table; numeric: places of columns that hold numbers. On a phone a wide one scrolls inside its frame."""
    right = frozenset(numeric)
    heads = list(columns)

    def cells(name: str, row: Iterable[object]) -> list[Markup]:
        """Lay out one row."""
        return [tag(name, cell, class_="n" if place in right else None) for place, cell in enumerate(row)]

    body = [tag("tr", cells("td", row)) for row in rows]
    made = tag("table", tag("thead", tag("tr", cells("th", heads))), tag("tbody", body))
    return tag("div", made, class_="frame wide" if wide else "frame")
