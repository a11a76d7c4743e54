"""A promotion pins parameters to sources, data and verdict; red stays on paper; the history says who, when, why and what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ctp.accounts import sources
from ctp.accounts.audit import read_audit
from ctp.accounts.live_door import grounds_of
from ctp.accounts.parameter_history import read_history
from ctp.accounts.promotion import Candidate, Proposal, find_target, promote, proposal_of, read_proposal
from ctp.accounts.rights import Actor
from ctp.accounts.sources import deciding_sources, source_hash
from ctp.accounts.trading_accounts import Evidence, append_parameters, create_account, revert_parameters
from ctp.accounts.visible import Visible
from ctp.errors import InputError, NotAllowed, NotFound
from ctp.storage.database import Database
from tests.accounts.people import NOW, SHELL, Scene, new_account, set_scene

RSI = "rsi_mean_reversion"
DATA = {"exchange": "binanceusdm", "symbols": ["BTC/USDT:USDT", "ETH/USDT:USDT"], "timeframe": "1h", "first": 1, "last": 2}


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people and two accounts."""
    return set_scene(database)


@pytest.fixture
def quant(database: Database, scene: Scene) -> dict[str, int]:
    """Return Quinn's accounts by mode."""
    with database.transaction() as connection:
        return {
            mode: create_account(connection, scene.quinn, scene.quinn.user_id or 0, new_account(mode, mode=mode), NOW).id
            for mode in ("paper", "live")
        }


def proposal(verdict: str | None = "green", data: dict[str, Any] = DATA, **strategy: Any) -> Proposal:
    """Return a proposal with a verdict."""
    details = {"data": data, "reasons": [{"en": "because", "ko": "이유"}], "made_with": {"numba": "0"}}
    evidence = Evidence("d" * 64, verdict, None if verdict is None else "f" * 64, details)
    return Proposal(RSI, {"period": 7, **strategy}, {"risk_per_trade": 0.005}, source_hash(RSI), evidence)


def candidates(connection: sa.Connection, who: Actor) -> list[Candidate]:
    """Return the accounts somebody sees."""
    seen = Visible(connection, who).accounts()
    return [Candidate(one.id, f"{one.owner}/{one.name}", one.mode, one.symbols, one.timeframe) for one in seen]


def test_a_promotion_is_a_version_that_says_what_it_is_pinned_to(
    database: Database, scene: Scene, quant: dict[str, int]
) -> None:
    with database.transaction() as connection:
        made = promote(connection, scene.quinn, quant["paper"], proposal(), "paper", NOW)
        stored = Visible(connection, scene.quinn).parameter_versions(quant["paper"])[0]
        deed = read_audit(connection, SHELL)[0]
    assert stored == made
    assert (made.version, made.strategy_parameters["period"], made.risk_parameters["risk_per_trade"]) == (1, 7, 0.005)
    assert (made.source_hash, made.data_hash, made.verdict, made.fingerprint) == (
        source_hash(RSI), "d" * 64, "green", "f" * 64,
    )  # fmt: skip
    assert made.evidence["data"] == DATA and made.evidence["made_with"] == {"numba": "0"}
    assert (deed.action, deed.user_name, deed.details["verdict"]) == ("parameters.append", "quinn", "green")


@pytest.mark.parametrize(
    ("mode", "verdict", "override", "allowed"),
    [
        ("paper", None, "", True),
        ("paper", "amber", "", True),
        ("paper", "red", "", True),
        ("live", "green", "", True),
        ("live", "amber", "", False),
        ("live", "amber", "small capital, watched daily", True),
        ("live", None, "", False),
        ("live", None, "   ", False),
        ("live", None, "the owner's rule", True),
        ("live", "red", "", False),
        ("live", "red", "I feel lucky", False),
    ],
)
def test_red_goes_to_paper_only_and_live_needs_green_or_an_override(
    mode: str, verdict: str | None, override: str, allowed: bool, database: Database, scene: Scene, quant: dict[str, int]
) -> None:
    with database.transaction() as connection:
        if allowed:
            made = promote(connection, scene.quinn, quant[mode], proposal(verdict), mode, NOW, override=override)
            assert (made.verdict, made.override) == (verdict, override.strip())
            assert not grounds_of(connection, quant[mode]).problem
            return
        with pytest.raises(NotAllowed, match=r"--override|paper only"):
            promote(connection, scene.quinn, quant[mode], proposal(verdict), mode, NOW, override=override)
        assert Visible(connection, scene.quinn).parameter_versions(quant[mode]) == []


def test_leaving_a_red_verdict_out_does_not_hide_it(database: Database, scene: Scene, quant: dict[str, int]) -> None:
    with database.transaction() as connection:
        promote(connection, scene.quinn, quant["paper"], proposal("red"), "paper", NOW)
        with pytest.raises(NotAllowed, match="red"):
            promote(connection, scene.quinn, quant["live"], proposal(None), "live", NOW, override="forget it")
        edited = {"period": 7}, {"risk_per_trade": 0.005}
        with pytest.raises(NotAllowed, match="red"):
            append_parameters(connection, scene.quinn, quant["live"], RSI, *edited, "by hand", NOW, override="as typed")
        other = proposal(None, oversold=20.0)
        assert promote(connection, scene.quinn, quant["live"], other, "live", NOW, override="another set").version == 1
        assert promote(connection, scene.quinn, quant["live"], proposal("green"), "live", NOW).verdict == "green"


def test_only_who_may_research_and_edit_may_promote(database: Database, scene: Scene, quant: dict[str, int]) -> None:
    with database.transaction() as connection:
        for actor in (scene.minsu, scene.vera, scene.olaf, scene.ada):
            with pytest.raises(NotAllowed):
                promote(connection, actor, scene.minsus, proposal(), "paper", NOW)
        with pytest.raises(NotFound):
            promote(connection, scene.quinn, scene.minsus, proposal(), "paper", NOW)
        assert promote(connection, SHELL, scene.minsus, proposal(), "paper", NOW).author_id is None


def test_a_promotion_names_the_mode_and_is_made_with_the_sources_that_decide(
    database: Database, scene: Scene, quant: dict[str, int]
) -> None:
    with database.transaction() as connection:
        with pytest.raises(InputError, match="is paper, and its mode never changes"):
            promote(connection, scene.quinn, quant["paper"], proposal(), "live", NOW)
        with pytest.raises(InputError, match="must be paper or live"):
            promote(connection, scene.quinn, quant["paper"], proposal(), "demo", NOW)
        with pytest.raises(NotAllowed, match="other sources"):
            promote(connection, scene.quinn, quant["paper"], proposal()._replace(source_hash="0" * 64), "paper", NOW)
        with pytest.raises(InputError, match="risk_per_trade"):
            wild = proposal()._replace(risk_parameters={"risk_per_trade": 0.5})
            promote(connection, scene.quinn, quant["paper"], wild, "paper", NOW)


def test_what_is_asked_twice_is_one_version(database: Database, scene: Scene, quant: dict[str, int]) -> None:
    with database.transaction() as connection:
        numbers = [
            promote(connection, scene.quinn, quant["paper"], one, "paper", NOW).version
            for one in (proposal(), proposal(), proposal("amber"), proposal())
        ]
    assert numbers == [1, 1, 2, 3]


def test_a_verdict_about_another_market_does_not_count(database: Database, scene: Scene, quant: dict[str, int]) -> None:
    elsewhere = proposal(data={**DATA, "timeframe": "4h"})
    fewer = proposal(data={**DATA, "symbols": ["BTC/USDT:USDT"]})
    with database.transaction() as connection:
        made = promote(connection, scene.quinn, quant["paper"], elsewhere, "paper", NOW)
        assert (made.verdict, made.evidence["verdict_elsewhere"]) == (None, "green")
        for one in (elsewhere, fewer):
            with pytest.raises(NotAllowed, match="the green verdict is about"):
                promote(connection, scene.quinn, quant["live"], one, "live", NOW)
        assert promote(connection, scene.quinn, quant["live"], fewer, "live", NOW, override="same kind").verdict is None


def test_from_paper_to_live_the_verdict_comes_along_and_an_edit_loses_it(
    database: Database, scene: Scene, quant: dict[str, int]
) -> None:
    with database.transaction() as connection:
        with pytest.raises(NotFound, match="defaults"):
            proposal_of(Visible(connection, scene.quinn), quant["paper"])
        promote(connection, scene.quinn, quant["paper"], proposal(), "paper", NOW)
        taken = proposal_of(Visible(connection, scene.quinn), quant["paper"])
        assert promote(connection, scene.quinn, quant["live"], taken, "live", NOW).verdict == "green"
        edited = append_parameters(
            connection, scene.quinn, quant["live"], RSI, {"period": 8}, {}, "slower", NOW, override="I said so"
        )
        assert edited.verdict is None
        back = revert_parameters(connection, scene.quinn, quant["live"], 1, NOW)
    assert (back.version, back.verdict, back.strategy_parameters["period"]) == (3, "green", 7)


def test_a_verdict_found_with_other_sources_does_not_come_back(
    database: Database, scene: Scene, quant: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.transaction() as connection:
        promote(connection, scene.quinn, quant["live"], proposal(), "live", NOW)
        connection.execute(sa.text("UPDATE parameter_versions SET source_hash = :old"), {"old": "0" * 64})
        with pytest.raises(NotAllowed, match="nobody has validated them"):
            revert_parameters(connection, scene.quinn, quant["live"], 1, NOW)
        taken = proposal_of(Visible(connection, scene.quinn), quant["live"])
        assert taken.evidence.verdict is None


def test_the_hash_is_of_all_of_core_and_of_the_one_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = set(deciding_sources(RSI))
    assert {"core/trader.py", "core/risk.py", "core/strategies/__init__.py", f"core/strategies/{RSI}.py"} <= files
    assert not any("trading" in file or "research" in file for file in files)
    before = source_hash(RSI)
    copy = tmp_path / "core"
    for file in sources._CORE.rglob("*.py"):
        place = copy / file.relative_to(sources._CORE)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    monkeypatch.setattr(sources, "_CORE", copy)
    monkeypatch.setattr(sources, "_STRATEGIES", copy / "strategies")
    (copy / "strategies" / "another.py").write_text("A = 1")
    hashes = []
    for text in ("", "# a word more\n"):
        (copy / "risk.py").write_bytes((copy / "risk.py").read_bytes() + text.encode())
        deciding_sources.cache_clear()
        source_hash.cache_clear()
        hashes.append(source_hash(RSI))
    deciding_sources.cache_clear()
    source_hash.cache_clear()
    assert hashes[0] != hashes[1] and len(before) == 64


def test_the_history_says_who_what_when_and_why_in_both_languages(
    database: Database, scene: Scene, quant: dict[str, int]
) -> None:
    account = quant["live"]
    with database.transaction() as connection:
        promote(connection, scene.quinn, account, proposal(), "live", NOW)
        append_parameters(
            connection, SHELL, account, RSI, {"period": 7, "stop_loss": 0.1, "take_profit": 0}, {"risk_per_trade": 0.005},
            "wider stop", NOW + 1, override="tested by hand",
        )  # fmt: skip
        newest, oldest = read_history(Visible(connection, scene.quinn), account)
    assert (oldest.author, oldest.reason, oldest.in_use, oldest.reasons_in("ko")) == (
        "quinn", "promoted to live: verdict green", False, ["이유"],
    )  # fmt: skip
    assert newest.in_use and newest.author.endswith("(cli)") and newest.reason == "wider stop"
    assert newest.difference("en") == ["Stop-loss: 2% → 10%", "Take-profit: 4% → off"]
    assert newest.difference("ko") == ["손절 폭: 2% → 10%", "익절 폭: 4% → 사용 안 함"]
    assert "tested by hand" in newest.grounds("en") and "초록" in oldest.grounds("ko")
    assert "RSI period: 14 → 7" in oldest.difference("en")


def test_without_a_name_the_account_of_that_mode_and_market_is_found(
    database: Database, scene: Scene, quant: dict[str, int]
) -> None:
    with database.transaction() as connection:
        assert find_target(candidates(connection, scene.quinn), "paper", {}).id == quant["paper"]
        wanted = new_account("slow", timeframe="4h")
        slow = create_account(connection, scene.quinn, scene.quinn.user_id or 0, wanted, NOW).id
        assert find_target(candidates(connection, scene.quinn), "paper", {**DATA, "timeframe": "4h"}).id == slow
        with pytest.raises(InputError, match="quinn/paper, quinn/slow"):
            find_target(candidates(connection, scene.quinn), "paper", {**DATA, "timeframe": "1d"})
        with pytest.raises(InputError, match="no live account"):
            find_target(candidates(connection, scene.minsu), "live", DATA)


def test_a_proposal_survives_the_wire(database: Database) -> None:
    sent = proposal()
    assert read_proposal(json.loads(json.dumps(sent.to_plain()))) == sent
    plain = proposal(None)
    assert read_proposal(json.loads(json.dumps(plain.to_plain()))).evidence.verdict is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"strategy": 7}, "strategy"),
        ({"source_hash": None}, "source_hash"),
        ({"source_hash": "g" * 64}, "source_hash"),
        ({"data_hash": "short"}, "data_hash"),
        ({"data": []}, "data"),
        ({"data": {**DATA, "symbols": []}}, "data.symbols"),
        ({"data": {**DATA, "first": "1"}}, "data.first"),
        ({"validation": "green"}, "validation"),
        ({"validation": {"verdict": "gold", "fingerprint": "f" * 64}}, "verdict"),
        ({"validation": {"verdict": "green"}}, "fingerprint"),
        ({"validation": {"verdict": "green", "fingerprint": "f" * 64, "reasons": ["x"] * 99}}, "reasons"),
        ({"strategy_parameters": [1]}, "strategy_parameters"),
        ({"override": "in the wrong place"}, "override"),
    ],
)
def test_a_broken_proposal_is_refused_by_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        read_proposal({**proposal().to_plain(), **changes})
    assert caught.value.field == field
