"""Parameters through the API: promotion by the one who may, history for who sees, the way back; the door to live holds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ctp.accounts.rights import machine
from ctp.accounts.sources import source_hash
from ctp.accounts.trading_accounts import NewAccount, create_account
from ctp.accounts.users import find_user
from tests.web.browserless import Site, site

RSI = "rsi_mean_reversion"


def promotion(verdict: str | None = "green", **strategy: Any) -> dict[str, Any]:
    """Return what a notebook sends."""
    return {
        "strategy": RSI,
        "strategy_parameters": {"period": 7, **strategy},
        "risk_parameters": {},
        "source_hash": source_hash(RSI),
        "data_hash": "d" * 64,
        "data": {"exchange": "binanceusdm", "symbols": ["BTC/USDT:USDT"], "timeframe": "1h", "first": 0, "last": 1},
        "validation": verdict and {"verdict": verdict, "fingerprint": "f" * 64, "reasons": ["<b>luck</b>"]},
        "made_with": {"numba": "0.68"},
    }


def accounts_of_quinn(running: Site) -> dict[str, int]:
    """Give Quinn an account of each mode."""
    world = running.world
    with world.database.transaction() as connection:
        owner = find_user(connection, "quinn").id
        wanted = {mode: NewAccount(mode, "binanceusdm", mode, ("BTC/USDT:USDT",), "1h") for mode in ("paper", "live")}
        return {mode: create_account(connection, machine("cli"), owner, one, world.now_ms).id for mode, one in wanted.items()}


def test_a_quant_promotes_and_everybody_who_sees_the_account_reads_the_history(home: Path) -> None:
    async def story(running: Site) -> None:
        quinn, ids = await running.person("quinn"), accounts_of_quinn(running)
        place = f"/api/v1/accounts/{ids['paper']}"
        sent = {"to": "paper", "promotion": promotion(), "reason": "plateau found"}
        for _ in range(2):  # an answer that got lost
            answer = await quinn.ask("POST", f"{place}/promotions", json=sent)
            assert (answer.status, answer.json()["version"], answer.json()["verdict"]) == (201, 1, "green")
        answer = await quinn.ask("POST", f"{place}/promotions", json={**sent, "promotion": promotion(period=9)})
        assert answer.json()["version"] == 2
        answer = await quinn.ask("POST", f"{place}/parameters/revert", json={"version": 1, "reason": "too slow"})
        assert (answer.status, answer.json()["version"], answer.json()["verdict"]) == (201, 3, "green")
        versions = (await quinn.get(f"{place}/parameters")).json()["versions"]
        newest = versions[0]
        assert (newest["version"], newest["author"], newest["difference"]) == (3, "quinn", ["RSI period: 9 → 7"])
        assert versions[0]["reason"] == "back to version 1: too slow" and versions[0]["reasons"] == ["<b>luck</b>"]

    _run(home, story)


def test_the_door_to_live_holds_for_promotion_and_revert(home: Path) -> None:
    async def story(running: Site) -> None:
        quinn, ids = await running.person("quinn"), accounts_of_quinn(running)
        place = f"/api/v1/accounts/{ids['live']}"
        for verdict, override, status in (
            ("red", "", 403), ("red", "all in", 403), ("amber", "", 403), (None, "", 403), ("green", "", 201),
            ("amber", "small", 201),
        ):  # fmt: skip
            oversold = 20 + (verdict == "amber")
            sent = {"to": "live", "promotion": promotion(verdict, oversold=oversold), "override": override}
            answer = await quinn.ask("POST", f"{place}/promotions", json=sent)
            assert answer.status == status, (verdict, override, answer.text)
        assert (await quinn.ask("POST", f"{place}/promotions", json={"to": "paper", "promotion": promotion()})).status == 400
        assert (await quinn.ask("POST", f"{place}/parameters/revert", json={"version": 1})).status == 201  # green
        assert (await quinn.ask("POST", f"{place}/parameters/revert", json={"version": 2})).status == 403  # amber
        again = {"version": 2, "override": "small again"}
        assert (await quinn.ask("POST", f"{place}/parameters/revert", json=again)).status == 201

    _run(home, story)


def test_rights_and_foreign_accounts(home: Path) -> None:
    async def story(running: Site) -> None:
        ids, quinns = running.world.accounts, accounts_of_quinn(running)
        sent = {"to": "paper", "promotion": promotion()}
        minsu, vera = await running.person("minsu"), await running.person("vera")
        quinn, root = await running.person("quinn"), await running.person("root")
        own = ids["선물 주력"]
        assert (await minsu.ask("POST", f"/api/v1/accounts/{own}/promotions", json=sent)).status == 403  # no quant
        for person, account, status in ((vera, own, 403), (quinn, own, 404), (root, own, 403), (minsu, quinns["paper"], 404)):
            answer = await person.ask("POST", f"/api/v1/accounts/{account}/parameters/revert", json={"version": 1})
            # Root does not see the account; a promotion asks for the role first.
            assert answer.status == (404 if person is root else status), (account, answer.text)
        for account, status in ((own, 200), (quinns["paper"], 404)):
            assert (await vera.get(f"/api/v1/accounts/{account}/parameters")).status == status
        assert (await quinn.ask("POST", f"/api/v1/accounts/{own}/promotions", json=sent)).status == 404

    _run(home, story)


def test_what_is_no_promotion_is_refused_and_changes_nothing(home: Path) -> None:
    async def story(running: Site) -> None:
        quinn, ids = await running.person("quinn"), accounts_of_quinn(running)
        place = f"/api/v1/accounts/{ids['paper']}"
        for body in (
            {}, {"to": "paper"}, {"to": "paper", "promotion": []}, {"to": "moon", "promotion": promotion()},
            {"to": "paper", "promotion": promotion(period=1)}, {"to": "paper", "promotion": promotion(unknown=1)},
            {"to": "paper", "promotion": promotion(), "reason": 5},
            {"to": "paper", "promotion": promotion(), "override": "x" * 300},
            {"to": "paper", "promotion": {**promotion(), "risk_parameters": {"risk_per_trade": 0.021}}},
            {"to": "paper", "promotion": {**promotion(), "risk_parameters": {"leverage": 11}}},
        ):  # fmt: skip
            answer = await quinn.ask("POST", f"{place}/promotions", json=body)
            assert answer.status == 400, answer.text
        other = {"to": "paper", "promotion": {**promotion(), "source_hash": "0" * 64}}
        assert (await quinn.ask("POST", f"{place}/promotions", json=other)).status == 403
        for version in (None, "1", True, 1.5):
            answer = await quinn.ask("POST", f"{place}/parameters/revert", json={"version": version})
            assert answer.status == 400
        assert (await quinn.ask("POST", f"{place}/parameters/revert", json={"version": 7})).status == 404
        assert (await quinn.get(f"{place}/parameters")).json() == {"versions": []}

    _run(home, story)


def _run(home: Path, story: Any) -> None:
    """Run a story on a site of its own."""

    async def run() -> None:
        async with site(home) as running:
            await story(running)

    asyncio.run(run())
