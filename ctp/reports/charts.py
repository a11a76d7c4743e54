"""Charts as inline SVG without a script: lines and areas stretch with the page, labels are ordinary text beside them.

So a chart is sharp at every size, readable on a phone, follows the page's colours and prints. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from ctp.reports.html import tag

Point = tuple[float, float]
_SIDE = 1000.0  # of the drawing, whatever the size on the page


class Rule(NamedTuple):
    """A horizontal line that means something: where, what it is called, and its class."""

    value: float
    label: str
    kind: str


class Band(NamedTuple):
    """An area between two lines of the same places."""

    places: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    kind: str


class Line(NamedTuple):
    """A line through points; a stepped one keeps its value until the next point."""

    points: Sequence[Point]
    kind: str


class Dot(NamedTuple):
    """A marked point."""

    place: float
    value: float
    kind: str


class Label(NamedTuple):
    """A text below the chart."""

    place: float
    words: str


class _Plane(NamedTuple):
    """What is shown of the two axes."""

    left: float
    right: float
    low: float
    high: float

    def across(self, place: float) -> float:
        """Return a place as a fraction from the left."""
        return (place - self.left) / (self.right - self.left)

    def down(self, value: float) -> float:
        """Return a value as a fraction from the top."""
        return (self.high - value) / (self.high - self.low)

    def path(self, points: Sequence[Point]) -> str:
        """Return points as path data."""
        told = (f"{self.across(x) * _SIDE:.1f} {self.down(y) * _SIDE:.1f}" for x, y in points)
        return "M" + "L".join(told)


def chart(
    *,
    summary: str,
    lines: Sequence[Line] = (),
    bands: Sequence[Band] = (),
    rules: Sequence[Rule] = (),
    dots: Sequence[Dot] = (),
    labels: Sequence[Label] = (),
    format_value: Callable[[float], str] = str,
) -> Markup:
    """Draw lines and areas over a common scale; summary: what the chart shows, for those who do not see it.

    format_value: a function that writes a value of the scale.
    """
    values = [y for line in lines for _, y in line.points] + [rule.value for rule in rules]
    values += [y for band in bands for y in (*band.low, *band.high)]
    places = [x for line in lines for x, _ in line.points] + [x for band in bands for x in band.places]
    if not values or not places:
        return Markup()
    plane = _plane(places, values)
    ticks = round_values(plane.low, plane.high)
    drawn = [_horizontal(plane, value, "grid") for value in ticks]
    drawn += [_area(plane, band) for band in bands]
    drawn += [_horizontal(plane, rule.value, f"rule {rule.kind}") for rule in rules]
    drawn += [_stroke(plane.path(line.points), f"line {line.kind}") for line in lines if line.points]
    beside = [_beside(plane.down(value), format_value(value), "tick") for value in ticks]
    beside += [_beside(plane.down(rule.value), rule.label, f"name {rule.kind}") for rule in rules]
    marks = [
        tag("i", class_=f"dot {one.kind}", style=_at(plane.across(one.place), plane.down(one.value))) for one in dots
    ]
    return _frame(summary, drawn, [*beside, *marks], [_below(plane.across(one.place), one.words) for one in labels])


def bars(
    *, summary: str, values: Sequence[float], labels: Sequence[Label], format_value: Callable[[float], str] = str
) -> Markup:
    """Draw one bar for each value, up or down from zero; labels sit at the numbers of the bars."""
    if not values:
        return Markup()
    plane = _plane([0.0, float(len(values))], [*values, 0.0])
    ticks = round_values(plane.low, plane.high)
    drawn = [_horizontal(plane, value, "grid") for value in ticks]
    for number, value in enumerate(values):
        left, right = plane.across(number + 0.14) * _SIDE, plane.across(number + 0.86) * _SIDE
        top, bottom = sorted((plane.down(value) * _SIDE, plane.down(0.0) * _SIDE))
        kind = "up" if value > 0 else "down"
        box = {"x": f"{left:.1f}", "y": f"{top:.1f}", "width": f"{right - left:.1f}", "height": f"{bottom - top:.1f}"}
        drawn.append(tag("rect", class_=f"bar {kind}", **box))
    drawn.append(_horizontal(plane, 0.0, "zero"))
    beside = [_beside(plane.down(value), format_value(value), "tick") for value in ticks]
    return _frame(summary, drawn, beside, [_below(plane.across(one.place + 0.5), one.words) for one in labels])


def round_values(low: float, high: float, count: int = 4) -> list[float]:
    """Return about `count` round values between two bounds."""
    step = (high - low) / count
    size = 10.0 ** math.floor(math.log10(step))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= step * 0.99)
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]


def _plane(places: Sequence[float], values: Sequence[float]) -> _Plane:
    """Return the part of the plane that holds everything, with a little room above and below."""
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.001 or 1.0
    left, right = min(places), max(places)
    return _Plane(left, right if right > left else left + 1.0, low - room, high + room)


def _frame(summary: str, drawn: Sequence[Markup], beside: Sequence[Markup], below: Sequence[Markup]) -> Markup:
    """Put a drawing and its labels together."""
    side = int(_SIDE)
    picture = tag("svg", list(drawn), viewBox=f"0 0 {side} {side}", preserveAspectRatio="none", aria_hidden="true")
    plot = tag("div", picture, list(beside), class_="plot")
    words = tag("figcaption", summary, class_="unseen")
    return tag("figure", plot, tag("div", list(below), class_="below"), words, class_="chart")


def _stroke(data: str, kind: str) -> Markup:
    """Draw a path whose width does not stretch with the chart."""
    return tag("path", d=data, class_=kind, vector_effect="non-scaling-stroke")


def _horizontal(plane: _Plane, value: float, kind: str) -> Markup:
    """Draw a line from edge to edge."""
    height = f"{plane.down(value) * _SIDE:.1f}"
    return _stroke(f"M0 {height}L{int(_SIDE)} {height}", kind)


def _area(plane: _Plane, band: Band) -> Markup:
    """Fill the area between two lines."""
    there = list(zip(band.places, band.high, strict=True))
    back = list(zip(band.places, band.low, strict=True))[::-1]
    return tag("path", d=plane.path([*there, *back]) + "Z", class_=f"area {band.kind}")


def _beside(down: float, words: str, kind: str) -> Markup:
    """Write a text at a height of the chart."""
    return tag("span", words, class_=kind, style=f"top:{down * 100:.2f}%")


def _below(across: float, words: str) -> Markup:
    """Write a text below the chart; the outer ones stay inside its width."""
    edge = " first" if across < 0.04 else " last" if across > 0.96 else ""
    return tag("span", words, class_=f"place{edge}", style=f"left:{across * 100:.2f}%")


def _at(across: float, down: float) -> str:
    """Return the style that puts something at a point."""
    return f"left:{across * 100:.2f}%;top:{down * 100:.2f}%"
