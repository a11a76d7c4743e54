"""Parity can fail: a changed price, fee, lot or tick rule turns the comparison with the oracle red."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Run in a process of its own, on a copy of ctp; prints the first differences.
PROGRAM = """
import ctp.core.fills
from tests.parity.cases import history_of, random_case
from tests.parity.compare import differences, run_oracle
from tests.parity.engines import run_plain

print(ctp.core.fills.__file__)
for seed in range(600):
    case = random_case(seed, length=150)
    history = history_of(case)
    if wrong := differences(run_plain(case, history), run_oracle(case, history)):
        print("DIFFERENT", seed, *wrong[:3], sep="\\n")
        break
else:
    print("EQUAL")
"""


def outcome_on(folder: Path) -> str:
    """Return what the comparison says about the copy of ctp in a folder."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "CTP_HOME": str(folder / "home")}
    done = subprocess.run([sys.executable, "-P", "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    file, verdict, *rest = done.stdout.splitlines()
    assert Path(file).is_relative_to(folder), "the comparison ran on something else than the copy"
    return "\n".join((verdict, *rest))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with a copy of ctp in it."""
    shutil.copytree(ROOT / "ctp", tmp_path / "ctp", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_an_unchanged_copy_is_equal(copy: Path) -> None:
    assert outcome_on(copy) == "EQUAL"


@pytest.mark.parametrize(
    ("file", "rule", "mutated"),
    [
        ("fills", "return reference * (1.0 + market.slippage)", "return reference * (1.0 + 0.999 * market.slippage)"),
        ("fills", "stop_reference = min(candle.open, stop)", "stop_reference = stop"),
        ("fills", "return market.fee_rate * size * price", "return market.fee_rate * (size * price)"),
        ("fills", "return market.liquidation_fee * size * price", "return taker_fee(market, size, price)"),
        ("steps", "math.floor(lots + FORGIVEN)", "math.floor(lots + 1.0)"),
        ("steps", "math.ceil(ticks", "math.floor(ticks"),
    ],
    ids=["buy price", "stop gapped through", "fee in another order", "liquidation fee", "one lot too many", "tick rounding"],
)
def test_a_mutated_rule_is_seen(copy: Path, file: str, rule: str, mutated: str) -> None:
    source = copy / "ctp" / "core" / f"{file}.py"
    text = source.read_text(encoding="utf-8")
    assert text.count(rule) == 1, "the rule to mutate has moved; name it anew"
    source.write_text(text.replace(rule, mutated), encoding="utf-8")
    assert outcome_on(copy).startswith("DIFFERENT")
