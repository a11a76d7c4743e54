"""Compiled code that homes of single tests share: the same sources give the same machine code, and making it takes long."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def share_compiled_code(home: Path) -> None:
    """Let a home use the machine code that the other tests have compiled; it lies under a hash of the sources."""
    shared = ROOT / "var" / "tests" / "cache" / "numba"
    shared.mkdir(parents=True, exist_ok=True)
    (home / "cache").mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "cache" / "numba").symlink_to(shared)
