"""Write the trading state as plain JSON values and read it back, to the bit. Pure.

Doubles keep their bits because JSON numbers are written by `repr`; NaN is allowed. Reading needs a template: a fresh state
of the same strategy, whose types and lengths the stored one must have.
"""

from __future__ import annotations

import json
from typing import Any


def to_plain(value: Any) -> Any:
    """Return a state as dicts, lists and numbers."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: to_plain(getattr(value, name)) for name in value._fields}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(template: Any, plain: Any) -> Any:
    """Return the state that `to_plain` wrote; raises ValueError when it is not one of the template's kind."""
    if isinstance(template, tuple) and hasattr(template, "_fields"):
        if isinstance(plain, dict):
            kind: Any = type(template)
            plain = {**kind._field_defaults, **plain}  # a field that is younger than what was stored
        if not isinstance(plain, dict) or set(plain) != set(template._fields):
            raise ValueError(f"stored state is no {type(template).__name__}")
        return type(template)(*(from_plain(getattr(template, name), plain[name]) for name in template._fields))
    if isinstance(template, list):
        if not isinstance(plain, list) or len(plain) != len(template):
            raise ValueError(f"stored state has {plain!r:.40} where {len(template)} numbers belong")
        return list(plain)
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise ValueError(f"stored state has {plain!r:.40} where a number belongs")
    return plain


def dump(plain: Any) -> str:
    """Return the JSON text of plain values; NaN stays NaN."""
    return json.dumps(plain, separators=(",", ":"))


def load(text: str) -> Any:
    """Return the plain values of a JSON text."""
    return json.loads(text)
