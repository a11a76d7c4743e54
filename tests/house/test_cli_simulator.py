"""`ctp simulator`: the market it makes, and what it refuses before it listens."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ctp.cli import app
from ctp.cli.simulator import feed_of
from ctp.errors import ConfigError, CtpError, ExchangeDown, ExchangeError
from ctp.simulator.client import ControlClient
from ctp.simulator.control import Control
from ctp.simulator.exchange import SimulatedExchange
from ctp.simulator.settings import SimulatorSettings


def csv(file: Path, *closes: str) -> str:
    """Write one-minute candles with these closes and return the path."""
    rows = [f"{1_600_000_020_000 + i * 60_000},9,30,5,{close},1" for i, close in enumerate(closes)]
    file.write_text("\n".join(["ts,open,high,low,close,volume", *rows]))
    return str(file)


def test_a_recorded_coin_trades_spot_and_perpetual(tmp_path: Path) -> None:
    """One file is enough for both kinds of account."""
    feed = feed_of([csv(tmp_path / "btc.csv", "10", "11"), f"ETH/USDT={csv(tmp_path / 'eth.csv', '7')}"], "1m", 1)
    assert feed.symbols == ("BTC/USDT", "BTC/USDT:USDT", "ETH/USDT", "ETH/USDT:USDT")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--speed", "-1"], "--speed"),
        (["--fills", "magic"], "candle-exact"),
        (["--timeframe", "7m"], "timeframe"),
        (["--candles", "nothing.csv"], "is not there"),
    ],
)
def test_wrong_use_is_refused_before_anything_listens(home: Path, words: list[str], sentence: str) -> None:
    """The sentence names what is wrong."""
    result = CliRunner().invoke(app, ["simulator", "--port", "0", "--control-port", "0", *words])
    assert isinstance(result.exception, CtpError)
    assert sentence in str(result.exception)


def test_a_taken_port_is_one_sentence(home: Path) -> None:
    """The port is named, and the option that chooses another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["simulator", "--port", str(port)])
    assert isinstance(result.exception, ConfigError)
    assert f"port {port} is taken" in str(result.exception)


def test_another_process_can_open_accounts_and_step_the_market(tmp_path: Path) -> None:
    """The control client speaks to the control port, and carries refusals as errors."""

    async def story() -> None:
        exchange = SimulatedExchange(SimulatorSettings(tmp_path, feed_of([], "1m", 1)))
        control = Control(exchange)
        await exchange.start()
        await control.start()
        try:
            client = ControlClient(f"http://127.0.0.1:{control.port}", tmp_path / "simulator-control.token")
            before = await asyncio.to_thread(client.status)
            await asyncio.to_thread(client.add_account, "key", "secret", wallet="500")
            after = await asyncio.to_thread(client.advance, 2)
            assert after["candle"] == before["candle"] + 2 * 60_000
            state = await asyncio.to_thread(client.state, "key")
            assert float(state["usdm"]["account"]["totalWalletBalance"]) == 500
            with pytest.raises(ExchangeError, match="already has an account"):
                await asyncio.to_thread(client.add_account, "key", "secret")
        finally:
            await control.stop()
            await exchange.stop()
        with pytest.raises(ExchangeDown, match="start it"):
            await asyncio.to_thread(client.status)

    asyncio.run(story())


def test_a_simulator_that_never_ran_is_named(tmp_path: Path) -> None:
    """No token file: the sentence says what to start."""
    with pytest.raises(ConfigError, match="ctp simulator"):
        ControlClient("http://127.0.0.1:9444", tmp_path / "none")
