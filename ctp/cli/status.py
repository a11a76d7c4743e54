"""`ctp status`: what every account is doing, in one look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctp.cli.opened import now_ms, opened_database, shell_owner
from ctp.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from ctp.accounts.visible import AccountState, AccountView, Visible

DEFAULT_DAILY_LOSS_LIMIT = 0.03  # of an account that still has the default parameters


def status(
    account: Annotated[str | None, typer.Option(help="One account instead of all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Show state, equity, positions, today's P&L against its limit, the last decision and the services' heartbeats."""
    from ctp.accounts.visible import Visible
    from ctp.storage.leases import read_heartbeats

    with opened_database() as database, database.reading() as connection:
        visible = Visible(connection, shell_owner())
        chosen = visible.accounts() if account is None else [visible.find_account(account)]
        states = visible.states()
        rows = [_facts(visible, each, states.get(each.id)) for each in chosen]
        beats = read_heartbeats(connection)
    ages = {name: round((now_ms() - beat.at) / 1000, 1) for name, beat in sorted(beats.items())}
    if as_json:
        print_json({"accounts": rows, "heartbeat_age_s": ages})
        return
    print_table(
        "",
        ("account", "mode", "state", "equity", "today", "limit", "positions", "last decision"),
        [_row(facts) for facts in rows],
        empty="There is no trading account yet: ctp account add --help",
    )
    for held in (facts for facts in rows if facts["hold"]):
        typer.echo(f"{held['account']}: {held['hold_words']}")
        for line in held["differences"]:
            typer.echo(f"  {line}")
    alive = ", ".join(f"{name} {age:g} s ago" for name, age in ages.items())
    typer.echo(f"Last sign of life: {alive}." if alive else "No service has ever run here: ./run up")


def _facts(visible: Visible, account: AccountView, state: AccountState | None) -> dict[str, Any]:
    """Return what is known about one account; None where the bot has not said anything yet."""
    from ctp.accounts.code_words import read_code_state

    decisions = visible.decisions(account.id, limit=1)
    equity = None if state is None else state.equity
    start = None if state is None else state.day_start_equity
    code = read_code_state(visible, account.id)
    return {
        "account": f"{account.owner}/{account.name}",
        "id": account.id,
        "mode": account.mode,
        "exchange": account.exchange,
        "symbols": account.symbols,
        "status": None if state is None else state.status,
        "status_reason": None if state is None else state.status_reason,
        "hold": code.hold,
        "hold_words": code.words("en") if code.hold else "",
        "differences": code.differences("en"),
        "equity": equity,
        "quote": account.quote,
        "today": equity - start if equity is not None and start else None,
        "today_fraction": equity / start - 1.0 if equity is not None and start else None,
        "daily_loss_limit": _daily_loss_limit(visible, account, state),
        "daily_locked": bool(state and state.daily_locked),
        "drawdown_locked": bool(state and state.drawdown_locked),
        "positions": [] if state is None else state.positions,
        "last_decision": decisions[0] if decisions else None,
        "updated_at": None if state is None else state.updated_at,
    }


def _daily_loss_limit(visible: Visible, account: AccountView, state: AccountState | None) -> float:
    """Return the limit of the parameters in force."""
    for version in visible.parameter_versions(account.id):
        if state is not None and version.version == state.parameter_version:
            return float(version.risk_parameters.get("daily_loss_limit", DEFAULT_DAILY_LOSS_LIMIT))
    return DEFAULT_DAILY_LOSS_LIMIT


def _row(facts: dict[str, Any]) -> tuple[object, ...]:
    """Return one account as a table row."""
    locks = [name for name in ("daily_locked", "drawdown_locked") if facts[name]]
    state = " ".join([facts["status"] or "never started", *([facts["hold"]] if facts["hold"] else []), *locks])
    decision = facts["last_decision"]
    positions = ", ".join(f"{p['symbol']} {p['side']} {p['size']}" for p in facts["positions"])
    return (
        facts["account"],
        "LIVE" if facts["mode"] == "live" else "SIMULATED",
        state,
        None if facts["equity"] is None else f"{facts['equity']:,.2f} {facts['quote']}",
        None if facts["today_fraction"] is None else f"{facts['today_fraction']:+.2%}",
        f"-{facts['daily_loss_limit']:.0%}",
        positions or "flat",
        None if decision is None else f"{decision.symbol} {decision.outcome}: {decision.reason}",
    )
