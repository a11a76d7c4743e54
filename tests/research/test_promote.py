"""`ctp.promote` from a notebook: what it says about a result, and how it asks the gateway where it may not write itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import ctp
from ctp.accounts.promotion import Proposal, read_proposal
from ctp.accounts.sources import source_hash
from ctp.errors import InputError
from ctp.research.promote import _promote_there, propose

CARDS = [
    {"id": 4, "name": "try", "owner": None, "mode": "paper", "symbols": ["BTC/USDT"], "timeframe": "1h"},
    {"id": 5, "name": "slow", "owner": None, "mode": "paper", "symbols": ["BTC/USDT"], "timeframe": "4h"},
    {"id": 6, "name": "try", "owner": "alice", "mode": "paper", "symbols": ["ETH/USDT"], "timeframe": "1h"},
]


class Gateway:
    """A gateway that writes down what it is asked."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def get(self, path: str) -> Any:
        """Tell who asks, and their accounts."""
        return {"name": "quinn"} if path == "/me" else {"accounts": CARDS}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Take a promotion."""
        self.asked.append((path, body))
        said = read_proposal(body["promotion"])
        return {
            "version": 3, "verdict": None, "override": body["override"], "reason": body["reason"],
            "source_hash": said.source_hash, "data_hash": said.evidence.data_hash,
        }  # fmt: skip


@dataclasses.dataclass
class Verdict:
    """A validation of some parameters."""

    strategy: Any
    risk: Any
    verdict: str = "amber"


@pytest.fixture(scope="module")
def result() -> Any:
    """Return a backtest on generated candles."""
    candles = ctp.example_candles("BTC/USDT", "1h", 2_000)
    return ctp.backtest(ctp.RsiMeanReversion(period=9), None, candles, costs=ctp.costs("binance"))


def test_a_result_says_what_it_was_measured_upon(result: Any) -> None:
    found = propose(result)
    data = found.evidence.details["data"]
    assert (found.strategy, found.strategy_parameters["period"]) == ("rsi_mean_reversion", 9)
    assert found.source_hash == source_hash("rsi_mean_reversion")
    assert (data["symbols"], data["timeframe"], data["exchange"]) == (["BTC/USDT"], "1h", "generated")
    assert found.evidence.verdict is None and "numba" in found.evidence.details["made_with"]
    other = ctp.backtest(result.strategy, None, ctp.example_candles("BTC/USDT", "1h", 2_000, seed=2), costs=ctp.costs("binance"))
    assert propose(other).evidence.data_hash != found.evidence.data_hash
    assert propose(result).evidence.data_hash == found.evidence.data_hash


def test_a_verdict_about_other_parameters_is_refused(result: Any) -> None:
    with pytest.raises(InputError, match="about other parameters"):
        propose(result, Verdict(ctp.RsiMeanReversion(period=8), result.risk))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must be a backtest, a sweep or a validation"):
        propose({"period": 9})


def test_apart_from_the_services_the_gateway_is_asked(result: Any) -> None:
    gateway, said = Gateway(), propose(result)
    made = ask(gateway, said, None)
    assert (made.account, made.version) == ("quinn/try", 3)
    path, body = gateway.asked[0]
    assert (path, body["to"], body["reason"]) == ("/accounts/4/promotions", "paper", "tried")
    assert read_proposal(body["promotion"]) == said
    assert ask(gateway, said, "slow").account_id == ask(gateway, said, 5).account_id == 5
    assert ask(gateway, said, "alice/try").account_id == 6
    with pytest.raises(InputError, match="quinn/try, alice/try"):
        ask(gateway, said, "try")
    with pytest.raises(InputError, match="say which of your accounts"):
        ask(gateway, said, "none")


def ask(gateway: Gateway, said: Proposal, account: str | int | None) -> Any:
    """Promote through a gateway."""
    return _promote_there(gateway, said, "paper", account, "", "tried")  # type: ignore[arg-type]
