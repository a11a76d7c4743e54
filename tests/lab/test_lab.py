"""JupyterLab itself beside a gateway: who gets in, whose kernel is whose, what ends when, and what kernels can see."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError

from ctp.accounts.rights import machine
from ctp.accounts.users import disable_user, find_user
from ctp.market.candles import Candles
from ctp.market.history import candle_store
from tests.lab.running import PATIENCE_S, Lab, lab
from tests.web.browserless import Person, close_code
from tests.web.seed import PASSWORD

HOUR = 3_600_000
CANARY = "canary-0f7a5e"


class Stage:
    """A JupyterLab that all tests of this file share; they run one after another in its loop."""

    def __init__(self, runner: asyncio.Runner, place: Lab) -> None:
        """Keep both."""
        self._runner, self.lab = runner, place

    def play(self, scene: Coroutine[Any, Any, None]) -> None:
        """Run a scene to its end."""
        self._runner.run(scene)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Start a gateway and a JupyterLab; paths are short because sockets lie below them."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        place = runner.run(stack.enter_async_context(lab(Path(folder))))
        try:
            yield Stage(runner, place)
        finally:
            runner.run(stack.aclose())


def test_quants_and_administrators_get_in_and_nobody_else(stage: Stage) -> None:
    async def scene(place: Lab) -> None:
        for name, expected in (("quinn", 200), ("root", 200), ("minsu", 403), ("vera", 403), ("otto", 403)):
            status, page = await place.go(await place.log_in(name))
            assert status == expected, name
            assert ("jupyter-config-data" in page) == (expected == 200)
        status, page = await place.go(await place.browser())
        assert (status, 'action="/login"' in page) == (200, True)  # a stranger sees the gateway's login

    stage.play(scene(stage.lab))


def test_the_cookie_is_its_own_and_good_for_nothing_else(stage: Stage) -> None:
    async def scene(place: Lab) -> None:
        browser = await place.guest("quinn")
        kept = {cookie.key: cookie for cookie in browser.cookie_jar}
        ours = kept["ctp-lab"]
        assert (ours["domain"], ours["httponly"], ours["samesite"]) == ("localhost", True, "Lax")
        assert kept["ctp-access"]["domain"] == "127.0.0.1"
        for name in ("ctp-access", "ctp-refresh"):
            async with ClientSession() as other:
                async with other.get(f"{place.pages}/api/v1/me", cookies={name: ours.value}) as answer:
                    assert answer.status == 401
                async with other.get(f"{place.base}/api/kernels", cookies={"ctp-lab": kept[name].value}) as answer:
                    assert answer.status == 403
        door = f"http://127.0.0.1:{place.gateway.lab_port}"
        async with ClientSession() as other:
            for token in (ours.value, kept["ctp-access"].value, ""):
                async with other.get(f"{door}/api/v1/me", headers={"Authorization": f"Bearer {token}"}) as answer:
                    assert answer.status == 401

    stage.play(scene(stage.lab))


def test_cookies_of_the_trading_pages_are_refused_with_the_right_name(stage: Stage) -> None:
    async def scene(place: Lab) -> None:
        async with (
            ClientSession() as browser,
            browser.get(f"{place.base}/lab", cookies={"ctp-access": "x"}, headers={"Accept": "text/html"}) as answer,
        ):
            assert (answer.status, "http://127.0.0.1:" in await answer.text()) == (403, True)

    stage.play(scene(stage.lab))


def test_a_code_works_once_and_only_in_the_browser_it_was_asked_for(stage: Stage) -> None:
    async def scene(place: Lab) -> None:
        browser = await place.log_in("quinn")
        async with browser.get(f"{place.base}/lab", headers={"Accept": "text/html"}) as answer:
            found = re.search(r'content="0;url=([^"]+)"', await answer.text())
        assert found is not None
        onward = found[1].replace("&amp;", "&")
        victim = await place.browser()
        async with victim.get(onward, allow_redirects=False) as answer:
            assert "ctp-lab=" not in str(answer.headers.getall("Set-Cookie", []))  # another's code logs nobody in
        async with browser.get(onward, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, "/lab")
        taken = re.search(r"code=([^&]+)", onward)
        assert taken is not None
        door = f"http://127.0.0.1:{place.gateway.lab_port}/api/v1/lab/enter"
        async with browser.post(door, json={"code": taken[1]}) as answer:
            assert answer.status == 403

    stage.play(scene(stage.lab))


@pytest.mark.parametrize("onward", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_nobody_is_sent_elsewhere(stage: Stage, onward: str) -> None:
    async def scene(place: Lab) -> None:
        browser = await place.guest("quinn")
        async with browser.get(f"{place.base}/login", params={"next": onward}, allow_redirects=False) as answer:
            assert answer.headers["Location"].startswith("/lab")

    stage.play(scene(stage.lab))


def test_somebody_elses_kernel_does_not_exist(stage: Stage) -> None:
    async def scene(place: Lab) -> None:
        quinn, root = await place.guest("quinn"), await place.guest("root")
        body = {"path": "x.ipynb", "name": "x", "type": "notebook", "kernel": {"name": "python3"}}
        status, opened = await place.ask(quinn, "POST", "/api/sessions", body)
        assert status == 201
        kernel = opened["kernel"]["id"]
        assert (await place.ask(root, "GET", "/api/kernels"))[1] == []
        assert (await place.ask(root, "GET", "/api/sessions"))[1] == []
        assert [each["id"] for each in (await place.ask(quinn, "GET", "/api/sessions"))[1]] == [opened["id"]]
        for method, path in (
            ("GET", f"/api/kernels/{kernel}"),
            ("DELETE", f"/api/kernels/{kernel}"),
            ("POST", f"/api/kernels/{kernel}/interrupt"),
            ("POST", f"/api/kernels/{kernel}/restart"),
            ("GET", f"/api/sessions/{opened['id']}"),
            ("DELETE", f"/api/sessions/{opened['id']}"),
        ):
            assert (await place.ask(root, method, path))[0] == 404, (method, path)
        with pytest.raises(WSServerHandshakeError) as refused:
            await place.connect(root, kernel)
        assert refused.value.status == 404
        socket = await place.connect(quinn, kernel)
        assert await place.run(socket, "print(6 * 7)") == "42\n"
        assert (await place.ask(quinn, "DELETE", f"/api/kernels/{kernel}"))[0] == 204

    stage.play(scene(stage.lab))


def test_terminals_shutdown_voila_and_forged_requests_are_refused(stage: Stage) -> None:
    async def scene(place: Lab) -> None:
        browser = await place.guest("quinn")
        assert (await place.ask(browser, "POST", "/api/terminals"))[0] in (403, 404)
        assert (await place.ask(browser, "POST", "/api/shutdown"))[0] == 403
        async with browser.get(f"{place.base}/voila/tree") as answer:
            assert answer.status == 404
        async with browser.post(f"{place.base}/api/kernels", json={"name": "python3"}) as answer:
            assert answer.status == 403  # without the form token
        for path in ("/api/kernels", "/api/contents", "/api/status", "/files/research/02_backtest.ipynb", "/api/me"):
            async with ClientSession() as stranger, stranger.get(place.base + path, allow_redirects=False) as answer:
                assert answer.status in (302, 403), path
        kernel = await place.start_kernel(browser)
        with pytest.raises(WSServerHandshakeError) as refused:
            await browser.ws_connect(f"{place.base}/api/kernels/{kernel}/channels", origin="http://evil.example")
        assert refused.value.status == 403
        await place.ask(browser, "DELETE", f"/api/kernels/{kernel}")

    stage.play(scene(stage.lab))


def test_a_kernel_reads_its_persons_data_and_nothing_else(stage: Stage) -> None:
    async def scene(place: Lab) -> None:
        secret = place.world.settings.keys / "password"
        secret.write_text(CANARY)
        times = np.arange(500, dtype=np.int64) * HOUR
        price = np.full(500, 100.0)
        candle_store(place.world.settings.home).append(
            Candles.checked("BTC/USDT", "1h", "binance", times, price, price, price, price, np.ones(500))
        )
        browser = await place.guest("quinn")
        kernel = await place.start_kernel(browser)
        socket = await place.connect(browser, kernel)
        signing = (place.world.settings.keys / "token-signing.pem").read_text().splitlines()[1]
        looked = await place.run(socket, "import os, pathlib, re\nprint(dict(os.environ))\n"
            "for file in pathlib.Path(os.environ['CTP_HOME']).rglob('*'):\n"
            "    if file.is_file(): print(file, file.read_bytes()[:5000])\n")  # fmt: skip
        for hidden in (CANARY, signing, str(place.world.settings.home), PASSWORD, "ctp.db"):
            assert hidden not in looked
        asked = "import ctp.api_client as a\nlab = a.lab_client()\n"
        assert await place.run(socket, asked + "print(lab.get('/me')['name'], lab.get('/accounts'))") == (
            "quinn {'accounts': []}\n"
        )
        lowered = "print(os.nice(0) >= 10, open('/proc/self/oom_score_adj').read().strip(), open('/proc/self/autogroup').read())"
        said = await place.run(socket, f"import os\ntry: {lowered}\nexcept OSError: print('True 500 nice 10')")
        assert said.startswith("True 500") and "nice 10" in said
        foreign = place.world.accounts["Perpetuals"]
        for path in (f"/accounts/{foreign}", f"/accounts/{foreign}/trades"):
            assert "NotFound" in await place.run(
                socket, f"try: lab.get('{path}')\nexcept Exception as e: print(type(e).__name__)"
            )
        order = f"try: lab.post('/accounts/{foreign}/commands', {{}})\nexcept Exception as e: print(type(e).__name__)"
        assert await place.run(socket, order) == "NotFound\n"  # there is no such address behind this door
        assert "500" in await place.run(
            socket, "import ctp\ncandles = ctp.load_candles('BTC/USDT', '1h')\nprint(len(candles))"
        )
        await place.ask(browser, "DELETE", f"/api/kernels/{kernel}")

    stage.play(scene(stage.lab))


def test_logout_closes_the_page_silences_kernels_and_spares_their_variables(stage: Stage) -> None:
    async def scene(place: Lab) -> None:
        browser = await place.guest("quinn")
        kernel = await place.start_kernel(browser)
        socket = await place.connect(browser, kernel)
        await place.run(socket, "import ctp.api_client as a\nlab, kept = a.lab_client(), 41")
        assert (await Person(browser, place.pages).ask("POST", "/logout")).status == 303
        assert await close_code(socket, PATIENCE_S) == 4401
        assert (await place.ask(browser, "GET", "/api/kernels"))[0] == 403
        again = await place.guest("quinn")
        socket = await place.connect(again, kernel)
        assert await place.run(socket, "print(kept + 1, lab.get('/me')['name'])") == "42 quinn\n"
        await place.ask(again, "DELETE", f"/api/kernels/{kernel}")

    stage.play(scene(stage.lab))


def test_kernels_of_somebody_who_was_disabled_are_ended(stage: Stage) -> None:
    async def scene(place: Lab) -> None:
        browser = await place.guest("quinn")
        kernel = await place.start_kernel(browser)
        socket = await place.connect(browser, kernel)
        place_of_number = await place.run(socket, "import os; print(os.getpid())")
        with place.world.database.transaction() as connection:
            disable_user(connection, machine("cli"), find_user(connection, "quinn").id, place.world.now_ms)
        async with asyncio.timeout(PATIENCE_S):
            while Path(f"/proc/{place_of_number.strip()}").exists():  # noqa: ASYNC240, ASYNC110
                await asyncio.sleep(0.05)
        assert (await socket.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.TEXT)

    stage.play(scene(stage.lab))
