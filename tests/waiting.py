"""Wait in a test until something is so, however slow the machine is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object]) -> None:
    """Let everything else run until the condition holds; the test's own time limit ends what never does."""
    while not condition():  # noqa: ASYNC110 — threads and processes have no event to wait for
        await asyncio.sleep(0.005)
