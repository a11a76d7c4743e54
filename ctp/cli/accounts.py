"""`ctp account` and `ctp key`: trading accounts, who shares them, and their exchange keys."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctp.cli.opened import now_ms, opened_database, shell_owner
from ctp.cli.output import Json, print_json, print_table
from ctp.config import Settings, load_settings
from ctp.errors import ConfigError, InputError

if TYPE_CHECKING:
    from ctp.simulator.client import ControlClient

app = typer.Typer(help="Trading accounts: capital, symbols, mode; who shares them.", no_args_is_help=True)
keys = typer.Typer(help="Exchange keys: entered here, never shown again.", no_args_is_help=True)

AccountOption = Annotated[str, typer.Option("--account", help="Name, number, or user/name when names repeat.")]
PAPER_WALLET = Decimal(10_000)


@app.command(
    epilog='Example: ctp account add rsi --user minsu --exchange binanceusdm --mode paper --symbols "BTC/USDT:USDT"'
    " --timeframe 1h"
)
def add(
    name: Annotated[str, typer.Argument(help="How its owner calls it.")],
    user: Annotated[str, typer.Option(help="Who owns it.")],
    exchange: Annotated[str, typer.Option(help="binanceusdm, binance, bybit, okx, upbit or bithumb.")],
    mode: Annotated[str, typer.Option(help="paper (simulated money) or live (real money); never changes.")],
    symbols: Annotated[str, typer.Option(help="Separated by commas; all spot or all perpetual.")],
    timeframe: Annotated[str, typer.Option(help="1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d.")],
    capital: Annotated[str | None, typer.Option(help="Allotted quote money; else the balance at its first start.")] = None,
    as_json: Json = False,
) -> None:
    """Make a trading account; a paper one gets its money and its key from the simulated exchange at once."""
    from ctp.accounts.trading_accounts import NewAccount, create_account
    from ctp.accounts.users import find_user

    settings = load_settings()
    allotted = None if capital is None else _money("capital", capital)
    named = tuple(symbol.strip() for symbol in symbols.split(",") if symbol.strip())
    wanted = NewAccount(name, exchange, mode, named, timeframe, allotted)
    with opened_database() as database:
        paper = paper_control(settings, exchange) if mode == "paper" else None
        listed = None if paper is None else paper.status()["prices"].keys()
        with database.transaction() as connection:
            owner = find_user(connection, user)
            account = create_account(connection, shell_owner(), owner.id, wanted, now_ms(), listed=listed)
            if paper is not None:
                _open_paper_account(connection, settings, paper, account.id, allotted or PAPER_WALLET)
    if as_json:
        print_json(account)
        return
    typer.echo(f"{account.owner}/{account.name} trades {', '.join(account.symbols)} on {account.exchange}, {account.mode}.")
    if paper is None:
        typer.echo(f"Enter its exchange key next: ctp key add --account {account.name} --stdin")
    else:
        typer.echo(f"Start it: ctp start --account {account.name}")


@app.command("list", epilog="Example: ctp account list")
def list_(as_json: Json = False) -> None:
    """List the accounts of everybody."""
    from ctp.accounts.visible import Visible

    with opened_database() as database, database.reading() as connection:
        accounts = Visible(connection, shell_owner()).accounts()
    if as_json:
        print_json(accounts)
        return
    print_table(
        "",
        ("id", "owner", "account", "exchange", "mode", "symbols", "timeframe"),
        [(a.id, a.owner, a.name, a.exchange, a.mode.upper(), " ".join(a.symbols), a.timeframe) for a in accounts],
        empty="There is no trading account yet: ctp account add --help",
    )


@app.command(epilog="Example: ctp account share rsi --with alice --as viewer")
def share(
    account: Annotated[str, typer.Argument(help="Name, number, or user/name.")],
    guest: Annotated[str, typer.Option("--with", help="Whom to let in.")],
    role: Annotated[str, typer.Option("--as", help="viewer sees it; trader may also command it.")],
    as_json: Json = False,
) -> None:
    """Let another person see an account, or command it too."""
    from ctp.accounts.trading_accounts import share_account
    from ctp.accounts.users import find_user
    from ctp.accounts.visible import Visible

    with opened_database() as database, database.transaction() as connection:
        found = Visible(connection, shell_owner()).find_account(account)
        person = find_user(connection, guest)
        share_account(connection, shell_owner(), found.id, person.id, role, now_ms())
    if as_json:
        print_json({"account": found.name, "with": person.name, "as": role})
    else:
        typer.echo(f"{found.owner}/{found.name} is shared with {person.name} as {role}.")


@keys.command("add", epilog="Example: ctp key add --account rsi --stdin < key.json")
def add_key(
    account: AccountOption,
    stdin: Annotated[bool, typer.Option("--stdin", help='Read {"apiKey": "…", "secret": "…"} from standard input.')] = False,
    as_json: Json = False,
) -> None:
    """Keep an account's exchange key encrypted; only the bot opens it. A key that may withdraw is refused."""
    from ctp.accounts.vault import ExchangeKey, Vault
    from ctp.accounts.visible import Visible
    from ctp.trading.key_rights import read_key_rights

    if not stdin:
        raise InputError("--stdin", False, "is the only way in: a key typed as an argument would stay in the shell's history")
    given = _key_document(sys.stdin.read())
    key = ExchangeKey(given["apiKey"], given["secret"], given.get("passphrase", ""))
    settings = load_settings()
    with opened_database() as database:
        with database.reading() as connection:
            found = Visible(connection, shell_owner()).find_account(account)
            Vault(settings.keys).check(connection)  # before the key is shown to anybody
        rights = asyncio.run(read_key_rights(settings, found.exchange, found.mode, key))
        with database.transaction() as connection:
            Vault(settings.keys).store(connection, shell_owner(), found.id, key, rights, now_ms())
    if as_json:
        print_json({"account": found.name, "stored": True, "may_withdraw": rights.may_withdraw})
        return
    typer.echo(f"The key of {found.owner}/{found.name} is stored encrypted.")
    if rights.may_withdraw is None:
        typer.echo(f"{found.exchange} could not be asked what it may do; the bot asks before it trades.", err=True)


def paper_control(settings: Settings, exchange: str) -> ControlClient:
    """Return the control port of the simulated exchange that paper accounts trade on."""
    from ctp.simulator.client import ControlClient

    endpoint = settings.paper.endpoint(exchange)
    if not endpoint.control_url or endpoint.control_token_file is None:
        raise ConfigError("paper accounts trade on the simulated exchange, and none has run here: ctp simulator")
    return ControlClient(endpoint.control_url, endpoint.control_token_file)


def _open_paper_account(
    connection: Any, settings: Settings, paper: ControlClient, account_id: int, wallet: Decimal
) -> None:
    """Keep a key for the account, then open it on the simulated exchange: what is refused here never reaches there."""
    from ctp.accounts.vault import ExchangeKey, KeyPermissions, Vault

    key, secret = f"paper-{secrets.token_hex(16)}", secrets.token_hex(32)
    rights = KeyPermissions(may_trade=True, may_withdraw=False, is_bound_to_address=True)
    Vault(settings.keys).store(connection, shell_owner(), account_id, ExchangeKey(key, secret), rights, now_ms())
    paper.add_account(key, secret, wallet=str(wallet), spot={"USDT": str(wallet)})


def _key_document(text: str) -> dict[str, str]:
    """Return the key in a JSON document; the messages never repeat any of it."""
    try:
        document = json.loads(text)
    except ValueError:
        raise InputError("stdin", "***", 'must be one JSON object {"apiKey": "…", "secret": "…"}') from None
    if not isinstance(document, dict) or not all(isinstance(document.get(name), str) for name in ("apiKey", "secret")):
        raise InputError("stdin", "***", 'must hold the texts "apiKey" and "secret"')
    return document


def _money(field: str, value: str) -> Decimal:
    """Return an amount of money."""
    try:
        return Decimal(value)
    except InvalidOperation:
        raise InputError(field, value, "must be a number") from None
