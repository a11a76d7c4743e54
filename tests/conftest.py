"""What every test may ask for: the shared reference data, and a home of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _shared(folder: str) -> Path:
    """Return a folder of reference material, or skip with the reason."""
    base = Path(os.environ.get("CTP_SHARED", ROOT.parent / "shared")) / folder
    if not base.is_dir():
        pytest.skip(f"reference material {folder!r} is not beside this checkout")
    return base


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of recorded candles, funding and market rules."""
    return _shared("data")


@pytest.fixture
def shared_vectors() -> Path:
    """Return the folder of published indicator values and recorded replies."""
    return _shared("vectors")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty CTP_HOME that this test alone uses."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("CTP_HOME", str(folder))
    return folder
