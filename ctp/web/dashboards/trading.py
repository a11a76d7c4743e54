"""The trading dashboard: one account on the screen, drawn once and then kept true every second.

The browser's side is `ctp/web/static/desk/`; it is fetched from the gateway, so that the widget's state stays small.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anywidget
import traitlets

from ctp.api_client import Client, GatewayAway, SessionEnded
from ctp.errors import NotAllowed, NotFound
from ctp.web.dashboards.identity import wait_for_visit

_REFRESH_S = 1.0

type Choice = tuple[int, str | None]  # account and symbol; 0 and None: the first there is


class TradingDesk(anywidget.AnyWidget):
    """The widget: `view` is the first picture; later ones go as messages that carry only what changed."""

    _esm = """
    const { render } = await import(new URL("/static/desk/desk.js", location.origin).href);
    export default { render };
    """
    view = traitlets.Dict().tag(sync=True)

    def __init__(self, client: Client, account: int = 0) -> None:
        """Read the first picture of an account (0: the first one this person may see)."""
        self._client = client
        # One thread: the client's connection serves one question at a time, and answers keep their order.
        self._line = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway")
        self._shown: dict[str, Any] = {}
        self._choice, view = self._read((account, None), whole=True)
        super().__init__(view=view)
        self.on_msg(self._hear)
        self._task = asyncio.get_event_loop().create_task(self._keep_true())

    def _read(self, choice: Choice, *, whole: bool) -> tuple[Choice, dict[str, Any]]:
        """Ask for a chosen account; whole: with the chart's full history, else only its newest candles.

        Returns what was found instead of what was chosen, and what has changed on the picture. Runs in the line's thread.
        """
        account, symbol = choice
        series = self._shown.get("series")
        since = None if whole or not series else series["candles"][-1][0] if series["candles"] else None
        try:
            seen: dict[str, Any] = self._client.get("/desk", account=account or None, symbol=symbol, since=since)
        except NotFound:
            if not account:
                raise
            return self._read((0, None), whole=True)  # no longer theirs to see: show the first that is
        changed = {name: value for name, value in seen.items() if whole or self._shown.get(name) != value}
        self._shown = seen
        return (seen["account"]["id"], seen["symbol"]), changed

    async def _keep_true(self) -> None:
        """Refresh every second until the session ends. The message goes out also when nothing changed: it is the beat."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                await self._refresh(whole=False)
            except GatewayAway:
                continue  # the page says STALE by itself, because no beat comes
            except (SessionEnded, NotFound):
                return

    async def _refresh(self, *, whole: bool) -> None:
        """Read once and send what changed."""
        choice = self._choice
        found, changed = await asyncio.get_running_loop().run_in_executor(
            self._line, lambda: self._read(choice, whole=whole)
        )
        if self._choice == choice:  # while the answer was on its way the person may have chosen something else
            self._choice = found
        self.send({"kind": "view", "view": changed})

    def _hear(self, _widget: anywidget.AnyWidget, message: Any, _buffers: Any) -> None:
        """Take what the browser asks; it is untrusted, and the gateway decides."""
        if not isinstance(message, dict):
            return
        kind = message.get("kind")
        if kind == "select" and isinstance(message.get("account"), int):
            self._choice = (message["account"], str(message["symbol"]) if message.get("symbol") else None)
            self._start(self._refresh(whole=True))
        elif kind == "command" and isinstance(message.get("account"), int):
            self._start(self._command(message["account"], str(message.get("command")), str(message.get("request_key"))))

    def _start(self, work: Any) -> None:
        """Run an answer in the kernel's loop and keep it alive until it is done."""
        task = asyncio.get_event_loop().create_task(self._guarded(work))
        self._answers = {task, *(one for one in getattr(self, "_answers", ()) if not one.done())}

    async def _guarded(self, work: Any) -> None:
        """Await work; tell the person when it was refused."""
        try:
            await work
        except (NotAllowed, NotFound, GatewayAway) as error:
            self.send({"kind": "refused", "text": str(error)})
        except SessionEnded:
            return

    async def _command(self, account: int, kind: str, request_key: str) -> None:
        """Hand a command on for the account it was confirmed for, then show it at once as asked."""
        body = {"kind": kind, "request_key": request_key}
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._line, lambda: self._client.post(f"/accounts/{account}/commands", body))
        await self._refresh(whole=False)


def open_desk() -> TradingDesk:
    """Wait for the person this kernel is for and return their desk."""
    visit = wait_for_visit()
    return TradingDesk(Client(visit.handle), visit.account)
