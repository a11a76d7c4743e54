"""Read `--grid NAME=VALUES`: `5:41` counts up to 40, `0.01:0.05:0.01` in steps, `a,b,c` lists, `0.005..0.1[:log]` a range."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

from ctp.errors import InputError

MOST_VALUES = 100_000


def parse_grid(axes: Sequence[str]) -> dict[str, Iterable[float | str]]:
    """Return the values to try by parameter name; the sweep itself checks names and bounds."""
    parsed: dict[str, Iterable[float | str]] = {}
    for axis in axes:
        name, equals, values = (part.strip() for part in axis.partition("="))
        if not equals or not values or not name:
            raise InputError("--grid", axis, "must be name=values, like strategy.period=5:41 or strategy.stop_loss=0.01,0.02")
        if name in parsed:
            raise InputError("--grid", name, "is given twice")
        if ".." in values:
            parsed[name] = _between(name, values)
        else:
            parsed[name] = _range(name, values) if ":" in values else [_value(each.strip()) for each in values.split(",")]
    return parsed


def _range(name: str, values: str) -> list[float | str]:
    """Return begin, begin + step, … below end; exact decimals, so that 0.01:0.05:0.01 has no 0.030000000000000002."""
    try:
        parts = [Decimal(part) for part in values.split(":")]
    except InvalidOperation:
        raise InputError(f"--grid {name}", values, "must be BEGIN:END or BEGIN:END:STEP, numbers") from None
    begin, end, step = (*parts, Decimal(1))[:3] if len(parts) in (2, 3) else (Decimal(0), Decimal(0), Decimal(1))
    if not (begin.is_finite() and end.is_finite() and step.is_finite()) or begin >= end or step <= 0:
        raise InputError(f"--grid {name}", values, "must be BEGIN:END[:STEP] with BEGIN below END and STEP above 0")
    count = -(-(end - begin) // step)
    if count > MOST_VALUES:
        raise InputError(f"--grid {name}", values, f"must have at most {MOST_VALUES:,} values")
    return [_number(begin + step * place) for place in range(int(count) + 1) if begin + step * place < end]


def _between(name: str, values: str) -> Iterable[float | str]:
    """Return the range that a search draws from."""
    from ctp.research.grid import between

    ends, colon, scale = values.partition(":")
    try:
        low, high = (Decimal(end) for end in ends.split(".."))
    except (InvalidOperation, ValueError):
        low = high = Decimal("NaN")
    if not (low.is_finite() and high.is_finite()) or (colon and scale != "log"):
        raise InputError(f"--grid {name}", values, "must be LOW..HIGH or LOW..HIGH:log, numbers")
    return between(_number(low), _number(high), log=bool(colon))


def _value(text: str) -> float | str:
    """Return a number where the text is one, else the text."""
    try:
        return _number(Decimal(text))
    except InvalidOperation:
        return text


def _number(value: Decimal) -> float:
    """Return a whole number as one: its bound asks for it."""
    return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
