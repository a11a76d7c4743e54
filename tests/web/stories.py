"""Tell a story on a running site without Voila."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.web.browserless import Site, site

Story = Callable[[Site], Awaitable[None]]


def tell(home: Path, story: Story, **web: object) -> None:
    """Run a gateway on a seeded home and tell the story to it."""

    async def run() -> None:
        async with site(home, **web) as running:
            await story(running)

    asyncio.run(run())
