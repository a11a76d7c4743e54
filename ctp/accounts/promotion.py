"""Promotion: what a notebook found becomes an account's parameters, pinned to what it was found with.

Whoever asks, from a notebook through the API or on this machine through the command line, ends here: one authorisation.

Invariants:
1. A promotion is made with the very sources that decide here; one made with others is refused, whatever the mode.
2. A verdict counts only for exactly the parameters, symbols and timeframe it is about.
3. What is proposed twice in a row is one version: an answer that got lost may be asked for again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ctp.accounts.live_door import GREEN, LIVE, VERDICTS
from ctp.accounts.rights import Actor, require
from ctp.accounts.sources import source_hash
from ctp.accounts.trading_accounts import MODES, NO_EVIDENCE, Evidence, append_parameters, check_parameters
from ctp.accounts.visible import AccountView, ParameterVersion, Visible
from ctp.errors import InputError, NotAllowed, NotFound

_HASH = re.compile(r"[0-9a-f]{64}")
_MOST_REASONS, _LONGEST_REASON, _MOST_SYMBOLS = 10, 500, 50
_FIELDS = ("strategy", "strategy_parameters", "risk_parameters", "source_hash", "data_hash", "data", "validation", "made_with")


class Proposal(NamedTuple):
    """Parameters with what speaks for them.

    evidence.details: `data` (exchange, symbols, timeframe, first, last), `reasons` (of the verdict, in words),
    `made_with` (versions).
    """

    strategy: str
    strategy_parameters: Mapping[str, Any]
    risk_parameters: Mapping[str, Any]
    source_hash: str
    evidence: Evidence = NO_EVIDENCE

    def to_plain(self) -> dict[str, Any]:
        """Return the proposal as the API takes it."""
        evidence, details = self.evidence, self.evidence.details
        validation = None
        if evidence.verdict is not None:
            validation = {
                "verdict": evidence.verdict,
                "fingerprint": evidence.fingerprint,
                "reasons": details.get("reasons", []),
            }
        return {
            "strategy": self.strategy,
            "strategy_parameters": dict(self.strategy_parameters),
            "risk_parameters": dict(self.risk_parameters),
            "source_hash": self.source_hash,
            "data_hash": evidence.data_hash,
            "data": details.get("data"),
            "validation": validation,
            "made_with": details.get("made_with", {}),
        }


class Candidate(NamedTuple):
    """An account that parameters may go to, as far as finding it needs."""

    id: int
    label: str  # owner/name
    mode: str
    symbols: Sequence[str]
    timeframe: str


def read_proposal(plain: Mapping[str, Any]) -> Proposal:
    """Return the proposal that a JSON object holds. Raises InputError naming the field, the value and the bound."""
    for name in plain:
        if name not in _FIELDS:
            raise InputError(name, "…", "unknown; a promotion has " + ", ".join(_FIELDS))
    strategy = plain.get("strategy")
    if not isinstance(strategy, str):
        raise InputError("strategy", strategy, "must be a registry name")
    validation = _object(plain, "validation")
    details: dict[str, Any] = {}
    data = _object(plain, "data")
    if data:
        details["data"] = _data(data)
    reasons = validation.get("reasons", [])
    if not isinstance(reasons, list) or len(reasons) > _MOST_REASONS:
        raise InputError("reasons", "…", f"must be a list of at most {_MOST_REASONS}")
    if reasons:
        details["reasons"] = [_reason(one) for one in reasons]
    made_with = _object(plain, "made_with")
    if made_with:
        details["made_with"] = {str(name)[:32]: str(value)[:64] for name, value in list(made_with.items())[:10]}
    verdict = validation.get("verdict")
    if verdict is not None and verdict not in VERDICTS:
        raise InputError("verdict", verdict, "must be one of " + ", ".join(VERDICTS))
    fingerprint = _hash("fingerprint", validation.get("fingerprint"), needed=verdict is not None)
    found = _hash("source_hash", plain.get("source_hash"), needed=True)
    assert found is not None
    evidence = Evidence(_hash("data_hash", plain.get("data_hash")), verdict, fingerprint, details)
    return Proposal(
        strategy, _object(plain, "strategy_parameters"), _object(plain, "risk_parameters"), found, evidence
    )


def promote(
    connection: sa.Connection,
    actor: Actor,
    account_id: int,
    proposal: Proposal,
    to: str,
    now_ms: int,
    *,
    reason: str = "",
    override: str = "",
) -> ParameterVersion:
    """Make proposed parameters the newest version of an account.

    to: the account's mode, said aloud so that nobody promotes to real money by a wrong number. override: why a live account
    may take them without a green verdict. Raises NotFound, NotAllowed (right, sources, verdict) or InputError.
    """
    require(actor, "research")
    visible = Visible(connection, actor)
    account = visible.for_action("edit_parameters", account_id)
    if account.closed_at is not None:
        raise NotAllowed(f"account {account.name} is closed")
    if to not in MODES:
        raise InputError("to", to, "must be paper or live")
    if to != account.mode:
        raise InputError("to", to, f"account {account.owner}/{account.name} is {account.mode}, and its mode never changes")
    here = source_hash(proposal.strategy)
    if proposal.source_hash != here:
        raise NotAllowed(
            f"these parameters were found with other sources ({proposal.source_hash[:12]}) than decide here ({here[:12]});"
            " restart the notebook's kernel, or bring both to the same version, and run it again"
        )
    evidence = _that_speaks_for(account, proposal.evidence, override)
    strategy, risk = check_parameters(account, proposal.strategy, proposal.strategy_parameters, proposal.risk_parameters)
    wanted = (
        proposal.strategy, strategy.to_dict(), risk.to_dict(), here,
        evidence.data_hash, evidence.verdict, evidence.fingerprint, override.strip()[:256], actor.user_id,
    )  # fmt: skip
    newest = visible.parameter_versions(account_id, limit=1)
    if newest and wanted == _said(newest[0]):
        return newest[0]
    found = f"verdict {evidence.verdict}" if evidence.verdict else "not validated"
    return append_parameters(
        connection,
        actor,
        account_id,
        proposal.strategy,
        proposal.strategy_parameters,
        proposal.risk_parameters,
        reason.strip() or f"promoted to {to}: {found}",
        now_ms,
        evidence=evidence,
        override=override,
    )


def proposal_of(visible: Visible, account_id: int) -> Proposal:
    """Return what an account trades with as a proposal: for the way from paper to live, and to accept other sources.

    Its verdict comes along as long as the sources are the same as when it was found. Raises NotFound when the account has
    the defaults, which nobody proposed.
    """
    newest = visible.parameter_versions(account_id, limit=1)
    if not newest:
        raise NotFound(f"account {account_id} trades with the defaults; there is nothing to promote")
    one = newest[0]
    here = source_hash(one.strategy)
    evidence = NO_EVIDENCE
    if one.source_hash == here:
        evidence = Evidence(one.data_hash, one.verdict, one.fingerprint, one.evidence)
    return Proposal(one.strategy, one.strategy_parameters, one.risk_parameters, here, evidence)


def find_target(candidates: Sequence[Candidate], to: str, data: Mapping[str, Any]) -> Candidate:
    """Return the one account that is meant when none is named: of that mode, and if several are, of the data's market.

    Raises InputError naming those there are.
    """
    there = [one for one in candidates if one.mode == to]
    chosen = there if len(there) == 1 else [one for one in there if not _differs(one, data)]
    if len(chosen) == 1:
        return chosen[0]
    if not there:
        raise InputError("account", None, f"there is no {to} account to promote to; make one: ctp account add --help")
    named = ", ".join(one.label for one in (chosen or there))
    raise InputError("account", None, f"say which of your {to} accounts: {named}")


def _that_speaks_for(account: AccountView, evidence: Evidence, override: str) -> Evidence:
    """Return the evidence, without a good verdict when that is about another market than the account's."""
    difference = _differs(account, evidence.details.get("data") or {})
    if not difference or evidence.verdict is None or evidence.verdict == "red":
        return evidence
    if account.mode == LIVE and evidence.verdict == GREEN and not override.strip():
        raise NotAllowed(
            f'the green verdict is about {difference}; validate on what the account trades, or say why it may: --override "..."'
        )
    details = {**evidence.details, "verdict_elsewhere": evidence.verdict}
    return Evidence(evidence.data_hash, None, evidence.fingerprint, details)


def _differs(account: AccountView | Candidate, data: Mapping[str, Any]) -> str:
    """Return in what the data is of another market than the account's; empty when it is the same or not known."""
    if not data:
        return ""
    if data.get("timeframe") != account.timeframe:
        return f"{data.get('timeframe')} candles, the account trades {account.timeframe}"
    missing = set(account.symbols) - set(data.get("symbols", ()))
    return f"{', '.join(data.get('symbols', ()))}, the account also trades {', '.join(sorted(missing))}" if missing else ""


def _said(version: ParameterVersion) -> tuple[object, ...]:
    """Return what makes a version the answer to a proposal that is asked again."""
    return (
        version.strategy, version.strategy_parameters, version.risk_parameters, version.source_hash,
        version.data_hash, version.verdict, version.fingerprint, version.override, version.author_id,
    )  # fmt: skip


def _object(plain: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a JSON object of a proposal; one that is missing is empty."""
    found = plain.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError(name, "…", "must be an object")
    return found


def _hash(name: str, given: object, *, needed: bool = False) -> str | None:
    """Return a SHA-256 in hexadecimal digits."""
    if given is None and not needed:
        return None
    if not isinstance(given, str) or not _HASH.fullmatch(given):
        raise InputError(name, str(given)[:80], "must be 64 hexadecimal digits")
    return given


def _data(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the parameters were found on, checked."""
    symbols = given.get("symbols")
    if not isinstance(symbols, list) or not 1 <= len(symbols) <= _MOST_SYMBOLS:
        raise InputError("data.symbols", "…", f"must be 1 to {_MOST_SYMBOLS} symbols")
    times = {}
    for name in ("first", "last"):
        value = given.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
            raise InputError(f"data.{name}", str(value)[:40], "must be milliseconds")
        times[name] = value
    words = {name: str(given.get(name, ""))[:16] for name in ("exchange", "timeframe")}
    return {**words, "symbols": [str(one)[:48] for one in symbols], **times}


def _reason(given: object) -> str | dict[str, str]:
    """Return one of a verdict's reasons: words, or words by language."""
    if isinstance(given, dict):
        return {name: str(given[name])[:_LONGEST_REASON] for name in ("en", "ko") if name in given}
    return str(given)[:_LONGEST_REASON]

