"""The `ctp` command: parses, calls one function of a room, prints. It decides nothing.

Invariants:
1. Exit codes: 0 done, 1 failed, 2 wrong use, 3 refused by a safety rule; an expected error is one sentence on stderr.
2. With `--json` stdout carries exactly one JSON document; progress is shown to people only, never in a pipe.
3. Rooms are imported inside the commands: `ctp status` must not wait for pandas, numba or ccxt.
"""

from ctp.cli.app import app, main

__all__ = ["app", "main"]
