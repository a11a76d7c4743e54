"""One home for everything that is compiled here, kept between sessions: its key is the hash of the sources."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def compiled_home(pytestconfig: pytest.Config) -> Iterator[None]:
    """Keep compiled code in pytest's cache, unless the caller chose a home."""
    patch = pytest.MonkeyPatch()
    if "CTP_HOME" not in os.environ:
        patch.setenv("CTP_HOME", str(pytestconfig.cache.mkdir("compiled")))  # type: ignore[union-attr]
    yield
    patch.undo()
