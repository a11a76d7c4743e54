"""The notebooks of JupyterLab when it runs apart: copies of ours that its people may change.

Invariant: a copy that somebody has changed is never written over; one that nobody has changed follows ours.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ctp.config import PROJECT

ORIGINALS = PROJECT / "notebooks" / "research"
_KNOWN = ".copied.json"  # name -> digest of what was copied last


def lay_out(folder: Path) -> Path:
    """Copy the research notebooks into `folder`/research where they are missing or unchanged; returns `folder`."""
    target = folder / "research"
    target.mkdir(parents=True, exist_ok=True)
    record = target / _KNOWN
    known: dict[str, str] = json.loads(record.read_text("utf-8")) if record.is_file() else {}
    for original in sorted(ORIGINALS.glob("[0-9][0-9]_*.ipynb")):
        copy, content = target / original.name, original.read_bytes()
        if not copy.exists() or _digest(copy.read_bytes()) == known.get(copy.name):
            copy.write_bytes(content)
            known[copy.name] = _digest(content)
    record.write_text(json.dumps(known, indent=1), "utf-8")
    return folder


def _digest(content: bytes) -> str:
    """Return what is remembered of a copy."""
    return hashlib.sha256(content).hexdigest()
