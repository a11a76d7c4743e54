"""A sweep that was stopped goes on where it stopped; another sweep's results are never touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ctp
from ctp.errors import InputError
from ctp.market.candles import Candles
from tests.research.conftest import generated_candles

ROOT = Path(__file__).resolve().parents[2]
AXES: dict[str, Any] = {
    "period": [5, 7, 9, 14], "oversold": [30, 40], "stop_loss": [0.01, 0.02], "on_daily_loss": ["lock", "close"],
}  # fmt: skip

# Sweeps in a process of its own, and stands still once half is done: what is written then is what a kill leaves.
HALF = """
import signal, sys
import ctp
from ctp.research import sweep_store
from tests.research.conftest import generated_candles
from tests.research.test_sweep_store import AXES

sweep_store.EACH_S = float(sys.argv[2])
added, add = 0, sweep_store.SweepStore.add

def add_half(self, numbers, *rest):
    global added
    add(self, numbers, *rest)
    added += len(numbers)
    if added >= 16:
        print("half", flush=True)
        signal.pause()

sweep_store.SweepStore.add = add_half
ctp.sweep(candles=generated_candles(), store=sys.argv[1], workers=1, quiet=True, **AXES)
"""


def test_a_second_run_takes_everything_from_disk(candles: Candles, tmp_path: Path) -> None:
    folder = tmp_path / "sweep.parquet"
    first = ctp.sweep(candles=candles, quiet=True, store=folder, **AXES)
    files = sorted(folder.iterdir())
    again = ctp.sweep(candles=candles, quiet=True, store=folder, **AXES)
    pd.testing.assert_frame_equal(again.table, first.table, check_exact=True)
    assert again.engines.tolist() == first.engines.tolist()
    assert sorted(folder.iterdir()) == files, "nothing was left to do, yet something was written"
    kept = pd.read_parquet(folder).sort_values("number")
    assert kept["number"].tolist() == list(range(32)) and kept["oversold"].tolist() == first.table["oversold"].tolist()


@pytest.mark.parametrize(
    ("sent", "each_s"), [(signal.SIGINT, "3600"), (signal.SIGKILL, "0")], ids=["interrupted", "killed"]
)
def test_a_sweep_stopped_at_half_goes_on_to_the_same_table(
    candles: Candles, tmp_path: Path, sent: signal.Signals, each_s: str
) -> None:
    folder = tmp_path / "kept"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", HALF, str(folder), each_s], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half\n"
        child.send_signal(sent)
        assert child.wait(120) != 0
    half = len(pd.read_parquet(folder))
    assert 16 <= half < 32
    resumed = ctp.sweep(candles=candles, quiet=True, store=folder, **AXES)
    pd.testing.assert_frame_equal(resumed.table, ctp.sweep(candles=candles, quiet=True, **AXES).table, check_exact=True)
    assert sorted(pd.read_parquet(folder)["number"]) == list(range(32)), "a combination was done twice, or not at all"


def test_another_sweep_is_refused_in_one_sentence_and_nothing_is_overwritten(candles: Candles, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    ctp.sweep(candles=candles, quiet=True, store=folder, **AXES)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    other: list[dict[str, Any]] = [
        {"candles": candles, **AXES, "period": [5, 7, 9]},
        {"candles": generated_candles(seed=2), **AXES},
        {"candles": candles, "costs": ctp.costs("binance", fee=0.002), **AXES},
        {"candles": candles, "strategy": ctp.RsiMeanReversion(take_profit=0.05), **AXES},
        {"candles": candles, "equity": 5_000.0, **AXES},
    ]
    for asked in other:
        with pytest.raises(InputError, match="holds another sweep"):
            ctp.sweep(quiet=True, store=folder, **asked)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_folder_with_other_files_is_refused(candles: Candles, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds no sweep"):
        ctp.sweep(candles=candles, quiet=True, store=tmp_path, period=[7])
    with pytest.raises(InputError, match="holds no sweep"):
        ctp.sweep(candles=candles, quiet=True, store=tmp_path / "letter.txt", period=[7])
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


def test_what_a_killed_write_left_is_passed_over(candles: Candles, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    first = ctp.sweep(candles=candles, quiet=True, store=folder, **AXES)
    (folder / ".part-000009.parquet.77").write_bytes(b"PAR1 half")
    pd.testing.assert_frame_equal(ctp.sweep(candles=candles, quiet=True, store=folder, **AXES).table, first.table)


def test_a_search_that_was_stopped_asks_the_same_again(candles: Candles, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "candles": candles, "quiet": True, "search": "tpe", "trials": 70, "seed": 3, "period": range(5, 60),
        "oversold": ctp.between(10, 45), "store": tmp_path / "kept",
    }  # fmt: skip
    first = ctp.sweep(**asked)
    parts = sorted((tmp_path / "kept").glob("part-*"))
    kept = pd.concat([pd.read_parquet(file) for file in parts])
    for file in parts:
        file.unlink()
    kept[kept["number"] < 40].to_parquet(parts[0])
    pd.testing.assert_frame_equal(ctp.sweep(**asked).table, first.table, check_exact=True)
