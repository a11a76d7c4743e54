"""Whether the verdict tells skill from luck, over many markets whose truth is known.

    python -m benchmarks.honesty [--seeds 200] [--candles 10000] [--processes 2] [--only walk,edge]

Each seed is a market of hourly candles with fat tails, clustering volatility and volume that follows the moves; the default
grid is swept over it and its best is validated, without a trial ledger.

walk   a random walk with the usual costs: must be red in at least 95 % of the seeds
free   a random walk that costs nothing to trade: the harder test, because luck alone decides
edge   the same walk with a mean-reverting part of 3 % deviation and eight hours of half-life: must be green
faint  the same with 1.5 %: near the costs, so that the verdict should be neither sure nor wrong

Prints one JSON document: shares of verdicts, and how often each reason had which colour.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

GRID: dict[str, Any] = {
    "period": [7, 10, 14, 21],
    "oversold": [20, 25, 30, 35],
    "overbought": [60, 65, 70, 75],
    "stop_loss": [0.01, 0.02, 0.04],
}
# Nothing is asked of "free": without costs a walk is a fair game, and what is printed is how often luck passes for skill.
WANTED = {"walk": ("red", 0.95), "edge": ("green", 0.95)}


class Scenario(NamedTuple):
    """A kind of market: what is planted, and what a trade costs."""

    planted: float
    fee: float
    slippage: float


SCENARIOS = {
    "walk": Scenario(0.0, 0.001, 0.0002),
    "free": Scenario(0.0, 0.0, 0.0),
    "edge": Scenario(0.03, 0.001, 0.0002),
    "faint": Scenario(0.015, 0.001, 0.0002),
}


def judged(job: tuple[str, int, int]) -> dict[str, Any]:
    """Return verdict, reasons and a few figures for one seed of one scenario."""
    name, seed, candles = job
    import ctp
    from ctp.core.rules import Costs
    from tests.research.markets import market

    scenario = SCENARIOS[name]
    history = market(seed, candles, planted=scenario.planted)
    grid = ctp.sweep(
        candles=history, grid=GRID, costs=Costs(fee=scenario.fee, slippage=scenario.slippage), quiet=True, workers=1
    )
    begin = time.perf_counter()
    found = ctp.validate(grid, quiet=True, workers=1, seed=seed)
    return {
        "verdict": found.verdict,
        "reasons": {reason.name: reason.colour for reason in found.reasons},
        "deflated": found.deflated.probability,
        "forward": found.anchored.total_return,
        "seconds": time.perf_counter() - begin,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--candles", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, separated by commas")
    asked = parser.parse_args()
    # A home without a database: trials of one seed must not count against the next.
    home = Path(tempfile.mkdtemp(prefix="honesty-"))
    cache = Path(os.environ.get("CTP_HOME", Path(__file__).resolve().parent.parent / "var")) / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(cache.absolute())
    os.environ["CTP_HOME"] = str(home)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    judged(("walk", 0, 4_000))  # compiles once, for all processes
    document: dict[str, Any] = {"grid": GRID, "candles": asked.candles, "seeds": asked.seeds, "scenarios": {}}
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        for name in asked.only.split(","):
            begin = time.perf_counter()
            jobs = [(name, seed, asked.candles) for seed in range(1, asked.seeds + 1)]
            found = list(pool.imap(judged, jobs, chunksize=4))
            document["scenarios"][name] = {**summary(name, found), "seconds": round(time.perf_counter() - begin)}
            print(f"{name}: {document['scenarios'][name]['shares']}", file=sys.stderr)
    print(json.dumps(document, indent=2))


def summary(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the shares of one scenario."""
    verdicts = Counter(each["verdict"] for each in found)
    shares = {colour: verdicts[colour] / len(found) for colour in ("green", "amber", "red")}
    names = sorted({reason for each in found for reason in each["reasons"]})
    reasons = {reason: dict(Counter(each["reasons"].get(reason, "none") for each in found)) for reason in names}
    result: dict[str, Any] = {"shares": shares, "reasons": reasons}
    if name in WANTED:
        colour, least = WANTED[name]
        result["wanted"] = {"colour": colour, "at_least": least, "ok": shares[colour] >= least}
    seconds = sorted(each["seconds"] for each in found)
    result["median_seconds"] = round(seconds[len(seconds) // 2], 2)
    return result


if __name__ == "__main__":
    main()
