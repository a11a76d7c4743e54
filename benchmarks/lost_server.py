"""A hundred servers that are lost while they trade, and come back from one of their backups.

    python -m benchmarks.lost_server [--seeds 100] [--first 100] [--json]

Each story has a seed: a bot trades on the simulated exchange (perpetuals and spot in turn), a full and five incremental
backups are made meanwhile, the server is gone while the exchange goes on, a random one of the six is restored in an empty
folder, the bot comes up paused, reconciles, decides again what it had decided, and trades on after Start. Then database and
exchange must agree: no order twice, no position without its stop, no trade missing. About four seconds each.
Exit code 1 when one story does not end so; its seed is named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from ctp.logs import start_logging
from tests.backup.restored_bot import lose_and_restore


def main() -> None:
    """Tell every story and print what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="Print every story, not their sum.")
    arguments = parser.parse_args()
    start_logging("benchmark", None, console=False, level="CRITICAL")
    started = time.monotonic()
    stories: list[dict[str, Any]] = []
    failed: dict[int, str] = {}
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        with tempfile.TemporaryDirectory(prefix="ctp-lost-") as folder:
            try:
                stories.append(asyncio.run(lose_and_restore(Path(folder), seed, "usdm" if seed % 2 else "spot")))
            except Exception:  # whatever went wrong belongs to this seed; the others are told all the same
                failed[seed] = traceback.format_exc(limit=-3)
        print(f"seed {seed}: {'FAILED' if seed in failed else 'well'}", file=sys.stderr)
    document = {
        "stories": len(stories) + len(failed),
        "well": len(stories),
        "failed": failed,
        "restored_from_full": sum(1 for one in stories if one["backup"].endswith("-full")),
        "candles_lived_again": sum(one["relived_candles"] for one in stories),
        "candles_nobody_saw": sum(one["lost_candles"] for one in stories),
        "trades": sum(one["trades"] for one in stories),
        "ended_with_a_position": sum(1 for one in stories if any(float(size) for size in one["open"].values())),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(document | ({"each": stories} if arguments.json else {}), indent=2))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
