"""`ctp.promote`: from a notebook's result to an account, without rewriting a line.

On one's own machine it writes to the database; in a JupyterLab that runs apart from the services it asks the gateway with the
person's token. Both ways end in `ctp.accounts.promotion`, which authorises.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from ctp.accounts.promotion import Candidate, Proposal, find_target
from ctp.accounts.promotion import promote as promote_account
from ctp.accounts.rights import machine
from ctp.accounts.sources import made_with, source_hash
from ctp.accounts.trading_accounts import Evidence
from ctp.accounts.visible import Visible
from ctp.api_client import Client, lab_client
from ctp.config import load_settings
from ctp.core.parameters import ParameterSet
from ctp.core.risk import DynamicRiskManager
from ctp.core.strategies import of_parameters
from ctp.errors import InputError
from ctp.i18n import LANGUAGES
from ctp.research.provenance import data_hash
from ctp.research.result import BacktestResult
from ctp.storage.database import Database


class Validated(Protocol):
    """What a promotion needs to know of a validation (`ctp.validate`)."""

    verdict: str
    fingerprint: str
    data_hash: str
    strategy: ParameterSet
    risk: DynamicRiskManager
    symbols: Sequence[str]
    timeframe: str
    exchange: str
    start: int
    end: int

    @property
    def strongest(self) -> Sequence[Any]:
        """Return the strongest reasons, which say themselves in words."""


class Promotion(NamedTuple):
    """What came of a promotion."""

    account: str
    account_id: int
    mode: str
    version: int
    verdict: str | None
    override: str
    reason: str
    source_hash: str
    data_hash: str | None

    def __str__(self) -> str:
        """Say it in a sentence."""
        mode = "LIVE" if self.mode == "live" else "SIMULATED"
        grounds = f"verdict {self.verdict}" if self.verdict else "not validated"
        if self.override:
            grounds += f", override: {self.override}"
        return f"[{mode}] {self.account} takes version {self.version} at its next decision ({grounds})"


def promote(
    result: Any,
    to: str = "paper",
    *,
    account: str | int | None = None,
    validation: Validated | None = None,
    override: str = "",
    reason: str = "",
) -> Promotion:
    """Make a result's parameters those of an account, pinned to code, parameters, data and verdict.

    result: a backtest, `grid.best`, a sweep (its best) or a validation. to: "paper" or "live", the account's own mode.
    account: name, number or user/name; may be left out when only one fits. validation: of exactly these parameters; without
    one they may go to paper. override: why a live account may take them without a green verdict; logged with its author.
    Raises NotAllowed when the verdict, the sources or the person's rights forbid it, InputError, NotFound.
    """
    proposal = propose(result, validation)
    client = lab_client()
    if client is None:
        return _promote_here(proposal, to, account, override, reason)
    return _promote_there(client, proposal, to, account, override, reason)


def _promote_here(proposal: Proposal, to: str, account: str | int | None, override: str, reason: str) -> Promotion:
    """Promote on a machine of one's own: whoever may write its database owns what is in it."""
    with _opened() as database, database.transaction() as connection:
        actor = machine("cli")
        visible = Visible(connection, actor)
        seen = {one.id: one for one in visible.accounts()}
        if account is None:
            candidates = [
                Candidate(one.id, f"{one.owner}/{one.name}", one.mode, one.symbols, one.timeframe) for one in seen.values()
            ]
            found = seen[find_target(candidates, to, proposal.evidence.details.get("data", {})).id]
        else:
            found = visible.find_account(str(account))
        now_ms = time.time_ns() // 1_000_000
        made = promote_account(connection, actor, found.id, proposal, to, now_ms, reason=reason, override=override)
    return _said(f"{found.owner}/{found.name}", found.id, to, made._asdict())


def _promote_there(
    client: Client, proposal: Proposal, to: str, account: str | int | None, override: str, reason: str
) -> Promotion:
    """Ask the gateway to promote, with the rights of the person whose notebook this is."""
    own = client.get("/me")["name"]
    candidates = [
        Candidate(card["id"], f"{card['owner'] or own}/{card['name']}", card["mode"], card["symbols"], card["timeframe"])
        for card in client.get("/accounts")["accounts"]
    ]
    if account is None:
        found = find_target(candidates, to, proposal.evidence.details.get("data", {}))
    else:
        named = [one for one in candidates if str(account) in (str(one.id), one.label, one.label.partition("/")[2])]
        if len(named) != 1:
            labels = ", ".join(one.label for one in (named or candidates)) or "none"
            raise InputError("account", account, f"say which of your accounts: {labels}")
        found = named[0]
    body = {"to": to, "promotion": proposal.to_plain(), "override": override, "reason": reason}
    made = client.post(f"/accounts/{found.id}/promotions", body)
    return _said(found.label, found.id, to, made)


def _said(account: str, account_id: int, mode: str, made: Mapping[str, Any]) -> Promotion:
    """Return what came of a promotion."""
    names = ("version", "verdict", "override", "reason", "source_hash", "data_hash")
    return Promotion(account, account_id, mode, *(made[name] for name in names))


def propose(result: Any, validation: Validated | None = None) -> Proposal:
    """Return what a result proposes, with the evidence that is there. Raises InputError."""
    if hasattr(result, "verdict"):
        validation = result
    if validation is not None and result is validation:
        strategy, risk = validation.strategy, validation.risk
    else:
        run = getattr(result, "best", result)
        if not isinstance(run, BacktestResult):
            raise InputError("result", type(result).__name__, "must be a backtest, a sweep or a validation")
        strategy, risk = run.strategy, run.risk
    name = of_parameters(strategy).name
    details: dict[str, Any] = {"made_with": made_with()}
    if validation is None:
        details["data"] = _data_of(run)
        evidence = Evidence(data_hash(run.candles, run.columns, run.markets, run.start_equity), details=details)
    else:
        if (validation.strategy, validation.risk) != (strategy, risk):
            raise InputError("validation", validation.verdict, "is about other parameters than those promoted")
        details["data"] = _market(
            validation.exchange, validation.symbols, validation.timeframe, validation.start, validation.end
        )
        details["reasons"] = [{language: one.words(language) for language in LANGUAGES} for one in validation.strongest]
        evidence = Evidence(validation.data_hash, validation.verdict, validation.fingerprint, details)
    return Proposal(name, strategy.to_dict(), risk.to_dict(), source_hash(name), evidence)


def _data_of(run: BacktestResult) -> dict[str, Any]:
    """Return what a backtest ran on."""
    first, candles = run.candles[0], run.candles
    start, end = min(int(each.time[0]) for each in candles), max(int(each.time[-1]) for each in candles)
    return _market(first.exchange, [each.symbol for each in candles], first.timeframe, start, end)


def _market(exchange: str, symbols: Sequence[str], timeframe: str, first: int, last: int) -> dict[str, Any]:
    """Return what parameters were found on, for people and for the account's own market to be held against."""
    return {"exchange": exchange, "symbols": list(symbols), "timeframe": timeframe, "first": first, "last": last}


@contextmanager
def _opened() -> Iterator[Database]:
    """Yield the database of this home. Raises ConfigError saying what to run when there is none."""
    database = Database(load_settings().database_url)
    try:
        database.check()
        yield database
    finally:
        database.close()
