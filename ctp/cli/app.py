"""The root of the command line: the application, its groups, and how errors become exit codes."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from ctp.cli import (
    accounts,
    backup,
    configuration,
    control,
    data,
    database,
    exchange_of_data,
    notices,
    report,
    setup,
    users,
)
from ctp.cli.backtest import backtest
from ctp.cli.doctor import doctor
from ctp.cli.jobs import jobs
from ctp.cli.promote import parameters, promote, revert
from ctp.cli.simulator import simulator
from ctp.cli.status import status
from ctp.cli.strategies import strategies
from ctp.cli.sweep import sweep
from ctp.cli.validate import check, validate
from ctp.cli.why import why
from ctp.config import home_folder
from ctp.errors import ConfigError, CtpError, DataDamaged, InputError, KeyRefused, NotAllowed, NotFound
from ctp.strategy_files import load_strategies

# What was given cannot be used, be it an argument, a file or the home: mend it first. Trying again cannot help.
WRONG_USE = (InputError, NotFound, ConfigError, DataDamaged)
# Nothing is broken and nothing was done: a safety rule says no, or the exchange does about a key.
REFUSED = (NotAllowed, KeyRefused)

app = typer.Typer(
    name="ctp",
    help="Crypto Trader Pro: one strategy in the notebook, the backtest, the live bot and the dashboard.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)


def _print_version(asked: bool) -> None:
    """Print the version and end when it was asked for."""
    if asked:
        typer.echo(f"ctp {version('ctp')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Crypto Trader Pro: one strategy in the notebook, the backtest, the live bot and the dashboard."""
    for one in load_strategies(home_folder()):
        if one.problem:
            typer.echo(f"ctp: warning: {one.problem}", err=True)


app.command(epilog="Example: ctp init --name admin")(setup.init)
app.command(epilog="Example: ctp doctor --json")(doctor)
app.add_typer(users.app, name="user")
app.add_typer(accounts.app, name="account")
app.add_typer(accounts.keys, name="key")
app.command(epilog="Example: ctp start --account rsi --wait 10")(control.start)
app.command(epilog="Example: ctp pause --account rsi")(control.pause)
app.command(epilog="Example: ctp stop --account rsi --close")(control.stop)
app.command("close-all", epilog="Example: ctp close-all --account minsu/rsi --wait 30")(control.close_all)
app.command(epilog="Example: ctp close --account rsi --symbol BTC/USDT:USDT --wait 30")(control.close)
app.command(epilog="Example: ctp unlock --account rsi")(control.unlock)
app.command(epilog="Example: ctp status --json")(status)
app.command(epilog="Example: ctp why --account minsu/rsi --symbol BTC/USDT:USDT --last 5")(why)
app.command(epilog="Example: ctp promote --account rsi --to paper --from validated.json")(promote)
app.command(epilog="Example: ctp revert --account rsi --version 3")(revert)
app.command(epilog="Example: ctp parameters --account minsu/rsi --last 5")(parameters)
app.command(epilog="Example: ctp jobs --json")(jobs)
app.add_typer(notices.app, name="notices")
app.add_typer(data.app, name="data")
app.command(
    epilog="Example: ctp backtest --exchange binance --symbol BTC/USDT --timeframe 1h --set strategy.stop_loss=0.1 --json"
)(backtest)
app.command(
    epilog="Example: ctp sweep --exchange binance --symbol BTC/USDT --timeframe 1h --grid strategy.period=5:41 --by sharpe"
)(sweep)
app.command(epilog="Example: ctp strategies donchian_breakout")(strategies)
app.command(
    epilog="Example: ctp validate --exchange binance --symbol BTC/USDT --timeframe 1h --grid strategy.period=7,14 --language ko"
)(validate)
app.command(epilog="Example: ctp check --exchange binance --symbol BTC/USDT --timeframe 1h --set strategy.period=21")(check)
app.command(epilog="Example: ctp simulator --candles BTC/USDT=btc-1h.parquet --timeframe 1h --speed 3600")(simulator)
app.command(epilog="Example: ctp export minsu minsu.zip --passphrase-stdin")(exchange_of_data.export)
app.command("import", epilog="Example: ctp import minsu.zip --dry-run")(exchange_of_data.import_)
app.add_typer(configuration.app, name="config")
app.add_typer(backup.app, name="backup")
app.command(epilog="Example: ctp restore latest --dry-run")(backup.restore)
app.add_typer(report.app, name="report")
app.add_typer(setup.keys, name="keys")
app.add_typer(database.app, name="db")


def exit_code(error: CtpError) -> int:
    """Return what the shell gets for an expected error."""
    if isinstance(error, WRONG_USE):
        return 2
    return 3 if isinstance(error, REFUSED) else 1


def main() -> None:
    """Run the command line; an expected error is one sentence on stderr and its exit code."""
    try:
        app(prog_name="ctp")
    except CtpError as error:
        typer.echo(f"ctp: {error}", err=True)
        sys.exit(exit_code(error))
